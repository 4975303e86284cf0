/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters to ranges of keys, and ranges on the leading sort columns to a range of rows by binary
 * search: over the blocks' statistics first, then inside a block. What the prefix has answered is
 * taken off the list; the rest is checked row by row (scan.c), or found by a posting list.
 */
#include "base/hash.h"
#include "store/store_int.h"

/* ---- filters to ranges ---- */

static void text_range(struct store_scratch *x, const struct query_filter *f, struct key_range *r)
{
    const struct store_column *c = &x->store->columns[f->column];
    bool equal = false;
    if (c->is_plain_text) {
        r->is_text = true;
        r->op = f->op;
        r->text = f->value.text;
        return;
    }
    int64_t lower = dictionary_lower(x, f->column, f->value.text, &equal);
    if (f->op == FILTER_EQ) {
        r->low = r->high = lower;
        x->empty |= !equal;
    } else if (f->op == FILTER_GTE) {
        r->low = lower;
    } else {
        r->high = equal ? lower : lower - 1;
    }
}

static int64_t key_of(const struct value *v)
{
    switch (v->kind) {
    case VALUE_BOOL:
        return v->boolean;
    case VALUE_DOUBLE:
        return key_from_double(v->number);
    case VALUE_INT:
    case VALUE_INT128:
    case VALUE_NULL:
    case VALUE_TEXT:
        return v->integer;
    }
    return 0;
}

/* Two ranges on one column are one: their intersection. */
static bool intersect(struct store_scratch *x, const struct key_range *r)
{
    for (int i = 0; i < x->n_ranges; i++) {
        struct key_range *other = &x->ranges[i];
        if (other->column != r->column || other->is_text || r->is_text)
            continue;
        other->low = r->low > other->low ? r->low : other->low;
        other->high = r->high < other->high ? r->high : other->high;
        x->empty |= other->low > other->high;
        return true;
    }
    return false;
}

static void add_filter(struct store_scratch *x, const struct query_filter *f)
{
    const struct store_column *c = &x->store->columns[f->column];
    struct key_range r = {.column = f->column, .low = INT64_MIN, .high = INT64_MAX};
    x->empty |= f->never_matches || (!c->is_plain_text && c->entry->min > c->entry->max);
    if (x->empty)
        return;
    if (type_is_text(c->type)) {
        text_range(x, f, &r);
    } else {
        int64_t key = key_of(&f->value);
        if (f->op != FILTER_LTE)
            r.low = key;
        if (f->op != FILTER_GTE)
            r.high = key;
    }
    if (!r.is_text) {
        x->empty |= r.low > r.high || r.low > c->entry->max || r.high < c->entry->min;
        if (x->empty || intersect(x, &r))
            return;
    }
    x->ranges[x->n_ranges++] = r;
}

/* ---- rows of a range within [low, high), where this sort column rises and NULLs come last ---- */

/* Is the value at @row below @r's lower end (@upper false), or not above its upper end (@upper)? */
static bool goes_before(struct store_scratch *x, const struct key_range *r, uint64_t row,
                        bool upper)
{
    int64_t key;
    if (!r->is_text) {
        if (!store_key_at(x, r->column, row, &key))
            return false; /* NULL: after everything */
        return upper ? key <= r->high : key < r->low;
    }
    const struct chunk_view *v = chunk_view(x, r->column, (size_t)(row / BLOCK_ROWS));
    size_t at = (size_t)(row % BLOCK_ROWS);
    if (chunk_is_null(v, at))
        return false;
    int order = str_cmp(chunk_text(v, at), r->text);
    if (upper)
        return r->op == FILTER_GTE || order <= 0;
    return r->op != FILTER_LTE && order < 0;
}

