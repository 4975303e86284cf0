/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grouping where the keys of the group columns span a small range: a row's group is found by an
 * index, Σ (key - least key) × stride, instead of a hash. Batches go column by column; where rows
 * of one group stand together, as in sort order, a run is added up in registers.
 *
 * D1  A key outside the range that the directory promises breaks the store before it is used.
 */
#include "base/mem.h"
#include "store/group_int.h"

#define LIMIT_DENSE 65536u
#define FEW_GROUPS 256
#define RUN_WORTH 4 /* rows a run, on average, from which runs are added up one by one */

struct rows { /* of one block, as offsets from its first row */
    size_t first, n;
    bool is_contiguous;
    const uint32_t *rows; /* absolute */
};

struct batch_groups {
    uint32_t groups[BATCH_ROWS]; /* of each row */
    uint32_t counts[FEW_GROUPS]; /* rows of each group, with are_few */
    bool has_runs, are_few;
};

static uint64_t column_range(const struct column_entry *e)
{
    uint64_t span = (uint64_t)e->max - (uint64_t)e->min;
    if (e->min > e->max)
        return 0; /* no value at all */
    return span == UINT64_MAX ? span : span + 1;
}

void dense_prepare(struct store_scratch *x)
{
    uint64_t n = 1;
    grouping.is_dense = false;
    if (x->candidates)
        return; /* rows of many blocks in a batch */
    for (int i = 0; i < grouping.n_group_columns; i++) {
        const struct store_column *c = &x->store->columns[grouping.group_columns[i]];
        uint64_t range = column_range(c->entry);
        if (c->is_plain_text || range > LIMIT_DENSE || n * (range + 1) > LIMIT_DENSE)
            return;
        grouping.strides[i] = (uint32_t)n;
        n *= range + 1; /* the last place is NULL's */
    }
    if (n > x->high - x->low)
        return; /* clearing the index would cost more than hashing the rows */
    grouping.n_dense = (uint32_t)n;
    uint32_t *table = scratch_array(x, &x->dense, n, sizeof *table);
    memset(table, 0, n * sizeof *table);
    grouping.is_dense = true;
}

/* ---- a column's keys ---- */

static void load_keys(const struct chunk_view *v, const struct rows *r, int64_t *to)
{
    if (r->is_contiguous)
        chunk_keys(v, r->first, r->n, to);
    else
        for (size_t i = 0; i < r->n; i++)
            to[i] = chunk_key(v, r->rows[i] % BLOCK_ROWS);
}

static bool row_is_null(const struct chunk_view *v, const struct rows *r, size_t i)
{
    return chunk_is_null(v, r->rows[i] % BLOCK_ROWS);
}

/* ---- groups of the batch's rows ---- */

static void add_to_index(struct store_scratch *x, int column, uint32_t stride, const struct rows *r,
                         int64_t *keys, uint32_t *index)
{
    const struct column_entry *e = x->store->columns[column].entry;
    const struct chunk_view *v = chunk_view(x, column, r->rows[0] / BLOCK_ROWS);
    uint64_t range = column_range(e), past = 0;
    load_keys(v, r, keys);
    for (size_t i = 0; i < r->n; i++) {
        uint64_t offset = (uint64_t)keys[i] - (uint64_t)e->min;
        if (UNLIKELY(v->validity != NULL) && row_is_null(v, r, i))
            offset = range;
        else
            past |= (uint64_t)(offset >= range);
        index[i] += (uint32_t)offset * stride;
    }
    if (UNLIKELY(past))
        store_mark_broken(x); /* D1 */
}

/* Index to group, in place. Returns how many runs of one group there are. */
static size_t find_groups(struct store_scratch *x, const struct rows *r, uint32_t *index)
{
    uint32_t *table = x->dense.p;
    size_t n_runs = 1, n_new = 0;
    for (size_t i = 0; i < r->n; i++)
        n_new += table[index[i]] == 0;
    for (size_t i = 0; n_new && i < r->n; i++)
        if (!table[index[i]])
            table[index[i]] = (uint32_t)group_of_row(x, r->rows[i]) + 1;
    for (size_t i = 0; i < r->n; i++)
        index[i] = table[index[i]] - 1;
    for (size_t i = 1; i < r->n; i++)
        n_runs += index[i] != index[i - 1];
    return n_runs;
}

/* ---- aggregates ---- */

/* Integers of one group without NULLs: the loop stays in registers. */
static void add_integers(enum aggregate aggregate, struct aggregate_state *s, const int64_t *keys,
                         size_t n)
{
    int64_t best = s->count ? s->best : keys[0];
    __int128 sum = 0;
    switch (aggregate) {
    case AGG_SUM:
    case AGG_AVG:
        for (size_t i = 0; i < n; i++)
            sum += keys[i];
        s->sum += sum;
        break;
    case AGG_MIN:
        for (size_t i = 0; i < n; i++)
            best = keys[i] < best ? keys[i] : best;
        s->best = best;
        break;
    case AGG_MAX:
        for (size_t i = 0; i < n; i++)
            best = keys[i] > best ? keys[i] : best;
        s->best = best;
        break;
    case AGG_COUNT:
    case AGG_NONE:
        break;
    }
    s->count += n;
}

static bool is_exact(const struct aggregate_column *a)
{
    return a->type == TYPE_DOUBLE && (a->aggregate == AGG_SUM || a->aggregate == AGG_AVG);
}

static void add_runs(struct store_scratch *x, int at, const int64_t *keys, const uint32_t *groups,
                     size_t n)
{
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && groups[to] == groups[from]; to++)
            ;
        add_integers(grouping.aggregates[at].aggregate, &group_states(x, groups[from])[at],
                     keys + from, to - from);
    }
}

