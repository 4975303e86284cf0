/* SPDX-License-Identifier: Apache-2.0 */
/* A block of a column into a chunk: validity, then numbers in as many bits as hold them.
 */
#include "base/hash.h"
#include "base/io.h"
#include "store/codes.h"
#include "store/writer_int.h"

enum rc writer_append(struct store_writer *w, const void *p, size_t n, uint64_t *ret_at,
                      struct err *err)
{
    static const char zeros[8];
    size_t pad = (8 - w->at % 8) % 8;
    enum rc rc = pad ? io_pwrite_all(w->fd, zeros, pad, w->at, STORE_FILE_NAME, err) : RC_OK;
    if (rc == RC_OK)
        rc = io_pwrite_all(w->fd, p, n, w->at + pad, STORE_FILE_NAME, err);
    if (rc != RC_OK)
        return rc;
    *ret_at = w->at + pad;
    w->at += pad + n;
    return RC_OK;
}

static void put_validity(struct buf *b, const uint8_t *valid, size_t n)
{
    size_t n_bytes = (n + 63) / 64 * 8;
    if (!buf_reserve(b, n_bytes))
        return;
    uint8_t *bits = (uint8_t *)b->p + b->n;
    memset(bits, 0, n_bytes);
    for (size_t i = 0; i < n; i++)
        bits[i / 8] |= (uint8_t)((valid[i] != 0) << (i % 8));
    b->n += n_bytes;
}

/* Whole bytes where they are as short as packed bits: they are compared and added undecoded. */
static void choose_width(struct chunk_entry *e, const uint64_t *codes, size_t n)
{
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++)
        all |= codes[i];
    unsigned bits = bits_of(all);
    if (bits > LIMIT_PACKED_BITS)
        e->width = 8;
    else if (bits % 8 == 0 && bits != 24 && bits < 40)
        e->width = (uint8_t)(bits / 8);
    else
        e->bits = (uint8_t)bits;
}

static void put_packed(struct buf *b, unsigned bits, const uint64_t *codes, size_t n)
{
    size_t n_bytes = packed_bytes(bits, n);
    if (bits == 0 || !buf_reserve(b, n_bytes))
        return;
    memset(b->p + b->n, 0, n_bytes);
    codes_pack(codes, n, bits, (uint8_t *)b->p + b->n);
    b->n += n_bytes;
}

static void put_codes(struct buf *b, const struct chunk_entry *e, const uint64_t *codes, size_t n)
{
    put_packed(b, e->bits, codes, n);
    if (e->width == 0 || !buf_reserve(b, n * e->width)) /* packed, or one value: the base says it */
        return;
    /* little-endian: the low bytes of a 64-bit number are the narrow one */
    for (size_t i = 0; i < n; i++)
        memcpy(b->p + b->n + i * e->width, &codes[i], e->width);
    b->n += n * e->width;
}

static enum rc put_chunk(struct store_writer *w, struct chunk_entry *e, struct err *err)
{
    if (w->chunk.failed)
        return err_set(err, RC_NO_MEMORY, "out of memory while encoding a block");
    e->n_bytes = (uint32_t)w->chunk.n;
    e->crc = crc32c(0, w->chunk.p, w->chunk.n);
    return writer_append(w, w->chunk.p, w->chunk.n, &e->at, err);
}

enum rc encode_keys(struct store_writer *w, struct column_build *c, size_t block, size_t n_rows,
                    const int64_t *keys, const uint8_t *valid, struct err *err)
{
    struct chunk_entry *e = &c->chunks[block];
    uint64_t *codes = w->codes;
    *e = (struct chunk_entry){.min = INT64_MAX, .max = INT64_MIN};
    for (size_t i = 0; i < n_rows; i++) {
        if (!valid[i]) {
            e->n_nulls++;
            continue;
        }
        e->min = keys[i] < e->min ? keys[i] : e->min;
        e->max = keys[i] > e->max ? keys[i] : e->max;
    }
    bool any = e->n_nulls < n_rows;
    e->base = any ? e->min : 0;
    for (size_t i = 0; i < n_rows; i++)
        codes[i] = valid[i] ? (uint64_t)keys[i] - (uint64_t)e->base : 0;
    choose_form(c, c == &w->columns[w->n_columns], keys, valid, n_rows, e, codes);
    choose_width(e, codes, n_rows);
    c->entry.n_nulls += e->n_nulls;
    if (any) {
        c->entry.min = e->min < c->entry.min ? e->min : c->entry.min;
        c->entry.max = e->max > c->entry.max ? e->max : c->entry.max;
    }
    buf_reset(&w->chunk);
    if (e->n_nulls)
        put_validity(&w->chunk, valid, n_rows);
    put_codes(&w->chunk, e, codes, n_rows);
    return put_chunk(w, e, err);
}

/* Where texts begin, less what the shortest length alone says: nothing at all where all are as long
 * as each other. */
static void put_offsets(struct store_writer *w, struct chunk_entry *e, const uint32_t *ends,
                        size_t n_rows)
{
    uint32_t least = UINT32_MAX;
    for (size_t i = 0; i < n_rows; i++) {
        uint32_t length = ends[i] - (i ? ends[i - 1] : 0);
        least = length < least ? length : least;
    }
    w->codes[0] = 0;
    for (size_t i = 0; i < n_rows; i++)
        w->codes[i + 1] = ends[i] - (uint64_t)least * (i + 1);
    e->form = FORM_LENGTHS;
    e->base = least;
    e->bits = (uint8_t)bits_of(w->codes[n_rows]); /* they rise */
    put_packed(&w->chunk, e->bits, w->codes, n_rows + 1);
}

enum rc encode_text(struct store_writer *w, struct column_build *c, size_t block, size_t n_rows,
                    const uint8_t *valid, const uint32_t *ends, struct str bytes, struct err *err)
{
    struct chunk_entry *e = &c->chunks[block];
    *e = (struct chunk_entry){.min = 1, .max = 0, .width = WIDTH_TEXT};
    for (size_t i = 0; i < n_rows; i++)
        e->n_nulls += !valid[i];
    c->entry.n_nulls += e->n_nulls;
    buf_reset(&w->chunk);
    if (e->n_nulls)
        put_validity(&w->chunk, valid, n_rows);
    put_offsets(w, e, ends, n_rows);
    buf_put_str(&w->chunk, bytes);
    return put_chunk(w, e, err);
}
