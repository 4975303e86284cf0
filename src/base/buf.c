/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing buffer and integer text.
 *
 * Invariants
 *  B1  n <= capacity, and n <= limit_bytes.
 *  B2  The block behind p has capacity + 1 bytes: buf_cstr() always has room for its NUL.
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define BUF_FIRST_CAPACITY 63

void buf_init(struct buf *b, size_t limit_bytes)
{
    *b = (struct buf){.limit_bytes = limit_bytes};
}

void buf_done(struct buf *b)
{
    mem_free(b->p);
    *b = (struct buf){.limit_bytes = b->limit_bytes};
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->failed = BUF_FINE;
}

bool buf_reserve_slow(struct buf *b, size_t more_bytes)
{
    if (b->failed)
        return false;
    if (b->n > b->limit_bytes || more_bytes > b->limit_bytes - b->n) {
        b->failed = BUF_OVER_LIMIT;
        return false;
    }
    size_t least = b->n + more_bytes;
    if (least <= b->capacity)
        return true;

    size_t capacity = b->capacity ? 2 * b->capacity + 1 : BUF_FIRST_CAPACITY;
    if (capacity < least)
        capacity = least;
    if (capacity > b->limit_bytes)
        capacity = b->limit_bytes;
    char *p = capacity < SIZE_MAX ? try_realloc(b->p, capacity + 1) : NULL; /* B2 */
    if (!p) {
        b->failed = BUF_NO_MEMORY;
        return false;
    }
    b->p = p;
    b->capacity = capacity;
    return true;
}

void buf_put_cstr(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *format, ...)
{
    char small[256];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    assert(n >= 0);
    if ((size_t)n < sizeof(small)) {
        buf_put(b, small, (size_t)n);
    } else if (buf_reserve(b, (size_t)n)) {
        char *text = try_alloc((size_t)n + 1);
        if (text) {
            vsnprintf(text, (size_t)n + 1, format, again);
            buf_put(b, text, (size_t)n);
        } else {
            b->failed = BUF_NO_MEMORY;
        }
        mem_free(text);
    }
    va_end(again);
}

/* ---- integers ---------------------------------------------------------------------------------*/

static const char TWO_DIGITS[] = "00010203040506070809101112131415161718192021222324"
                                 "25262728293031323334353637383940414243444546474849"
                                 "50515253545556575859606162636465666768697071727374"
                                 "75767778798081828384858687888990919293949596979899";

#define UINT64_DIGITS 20
#define INT128_DIGITS 39

/* Writes @v so that it ends at @end; returns where it begins. */
static char *digits_backward(char *end, uint64_t v)
{
    while (v >= 100) {
        end -= 2;
        memcpy(end, TWO_DIGITS + 2 * (v % 100), 2);
        v /= 100;
    }
    if (v >= 10) {
        end -= 2;
        memcpy(end, TWO_DIGITS + 2 * v, 2);
    } else {
        *--end = (char)('0' + v);
    }
    return end;
}

void buf_put_uint64(struct buf *b, uint64_t v)
{
    char text[UINT64_DIGITS];
    char *begin = digits_backward(text + sizeof(text), v);
    buf_put(b, begin, (size_t)(text + sizeof(text) - begin));
}

void buf_put_int64(struct buf *b, int64_t v)
{
    char text[UINT64_DIGITS + 1];
    uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    char *begin = digits_backward(text + sizeof(text), magnitude);
    if (v < 0)
        *--begin = '-';
    buf_put(b, begin, (size_t)(text + sizeof(text) - begin));
}

void buf_put_int128(struct buf *b, __int128 v)
{
    const uint64_t group = UINT64_C(10000000000000000000); /* 10^19, the most that fits 64 bits */
    const int group_digits = 19;

    char text[INT128_DIGITS + 1];
    char *begin = text + sizeof(text);
    unsigned __int128 magnitude = v < 0 ? 0 - (unsigned __int128)v : (unsigned __int128)v;
    while (magnitude >= group) {
        char *group_end = begin;
        begin = digits_backward(group_end, (uint64_t)(magnitude % group));
        while (begin > group_end - group_digits)
            *--begin = '0';
        magnitude /= group;
    }
    begin = digits_backward(begin, (uint64_t)magnitude);
    if (v < 0)
        *--begin = '-';
    buf_put(b, begin, (size_t)(text + sizeof(text) - begin));
}

/* ---- as a string ------------------------------------------------------------------------------*/

const char *buf_cstr(struct buf *b)
{
    if (!b->p)
        return "";
    b->p[b->n] = '\0'; /* B2 */
    return b->p;
}

char *buf_take_cstr(struct buf *b, size_t *ret_n)
{
    if (b->failed)
        return NULL;
    if (!b->p) {
        b->p = try_alloc0(1);
        if (!b->p)
            return NULL;
    }
    b->p[b->n] = '\0'; /* B2 */
    if (ret_n)
        *ret_n = b->n;
    char *text = TAKE(b->p);
    buf_init(b, b->limit_bytes);
    return text;
}
