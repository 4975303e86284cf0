/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between the server and a query process. */
#include "engine/wire.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

size_t wire_begin(struct buf *b, enum wire_kind kind)
{
    size_t began = b->n;
    bytes_put_u32(b, 0);
    bytes_put_u8(b, (uint8_t)kind);
    return began;
}

void wire_finish(struct buf *b, size_t began)
{
    if (b->failed)
        return;
    uint32_t n = (uint32_t)(b->n - began - WIRE_HEAD_BYTES);
    memcpy(b->p + began, &n, sizeof n);
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
