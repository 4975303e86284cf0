/* SPDX-License-Identifier: Apache-2.0 */
/* A block of a column into a chunk: validity, then values in the narrowest width that holds them.
 */
#include "base/hash.h"
#include "base/io.h"
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

static uint8_t width_for(uint64_t range)
{
    if (range == 0)
        return 0;
    if (range <= UINT8_MAX)
        return 1;
    if (range <= UINT16_MAX)
        return 2;
    return range <= UINT32_MAX ? 4 : 8;
}

static void put_values(struct buf *b, const int64_t *keys, const uint8_t *valid, size_t n,
                       int64_t base, uint8_t width)
{
    if (width == 0 || !buf_reserve(b, n * width)) /* one value: the base says it all */
        return;
    uint8_t *to = (uint8_t *)b->p + b->n;
    for (size_t i = 0; i < n; i++) {
        /* little-endian: the low bytes of the 64-bit difference are the narrow value */
        uint64_t v = valid[i] ? (uint64_t)keys[i] - (uint64_t)base : 0;
        memcpy(to + i * width, &v, width);
    }
    b->n += n * width;
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
    e->width = any ? width_for((uint64_t)e->max - (uint64_t)e->min) : 0;
    c->entry.n_nulls += e->n_nulls;
    if (any) {
        c->entry.min = e->min < c->entry.min ? e->min : c->entry.min;
        c->entry.max = e->max > c->entry.max ? e->max : c->entry.max;
    }
    buf_reset(&w->chunk);
    if (e->n_nulls)
        put_validity(&w->chunk, valid, n_rows);
    put_values(&w->chunk, keys, valid, n_rows, e->base, e->width);
    return put_chunk(w, e, err);
}

enum rc encode_text(struct store_writer *w, struct column_build *c, size_t block, size_t n_rows,
                    const uint8_t *valid, const uint32_t *ends, struct str bytes, struct err *err)
{
    struct chunk_entry *e = &c->chunks[block];
    uint32_t zero = 0;
    *e = (struct chunk_entry){.min = 1, .max = 0, .width = WIDTH_TEXT};
    for (size_t i = 0; i < n_rows; i++)
        e->n_nulls += !valid[i];
    c->entry.n_nulls += e->n_nulls;
    buf_reset(&w->chunk);
    if (e->n_nulls)
        put_validity(&w->chunk, valid, n_rows);
    buf_put(&w->chunk, &zero, sizeof zero);
    buf_put(&w->chunk, ends, n_rows * sizeof *ends);
    buf_put_str(&w->chunk, bytes);
    return put_chunk(w, e, err);
}
