/* SPDX-License-Identifier: Apache-2.0 */
/* An endpoint's `query` and `columns`. */
#include "project/read.h"

static const char *const aggregate_words[] = {"sum", "avg", "min", "max", "count", NULL};
static const enum aggregate aggregates[] = {AGG_SUM, AGG_AVG, AGG_MIN, AGG_MAX, AGG_COUNT};

static int output_find(const struct endpoint *e, struct str as)
{
    for (size_t i = 0; i < e->n_outputs; i++)
        if (str_is(as, e->outputs[i].as))
            return (int)i;
    return -1;
}

static bool is_numeric(enum column_type t)
{
    return t == TYPE_INTEGER || t == TYPE_BIGINT || t == TYPE_DOUBLE;
}

/* Index of the named column in the dataset; -1 after a finding or when the dataset is unknown. */
static int column_read(struct reader *r, const struct node *n, const char *path,
                       const struct dataset *d)
{
    char *name = read_column(r, n, path, "column");
    if (!name || !d)
        return -1;
    int column = schema_find(&d->schema, str_from(name));
    if (column < 0)
        read_finding(r, node_get(n, "column"), read_join(r, path, "column"), "unknown_column", NULL,
                     "`%s` is not a column of dataset `%s`", name, d->id ? d->id : "?");
    return column;
}

static void aggregate_check(struct reader *r, const struct node *n, const char *path,
                            enum column_type type, enum aggregate aggregate)
{
    if (aggregate == AGG_NONE)
        return;
    if (type == TYPE_JSON)
        read_finding(r, node_get(n, "agg"), read_join(r, path, "agg"), "invalid_agg_on_json", NULL,
                     "a JSON column cannot be aggregated");
    else if ((aggregate == AGG_SUM || aggregate == AGG_AVG) && !is_numeric(type))
        read_finding(r, node_get(n, "agg"), read_join(r, path, "agg"), "invalid_agg_type", NULL,
                     "sum and avg need a numeric column, not %s", column_type_name(type));
}

static void select_item_read(struct reader *r, const struct node *n, const char *path,
                             const struct dataset *d, struct endpoint *e)
{
    static const char *const known[] = {"as", "column", "agg", NULL};
    if (!read_map(r, n, path, known))
        return;
    struct endpoint_output o = {.as = read_column(r, n, path, "as")};
    o.query.column = column_read(r, n, path, d);
    int word = read_word(r, n, path, "agg", false, aggregate_words, -1);
    o.query.aggregate = word < 0 ? AGG_NONE : aggregates[word];
    if (o.query.column >= 0) {
        enum column_type type = d->schema.columns[o.query.column].type;
        aggregate_check(r, n, path, type, o.query.aggregate);
        o.type = query_output_type(type, o.query.aggregate);
    }
    if (!o.as)
        return;
    if (output_find(e, str_from(o.as)) >= 0) {
        read_finding(r, node_get(n, "as"), read_join(r, path, "as"), "duplicate_column", NULL,
                     "`%s` stands twice", o.as);
        return;
    }
    e->outputs[e->n_outputs++] = o;
}

static void select_read(struct reader *r, const struct node *query, const struct dataset *d,
                        struct endpoint *e)
{
    const struct node *list = read_get(r, query, "query", "select", true);
    size_t i = 0;
    if (!list || !read_list(r, list, "query.select"))
        return;
    if (list->n_children == 0)
        read_finding(r, list, "query.select", "missing", NULL, "at least one output is required");
    if (list->n_children > QUERY_LIMIT_OUTPUTS) {
        read_finding(r, list, "query.select", "invalid_value", NULL, "has more than %d outputs",
                     QUERY_LIMIT_OUTPUTS);
        return;
    }
    e->outputs = read_take(r, list->n_children, sizeof *e->outputs);
    for (const struct node *item = list->first; item; item = item->next, i++)
        select_item_read(r, item, read_path(r, "query.select[%zu]", i), d, e);
}

static void group_item_read(struct reader *r, const struct node *item, const char *path,
                            const struct endpoint *e, bool *grouped)
{
    if (item->kind == NODE_LIST || item->kind == NODE_MAP) {
        read_finding(r, item, path, "invalid_type", NULL, "must be the name of an output");
        return;
    }
    int output = output_find(e, item->text);
    if (output < 0)
        read_finding(r, item, path, "unknown_column", NULL, "`%s` is not selected", item->text.p);
    else if (e->outputs[output].query.aggregate != AGG_NONE)
        read_finding(r, item, path, "invalid_value", NULL, "`%s` is aggregated", item->text.p);
    else if (grouped[output])
        read_finding(r, item, path, "duplicate_column", NULL, "`%s` stands twice", item->text.p);
    else
        grouped[output] = true;
}

