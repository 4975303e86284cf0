/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries without groups: the rows of a page in the total order (order_by, then ordinal).
 *
 * Where the physical order already is that order - every sort column bound by equality and no
 * order_by, or order_by naming exactly the next sort columns rising - rows stream out and the scan
 * stops when the page is full. Otherwise a pass over the matches keeps the best offset + limit + 1,
 * in a heap from when more have come. Where those are too many for the memory of a pass, it keeps
 * as many as fit, and another pass goes on behind the last of them.
 */
#include <stdlib.h>

#include "base/sort.h"
#include "store/store_int.h"

struct slot_column {
    int column; /* of the store; -1: the ordinal */
    bool descending, is_text, has_nulls;
};

struct plan_order {
    struct slot_column columns[QUERY_LIMIT_OUTPUTS + 1];
    int n_columns; /* with the ordinal */
    int n_slots;   /* 64-bit words of an entry; the row comes after them */
};

/* ---- entries: sort slots, compared as unsigned words, and a row ---- */

static void make_order(struct store_scratch *x, struct plan_order *o)
{
    const struct query *q = x->query;
    o->n_columns = 0;
    o->n_slots = 0;
    for (int i = 0; i <= q->n_order; i++) {
        struct slot_column *c = &o->columns[o->n_columns++];
        bool is_ordinal = i == q->n_order;
        int column = is_ordinal ? (int)x->store->n_columns : q->outputs[q->order[i].output].column;
        *c = (struct slot_column){.column = column,
                                  .descending = !is_ordinal && q->order[i].descending,
                                  .is_text = x->store->columns[column].is_plain_text,
                                  .has_nulls = x->store->columns[column].entry->n_nulls > 0};
        o->n_slots += (c->has_nulls ? 1 : 0) + (c->is_text ? 0 : 1);
    }
}

static void fill_entry(struct store_scratch *x, const struct plan_order *o, uint32_t row,
                       uint64_t *entry)
{
    uint64_t *to = entry;
    for (int i = 0; i < o->n_columns; i++) {
        const struct slot_column *c = &o->columns[i];
        int64_t key = 0;
        bool is_null;
        if (c->is_text) {
            const struct chunk_view *v = chunk_view(x, c->column, row / BLOCK_ROWS);
            is_null = chunk_is_null(v, row % BLOCK_ROWS);
        } else {
            is_null = !store_key_at(x, c->column, row, &key);
        }
        if (c->has_nulls)
            *to++ = is_null;
        if (!c->is_text) {
            uint64_t word = (uint64_t)key ^ (UINT64_C(1) << 63);
            *to++ = is_null ? 0 : c->descending ? ~word : word;
        }
    }
    *to = row;
}

static int compare_texts(struct store_scratch *x, const struct slot_column *c, uint32_t a,
                         uint32_t b)
{
    /* Two rows of different blocks: the first text must outlive the second view, which points into
     * the map and so does. */
    struct str s = chunk_text(chunk_view(x, c->column, a / BLOCK_ROWS), a % BLOCK_ROWS);
    struct str t = chunk_text(chunk_view(x, c->column, b / BLOCK_ROWS), b % BLOCK_ROWS);
    int order = str_cmp(s, t);
    return c->descending ? -order : order;
}

static int compare_entries(struct store_scratch *x, const struct plan_order *o, const uint64_t *a,
                           const uint64_t *b)
{
    uint32_t row_a = (uint32_t)a[o->n_slots], row_b = (uint32_t)b[o->n_slots];
    for (int i = 0; i < o->n_columns; i++) {
        const struct slot_column *c = &o->columns[i];
        bool is_null = false;
        if (c->has_nulls) {
            if (*a != *b)
                return *a < *b ? -1 : 1;
            is_null = *a != 0;
            a++, b++;
        }
        if (c->is_text) {
            int order = is_null ? 0 : compare_texts(x, c, row_a, row_b);
            if (order != 0)
                return order;
            continue;
        }
        if (*a != *b)
            return *a < *b ? -1 : 1;
        a++, b++;
    }
    return 0;
}

/* ---- the page ---- */

struct page {
    struct plan_order order;
    size_t wanted;    /* entries that this pass keeps */
    size_t n, stride; /* entries; words an entry */
    bool is_heap;     /* more than @wanted have come, and the best of them are a heap */
    bool is_again;    /* not the first pass: it begins behind the boundary */
    uint64_t skip, left, n_total;
    uint32_t last_row; /* handed out */
    struct query_result *result;
};

static _Thread_local struct page
    page; /* of the execution at hand: batches come without an argument */

