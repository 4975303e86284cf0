/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan as SQL, with the semantics Q1 to Q4 of query.h. DuckDB agrees with them in most: NaN is
 * its greatest double and equals itself, text compares by bytes, integers sum in 128 bits. The rest
 * is spelled out: NULLS LAST, every order ends in the ordinal or the groups, doubles sum by
 * exact_sum().
 *
 * Limit and offset are numbers of our own checking and stand in the text, which lets DuckDB take
 * its top-n. On deep pages that is kept off: its heap holds every row before the page, in memory
 * only (5 M rows, offset 2.5 M: 10 s, and more than 256 MiB). Instead a sort of nothing but keys
 * and ordinals, which can spill, finds which rows make the page, and then those are read (0.7 s
 * within 64 MiB).
 */
#include <inttypes.h>

#include "engine/query_child.h"

#define DEEP_ROWS 10000

static const char *const bind_type_names[] = {
    [BIND_DATE] = "DATE",       [BIND_TIMESTAMP] = "TIMESTAMP", [BIND_TEXT] = "VARCHAR",
    [BIND_INTEGER] = "INTEGER", [BIND_BIGINT] = "BIGINT",       [BIND_HUGEINT] = "HUGEINT",
    [BIND_DOUBLE] = "DOUBLE",   [BIND_BOOLEAN] = "BOOLEAN"};

void query_sql_init(struct query_sql *s)
{
    buf_init(&s->text, WIRE_LIMIT_BYTES);
    s->n_binds = s->n_selected = 0;
}

void query_sql_done(struct query_sql *s)
{
    buf_done(&s->text);
}

static void begin(struct query_sql *s)
{
    buf_reset(&s->text);
    s->n_binds = s->n_selected = 0;
}

static int add_bind(struct query_sql *s, const struct value *v, enum bind_type type)
{
    assert(s->n_binds < LIMIT_BINDS);
    s->binds[s->n_binds] = (struct sql_bind){*v, type};
    return ++s->n_binds;
}

static void put_bind(struct query_sql *s, int number, enum bind_type type)
{
    buf_printf(&s->text, "CAST($%d AS %s)", number, bind_type_names[type]);
}

/* A filter's value may lie outside int32 where its column does not. */
static enum bind_type filter_type(enum column_type t)
{
    switch (t) {
    case TYPE_DATE:
        return BIND_DATE;
    case TYPE_TIMESTAMP:
        return BIND_TIMESTAMP;
    case TYPE_INTEGER:
    case TYPE_BIGINT:
        return BIND_BIGINT;
    case TYPE_DOUBLE:
        return BIND_DOUBLE;
    case TYPE_BOOLEAN:
        return BIND_BOOLEAN;
    case TYPE_VARCHAR:
    case TYPE_JSON:
        return BIND_TEXT;
    }
    return BIND_TEXT;
}

static enum bind_type output_bind(const struct query *q, int output)
{
    switch (query_type_of(q, output)) {
    case OUT_DATE:
        return BIND_DATE;
    case OUT_TIMESTAMP:
        return BIND_TIMESTAMP;
    case OUT_TEXT:
    case OUT_JSON:
        return BIND_TEXT;
    case OUT_INTEGER:
        return BIND_INTEGER;
    case OUT_BIGINT:
    case OUT_COUNT:
        return BIND_BIGINT;
    case OUT_SUM128:
        return BIND_HUGEINT;
    case OUT_DOUBLE:
        return BIND_DOUBLE;
    case OUT_BOOLEAN:
        return BIND_BOOLEAN;
    }
    return BIND_TEXT;
}

/* "WHERE …" with every filter, or nothing. They are the first binds, also when they are put twice.
 * A double equals what is neither less nor more: for `=` DuckDB asks the bloom filter of a Parquet
 * file, where 0 and -0 are two values, and passes over rows that match. */
static void put_filters(struct query_sql *s, const struct query *q)
{
    static const char *const ops[] = {[FILTER_EQ] = "=", [FILTER_GTE] = ">=", [FILTER_LTE] = "<="};
    for (int i = 0; i < q->n_filters; i++) {
        const struct query_filter *f = &q->filters[i];
        enum bind_type type = filter_type(q->schema->columns[f->column].type);
        bool is_range = f->op == FILTER_EQ && type == BIND_DOUBLE;
        int bind = i < s->n_binds ? i + 1 : add_bind(s, &f->value, type);
        buf_printf(&s->text, "%sc%d %s ", i ? " AND " : " WHERE ", f->column,
                   is_range ? ">=" : ops[f->op]);
        put_bind(s, bind, type);
        if (is_range) {
            buf_printf(&s->text, " AND c%d <= ", f->column);
            put_bind(s, bind, type);
        }
    }
}

