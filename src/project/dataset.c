/* SPDX-License-Identifier: Apache-2.0 */
/* datasets/<file>.yml: the table contract, where its snapshots come from, and their quality gates.
 */
#include "base/io.h"
#include "project/read.h"

static void schema_read(struct reader *r, const struct node *root, struct dataset *d)
{
    const struct node *list = read_get(r, root, "", "schema", true);
    static const char *const known[] = {"name", "type", NULL};
    if (!list || !read_list(r, list, "schema"))
        return;
    if (list->n_children == 0) {
        read_finding(r, list, "schema", "missing", NULL, "at least one column is required");
        return;
    }
    if (list->n_children > LIMIT_COLUMNS) {
        read_finding(r, list, "schema", "invalid_value", NULL, "has more than %d columns",
                     LIMIT_COLUMNS);
        return;
    }
    d->schema.columns = read_take(r, list->n_children, sizeof *d->schema.columns);
    size_t i = 0;
    for (const struct node *item = list->first; item; item = item->next, i++) {
        const char *path = read_path(r, "schema[%zu]", i);
        if (!read_map(r, item, path, known))
            continue;
        char *name = read_column(r, item, path, "name");
        const struct node *type = read_get(r, item, path, "type", true);
        enum column_type column_type = TYPE_VARCHAR;
        if (type && (type->kind != NODE_STRING || !column_type_parse(type->text, &column_type))) {
            read_finding(r, type, read_join(r, path, "type"), "unsupported_type", NULL,
                         "must be one of: DATE, TIMESTAMP, VARCHAR, INTEGER, BIGINT, DOUBLE, "
                         "BOOLEAN, JSON");
        }
        if (!name)
            continue;
        for (size_t j = 0; j < d->schema.n_columns; j++) {
            if (str_eq_nocase(str_from(name), str_from(d->schema.columns[j].name))) {
                read_finding(r, node_get(item, "name"), read_join(r, path, "name"),
                             "duplicate_column", NULL, "`%s` stands twice (case does not count)",
                             name);
                name = NULL;
                break;
            }
        }
        if (name)
            d->schema.columns[d->schema.n_columns++] =
                (struct column){.name = name, .type = column_type};
    }
}

static void tenant_read(struct reader *r, const struct node *root, struct dataset *d)
{
    d->tenant_column = -1;
    if (!read_get(r, root, "", "tenant_column", false))
        return;
    char *name = read_column(r, root, "", "tenant_column");
    const struct node *n = node_get(root, "tenant_column");
    if (!name)
        return;
    d->tenant_column = schema_find(&d->schema, str_from(name));
    if (d->tenant_column < 0) {
        read_finding(r, n, "tenant_column", "unknown_column", NULL, "`%s` is not in the schema",
                     name);
        return;
    }
    enum column_type type = d->schema.columns[d->tenant_column].type;
    if (type != TYPE_VARCHAR && type != TYPE_INTEGER && type != TYPE_BIGINT)
        read_finding(r, n, "tenant_column", "type_mismatch", NULL,
                     "must be VARCHAR, INTEGER or BIGINT, not %s", column_type_name(type));
}

static bool is_bucket_name(struct str s)
{
    if (s.n < 1 || s.n > 222)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!alphanumeric && (i == 0 || !memchr("._-", c, 3)))
            return false;
    }
    return true;
}

static void databricks_read(struct reader *r, const struct node *n, struct source *s)
{
    static const char *const stores[] = {"gs", "s3", NULL};
    s->kind = SOURCE_DATABRICKS;
    s->bucket = read_string(r, n, "source", "bucket", true);
    if (s->bucket && !is_bucket_name(str_from(s->bucket)))
        read_finding(r, node_get(n, "bucket"), "source.bucket", "invalid_value", NULL,
                     "is not a bucket name");
    char *prefix = read_string(r, n, "source", "prefix", true);
    if (prefix && *prefix && !str_ends(str_from(prefix), "/"))
        prefix = read_copy(r, str_from(read_path(r, "%s/", prefix)));
    if (prefix && *prefix == '/')
        read_finding(r, node_get(n, "prefix"), "source.prefix", "invalid_value", NULL,
                     "must not begin with `/`");
    s->prefix = prefix;
    s->store = (enum store_kind)read_word(r, n, "source", "store", false, stores, STORE_KIND_GS);
}

