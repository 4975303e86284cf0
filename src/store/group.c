/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grouped queries. A group's key is a row of 64-bit words: the group columns' keys and a word of
 * NULL bits; plain text is interned first, so that its word is an id. Groups are found by runs
 * (rows of one group often stand together) and by an open-addressed table otherwise; states are
 * flat arrays.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/sort.h"
#include "store/group_int.h"

_Thread_local struct group_state grouping;

/* ---- keys ---- */

uint64_t *group_key(struct store_scratch *x, size_t group)
{
    return (uint64_t *)x->groups.p + group * grouping.n_words;
}

struct aggregate_state *group_states(struct store_scratch *x, size_t group)
{
    return (struct aggregate_state *)x->states.p + group * (size_t)grouping.n_aggregates;
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    h ^= h >> 32;
    return h;
}

static uint64_t hash_words(const uint64_t *words, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++)
        h = mix(h ^ words[i]) + UINT64_C(0x9e3779b97f4a7c15);
    return h;
}

static struct str text_of(struct store_scratch *x, int column, uint32_t row)
{
    return chunk_text(chunk_view(x, column, row / BLOCK_ROWS), row % BLOCK_ROWS);
}

static void grow_interned(struct store_scratch *x)
{
    size_t n = grouping.n_intern_table ? grouping.n_intern_table * 2 : 1024;
    struct interned *table = try_array0(n, sizeof *table);
    if (!table)
        store_escape(x, RC_NO_MEMORY);
    for (size_t i = 0; i < grouping.n_intern_table; i++) {
        const struct interned *t = &grouping.intern_table[i];
        if (!t->row_after)
            continue;
        struct str s = text_of(x, t->column, t->row_after - 1);
        size_t at = (size_t)(process_hash(s.p, s.n) & (n - 1));
        while (table[at].row_after)
            at = (at + 1) & (n - 1);
        table[at] = *t;
    }
    mem_free(grouping.intern_table);
    grouping.intern_table = table;
    grouping.n_intern_table = n;
}

/* Plain text of a row as an id: the row where the column had the same text first. */
static uint64_t intern(struct store_scratch *x, int column, uint32_t row)
{
    if (grouping.n_interned * 2 >= grouping.n_intern_table)
        grow_interned(x);
    struct str s = text_of(x, column, row);
    size_t at = (size_t)(process_hash(s.p, s.n) & (grouping.n_intern_table - 1));
    for (; grouping.intern_table[at].row_after; at = (at + 1) & (grouping.n_intern_table - 1)) {
        const struct interned *t = &grouping.intern_table[at];
        if (t->column == column && str_eq(s, text_of(x, column, t->row_after - 1)))
            return t->row_after - 1;
    }
    grouping.intern_table[at] = (struct interned){row + 1, column};
    grouping.n_interned++;
    return row;
}

static void fill_key(struct store_scratch *x, uint32_t row, uint64_t *key)
{
    uint64_t *nulls = key + grouping.n_group_columns;
    memset(nulls, 0, (grouping.n_words - (size_t)grouping.n_group_columns) * sizeof *nulls);
    for (int i = 0; i < grouping.n_group_columns; i++) {
        int column = grouping.group_columns[i];
        const struct chunk_view *v = chunk_view(x, column, row / BLOCK_ROWS);
        size_t at = row % BLOCK_ROWS;
        key[i] = 0;
        if (chunk_is_null(v, at))
            nulls[i / 64] |= UINT64_C(1) << (i % 64);
        else if (x->store->columns[column].is_plain_text)
            key[i] = intern(x, column, row);
        else
            key[i] = (uint64_t)chunk_key(v, at);
    }
}

static void grow_table(struct store_scratch *x)
{
    size_t n = grouping.n_table ? grouping.n_table * 2 : 256;
    uint32_t *table = scratch_array(x, &x->table, n, sizeof *table);
    memset(table, 0, n * sizeof *table);
    grouping.n_table = n;
    for (size_t i = 0; i < grouping.n_groups; i++) {
        size_t at = (size_t)(hash_words(group_key(x, i), grouping.n_words) & (n - 1));
        while (table[at])
            at = (at + 1) & (n - 1);
        table[at] = (uint32_t)i + 1;
    }
}

