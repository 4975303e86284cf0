/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matching rows in physical order, a batch of row numbers at a time. Blocks whose statistics rule a
 * range out are skipped; ranges are compared in the chunk's own width where that is whole bytes.
 */
#include "store/store_int.h"

#define STOPPED 0xff

void scan_stop(struct store_scratch *x)
{
    x->escape_rc = STOPPED;
}

static bool is_stopped(const struct store_scratch *x)
{
    return x->escape_rc == STOPPED;
}

static bool text_matches(const struct key_range *r, struct str s)
{
    int order = str_cmp(s, r->text);
    return r->op == FILTER_EQ ? order == 0 : r->op == FILTER_GTE ? order >= 0 : order <= 0;
}

bool row_matches(struct store_scratch *x, uint64_t row)
{
    for (int i = 0; i < x->n_ranges; i++) {
        const struct key_range *r = &x->ranges[i];
        const struct chunk_view *v = chunk_view(x, r->column, (size_t)(row / BLOCK_ROWS));
        size_t at = (size_t)(row % BLOCK_ROWS);
        if (chunk_is_null(v, at))
            return false;
        if (r->is_text) {
            if (!text_matches(r, chunk_text(v, at)))
                return false;
            continue;
        }
        int64_t key = chunk_key(v, at);
        if (key < r->low || key > r->high)
            return false;
    }
    return true;
}

/* ---- selecting within a block: offsets of rows that a range lets through ---- */

/* One loop for each width: a test without a branch, an index that moves when it holds. */
#define SELECT_WIDTH(type)                                                                         \
    do {                                                                                           \
        const type *p = (const type *)(const void *)v->values;                                     \
        type least = (type)low_code, span = (type)(high_code - low_code);                          \
        for (size_t i = 0; i < n; i++) {                                                           \
            out[kept] = in[i];                                                                     \
            kept += (type)(p[in[i]] - least) <= span;                                              \
        }                                                                                          \
    } while (0)

/* Other numbers are decoded first: a run of them at once where the rows stand together. */
static size_t select_decoded(const struct chunk_view *v, int64_t low, int64_t high,
                             const uint16_t *in, size_t n, uint16_t *out)
{
    UNINITIALIZED int64_t keys[BATCH_ROWS];
    uint64_t span = (uint64_t)high - (uint64_t)low;
    size_t kept = 0;
    if ((size_t)(in[n - 1] - in[0]) == n - 1)
        chunk_keys(v, in[0], n, keys);
    else
        for (size_t i = 0; i < n; i++)
            keys[i] = chunk_key(v, in[i]);
    for (size_t i = 0; i < n; i++) {
        out[kept] = in[i];
        kept += (uint64_t)keys[i] - (uint64_t)low <= span;
    }
    return kept;
}

/* Whole bytes of FORM_KEYS are compared as they lie, as differences from the base. */
static size_t select_whole(const struct chunk_view *v, int64_t low, int64_t high,
                           const uint16_t *in, size_t n, uint16_t *out)
{
    uint64_t low_code = (uint64_t)low - (uint64_t)v->base;
    uint64_t high_code = (uint64_t)high - (uint64_t)v->base;
    size_t kept = 0;
    switch (v->bits) {
    case 0:
        memmove(out, in, n * sizeof *in);
        kept = n;
        break;
    case 8:
        SELECT_WIDTH(uint8_t);
        break;
    case 16:
        SELECT_WIDTH(uint16_t);
        break;
    case 32:
        SELECT_WIDTH(uint32_t);
        break;
    default:
        SELECT_WIDTH(uint64_t);
        break;
    }
    return kept;
}