/*
 * Few groups in any order: gathered in small arrays that stay in the first cache, and added to the
 * groups once a batch. Sums run over differences from the chunk's base, which fit 64 bits.
 */
static void add_few(struct store_scratch *x, int at, const struct chunk_view *v,
                    const int64_t *keys, const uint32_t *groups, size_t n, const uint32_t *counts)
{
    enum aggregate aggregate = grouping.aggregates[at].aggregate;
    int64_t gathered[FEW_GROUPS];
    bool is_sum = aggregate == AGG_SUM || aggregate == AGG_AVG;
    for (size_t g = 0; g < grouping.n_groups; g++)
        gathered[g] = aggregate == AGG_MIN ? INT64_MAX : aggregate == AGG_MAX ? INT64_MIN : 0;
    if (is_sum)
        for (size_t i = 0; i < n; i++)
            gathered[groups[i]] += keys[i] - v->base;
    else if (aggregate == AGG_MIN)
        for (size_t i = 0; i < n; i++)
            gathered[groups[i]] = keys[i] < gathered[groups[i]] ? keys[i] : gathered[groups[i]];
    else if (aggregate == AGG_MAX)
        for (size_t i = 0; i < n; i++)
            gathered[groups[i]] = keys[i] > gathered[groups[i]] ? keys[i] : gathered[groups[i]];
    for (size_t g = 0; g < grouping.n_groups; g++) {
        struct aggregate_state *s = &group_states(x, g)[at];
        if (counts[g] == 0)
            continue;
        if (is_sum)
            s->sum += (__int128)v->base * counts[g] + gathered[g];
        else if (aggregate == AGG_MIN)
            s->best = s->count == 0 || gathered[g] < s->best ? gathered[g] : s->best;
        else if (aggregate == AGG_MAX)
            s->best = s->count == 0 || gathered[g] > s->best ? gathered[g] : s->best;
        s->count += counts[g];
    }
}

/* One loop an aggregate, so that none of them decides anything a row. */
static void add_rows(struct store_scratch *x, int at, const int64_t *keys, const uint32_t *groups,
                     size_t n)
{
    struct aggregate_state *states = group_states(x, 0) + at;
    size_t stride = (size_t)grouping.n_aggregates;
    switch (grouping.aggregates[at].aggregate) {
    case AGG_SUM:
    case AGG_AVG:
        for (size_t i = 0; i < n; i++) {
            states[groups[i] * stride].sum += keys[i];
            states[groups[i] * stride].count++;
        }
        return;
    case AGG_MIN:
        for (size_t i = 0; i < n; i++) {
            struct aggregate_state *s = &states[groups[i] * stride];
            s->best = s->count == 0 || keys[i] < s->best ? keys[i] : s->best;
            s->count++;
        }
        return;
    case AGG_MAX:
        for (size_t i = 0; i < n; i++) {
            struct aggregate_state *s = &states[groups[i] * stride];
            s->best = s->count == 0 || keys[i] > s->best ? keys[i] : s->best;
            s->count++;
        }
        return;
    case AGG_COUNT:
        for (size_t i = 0; i < n; i++)
            states[groups[i] * stride].count++;
        return;
    case AGG_NONE:
        return;
    }
}

static void add_column(struct store_scratch *x, int at, const struct rows *r, int64_t *keys,
                       const struct batch_groups *b)
{
    const uint32_t *groups = b->groups;
    const struct aggregate_column *a = &grouping.aggregates[at];
    const struct chunk_view *v = chunk_view(x, a->column, r->rows[0] / BLOCK_ROWS);
    if (a->is_text) {
        for (size_t i = 0; i < r->n; i++)
            aggregate_add_text(x, a, &group_states(x, groups[i])[at], r->rows[i]);
        return;
    }
    if (a->aggregate != AGG_COUNT)
        load_keys(v, r, keys);
    else
        keys[0] = 0; /* counting looks at no key */
    if (v->validity || is_exact(a)) {
        for (size_t i = 0; i < r->n; i++)
            if (!row_is_null(v, r, i))
                aggregate_add_key(x, a, &group_states(x, groups[i])[at],
                                  a->aggregate == AGG_COUNT ? 0 : keys[i]);
    } else if (b->has_runs) {
        add_runs(x, at, keys, groups, r->n);
    } else if (b->are_few && v->bits <= 32 && v->form == FORM_KEYS) {
        add_few(x, at, v, keys, groups, r->n, b->counts);
    } else {
        add_rows(x, at, keys, groups, r->n);
    }
}

void dense_batch(struct store_scratch *x)
{
    UNINITIALIZED int64_t keys[BATCH_ROWS];
    UNINITIALIZED struct batch_groups b;
    struct rows r = {.first = x->rows[0] % BLOCK_ROWS, .n = x->n_batch, .rows = x->rows};
    r.is_contiguous = x->rows[r.n - 1] - x->rows[0] == r.n - 1;
    memset(b.groups, 0, r.n * sizeof *b.groups);
    for (int i = 0; i < grouping.n_group_columns; i++)
        add_to_index(x, grouping.group_columns[i], grouping.strides[i], &r, keys, b.groups);
    b.has_runs = find_groups(x, &r, b.groups) * RUN_WORTH <= r.n;
    b.are_few = !b.has_runs && grouping.n_groups <= FEW_GROUPS;
    if (b.are_few) {
        memset(b.counts, 0, grouping.n_groups * sizeof *b.counts);
        for (size_t i = 0; i < r.n; i++)
            b.counts[b.groups[i]]++;
    }
    for (int i = 0; i < grouping.n_aggregates; i++)
        add_column(x, i, &r, keys, &b);
}