/* The last entry of the pass before. */
static uint64_t *boundary(struct store_scratch *x)
{
    return x->entries.p;
}

static uint64_t *entry_at(struct store_scratch *x, size_t i)
{
    return (uint64_t *)x->entries.p + (i + 1) * page.stride;
}

static void swap_entries(struct store_scratch *x, size_t a, size_t b)
{
    uint64_t *p = entry_at(x, a), *q = entry_at(x, b);
    for (size_t i = 0; i < page.stride; i++) {
        uint64_t word = p[i];
        p[i] = q[i];
        q[i] = word;
    }
}

/* A max-heap: the root is the worst row kept. */
static void sift_down(struct store_scratch *x, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= page.n)
            return;
        if (child + 1 < page.n &&
            compare_entries(x, &page.order, entry_at(x, child + 1), entry_at(x, child)) > 0)
            child++;
        if (compare_entries(x, &page.order, entry_at(x, at), entry_at(x, child)) >= 0)
            return;
        swap_entries(x, at, child);
        at = child;
    }
}

static void make_heap(struct store_scratch *x)
{
    page.is_heap = true;
    for (size_t i = page.n / 2; i-- > 0;)
        sift_down(x, i);
}

static void seek_values(struct store_scratch *x, uint32_t row, struct value *ret)
{
    const struct query *q = x->query;
    int64_t ordinal = 0;
    for (int i = 0; i < q->n_order; i++)
        value_at(x, q->outputs[q->order[i].output].column, row, &ret[i]);
    (void)store_key_at(x, (int)x->store->n_columns, row, &ordinal); /* never NULL */
    ret[q->n_order] = (struct value){.kind = VALUE_INT, .integer = ordinal};
}

static bool is_after_seek(struct store_scratch *x, uint32_t row)
{
    const struct query *q = x->query;
    struct value values[QUERY_LIMIT_OUTPUTS + 1];
    if (q->n_seek != q->n_order + 1)
        return true;
    seek_values(x, row, values);
    for (int i = 0; i <= q->n_order; i++) {
        int order =
            value_compare(&values[i], &q->seek[i], i < q->n_order && q->order[i].descending);
        if (order != 0)
            return order > 0;
    }
    return false;
}

static void on_ordered_batch(struct store_scratch *x)
{
    page.n_total += page.is_again ? 0 : x->n_batch;
    for (size_t i = 0; i < x->n_batch; i++) {
        uint32_t row = x->rows[i];
        if (!page.is_again && x->query->has_seek && !is_after_seek(x, row))
            continue;
        /* Past a heap there is room for one more: the newcomer, kept if it beats the worst. */
        if (!page.is_heap)
            scratch_array(x, &x->entries, (page.n + 2) * page.stride, sizeof(uint64_t));
        uint64_t *fresh = entry_at(x, page.n);
        fill_entry(x, &page.order, row, fresh);
        if (page.is_again && compare_entries(x, &page.order, fresh, boundary(x)) <= 0)
            continue;
        if (page.n < page.wanted) {
            page.n++;
            continue;
        }
        if (!page.is_heap)
            make_heap(x);
        if (compare_entries(x, &page.order, fresh, entry_at(x, 0)) < 0) {
            memcpy(entry_at(x, 0), fresh, page.stride * sizeof *fresh);
            sift_down(x, 0);
        }
    }
}

static void emit(struct store_scratch *x, uint32_t row)
{
    const struct query *q = x->query;
    for (int i = 0; i < q->n_outputs; i++) {
        if (q->wanted[i])
            value_at(x, q->outputs[i].column, row, &x->row_values[i]);
        else
            x->row_values[i] = (struct value){.kind = VALUE_NULL};
    }
    emit_row(x, page.result, x->row_values);
}

static int compare_for_sort(const void *a, const void *b, void *arg)
{
    struct store_scratch *x = arg;
    scratch_tick(x);
    return compare_entries(x, &page.order, a, b);
}

static void sort_entries(struct store_scratch *x)
{
    if (page.n == 0)
        return;
    scratch_array(x, &x->entries, (2 * page.n + 1) * page.stride, sizeof(uint64_t));
    sort_stable(entry_at(x, 0), entry_at(x, page.n), page.n, page.stride * sizeof(uint64_t),
                compare_for_sort, x);
}

static void set_boundary(struct store_scratch *x, size_t i)
{
    memcpy(boundary(x), entry_at(x, i), page.stride * sizeof(uint64_t));
}

static void keep_last(struct store_scratch *x, uint32_t row)
{
    seek_values(x, row, page.result->last);
    page.result->n_last = x->query->n_order + 1;
}