/* ---- the total order: names of what orders, most significant first ---- */

static int n_keys(const struct query *q)
{
    return q->n_order + (q->grouped ? q->n_groups : 1);
}

static bool key_descends(const struct query *q, int key)
{
    return key < q->n_order && q->order[key].descending;
}

/* -1: the ordinal. */
static int key_output(const struct query *q, int key)
{
    if (key < q->n_order)
        return q->order[key].output;
    return q->grouped ? q->groups[key - q->n_order] : -1;
}

/* Names are c<column> and ord inside a plain query, o<output> around a grouped one. */
static void put_key(struct query_sql *s, const struct query *q, int key)
{
    int output = key_output(q, key);
    if (output < 0)
        buf_put_literal(&s->text, "ord");
    else if (q->grouped)
        buf_printf(&s->text, "o%d", output);
    else
        buf_printf(&s->text, "c%d", q->outputs[output].column);
}

static void put_order(struct query_sql *s, const struct query *q)
{
    for (int i = 0; i < n_keys(q); i++) {
        buf_put_cstr(&s->text, i ? ", " : " ORDER BY ");
        put_key(s, q, i);
        buf_put_cstr(&s->text, key_descends(q, i) ? " DESC NULLS LAST" : " ASC NULLS LAST");
    }
}

/* Strictly after the position: after in the first key, or the same there and after in the rest. */
static void put_seek(struct query_sql *s, const struct query *q, const char *joined_by)
{
    if (!q->has_seek || q->n_seek != n_keys(q))
        return;
    buf_put_cstr(&s->text, joined_by);
    for (int i = 0; i < q->n_seek; i++) {
        const struct value *at = &q->seek[i];
        int output = key_output(q, i);
        enum bind_type type = output < 0 ? BIND_BIGINT : output_bind(q, output);
        int number = at->kind == VALUE_NULL ? 0 : add_bind(s, at, type);
        buf_putc(&s->text, '(');
        if (number) { /* nothing comes after NULL */
            put_key(s, q, i);
            buf_put_literal(&s->text, " IS NULL OR ");
            put_key(s, q, i);
            buf_put_cstr(&s->text, key_descends(q, i) ? " < " : " > ");
            put_bind(s, number, type);
            buf_put_literal(&s->text, " OR ");
        }
        buf_putc(&s->text, '(');
        put_key(s, q, i);
        if (number) {
            buf_put_literal(&s->text, " = ");
            put_bind(s, number, type);
        } else {
            buf_put_literal(&s->text, " IS NULL");
        }
        buf_put_literal(&s->text, " AND ");
    }
    buf_put_literal(&s->text, "false");
    for (int i = 0; i < q->n_seek; i++)
        buf_put_literal(&s->text, "))");
}

/* ---- select lists ---- */

static void put_output(struct query_sql *s, const struct query *q, int output)
{
    const struct query_output *o = &q->outputs[output];
    enum column_type type = q->schema->columns[o->column].type;
    static const char *const plain[] = {[AGG_SUM] = "sum",
                                        [AGG_AVG] = "exact_avg_int",
                                        [AGG_MIN] = "min",
                                        [AGG_MAX] = "max",
                                        [AGG_COUNT] = "count"};
    static const char *const doubles[] = {[AGG_SUM] = "exact_sum",
                                          [AGG_AVG] = "exact_avg",
                                          [AGG_MIN] = "min",
                                          [AGG_MAX] = "max",
                                          [AGG_COUNT] = "count"};
    if (o->aggregate == AGG_NONE && type == TYPE_DOUBLE && q->grouped) /* -0 and 0 are one group */
        buf_printf(&s->text, "CASE WHEN c%d = 0 THEN CAST(0 AS DOUBLE) ELSE c%d END", o->column,
                   o->column);
    else if (o->aggregate == AGG_NONE)
        buf_printf(&s->text, "c%d", o->column);
    else
        buf_printf(&s->text, "%s(c%d)", (type == TYPE_DOUBLE ? doubles : plain)[o->aggregate],
                   o->column);
}