static size_t add_group(struct store_scratch *x, const uint64_t *key)
{
    size_t group = grouping.n_groups;
    if (group == grouping.limit) {
        x->is_over_groups = true;
        store_escape(x, RC_LIMIT);
    }
    scratch_array(x, &x->groups, (group + 1) * grouping.n_words, sizeof(uint64_t));
    scratch_array(x, &x->states, (group + 1) * (size_t)(grouping.n_aggregates + 1),
                  sizeof(struct aggregate_state));
    memcpy(group_key(x, group), key, grouping.n_words * sizeof *key);
    memset(group_states(x, group), 0,
           (size_t)grouping.n_aggregates * sizeof(struct aggregate_state));
    grouping.n_groups++;
    return group;
}

static size_t find_group(struct store_scratch *x, const uint64_t *key)
{
    if ((grouping.n_groups + 1) * 2 > grouping.n_table)
        grow_table(x);
    uint32_t *table = x->table.p;
    size_t at = (size_t)(hash_words(key, grouping.n_words) & (grouping.n_table - 1));
    for (; table[at]; at = (at + 1) & (grouping.n_table - 1))
        if (memcmp(group_key(x, table[at] - 1), key, grouping.n_words * sizeof *key) == 0)
            return table[at] - 1;
    size_t group = add_group(x, key);
    table[at] = (uint32_t)group + 1;
    return group;
}

/* ---- adding rows ---- */

static void add_best_text(struct store_scratch *x, const struct aggregate_column *a,
                          struct aggregate_state *s, uint32_t row)
{
    if (s->count++ == 0) {
        s->row = row;
        return;
    }
    int order = str_cmp(text_of(x, a->column, row), text_of(x, a->column, s->row));
    if (a->aggregate == AGG_MIN ? order < 0 : order > 0)
        s->row = row;
}

void aggregate_add_key(struct store_scratch *x, const struct aggregate_column *a,
                       struct aggregate_state *s, int64_t key)
{
    switch (a->aggregate) {
    case AGG_SUM:
    case AGG_AVG:
        if (a->type != TYPE_DOUBLE)
            s->sum += key;
        else if (!exact_sum_add(&s->exact, key_to_double(key)))
            store_escape(x, RC_NO_MEMORY);
        break;
    case AGG_MIN:
        s->best = s->count == 0 || key < s->best ? key : s->best;
        break;
    case AGG_MAX:
        s->best = s->count == 0 || key > s->best ? key : s->best;
        break;
    case AGG_COUNT:
    case AGG_NONE:
        break;
    }
    s->count++;
}

void aggregate_add_text(struct store_scratch *x, const struct aggregate_column *a,
                        struct aggregate_state *s, uint32_t row)
{
    if (chunk_is_null(chunk_view(x, a->column, row / BLOCK_ROWS), row % BLOCK_ROWS))
        return;
    if (a->aggregate == AGG_COUNT)
        s->count++;
    else
        add_best_text(x, a, s, row);
}

/* Rows [from, to) of the batch, all of one group and one block. */
static void add_run(struct store_scratch *x, size_t group, size_t from, size_t to)
{
    size_t block = x->rows[from] / BLOCK_ROWS;
    for (int i = 0; i < grouping.n_aggregates; i++) {
        const struct aggregate_column *a = &grouping.aggregates[i];
        struct aggregate_state *s = &group_states(x, group)[i];
        const struct chunk_view *v = chunk_view(x, a->column, block);
        if (a->aggregate == AGG_COUNT && !v->validity) {
            s->count += to - from;
            continue;
        }
        for (size_t j = from; j < to; j++) {
            size_t at = x->rows[j] % BLOCK_ROWS;
            if (a->is_text) /* comparing texts moves the view to other blocks */
                aggregate_add_text(x, a, s, x->rows[j]);
            else if (!chunk_is_null(v, at))
                aggregate_add_key(x, a, s, chunk_key(v, at));
        }
    }
}

static void on_group_batch(struct store_scratch *x)
{
    UNINITIALIZED uint64_t keys[2][QUERY_LIMIT_OUTPUTS + QUERY_LIMIT_OUTPUTS / 64];
    int at = 0;
    size_t from = 0;
    size_t n_bytes = grouping.n_words * sizeof(uint64_t);
    fill_key(x, x->rows[0], keys[at]);
    for (size_t i = 1; i <= x->n_batch; i++) {
        bool same = false;
        if (i < x->n_batch) {
            fill_key(x, x->rows[i], keys[!at]);
            same = memcmp(keys[at], keys[!at], n_bytes) == 0 &&
                   x->rows[i] / BLOCK_ROWS == x->rows[from] / BLOCK_ROWS;
        }
        if (same)
            continue;
        add_run(x, find_group(x, keys[at]), from, i);
        from = i;
        at = !at;
    }
}

