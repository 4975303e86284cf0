/* SPDX-License-Identifier: Apache-2.0 */
/* Random requests against a table, within what the validator lets through. */
#include <stdio.h>

#include "differential.h"

static bool is_numeric(enum column_type t)
{
    return t == TYPE_INTEGER || t == TYPE_BIGINT || t == TYPE_DOUBLE;
}

static enum aggregate random_aggregate(struct chance *c, enum column_type t)
{
    static const enum aggregate all[] = {AGG_SUM, AGG_AVG, AGG_MIN, AGG_MAX, AGG_COUNT};
    return all[is_numeric(t) ? chance_below(c, 5) : 2 + chance_below(c, 3)];
}

static void choose_outputs(struct request *r, const struct table *t, struct chance *c, bool grouped)
{
    int n = (t->n_rows > DEEP_ROWS ? 5 : 1) + (int)chance_below(c, t->schema.n_columns + 2);
    struct query *q = &r->query;
    bool any_wanted = false, any_aggregate = false;
    for (int i = 0; i < n; i++) {
        int column = (int)chance_below(c, t->schema.n_columns);
        enum column_type type = t->columns[column].type;
        bool aggregated = grouped && type != TYPE_JSON && chance_is(c, 60);
        r->outputs[i] =
            (struct query_output){column, aggregated ? random_aggregate(c, type) : AGG_NONE};
        any_aggregate |= aggregated;
        r->wanted[i] = chance_is(c, 80);
        any_wanted |= r->wanted[i];
        if (grouped && !aggregated)
            r->groups[q->n_groups++] = i;
    }
    r->wanted[0] |= !any_wanted;
    q->n_outputs = n;
    q->grouped = grouped && (q->n_groups > 0 || any_aggregate);
}

static struct value filter_value(const struct table *t, struct chance *c, int column)
{
    struct value v = table_pick(t, c, column);
    if (t->columns[column].type == TYPE_INTEGER && chance_is(c, 5))
        v.integer = chance_is(c, 50) ? INT64_C(1) << 40 : INT64_MIN; /* a legal param */
    return v;
}

static void choose_filters(struct request *r, const struct table *t, struct chance *c)
{
    struct query *q = &r->query;
    if (t->tenant_column >= 0) {
        q->has_tenant = true;
        r->filters[q->n_filters++] =
            (struct query_filter){.column = t->tenant_column,
                                  .op = FILTER_EQ,
                                  .value = table_pick(t, c, t->tenant_column)};
    }
    bool is_large = t->n_rows > LARGE_ROWS;
    bool is_deep = t->n_rows > DEEP_ROWS; /* few filters, or nothing is left that deep */
    for (size_t n = is_deep ? chance_is(c, 40) : is_large + chance_below(c, is_large ? 2 : 4);
         n > 0; n--) {
        int column = !is_large && t->n_sort_columns && chance_is(c, 50)
                         ? t->sort_columns[chance_below(c, (size_t)t->n_sort_columns)]
                         : (int)chance_below(c, t->schema.n_columns);
        if (t->columns[column].type == TYPE_JSON || column == t->tenant_column)
            continue;
        enum filter_op op = t->equality_columns[column] && chance_is(c, 60)
                                ? FILTER_EQ
                                : (enum filter_op)chance_below(c, 3);
        r->filters[q->n_filters++] =
            (struct query_filter){.column = column, .op = op, .value = filter_value(t, c, column)};
    }
}

void request_vary(struct request *r, const struct table *t, struct chance *c)
{
    for (int i = 0; i < r->query.n_filters; i++)
        r->filters[i].value = filter_value(t, c, r->filters[i].column);
    r->query.has_seek = false;
}

static void choose_order(struct request *r, const struct table *t, struct chance *c)
{
    struct query *q = &r->query;
    /* The more of them, the fewer rows does one pass of the store keep. */
    bool is_deep = t->n_rows > DEEP_ROWS;
    for (size_t n = is_deep ? 1 + chance_below(c, TABLE_COLUMNS) : chance_below(c, 4); n > 0; n--) {
        int output = (int)chance_below(c, (size_t)q->n_outputs);
        bool refused = t->columns[r->outputs[output].column].type == TYPE_JSON;
        for (int i = 0; i < q->n_order; i++)
            refused |= r->order[i].output == output;
        if (!refused)
            r->order[q->n_order++] = (struct query_order){output, chance_is(c, 50)};
    }
}

