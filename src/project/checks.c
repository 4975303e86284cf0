/* SPDX-License-Identifier: Apache-2.0 */
/* A dataset's `checks`: what a snapshot must satisfy before it may serve. */
#include "project/read.h"

static int column_of(struct reader *r, const struct node *n, struct str name, const char *path,
                     const struct schema *schema)
{
    int column = schema_find(schema, name);
    if (column < 0)
        read_finding(r, n, path, "unknown_column", NULL, "`%s` is not in the schema", name.p);
    return column;
}

/* A list of column names into @ret; items that are none are found. */
static size_t columns_read(struct reader *r, const struct node *list, const char *path,
                           const struct schema *schema, int **ret)
{
    size_t n = 0, i = 0;
    if (!read_list(r, list, path))
        return 0;
    *ret = read_take(r, list->n_children, sizeof **ret);
    for (const struct node *item = list->first; item; item = item->next, i++) {
        const char *at = read_path(r, "%s[%zu]", path, i);
        if (item->kind == NODE_LIST || item->kind == NODE_MAP) {
            read_finding(r, item, at, "invalid_type", NULL, "must be a column name");
            continue;
        }
        int column = column_of(r, item, item->text, at, schema);
        if (column >= 0)
            (*ret)[n++] = column;
    }
    return n;
}

static void unique_read(struct reader *r, const struct node *list, const struct schema *schema,
                        struct checks *c)
{
    size_t i = 0;
    if (!read_list(r, list, "checks.unique"))
        return;
    c->unique = read_take(r, list->n_children, sizeof *c->unique);
    for (const struct node *item = list->first; item; item = item->next, i++) {
        const char *path = read_path(r, "checks.unique[%zu]", i);
        struct column_set set = {0};
        set.n_columns = columns_read(r, item, path, schema, &set.columns);
        if (item->kind == NODE_LIST && item->n_children == 0)
            read_finding(r, item, path, "missing", NULL, "at least one column is required");
        for (size_t j = 0; j < set.n_columns; j++)
            if (schema->columns[set.columns[j]].type == TYPE_JSON)
                read_finding(r, item, path, "type_mismatch", NULL,
                             "a JSON column cannot be unique");
        if (set.n_columns)
            c->unique[c->n_unique++] = set;
    }
}

static void null_ratio_read(struct reader *r, const struct node *map, const struct schema *schema,
                            struct checks *c)
{
    if (map->kind != NODE_MAP) {
        read_finding(r, map, "checks.max_null_ratio", "invalid_type", NULL,
                     "must map columns to ratios");
        return;
    }
    c->max_null_ratio = read_take(r, map->n_children, sizeof *c->max_null_ratio);
    for (const struct node *item = map->first; item; item = item->next) {
        const char *path = read_path(r, "checks.max_null_ratio.%s", item->key.p);
        int column = column_of(r, item, item->key, path, schema);
        if (item->kind != NODE_INT && item->kind != NODE_DOUBLE)
            read_finding(r, item, path, "invalid_type", NULL, "must be a number");
        else if (!(item->number >= 0 && item->number <= 1))
            read_finding(r, item, path, "invalid_value", NULL, "must be between 0 and 1");
        else if (column >= 0)
            c->max_null_ratio[c->n_max_null_ratio++] =
                (struct ratio_check){.column = column, .limit = item->number};
    }
}

static bool ratio_read(struct reader *r, const struct node *n, const char *key, bool up_to_one,
                       double *ret)
{
    if (!read_number(r, n, "checks", key, ret))
        return false;
    if (*ret >= 0 && (up_to_one ? *ret <= 1 : *ret > 0))
        return true;
    read_finding(r, node_get(n, key), read_join(r, "checks", key), "invalid_value", NULL,
                 up_to_one ? "must be between 0 and 1" : "must be greater than 0");
    return false;
}

void checks_read(struct reader *r, const struct node *n, const struct schema *schema,
                 struct checks *c)
{
    static const char *const known[] = {
        "min_rows",       "max_row_drop_ratio", "max_row_growth_ratio", "not_null", "unique",
        "max_null_ratio", "min_tenant_ratio",   "max_age_minutes",      NULL};
    int64_t integer = 0;
    const struct node *item;
    if (!read_map(r, n, "checks", known))
        return;
    if (read_integer(r, n, "checks", "min_rows", false, &integer)) {
        c->has_min_rows = integer >= 0;
        c->min_rows = (uint64_t)integer;
        if (integer < 0)
            read_finding(r, node_get(n, "min_rows"), "checks.min_rows", "invalid_value", NULL,
                         "must not be negative");
    }
    if (read_integer(r, n, "checks", "max_age_minutes", false, &integer)) {
        c->has_max_age = integer > 0;
        c->max_age_minutes = integer;
        if (integer <= 0)
            read_finding(r, node_get(n, "max_age_minutes"), "checks.max_age_minutes",
                         "invalid_value", NULL, "must be greater than 0");
    }
    c->has_max_row_drop = ratio_read(r, n, "max_row_drop_ratio", true, &c->max_row_drop_ratio);
    c->has_max_row_growth =
        ratio_read(r, n, "max_row_growth_ratio", false, &c->max_row_growth_ratio);
    c->has_min_tenant_ratio = ratio_read(r, n, "min_tenant_ratio", true, &c->min_tenant_ratio);
    if ((item = read_get(r, n, "checks", "not_null", false)) != NULL)
        c->n_not_null = columns_read(r, item, "checks.not_null", schema, &c->not_null);
    if ((item = read_get(r, n, "checks", "unique", false)) != NULL)
        unique_read(r, item, schema, c);
    if ((item = read_get(r, n, "checks", "max_null_ratio", false)) != NULL)
        null_ratio_read(r, item, schema, c);
}