/* The item of `select` that makes output @as: items that were refused made none. */
static size_t select_at(const struct node *query, const char *as)
{
    size_t i = 0;
    for (const struct node *item = node_get(query, "select")->first; item; item = item->next, i++) {
        const struct node *n = item->kind == NODE_MAP ? node_get(item, "as") : NULL;
        if (n && str_is(n->text, as))
            break;
    }
    return i;
}

static void read_ungrouped(struct reader *r, const struct node *query, const char *as)
{
    size_t at = select_at(query, as);
    read_finding(r, node_at(node_get(query, "select"), at), read_path(r, "query.select[%zu]", at),
                 "ungrouped_column", NULL, "`%s` must be aggregated or stand in `group_by`", as);
}

/* group_by against the outputs: which must be in it, and in select order. */
static void group_read(struct reader *r, const struct node *query, struct endpoint *e)
{
    const struct node *list = read_get(r, query, "query", "group_by", false);
    bool *grouped = read_take(r, e->n_outputs, sizeof *grouped);
    bool any_aggregate = false;
    size_t i = 0;
    for (size_t j = 0; j < e->n_outputs; j++)
        any_aggregate |= e->outputs[j].query.aggregate != AGG_NONE;
    if (list && !read_list(r, list, "query.group_by"))
        return;
    if (!list || list->n_children == 0) {
        if (any_aggregate)
            read_finding(r, list ? list : query, "query.group_by", "missing_group_by", NULL,
                         "an aggregate needs `group_by`");
        return;
    }
    for (const struct node *item = list->first; item; item = item->next, i++)
        group_item_read(r, item, read_path(r, "query.group_by[%zu]", i), e, grouped);
    e->grouped = true;
    e->group_by = read_take(r, e->n_outputs, sizeof *e->group_by);
    for (size_t j = 0; j < e->n_outputs; j++) {
        if (grouped[j])
            e->group_by[e->n_group_by++] = (int)j;
        else if (e->outputs[j].query.aggregate == AGG_NONE)
            read_ungrouped(r, query, e->outputs[j].as);
    }
}

/* May a param of @param be compared with a column of @column by @op? */
static bool can_compare(enum param_type param, enum column_type column, enum filter_op op)
{
    switch (param) {
    case PARAM_STRING:
    case PARAM_ENUM:
        return op == FILTER_EQ || column == TYPE_VARCHAR;
    case PARAM_INTEGER:
    case PARAM_NUMBER:
        return is_numeric(column);
    case PARAM_BOOLEAN:
        return column == TYPE_BOOLEAN;
    case PARAM_DATE:
    case PARAM_TIMESTAMP:
        return column == TYPE_DATE || column == TYPE_TIMESTAMP;
    }
    return false;
}

static void filter_check(struct reader *r, const struct node *n, const char *path,
                         const struct dataset *d, const struct endpoint *e,
                         const struct endpoint_filter *f, bool has_op)
{
    if (f->column < 0)
        return;
    const struct column *column = &d->schema.columns[f->column];
    const struct node *at = node_get(n, "column");
    if (f->column == d->tenant_column)
        read_finding(r, at, read_join(r, path, "column"), "tenant_filter_forbidden", NULL,
                     "the tenant comes from the key, never from a request");
    else if (column->type == TYPE_JSON)
        read_finding(r, at, read_join(r, path, "column"), "type_mismatch", NULL,
                     "a JSON column cannot be filtered");
    else if (f->param >= 0 && has_op && !can_compare(e->params[f->param].type, column->type, f->op))
        read_finding(r, node_get(n, "param"), read_join(r, path, "param"), "type_mismatch", NULL,
                     "`%s` cannot be compared with the %s column `%s` this way",
                     e->params[f->param].name, column_type_name(column->type), column->name);
}

static void filter_read(struct reader *r, const struct node *n, const char *path,
                        const struct dataset *d, struct endpoint *e)
{
    static const char *const known[] = {"column", "op", "param", NULL};
    static const char *const ops[] = {"eq", "gte", "lte", NULL};
    struct endpoint_filter f = {.param = -1};
    if (!read_map(r, n, path, known))
        return;
    f.column = column_read(r, n, path, d);
    int op = read_word(r, n, path, "op", true, ops, -1);
    f.op = op < 0 ? FILTER_EQ : (enum filter_op)op;
    char *param = read_string(r, n, path, "param", true);
    for (size_t i = 0; param && i < e->n_params; i++)
        if (str_is(str_from(param), e->params[i].name))
            f.param = (int)i;
    if (param && f.param < 0)
        read_finding(r, node_get(n, "param"), read_join(r, path, "param"), "unknown_param", NULL,
                     "`%s` is not declared", param);
    filter_check(r, n, path, d, e, &f, op >= 0);
    e->filters[e->n_filters++] = f;
}