size_t group_of_row(struct store_scratch *x, uint32_t row)
{
    UNINITIALIZED uint64_t key[QUERY_LIMIT_OUTPUTS + QUERY_LIMIT_OUTPUTS / 64];
    fill_key(x, row, key);
    return find_group(x, key);
}

/* ---- results ---- */

static void aggregate_value(struct store_scratch *x, const struct aggregate_column *a,
                            const struct aggregate_state *s, struct value *ret)
{
    if (a->aggregate == AGG_COUNT) {
        *ret = (struct value){.kind = VALUE_INT, .integer = (int64_t)s->count};
        return;
    }
    if (s->count == 0) {
        *ret = (struct value){.kind = VALUE_NULL};
        return;
    }
    bool is_double = a->type == TYPE_DOUBLE;
    switch (a->aggregate) {
    case AGG_SUM:
        if (is_double)
            *ret = (struct value){.kind = VALUE_DOUBLE, .number = exact_sum_value(&s->exact)};
        else
            *ret = (struct value){.kind = VALUE_INT128, .integer128 = s->sum};
        return;
    case AGG_AVG:
        *ret = (struct value){.kind = VALUE_DOUBLE,
                              .number = is_double ? exact_sum_average(&s->exact, s->count)
                                                  : exact_average_int128(s->sum, s->count)};
        return;
    case AGG_MIN:
    case AGG_MAX:
        if (a->is_text)
            value_at(x, a->column, s->row, ret);
        else
            value_from_key(x, a->column, s->best, ret);
        return;
    case AGG_COUNT:
    case AGG_NONE:
        return;
    }
}

/* All outputs of a group. */
static void group_values(struct store_scratch *x, size_t group, struct value *ret)
{
    const struct query *q = x->query;
    const uint64_t *key = group_key(x, group);
    for (int i = 0; i < grouping.n_group_columns; i++) {
        int column = grouping.group_columns[i];
        struct value *v = &ret[q->groups[i]];
        if (key[grouping.n_group_columns + i / 64] >> (i % 64) & 1)
            *v = (struct value){.kind = VALUE_NULL};
        else if (x->store->columns[column].is_plain_text)
            value_at(x, column, (uint32_t)key[i], v);
        else
            value_from_key(x, column, (int64_t)key[i], v);
    }
    for (int i = 0; i < grouping.n_aggregates; i++)
        aggregate_value(x, &grouping.aggregates[i], &group_states(x, group)[i],
                        &ret[grouping.aggregates[i].output]);
}

/* What orders groups: the order_by outputs, then the grouping outputs in select order. */
static int n_order_values(const struct query *q)
{
    return q->n_order + q->n_groups;
}

static void order_values(const struct query *q, const struct value *row, struct value *ret)
{
    for (int i = 0; i < q->n_order; i++)
        ret[i] = row[q->order[i].output];
    for (int i = 0; i < q->n_groups; i++)
        ret[q->n_order + i] = row[q->groups[i]];
}

static int compare_order(const struct query *q, const struct value *a, const struct value *b)
{
    for (int i = 0; i < n_order_values(q); i++) {
        int order = value_compare(&a[i], &b[i], i < q->n_order && q->order[i].descending);
        if (order != 0)
            return order;
    }
    return 0;
}

static int compare_groups(const void *a, const void *b, void *arg)
{
    struct store_scratch *x = arg;
    scratch_tick(x);
    size_t n = (size_t)n_order_values(x->query);
    const struct value *values = x->values.p;
    return compare_order(x->query, &values[*(const uint32_t *)a * n],
                         &values[*(const uint32_t *)b * n]);
}

static bool is_after_seek(const struct query *q, const struct value *values)
{
    return !q->has_seek || q->n_seek != n_order_values(q) || compare_order(q, values, q->seek) > 0;
}

static size_t sort_groups(struct store_scratch *x)
{
    const struct query *q = x->query;
    size_t n_values = (size_t)n_order_values(q), kept = 0;
    struct value row[QUERY_LIMIT_OUTPUTS];
    struct value *values =
        scratch_array(x, &x->values, grouping.n_groups * n_values + 1, sizeof *values);
    uint32_t *order = scratch_array(x, &x->order, 2 * (grouping.n_groups + 1), sizeof *order);
    for (size_t i = 0; i < grouping.n_groups; i++) {
        scratch_tick(x);
        group_values(x, i, row);
        order_values(q, row, &values[i * n_values]);
        if (is_after_seek(q, &values[i * n_values]))
            order[kept++] = (uint32_t)i;
    }
    sort_stable(order, order + kept + kept % 2, kept, sizeof *order, compare_groups, x);
    return kept;
}