static struct query *begin_request(struct request *r, const struct table *t)
{
    *r = (struct request){.query = {.schema = &t->schema}};
    struct query *q = &r->query;
    q->outputs = r->outputs;
    q->wanted = r->wanted;
    q->groups = r->groups;
    q->filters = r->filters;
    q->order = r->order;
    q->seek = r->seek;
    return q;
}

void request_make_deepest(struct request *r, const struct table *t, struct chance *c)
{
    struct query *q = begin_request(r, t);
    q->n_outputs = q->n_order = (int)t->schema.n_columns;
    for (int i = 0; i < q->n_outputs; i++) {
        r->outputs[i] = (struct query_output){i, AGG_NONE};
        r->wanted[i] = true;
        r->order[i] = (struct query_order){q->n_outputs - 1 - i, chance_is(c, 50)};
    }
    q->limit = 1 + chance_below(c, 2000);
    q->offset = t->n_rows - 1 - chance_below(c, 1000);
}

void request_make(struct request *r, const struct table *t, struct chance *c)
{
    struct query *q = begin_request(r, t);
    choose_outputs(r, t, c, chance_is(c, t->n_rows > DEEP_ROWS ? 10 : 50));
    choose_filters(r, t, c);
    choose_order(r, t, c);
    bool is_deep = t->n_rows > DEEP_ROWS;
    q->limit = 1 + chance_below(c, chance_is(c, 70) ? 10 : is_deep ? 5000 : t->n_rows + 5);
    q->offset = is_deep            ? DEEP_ROWS + chance_below(c, t->n_rows - DEEP_ROWS + 3)
                : chance_is(c, 70) ? 0
                                   : chance_below(c, t->n_rows + 3);
    q->count_total = chance_is(c, 15);
}

static void print_value(const struct value *v)
{
    switch (v->kind) {
    case VALUE_NULL:
        printf("NULL");
        return;
    case VALUE_BOOL:
        printf("%s", v->boolean ? "true" : "false");
        return;
    case VALUE_INT:
        printf("%lld", (long long)v->integer);
        return;
    case VALUE_INT128:
        printf("%lld (low half)", (long long)v->integer128);
        return;
    case VALUE_DOUBLE:
        printf("%.17g", v->number);
        return;
    case VALUE_TEXT:
        printf("'%.*s'", (int)v->text.n, v->text.p);
        return;
    }
}

void request_print(const struct request *r)
{
    static const char *const aggregates[] = {"", "sum", "avg", "min", "max", "count"};
    static const char *const ops[] = {"=", ">=", "<="};
    const struct query *q = &r->query;
    for (int i = 0; i < q->n_outputs; i++) {
        const struct column *c = &q->schema->columns[q->outputs[i].column];
        printf("  output %d: %s(%s %s)%s\n", i, aggregates[q->outputs[i].aggregate], c->name,
               column_type_name(c->type), q->wanted[i] ? "" : " unwanted");
    }
    printf("  grouped %d by", q->grouped);
    for (int i = 0; i < q->n_groups; i++)
        printf(" %d", q->groups[i]);
    for (int i = 0; i < q->n_filters; i++) {
        printf("\n  where %s %s ", q->schema->columns[q->filters[i].column].name,
               ops[q->filters[i].op]);
        print_value(&q->filters[i].value);
    }
    for (int i = 0; i < q->n_order; i++)
        printf("\n  order by %d %s", q->order[i].output, q->order[i].descending ? "desc" : "asc");
    printf("\n  limit %llu offset %llu total %d", (unsigned long long)q->limit,
           (unsigned long long)q->offset, q->count_total);
    for (int i = 0; q->has_seek && i < q->n_seek; i++) {
        printf("%s", i ? ", " : "\n  after ");
        print_value(&q->seek[i]);
    }
    printf("\n");
}
