/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Posting lists: for a column that endpoints ask for by equality and that the physical sort does
 * not lead with, the rows of each key. Built by counting, from the chunks just written; only where
 * keys lie densely enough and each leads to few enough rows to beat a scan.
 */
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/codes.h"
#include "store/writer_int.h"

#define LIMIT_POSTING_RANGE (4u << 20)
#define LIMIT_POSTING_ROWS (64u << 20)
#define LEAST_KEYS 32

static bool pays(const struct store_writer *w, const struct column_build *c)
{
    uint64_t range = (uint64_t)c->entry.max - (uint64_t)c->entry.min + 1;
    return c->entry.min <= c->entry.max && range >= LEAST_KEYS && range <= LIMIT_POSTING_RANGE &&
           range <= w->n_rows && w->n_rows <= LIMIT_POSTING_ROWS && w->n_rows > BLOCK_ROWS;
}

/* Reads block @i back: keys and validity of @c. */
static enum rc read_back(struct store_writer *w, struct column_build *c, size_t i, size_t n_rows,
                         struct err *err)
{
    const struct chunk_entry *e = &c->chunks[i];
    buf_reset(&w->chunk);
    if (!buf_reserve(&w->chunk, e->n_bytes + 8))
        return err_set(err, RC_NO_MEMORY, "out of memory while building a posting list");
    enum rc rc = io_pread_all(w->fd, w->chunk.p, e->n_bytes, e->at, STORE_FILE_NAME, err);
    if (rc != RC_OK)
        return rc;
    struct chunk_view v;
    codes_view(e, (const uint8_t *)w->chunk.p, n_rows, &v);
    chunk_keys(&v, 0, n_rows, c->keys);
    for (size_t row = 0; row < n_rows; row++)
        c->valid[row] = !chunk_is_null(&v, row);
    return RC_OK;
}

static size_t rows_of_block(const struct store_writer *w, size_t i)
{
    uint64_t left = w->n_rows - i * BLOCK_ROWS;
    return left < BLOCK_ROWS ? (size_t)left : BLOCK_ROWS;
}

/* One pass over the column: counts keys, or places rows at their keys' starts. */
static enum rc pass(struct store_writer *w, struct column_build *c, uint32_t *starts,
                    uint32_t *rows, struct err *err)
{
    for (size_t i = 0; i < w->n_blocks; i++) {
        size_t n = rows_of_block(w, i);
        enum rc rc = read_back(w, c, i, n, err);
        if (rc != RC_OK)
            return rc;
        for (size_t row = 0; row < n; row++) {
            if (!c->valid[row])
                continue;
            uint64_t key = (uint64_t)c->keys[row] - (uint64_t)c->entry.min;
            if (rows)
                rows[starts[key]++] = (uint32_t)(i * BLOCK_ROWS + row);
            else
                starts[key + 1]++;
        }
    }
    return RC_OK;
}

enum rc posting_build(struct store_writer *w, struct column_build *c, struct err *err)
{
    if (!pays(w, c))
        return RC_OK;
    size_t range = (size_t)(c->entry.max - c->entry.min) + 1;
    size_t n_rows = (size_t)(w->n_rows - c->entry.n_nulls);
    uint32_t *image = try_array0(range + 1 + n_rows, sizeof *image);
    uint32_t *starts = image, *rows = image ? image + range + 1 : NULL;
    if (!image)
        return RC_OK; /* a scan answers too, only slower */
    enum rc rc = pass(w, c, starts, NULL, err);
    for (size_t i = 1; i <= range; i++)
        starts[i] += starts[i - 1];
    if (rc == RC_OK)
        rc = pass(w, c, starts, rows, err);
    /* Placing moved each start to its end, which is the next one's start. */
    for (size_t i = range; i > 0; i--)
        starts[i] = starts[i - 1];
    starts[0] = 0;
    if (rc == RC_OK)
        rc = writer_append(w, image, (range + 1 + n_rows) * sizeof *image, &c->entry.posting_at,
                           err);
    c->entry.posting_bytes = (range + 1 + n_rows) * sizeof *image;
    c->entry.posting_crc = crc32c(0, image, (size_t)c->entry.posting_bytes);
    c->entry.flags |= COLUMN_HAS_POSTING;
    mem_free(image);
    return rc;
}
