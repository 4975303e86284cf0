/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between the server and a query process. */
#include "engine/wire.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

size_t wire_begin(struct buf *b, enum wire_kind kind)
{
    size_t began = b->n;
    wire_put_u32(b, 0);
    wire_put_u8(b, (uint8_t)kind);
    return began;
}

void wire_finish(struct buf *b, size_t began)
{
    if (b->failed)
        return;
    uint32_t n = (uint32_t)(b->n - began - WIRE_HEAD_BYTES);
    memcpy(b->p + began, &n, sizeof n);
}

void wire_put_u8(struct buf *b, uint8_t v)
{
    buf_putc(b, (char)v);
}

void wire_put_u32(struct buf *b, uint32_t v)
{
    buf_put(b, &v, sizeof v);
}

void wire_put_u64(struct buf *b, uint64_t v)
{
    buf_put(b, &v, sizeof v);
}

void wire_put_text(struct buf *b, struct str s)
{
    wire_put_u32(b, (uint32_t)s.n);
    buf_put_str(b, s);
}

void wire_put_value(struct buf *b, const struct value *v)
{
    wire_put_u8(b, (uint8_t)v->kind);
    switch (v->kind) {
    case VALUE_NULL:
        return;
    case VALUE_BOOL:
        wire_put_u8(b, v->boolean);
        return;
    case VALUE_INT:
        buf_put(b, &v->integer, sizeof v->integer);
        return;
    case VALUE_INT128:
        buf_put(b, &v->integer128, sizeof v->integer128);
        return;
    case VALUE_DOUBLE:
        buf_put(b, &v->number, sizeof v->number);
        return;
    case VALUE_TEXT:
        wire_put_text(b, v->text);
        return;
    }
}

static void get(struct wire_in *w, void *ret, size_t n)
{
    memset(ret, 0, n);
    if (w->failed || w->n - w->at < n) {
        w->failed = true;
        return;
    }
    memcpy(ret, w->p + w->at, n);
    w->at += n;
}

uint8_t wire_get_u8(struct wire_in *w)
{
    uint8_t v;
    get(w, &v, sizeof v);
    return v;
}

uint32_t wire_get_u32(struct wire_in *w)
{
    uint32_t v;
    get(w, &v, sizeof v);
    return v;
}

uint64_t wire_get_u64(struct wire_in *w)
{
    uint64_t v;
    get(w, &v, sizeof v);
    return v;
}

struct str wire_get_text(struct wire_in *w)
{
    uint32_t n = wire_get_u32(w);
    if (w->failed || w->n - w->at < n) {
        w->failed = true;
        return (struct str){"", 0};
    }
    struct str s = {w->p + w->at, n};
    w->at += n;
    return s;
}

void wire_get_value(struct wire_in *w, struct value *ret)
{
    *ret = (struct value){.kind = VALUE_NULL};
    uint8_t kind = wire_get_u8(w);
    switch (kind) {
    case VALUE_NULL:
        return;
    case VALUE_BOOL:
        ret->boolean = wire_get_u8(w) != 0;
        break;
    case VALUE_INT:
        get(w, &ret->integer, sizeof ret->integer);
        break;
    case VALUE_INT128:
        get(w, &ret->integer128, sizeof ret->integer128);
        break;
    case VALUE_DOUBLE:
        get(w, &ret->number, sizeof ret->number);
        break;
    case VALUE_TEXT:
        ret->text = wire_get_text(w);
        break;
    default:
        w->failed = true;
        return;
    }
    ret->kind = (enum value_kind)kind;
}

/* ---- sockets ---- */

bool wire_write(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t wrote = send(fd, at, n, MSG_NOSIGNAL);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return false;
        at += wrote;
        n -= (size_t)wrote;
    }
    return true;
}

bool wire_read(int fd, void *p, size_t n)
{
    char *at = p;
    while (n > 0) {
        ssize_t got = read(fd, at, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

bool wire_receive(int fd, struct buf *body, enum wire_kind *ret)
{
    char head[WIRE_HEAD_BYTES];
    uint32_t n;
    if (!wire_read(fd, head, sizeof head))
        return false;
    memcpy(&n, head, sizeof n);
    buf_reset(body);
    if (n > WIRE_LIMIT_BYTES || !buf_reserve(body, n) || !wire_read(fd, body->p, n))
        return false;
    body->n = n;
    *ret = (enum wire_kind)(uint8_t)head[4];
    return true;
}