static bool is_needed(const struct query *q, int output)
{
    bool needed = q->wanted[output];
    for (int i = 0; i < q->n_order; i++)
        needed |= q->order[i].output == output;
    for (int i = 0; i < q->n_groups; i++)
        needed |= q->groups[i] == output;
    return needed;
}

static void put_select(struct query_sql *s, const struct query *q)
{
    buf_put_literal(&s->text, "SELECT ");
    for (int i = 0; i < q->n_outputs; i++) {
        s->position[i] = -1;
        if (!is_needed(q, i))
            continue;
        s->position[i] = s->n_selected++;
        put_output(s, q, i);
        buf_printf(&s->text, " AS o%d, ", i);
    }
    /* Grouped: something to select even where no output is needed, and the row count for HAVING. */
    buf_put_cstr(&s->text, q->grouped ? "count(*) AS n" : "ord");
}

/* Without grouping columns SQL has one group even for no rows; we have none. */
static void put_groups(struct query_sql *s, const struct query *q)
{
    for (int i = 0; i < q->n_groups; i++) {
        buf_put_cstr(&s->text, i ? ", " : " GROUP BY ");
        put_output(s, q, q->groups[i]);
    }
    if (q->n_groups == 0)
        buf_put_literal(&s->text, " HAVING count(*) > 0");
}

static void put_limit(struct query_sql *s, const struct query *q)
{
    uint64_t most = (uint64_t)INT64_MAX;
    buf_printf(&s->text, " LIMIT %" PRIu64, q->limit < most ? q->limit + 1 : most);
}

static void put_page(struct query_sql *s, const struct query *q)
{
    uint64_t most = (uint64_t)INT64_MAX;
    put_limit(s, q);
    if (q->offset)
        buf_printf(&s->text, " OFFSET %" PRIu64, q->offset < most ? q->offset : most);
}

static bool is_deep(const struct query *q)
{
    return q->offset > DEEP_ROWS;
}

/* As put_page, and no top-n: DuckDB makes one of constants only, and random() is none. */
static void put_deep_page(struct query_sql *s, const struct query *q)
{
    struct value offset = {.kind = VALUE_INT,
                           .integer = q->offset < INT64_MAX ? (int64_t)q->offset : INT64_MAX};
    put_limit(s, q);
    buf_put_literal(&s->text, " OFFSET CAST(random() * 0 AS BIGINT) + ");
    put_bind(s, add_bind(s, &offset, BIND_BIGINT), BIND_BIGINT);
}

/* The page's rows, by ordinals that a sort of nothing else found. */
static void put_deep_rows(struct query_sql *s, const struct query *q, const char *from)
{
    put_select(s, q);
    buf_printf(&s->text, " FROM %s", from);
    put_filters(s, q);
    buf_printf(&s->text, "%sord IN (SELECT ord FROM %s", q->n_filters ? " AND " : " WHERE ", from);
    put_filters(s, q);
    put_order(s, q);
    put_deep_page(s, q);
    buf_putc(&s->text, ')');
    put_order(s, q);
    put_limit(s, q);
}

void query_sql_rows(struct query_sql *s, const struct query *q, const char *from)
{
    begin(s);
    if (is_deep(q) && !q->grouped) {
        put_deep_rows(s, q, from);
        return;
    }
    if (q->grouped)
        buf_put_literal(&s->text, "SELECT * FROM (");
    put_select(s, q);
    buf_printf(&s->text, " FROM %s", from);
    put_filters(s, q);
    if (q->grouped) {
        put_groups(s, q);
        buf_putc(&s->text, ')');
        put_seek(s, q, " WHERE ");
    } else {
        put_seek(s, q, q->n_filters ? " AND " : " WHERE ");
    }
    put_order(s, q);
    if (is_deep(q))
        put_deep_page(s, q);
    else
        put_page(s, q);
}

void query_sql_total(struct query_sql *s, const struct query *q, const char *from)
{
    begin(s);
    if (q->grouped) {
        buf_printf(&s->text, "SELECT count(*) FROM (SELECT count(*) AS n FROM %s", from);
        put_filters(s, q);
        put_groups(s, q);
        buf_putc(&s->text, ')');
    } else {
        buf_printf(&s->text, "SELECT count(*) FROM %s", from);
        put_filters(s, q);
    }
}