/* First row of [low, high) that does not go before. */
static uint64_t search(struct store_scratch *x, const struct key_range *r, uint64_t low,
                       uint64_t high, bool upper)
{
    /* Whole blocks first: their statistics are dense, their values are not. */
    if (!r->is_text && low / BLOCK_ROWS != high / BLOCK_ROWS) {
        const struct chunk_entry *chunks = x->store->columns[r->column].chunks;
        uint64_t first = low / BLOCK_ROWS + 1, last = high / BLOCK_ROWS, partial = last;
        /* Full blocks strictly inside the range rise together with their rows. */
        while (first < last) {
            uint64_t middle = first + (last - first) / 2;
            const struct chunk_entry *e = &chunks[middle];
            bool has_value = e->min <= e->max;
            bool first_before = has_value && (upper ? e->min <= r->high : e->min < r->low);
            if (first_before)
                first = middle + 1;
            else
                last = middle;
        }
        uint64_t block_low = (first - 1) * BLOCK_ROWS, block_high = first * BLOCK_ROWS;
        low = block_low > low ? block_low : low;
        high = first < partial ? block_high : high; /* else it may end in the partial block */
    }
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (goes_before(x, r, middle, upper))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct key_range *range_on(struct store_scratch *x, int column, bool text_too)
{
    for (int i = 0; i < x->n_ranges; i++)
        if (x->ranges[i].column == column && (text_too || !x->ranges[i].is_text))
            return &x->ranges[i];
    return NULL;
}

static bool is_equality(const struct key_range *r)
{
    return r->is_text ? r->op == FILTER_EQ : r->low == r->high;
}

static void take_off(struct store_scratch *x, struct key_range *r)
{
    *r = x->ranges[--x->n_ranges];
}

static void cut_by_prefix(struct store_scratch *x)
{
    const struct store_header *h = x->store->header;
    for (uint32_t i = 0; i < h->n_sort_columns && x->low < x->high; i++) {
        struct key_range *r = range_on(x, h->sort_columns[i], true);
        if (!r)
            return;
        bool equality = is_equality(r);
        x->low = search(x, r, x->low, x->high, false);
        x->high = search(x, r, x->low, x->high, true);
        x->stats.prefix_columns++;
        take_off(x, r);
        if (!equality)
            return;
        x->n_bound++;
        /* A second text range on the same column is left to the scan. */
        if (range_on(x, h->sort_columns[i], true))
            return;
    }
}

/* ---- posting lists ---- */

static void verify_posting(struct store_scratch *x, int column)
{
    struct store_column *c = &x->store->columns[column];
    if (LIKELY(atomic_load_explicit(&c->posting_verified, memory_order_acquire)))
        return;
    scratch_expect(x, c->entry->posting_at, c->entry->posting_bytes);
    size_t range = (size_t)(c->entry->max - c->entry->min) + 1;
    size_t n_rows = (size_t)(x->store->n_rows - c->entry->n_nulls);
    bool fine =
        crc32c(0, c->posting_starts, (size_t)c->entry->posting_bytes) == c->entry->posting_crc;
    for (size_t i = 0; fine && i < range; i++)
        fine = c->posting_starts[i] <= c->posting_starts[i + 1];
    fine = fine && c->posting_starts[range] <= n_rows;
    for (size_t i = 0; fine && i < n_rows; i++)
        fine = c->posting_rows[i] < x->store->n_rows;
    if (!fine)
        store_mark_broken(x);
    atomic_store_explicit(&c->posting_verified, 1, memory_order_release);
}

static size_t lower_row(const uint32_t *rows, size_t n, uint64_t row)
{
    size_t low = 0;
    while (n > 0) {
        size_t half = n / 2;
        if (rows[low + half] < row) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

/* The shortest list among the equalities that are left, if it beats a scan. */
static void choose_posting(struct store_scratch *x)
{
    uint64_t best = (x->high - x->low) / 2;
    for (int i = 0; i < x->n_ranges; i++) {
        const struct key_range *r = &x->ranges[i];
        const struct store_column *c = &x->store->columns[r->column];
        if (r->is_text || r->low != r->high || !c->posting_starts)
            continue;
        verify_posting(x, r->column);
        size_t key = (size_t)(r->low - c->entry->min); /* within: add_filter() checked */
        const uint32_t *rows = c->posting_rows + c->posting_starts[key];
        size_t n = c->posting_starts[key + 1] - c->posting_starts[key];
        size_t from = lower_row(rows, n, x->low);
        size_t left = lower_row(rows + from, n - from, x->high);
        if (left > best)
            continue;
        best = left;
        x->candidates = rows + from;
        x->n_candidates = left;
    }
    x->stats.used_posting_list = x->candidates != NULL;
}

void prefix_resolve(struct store_scratch *x)
{
    const struct query *q = x->query;
    x->n_ranges = x->n_bound = 0;
    x->empty = x->store->n_rows == 0;
    x->low = 0;
    x->high = x->store->n_rows;
    x->candidates = NULL;
    x->n_candidates = 0;
    for (int i = 0; i < q->n_filters && !x->empty; i++)
        add_filter(x, &q->filters[i]);
    if (x->empty) {
        x->high = x->low;
        return;
    }
    cut_by_prefix(x);
    x->all_bound = x->n_bound == (int)x->store->header->n_sort_columns;
    x->stats.rows_in_range = x->high - x->low;
    if (x->low < x->high)
        choose_posting(x);
}