static size_t rows_of_pass(void)
{
    uint64_t most = LIMIT_PASS_BYTES / (page.stride * sizeof(uint64_t));
    bool all_fit = page.skip < most && page.left < most - page.skip;
    return (size_t)(all_fit ? page.skip + page.left + 1 : most);
}

/* Hands out what of the page is among the rows of this pass. True: there is more to come. */
static bool end_pass(struct store_scratch *x)
{
    if (page.n <= page.skip) { /* they all come before the page */
        page.skip -= page.n;
        if (page.is_heap)
            set_boundary(x, 0); /* the worst */
        return page.is_heap;
    }
    sort_entries(x);
    size_t i = (size_t)page.skip;
    page.skip = 0;
    for (; i < page.n && page.left > 0; i++, page.left--) {
        page.last_row = (uint32_t)entry_at(x, i)[page.order.n_slots];
        emit(x, page.last_row);
    }
    if (page.left > 0 && page.is_heap) {
        set_boundary(x, page.n - 1);
        return true;
    }
    page.result->has_more = page.left == 0 && (i < page.n || page.is_heap);
    return false;
}

static void count_batch(struct store_scratch *x)
{
    page.n_total += x->n_batch;
}

static void run_ordered(struct store_scratch *x)
{
    const struct query *q = x->query;
    make_order(x, &page.order);
    page.stride = (size_t)page.order.n_slots + 1;
    page.skip = q->offset;
    page.left = q->limit;
    if (page.skip >= x->high - x->low) { /* past all that could match */
        if (q->count_total)
            scan_rows(x, count_batch);
        page.result->total = page.n_total;
        return;
    }
    do {
        page.n = 0;
        page.is_heap = false;
        page.wanted = rows_of_pass();
        scan_rows(x, on_ordered_batch);
    } while ((page.is_again = end_pass(x)));
    page.result->total = x->stats.rows_matched = page.n_total; /* once, however many passes */
    if (page.result->n_rows)
        keep_last(x, page.last_row);
}

/* ---- streaming ---- */

static void on_streamed_batch(struct store_scratch *x)
{
    const struct query *q = x->query;
    page.n_total += x->n_batch;
    for (size_t i = 0; i < x->n_batch; i++) {
        uint32_t row = x->rows[i];
        if (page.result->has_more)
            return; /* only counting now */
        if (q->has_seek && page.result->n_rows == 0 && !is_after_seek(x, row))
            continue;
        if (page.skip > 0) {
            page.skip--;
        } else if (page.result->n_rows < q->limit) {
            emit(x, row);
            page.last_row = row;
        } else {
            page.result->has_more = true;
            if (!q->count_total)
                scan_stop(x);
        }
    }
}

/* First row of [low, high) after the seek: rows there stand in the total order. */
static void skip_to_seek(struct store_scratch *x)
{
    uint64_t low = x->low, high = x->high;
    if (!x->query->has_seek || x->candidates || x->query->count_total)
        return;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (is_after_seek(x, (uint32_t)middle))
            high = middle;
        else
            low = middle + 1;
    }
    x->low = low;
}

static void run_streamed(struct store_scratch *x)
{
    const struct query *q = x->query;
    skip_to_seek(x);
    page.skip = q->offset;
    if (!x->candidates && x->n_ranges == 0 && !q->count_total && !q->has_seek) {
        uint64_t step = page.skip < x->high - x->low ? page.skip : x->high - x->low;
        x->low += step; /* no row by row skipping where every row matches */
        page.skip -= step;
    }
    scan_rows(x, on_streamed_batch);
    page.result->total = page.n_total;
    if (page.result->n_rows)
        keep_last(x, page.last_row);
}

/* Is the physical order of the rows at hand the total order that is asked for? */
static bool is_physical_order(const struct store_scratch *x)
{
    const struct query *q = x->query;
    const struct store_header *h = x->store->header;
    uint32_t at = (uint32_t)x->n_bound;
    for (int i = 0; i < q->n_order; i++) {
        int column = q->outputs[q->order[i].output].column;
        bool is_bound = false;
        for (int j = 0; j < x->n_bound; j++)
            is_bound |= h->sort_columns[j] == column;
        if (is_bound)
            continue; /* one value: orders nothing */
        if (q->order[i].descending || at >= h->n_sort_columns || h->sort_columns[at] != column)
            return false;
        at++;
    }
    return at == h->n_sort_columns;
}

enum rc run_plain(struct store_scratch *x, struct query_result *ret)
{
    page = (struct page){.result = ret};
    x->stats.grouping = "none";
    if (is_physical_order(x))
        run_streamed(x);
    else
        run_ordered(x);
    return RC_OK;
}
