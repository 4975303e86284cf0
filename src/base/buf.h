/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer with a maximum. A failed append (limit or memory) sets failed and leaves
 * the bytes; later appends do nothing, so a writer checks once at its end. Not thread-safe.
 */
#ifndef OFFLOADER_BASE_BUF_H
#define OFFLOADER_BASE_BUF_H

#include "base/compiler.h"
#include "base/err.h"
#include "base/str.h"

struct buf {
    char *p;
    size_t n, capacity, limit_bytes;
    enum { BUF_FINE = 0, BUF_OVER_LIMIT, BUF_NO_MEMORY } failed;
};

void buf_init(struct buf *b, size_t limit_bytes); /* allocates nothing */
void buf_done(struct buf *b);                     /* zeroed again; fine on a zeroed buf */
void buf_reset(struct buf *b);                    /* empty, memory kept, failed cleared */
/* RC_OK, RC_LIMIT or RC_NO_MEMORY, by @failed: too large is the asker's matter, no memory is ours.
 */
static inline enum rc buf_rc(const struct buf *b)
{
    return LIKELY(!b->failed) ? RC_OK : b->failed == BUF_OVER_LIMIT ? RC_LIMIT : RC_NO_MEMORY;
}
bool buf_reserve_slow(struct buf *b, size_t more_bytes);

/* Room for @more_bytes at p + n. */
static inline bool buf_reserve(struct buf *b, size_t more_bytes)
{
    if (LIKELY(b->capacity - b->n >= more_bytes && !b->failed))
        return true;
    return buf_reserve_slow(b, more_bytes);
}

static inline void buf_put(struct buf *b, const void *bytes, size_t n)
{
    if (buf_reserve(b, n) && n) {
        memcpy(b->p + b->n, bytes, n);
        b->n += n;
    }
}

static inline void buf_putc(struct buf *b, char c)
{
    if (buf_reserve(b, 1))
        b->p[b->n++] = c;
}

#define buf_put_literal(b, literal) buf_put((b), (literal), sizeof(literal) - 1)
static inline void buf_put_str(struct buf *b, struct str s)
{
    buf_put(b, s.p, s.n);
}
void buf_put_cstr(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_put_int64(struct buf *b, int64_t v); /* no printf: two digits a step */
void buf_put_uint64(struct buf *b, uint64_t v);
void buf_put_int128(struct buf *b, __int128 v);
/* Shortest digits that read back, laid out as ECMAScript's Number::toString; -0 as 0.
 * NaN and infinities are the caller's to handle (asserted). */
void buf_put_double(struct buf *b, double v);
/* NUL-terminates without counting it; "" on a failed empty buffer. Borrowed until the next append.
 */
const char *buf_cstr(struct buf *b);
/* Moves the bytes out as an owned, NUL-terminated string (mem_free), NULL when failed. */
char *buf_take_cstr(struct buf *b, size_t *ret_n);

#endif