static size_t select_keys(const struct chunk_view *v, const struct key_range *r,
                          const struct chunk_entry *e, const uint16_t *in, size_t n, uint16_t *out)
{
    /* Cut to what the chunk can hold, so that the ends are numbers of its width. */
    int64_t low = r->low > e->min ? r->low : e->min, high = r->high < e->max ? r->high : e->max;
    if (low > high)
        return 0;
    size_t kept = v->mask || v->form != FORM_KEYS ? select_decoded(v, low, high, in, n, out)
                                                  : select_whole(v, low, high, in, n, out);
    if (!v->validity)
        return kept;
    size_t valid = 0;
    for (size_t i = 0; i < kept; i++) {
        uint16_t row = out[i];
        out[valid] = row;
        valid += v->validity[row / 8] >> (row % 8) & 1;
    }
    return valid;
}

static size_t select_texts(const struct chunk_view *v, const struct key_range *r,
                           const uint16_t *in, size_t n, uint16_t *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!chunk_is_null(v, in[i]) && text_matches(r, chunk_text(v, in[i])))
            out[kept++] = in[i];
    return kept;
}

static bool block_is_ruled_out(const struct store_scratch *x, size_t block)
{
    for (int i = 0; i < x->n_ranges; i++) {
        const struct key_range *r = &x->ranges[i];
        const struct chunk_entry *e = &x->store->columns[r->column].chunks[block];
        if (!r->is_text && (r->low > e->max || r->high < e->min))
            return true;
    }
    return false;
}

static void hand_on(struct store_scratch *x, on_batch *f)
{
    x->stats.rows_matched += x->n_batch;
    if (x->n_batch)
        f(x);
    x->n_batch = 0;
}

/* Rows [from, to) of one block, a batch at most. */
static void scan_run(struct store_scratch *x, size_t block, size_t from, size_t to, on_batch *f)
{
    uint16_t selected[BATCH_ROWS];
    size_t n = to - from;
    for (size_t i = 0; i < n; i++)
        selected[i] = (uint16_t)(from + i);
    for (int i = 0; i < x->n_ranges && n; i++) {
        const struct key_range *r = &x->ranges[i];
        const struct chunk_view *v = chunk_view(x, r->column, block);
        const struct chunk_entry *e = &x->store->columns[r->column].chunks[block];
        n = r->is_text ? select_texts(v, r, selected, n, selected)
                       : select_keys(v, r, e, selected, n, selected);
    }
    uint32_t base = (uint32_t)(block * BLOCK_ROWS);
    for (size_t i = 0; i < n; i++)
        x->rows[i] = base + selected[i];
    x->n_batch = n;
    scratch_poll(x, to - from);
    hand_on(x, f);
}

static void scan_block(struct store_scratch *x, size_t block, on_batch *f)
{
    uint64_t first = (uint64_t)block * BLOCK_ROWS;
    size_t from = x->low > first ? (size_t)(x->low - first) : 0;
    size_t to = x->high - first < BLOCK_ROWS ? (size_t)(x->high - first) : BLOCK_ROWS;
    x->stats.blocks_total++;
    if (block_is_ruled_out(x, block)) {
        x->stats.blocks_skipped++;
        return;
    }
    for (; from < to && !is_stopped(x); from += BATCH_ROWS)
        scan_run(x, block, from, from + BATCH_ROWS < to ? from + BATCH_ROWS : to, f);
}

static void scan_candidates(struct store_scratch *x, on_batch *f)
{
    for (size_t i = 0; i < x->n_candidates && !is_stopped(x);) {
        size_t n = 0, from = i;
        for (; i < x->n_candidates && n < BATCH_ROWS; i++)
            if (row_matches(x, x->candidates[i]))
                x->rows[n++] = x->candidates[i];
        x->n_batch = n;
        scratch_poll(x, i - from);
        hand_on(x, f);
    }
}

void scan_rows(struct store_scratch *x, on_batch *f)
{
    x->escape_rc = 0;
    x->n_batch = 0;
    if (x->low >= x->high)
        return;
    if (x->candidates) {
        scan_candidates(x, f);
        return;
    }
    for (size_t block = (size_t)(x->low / BLOCK_ROWS); (uint64_t)block * BLOCK_ROWS < x->high;
         block++) {
        if (is_stopped(x))
            return;
        scan_block(x, block, f);
    }
}
