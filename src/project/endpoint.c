/* SPDX-License-Identifier: Apache-2.0 */
/* endpoints/<file>.yml: everything but params and query. */
#include "project/read.h"

static void tenant_binding_read(struct reader *r, const struct node *root, const struct dataset *d,
                                struct endpoint *e)
{
    static const char *const known[] = {"column", NULL};
    const struct node *n = read_get(r, root, "", "tenant", false);
    char *column = NULL;
    if (n) {
        if (!read_map(r, n, "tenant", known))
            return;
        column = read_column(r, n, "tenant", "column");
        if (!column)
            return;
    }
    if (!d)
        return;
    if (d->tenant_column < 0) {
        if (n)
            read_finding(r, n, "tenant", "tenant_forbidden", NULL,
                         "dataset `%s` has no tenant column", d->id ? d->id : "?");
        return;
    }
    const char *want = d->schema.columns[d->tenant_column].name;
    e->tenant_scoped = true;
    if (!n)
        read_finding(r, root, "tenant", "missing", read_path(r, "tenant: {column: %s}", want),
                     "every endpoint of a tenant dataset must bind its tenant column");
    else if (!str_is(str_from(column), want))
        read_finding(r, node_get(n, "column"), "tenant.column", "tenant_mismatch", NULL,
                     "must be the dataset's tenant column `%s`", want);
}

static void freshness_read(struct reader *r, const struct node *root, struct endpoint *e)
{
    static const char *const known[] = {"max_staleness_minutes", NULL};
    const struct node *n = read_get(r, root, "", "freshness", false);
    if (!n || !read_map(r, n, "freshness", known))
        return;
    if (!read_integer(r, n, "freshness", "max_staleness_minutes", true, &e->max_staleness_minutes))
        return;
    if (e->max_staleness_minutes < 1 || e->max_staleness_minutes > 525600000)
        read_finding(r, node_get(n, "max_staleness_minutes"), "freshness.max_staleness_minutes",
                     "invalid_value", NULL, "must be greater than 0 (minutes)");
}

static void pagination_read(struct reader *r, const struct node *root, struct endpoint *e)
{
    static const char *const known[] = {"default_limit", "max_limit", NULL};
    const struct node *n = read_get(r, root, "", "pagination", false);
    e->default_limit = 50;
    e->max_limit = 100;
    if (!n || !read_map(r, n, "pagination", known))
        return;
    bool has_default = read_integer(r, n, "pagination", "default_limit", true, &e->default_limit);
    bool has_max = read_integer(r, n, "pagination", "max_limit", true, &e->max_limit);
    if (has_default && e->default_limit < 1)
        read_finding(r, node_get(n, "default_limit"), "pagination.default_limit", "invalid_value",
                     NULL, "must be greater than 0");
    if (has_max && (e->max_limit < 1 || e->max_limit > 1000000000))
        read_finding(r, node_get(n, "max_limit"), "pagination.max_limit", "invalid_value", NULL,
                     "must be between 1 and 1000000000");
    else if (has_max && has_default && e->default_limit > e->max_limit)
        read_finding(r, node_get(n, "default_limit"), "pagination.default_limit", "invalid_value",
                     NULL, "must not be greater than max_limit");
}

static void cache_read(struct reader *r, const struct node *root, struct endpoint *e)
{
    static const char *const known[] = {"policy", NULL};
    static const char *const policies[] = {"none", "snapshot", NULL};
    const struct node *n = read_get(r, root, "", "cache", false);
    if (n && read_map(r, n, "cache", known))
        e->cache =
            (enum cache_policy)read_word(r, n, "cache", "policy", true, policies, CACHE_NONE);
}

void endpoint_read(struct reader *r, const struct node *root, const struct project *p,
                   struct endpoint *e)
{
    static const char *const known[] = {"name",         "version",      "dataset",    "owner",
                                        "description",  "serving_mode", "tenant",     "params",
                                        "combinations", "query",        "columns",    "freshness",
                                        "cache",        "integers",     "pagination", NULL};
    static const char *const modes[] = {"local_table", "remote_scan", NULL};
    static const char *const integers[] = {"number", "string", NULL};
    const struct dataset *d = NULL;
    *e = (struct endpoint){.dataset = -1};
    if (!read_map(r, root, "", known))
        return;
    e->name = read_name(r, root, "", "name");
    if (read_integer(r, root, "", "version", true, &e->version) && e->version < 1)
        read_finding(r, node_get(root, "version"), "version", "invalid_value", NULL,
                     "must be 1 or greater");
    e->owner = read_string(r, root, "", "owner", false);
    e->description = read_string(r, root, "", "description", false);
    char *dataset = read_name(r, root, "", "dataset");
    for (size_t i = 0; dataset && i < p->n_datasets; i++)
        if (p->datasets[i].id && str_is(str_from(dataset), p->datasets[i].id))
            e->dataset = (int)i;
    if (dataset && e->dataset < 0)
        read_finding(r, node_get(root, "dataset"), "dataset", "unknown_dataset", NULL,
                     "there is no dataset `%s`", dataset);
    if (e->dataset >= 0)
        d = &p->datasets[e->dataset];
    e->serving_mode =
        (enum serving_mode)read_word(r, root, "", "serving_mode", false, modes, MODE_LOCAL_TABLE);
    tenant_binding_read(r, root, d, e);
    freshness_read(r, root, e);
    params_read(r, root, e);
    query_read(r, root, d, e);
    pagination_read(r, root, e);
    cache_read(r, root, e);
    e->integers_as_strings = read_word(r, root, "", "integers", false, integers, 0) == 1;
}