static void manifest_source_read(struct reader *r, const struct node *n, struct source *s)
{
    s->kind = SOURCE_MANIFEST;
    s->manifest = read_string(r, n, "source", "url", true);
    if (!s->manifest)
        return;
    struct str url = str_from(s->manifest);
    if (!str_starts(url, "gs://") && !str_starts(url, "s3://") && !str_starts(url, "https://") &&
        !str_starts(url, "http://") && !str_starts(url, "/"))
        read_finding(r, node_get(n, "url"), "source.url", "invalid_value", NULL,
                     "must begin with gs://, s3://, https:// or be an absolute path");
}

static void allow_read(struct reader *r, const struct node *n, struct source *s)
{
    const struct node *list = read_get(r, n, "source", "allow", false);
    if (!list || !read_list(r, list, "source.allow"))
        return;
    s->allow = read_take(r, list->n_children, sizeof *s->allow);
    for (const struct node *item = list->first; item; item = item->next) {
        if (item->kind != NODE_STRING || item->text.n == 0)
            read_finding(r, item, read_path(r, "source.allow[%zu]", s->n_allow), "invalid_type",
                         NULL, "must be the name of a bucket or host");
        else
            s->allow[s->n_allow++] = read_copy(r, item->text);
    }
}

static void source_read(struct reader *r, const struct node *root, struct source *s)
{
    static const char *const known[] = {"type", "bucket", "prefix", "store", "interval_seconds",
                                        "url",  "allow",  NULL};
    static const char *const known_databricks[] = {
        "type", "bucket", "prefix", "store", "interval_seconds", "allow", NULL};
    static const char *const known_manifest[] = {"type", "url", "interval_seconds", "allow", NULL};
    static const char *const types[] = {"databricks", "manifest", NULL};
    const struct node *n = node_get(root, "source");
    if (n->kind != NODE_MAP) {
        (void)read_map(r, n, "source", known);
        return;
    }
    int type = read_word(r, n, "source", "type", true, types, -1);
    (void)read_map(r, n, "source",
                   type == 0   ? known_databricks
                   : type == 1 ? known_manifest
                               : known);
    s->interval_seconds = 300;
    if (type == 0)
        databricks_read(r, n, s);
    else if (type == 1)
        manifest_source_read(r, n, s);
    if (read_integer(r, n, "source", "interval_seconds", false, &s->interval_seconds) &&
        (s->interval_seconds < 1 || s->interval_seconds > 31536000))
        read_finding(r, node_get(n, "interval_seconds"), "source.interval_seconds", "invalid_value",
                     NULL, "must be between 1 and 31536000");
    allow_read(r, n, s);
}

static void origin_read(struct reader *r, const struct node *root, struct dataset *d)
{
    const struct node *manifest = read_get(r, root, "", "manifest", false);
    const struct node *source = read_get(r, root, "", "source", false);
    if (manifest && source) {
        read_finding(r, source, "source", "conflicting_origin", NULL,
                     "a dataset has either `manifest` or `source`, not both");
        return;
    }
    if (!manifest && !source) {
        read_finding(r, root, "manifest", "missing", NULL,
                     "a dataset needs `manifest` (a static snapshot) or `source`");
        return;
    }
    if (source) {
        source_read(r, root, &d->source);
        return;
    }
    d->source.kind = SOURCE_STATIC_MANIFEST;
    d->source.manifest = read_string(r, root, "", "manifest", true);
    if (d->source.manifest && !path_stays_inside(d->source.manifest))
        read_finding(r, manifest, "manifest", "unsafe_path", NULL,
                     "must be a relative path inside the project");
}

void dataset_read(struct reader *r, const struct node *root, struct dataset *d)
{
    static const char *const known[] = {"id",       "description", "schema", "tenant_column",
                                        "manifest", "source",      "checks", NULL};
    *d = (struct dataset){.tenant_column = -1};
    if (!read_map(r, root, "", known))
        return;
    d->id = read_name(r, root, "", "id");
    d->description = read_string(r, root, "", "description", false);
    schema_read(r, root, d);
    tenant_read(r, root, d);
    origin_read(r, root, d);
    const struct node *checks = read_get(r, root, "", "checks", false);
    if (checks)
        checks_read(r, checks, &d->schema, &d->checks);
    if (d->checks.has_min_tenant_ratio && !node_get(root, "tenant_column"))
        read_finding(r, node_get(checks, "min_tenant_ratio"), "checks.min_tenant_ratio",
                     "invalid_value", NULL, "counts tenants, and the dataset has no tenant_column");
}