static void filters_read(struct reader *r, const struct node *query, const struct dataset *d,
                         struct endpoint *e)
{
    const struct node *list = read_get(r, query, "query", "filters", false);
    size_t i = 0;
    if (!list || !read_list(r, list, "query.filters"))
        return;
    if (list->n_children >= QUERY_LIMIT_FILTERS) { /* one is the tenant's */
        read_finding(r, list, "query.filters", "invalid_value", NULL, "has more than %d filters",
                     QUERY_LIMIT_FILTERS - 1);
        return;
    }
    e->filters = read_take(r, list->n_children, sizeof *e->filters);
    for (const struct node *item = list->first; item; item = item->next, i++)
        filter_read(r, item, read_path(r, "query.filters[%zu]", i), d, e);
}

static void order_item_read(struct reader *r, const struct node *n, const char *path,
                            struct endpoint *e)
{
    static const char *const known[] = {"column", "dir", NULL};
    static const char *const directions[] = {"asc", "desc", NULL};
    if (!read_map(r, n, path, known))
        return;
    char *name = read_column(r, n, path, "column");
    int direction = read_word(r, n, path, "dir", true, directions, 0);
    if (!name)
        return;
    int output = output_find(e, str_from(name));
    if (output < 0) {
        read_finding(r, node_get(n, "column"), read_join(r, path, "column"), "unknown_column", NULL,
                     "`%s` is not selected", name);
        return;
    }
    if (e->outputs[output].type == OUT_JSON)
        read_finding(r, node_get(n, "column"), read_join(r, path, "column"), "type_mismatch", NULL,
                     "a JSON column has no order");
    for (size_t i = 0; i < e->n_order_by; i++) {
        if (e->order_by[i].output == output) {
            read_finding(r, node_get(n, "column"), read_join(r, path, "column"), "duplicate_column",
                         NULL, "`%s` stands twice", name);
            return;
        }
    }
    e->order_by[e->n_order_by++] = (struct query_order){output, direction == 1};
}

static void order_read(struct reader *r, const struct node *query, struct endpoint *e)
{
    const struct node *list = read_get(r, query, "query", "order_by", false);
    size_t i = 0;
    if (!list || !read_list(r, list, "query.order_by"))
        return;
    e->order_by = read_take(r, list->n_children, sizeof *e->order_by);
    for (const struct node *item = list->first; item; item = item->next, i++)
        order_item_read(r, item, read_path(r, "query.order_by[%zu]", i), e);
}

/* A group's position, as cursors hold it, is its place in the order and its key. */
static void position_check(struct reader *r, const struct node *query, const struct endpoint *e)
{
    if (e->grouped && e->n_order_by + e->n_group_by > QUERY_LIMIT_OUTPUTS + 1)
        read_finding(r, node_get(query, "order_by"), "query.order_by", "invalid_value", NULL,
                     "`group_by` and `order_by` have more than %d outputs together",
                     QUERY_LIMIT_OUTPUTS + 1);
}

static void columns_read(struct reader *r, const struct node *root, const struct endpoint *e)
{
    const struct node *list = read_get(r, root, "", "columns", true);
    bool *listed = read_take(r, e->n_outputs, sizeof *listed);
    size_t i = 0;
    if (!list || !read_list(r, list, "columns"))
        return;
    if (list->n_children == 0) {
        read_finding(r, list, "columns", "missing", NULL, "at least one column is required");
        return;
    }
    for (const struct node *item = list->first; item; item = item->next, i++) {
        const char *path = read_path(r, "columns[%zu]", i);
        if (item->kind == NODE_LIST || item->kind == NODE_MAP) {
            read_finding(r, item, path, "invalid_type", NULL, "must be the name of an output");
            continue;
        }
        int output = output_find(e, item->text);
        if (output < 0)
            read_finding(r, item, path, "column_not_selected", NULL, "`%s` is not selected",
                         item->text.p);
        else if (listed[output])
            read_finding(r, item, path, "duplicate_column", NULL, "`%s` stands twice",
                         item->text.p);
        else
            listed[output] = true;
    }
    for (size_t j = 0; j < e->n_outputs; j++)
        if (!listed[j])
            read_finding(r, list, "columns", "column_not_allowlisted", NULL,
                         "`%s` is selected but not listed", e->outputs[j].as);
}

void query_read(struct reader *r, const struct node *root, const struct dataset *d,
                struct endpoint *e)
{
    static const char *const known[] = {"select", "group_by", "filters", "order_by", NULL};
    const struct node *query = read_get(r, root, "", "query", true);
    if (query && read_map(r, query, "query", known)) {
        select_read(r, query, d, e);
        group_read(r, query, e);
        filters_read(r, query, d, e);
        order_read(r, query, e);
        position_check(r, query, e);
    }
    columns_read(r, root, e);
}