static void emit_groups(struct store_scratch *x, size_t n, struct query_result *ret)
{
    const struct query *q = x->query;
    const uint32_t *order = x->order.p;
    assert((size_t)n_order_values(q) <= ARRAY_LEN(ret->last));
    size_t i = q->offset < n ? (size_t)q->offset : n, from = i;
    for (; i < n && i - from < q->limit; i++) {
        group_values(x, order[i], x->row_values);
        if (i + 1 == n || i + 1 - from == q->limit) {
            order_values(q, x->row_values, ret->last);
            ret->n_last = n_order_values(q);
        }
        for (int j = 0; j < q->n_outputs; j++)
            if (!q->wanted[j])
                x->row_values[j] = (struct value){.kind = VALUE_NULL};
        emit_row(x, ret, x->row_values);
    }
    ret->has_more = i < n;
    ret->total = grouping.n_groups;
}

/* So many that keys, states, order, table and the values that order them stay within their limit.
 */
static size_t limit_groups(const struct store_scratch *x)
{
    const struct query *q = x->query;
    size_t n_bytes = grouping.n_words * sizeof(uint64_t) +
                     (size_t)(grouping.n_aggregates + 1) * sizeof(struct aggregate_state) +
                     (size_t)n_order_values(q) * sizeof(struct value) + 6 * sizeof(uint32_t);
    for (int i = 0; i < grouping.n_group_columns; i++)
        if (x->store->columns[grouping.group_columns[i]].is_plain_text)
            n_bytes += 4 * sizeof(struct interned); /* a table that is a quarter full */
    size_t fit = STORE_LIMIT_GROUP_BYTES / n_bytes;
    return fit < STORE_LIMIT_GROUPS ? fit : STORE_LIMIT_GROUPS;
}

static void prepare(struct store_scratch *x)
{
    const struct query *q = x->query;
    grouping = (struct group_state){0};
    for (int i = 0; i < q->n_groups; i++)
        grouping.group_columns[grouping.n_group_columns++] = q->outputs[q->groups[i]].column;
    grouping.n_words =
        (size_t)grouping.n_group_columns + ((size_t)grouping.n_group_columns + 63) / 64;
    for (int i = 0; i < q->n_outputs; i++) {
        const struct query_output *o = &q->outputs[i];
        bool ordered = false;
        for (int j = 0; j < q->n_order; j++)
            ordered |= q->order[j].output == i;
        if (o->aggregate == AGG_NONE || (!q->wanted[i] && !ordered))
            continue;
        const struct store_column *c = &x->store->columns[o->column];
        grouping.aggregates[grouping.n_aggregates++] =
            (struct aggregate_column){i, o->column, o->aggregate, c->type, c->is_plain_text};
        grouping.has_exact |=
            c->type == TYPE_DOUBLE && (o->aggregate == AGG_SUM || o->aggregate == AGG_AVG);
    }
    grouping.limit = limit_groups(x);
    for (int i = 0; i < q->n_outputs; i++)
        x->row_values[i] = (struct value){.kind = VALUE_NULL};
}

/* What the flat arrays do not own: wide sums and interned text. Also after an escape. */
void group_release(struct store_scratch *x)
{
    for (size_t i = 0; grouping.has_exact && i < grouping.n_groups; i++)
        for (int j = 0; j < grouping.n_aggregates; j++)
            if (grouping.aggregates[j].type == TYPE_DOUBLE &&
                (grouping.aggregates[j].aggregate == AGG_SUM ||
                 grouping.aggregates[j].aggregate == AGG_AVG))
                exact_sum_done(&group_states(x, i)[j].exact);
    mem_free(grouping.intern_table);
    grouping = (struct group_state){0};
}

enum rc run_grouped(struct store_scratch *x, struct query_result *ret)
{
    prepare(x);
    x->stats.grouping = "hash";
    dense_prepare(x);
    scan_rows(x, grouping.is_dense ? dense_batch : on_group_batch);
    emit_groups(x, sort_groups(x), ret);
    group_release(x);
    return RC_OK;
}
