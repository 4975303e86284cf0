/* SPDX-License-Identifier: Apache-2.0 */
/* Values as bytes, and back. */
#include "query/value_bytes.h"

void bytes_put_u8(struct buf *b, uint8_t v)
{
    buf_putc(b, (char)v);
}

void bytes_put_u16(struct buf *b, uint16_t v)
{
    buf_put(b, &v, sizeof v);
}

void bytes_put_u32(struct buf *b, uint32_t v)
{
    buf_put(b, &v, sizeof v);
}

void bytes_put_u64(struct buf *b, uint64_t v)
{
    buf_put(b, &v, sizeof v);
}

void bytes_put_text(struct buf *b, struct str s)
{
    bytes_put_u32(b, (uint32_t)s.n);
    buf_put_str(b, s);
}

void bytes_put_value(struct buf *b, const struct value *v)
{
    bytes_put_u8(b, (uint8_t)v->kind);
    switch (v->kind) {
    case VALUE_NULL:
        return;
    case VALUE_BOOL:
        bytes_put_u8(b, v->boolean);
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
        bytes_put_text(b, v->text);
        return;
    }
}

void bytes_get(struct bytes_in *in, void *ret, size_t n)
{
    memset(ret, 0, n);
    if (in->failed || in->n - in->at < n) {
        in->failed = true;
        return;
    }
    memcpy(ret, in->p + in->at, n);
    in->at += n;
}

uint8_t bytes_get_u8(struct bytes_in *in)
{
    uint8_t v;
    bytes_get(in, &v, sizeof v);
    return v;
}

uint16_t bytes_get_u16(struct bytes_in *in)
{
    uint16_t v;
    bytes_get(in, &v, sizeof v);
    return v;
}

uint32_t bytes_get_u32(struct bytes_in *in)
{
    uint32_t v;
    bytes_get(in, &v, sizeof v);
    return v;
}

uint64_t bytes_get_u64(struct bytes_in *in)
{
    uint64_t v;
    bytes_get(in, &v, sizeof v);
    return v;
}

struct str bytes_get_text(struct bytes_in *in)
{
    uint32_t n = bytes_get_u32(in);
    if (in->failed || in->n - in->at < n) {
        in->failed = true;
        return (struct str){"", 0};
    }
    struct str s = {in->p + in->at, n};
    in->at += n;
    return s;
}

void bytes_get_value(struct bytes_in *in, struct value *ret)
{
    *ret = (struct value){.kind = VALUE_NULL};
    uint8_t kind = bytes_get_u8(in);
    switch (kind) {
    case VALUE_NULL:
        return;
    case VALUE_BOOL:
        ret->boolean = bytes_get_u8(in) != 0;
        break;
    case VALUE_INT:
        bytes_get(in, &ret->integer, sizeof ret->integer);
        break;
    case VALUE_INT128:
        bytes_get(in, &ret->integer128, sizeof ret->integer128);
        break;
    case VALUE_DOUBLE:
        bytes_get(in, &ret->number, sizeof ret->number);
        break;
    case VALUE_TEXT:
        ret->text = bytes_get_text(in);
        break;
    default:
        in->failed = true;
        return;
    }
    ret->kind = (enum value_kind)kind;
}
