/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest's JSON, rule by rule; every finding is collected. Unknown keys are the producer's own.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "manifest/manifest_int.h"

#define LIMIT_MANIFEST_MEMORY (UINT64_C(1) << 30)

void manifest_finding(struct manifest_reader *r, const char *path, const char *code,
                      const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args); /* cut: a message is for people */
    va_end(args);
    errlist_add(r->findings, FINDING_ERROR, r->shown_as, 0, 0, path, code, NULL, "%s", message);
}

static const struct node *require(struct manifest_reader *r, const struct node *map,
                                  const char *prefix, const char *key)
{
    const struct node *n = node_get(map, key);
    char path[96];
    if (n && n->kind != NODE_NULL)
        return n;
    (void)snprintf(path, sizeof path, "%s%s", prefix, key);
    manifest_finding(r, path, "missing", "`%s` is required", key);
    return NULL;
}

static const struct node *require_string(struct manifest_reader *r, const struct node *map,
                                         const char *key)
{
    const struct node *n = require(r, map, "", key);
    if (n && n->kind != NODE_STRING) {
        manifest_finding(r, key, "invalid_type", "must be a string");
        return NULL;
    }
    return n;
}

static bool matches_alphabet(struct str s, const char *extra)
{
    if (s.n < 1 || s.n > 200)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alphanumeric =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alphanumeric && (c == 0 || !strchr(extra, c)))
            return false;
    }
    return true;
}

static void read_identity(struct manifest_reader *r, const struct node *root,
                          const char *dataset_id, struct manifest *m)
{
    const struct node *n = require_string(r, root, "dataset_id");
    if (n && !str_is_name(n->text))
        manifest_finding(r, "dataset_id", "unsafe_identifier", "is not a dataset name");
    else if (n && dataset_id && !str_is(n->text, dataset_id))
        manifest_finding(r, "dataset_id", "dataset_mismatch", "must be `%s`", dataset_id);
    if (n)
        m->dataset_id = x_strndup(n->text.p, n->text.n);
    n = require_string(r, root, "snapshot_id");
    if (n && !matches_alphabet(n->text, ":_.-"))
        manifest_finding(r, "snapshot_id", "invalid_snapshot_id",
                         "must be 1 to 200 letters, digits or any of : _ . -");
    else if (n)
        m->snapshot_id = x_strndup(n->text.p, n->text.n);
    static const char *const texts[] = {"producer", "upstream_run_id"};
    char **const into[] = {&m->producer, &m->upstream_run_id};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        n = require_string(r, root, texts[i]);
        if (n && !matches_alphabet(n->text, "._:@+-"))
            manifest_finding(r, texts[i], "invalid_value",
                             "must be 1 to 200 letters, digits or any of . _ : @ + -");
        else if (n)
            *into[i] = x_strndup(n->text.p, n->text.n);
    }
}

static void read_time(struct manifest_reader *r, const struct node *root, const char *key,
                      int64_t *ret)
{
    const struct node *n = require(r, root, "", key);
    if (n && (n->kind != NODE_STRING || !parse_rfc3339(n->text, ret)))
        manifest_finding(r, key, "invalid_timestamp",
                         "must be an RFC 3339 time with an offset, such as 2026-06-01T00:00:00Z");
}

/* An integer of @least or more at @key of @map; false after a finding or when an optional one is
 * absent. */
static bool read_count(struct manifest_reader *r, const struct node *map, const char *prefix,
                       const char *key, bool required, int64_t least, int64_t *ret)
{
    const struct node *n = node_get(map, key);
    char path[96];
    (void)snprintf(path, sizeof path, "%s%s", prefix, key);
    if (!n || n->kind == NODE_NULL) {
        if (required)
            manifest_finding(r, path, "missing", "`%s` is required", key);
        return false;
    }
    if (n->kind != NODE_INT) {
        manifest_finding(r, path, n->kind == NODE_DOUBLE ? "invalid_value" : "invalid_type",
                         "must be an integer");
        return false;
    }
    if (n->integer < least) {
        manifest_finding(r, path, "invalid_value", "must be %lld or more", (long long)least);
        return false;
    }
    *ret = n->integer;
    return true;
}

static void read_column(struct manifest_reader *r, const struct node *item, size_t i,
                        struct map *names, struct schema *s)
{
    char path[64];
    enum column_type type = TYPE_VARCHAR;
    (void)snprintf(path, sizeof path, "schema[%zu]", i);
    if (item->kind != NODE_MAP) {
        manifest_finding(r, path, "invalid_type", "must be an object with name and type");
        return;
    }
    (void)snprintf(path, sizeof path, "schema[%zu].", i);
    const struct node *name = require(r, item, path, "name");
    const struct node *type_name = require(r, item, path, "type");
    if (type_name &&
        (type_name->kind != NODE_STRING || !column_type_parse(type_name->text, &type))) {
        (void)snprintf(path, sizeof path, "schema[%zu].type", i);
        manifest_finding(r, path, "unsupported_type",
                         "must be one of: DATE, TIMESTAMP, VARCHAR, INTEGER, BIGINT, DOUBLE, "
                         "BOOLEAN, JSON");
    }
    if (!name)
        return;
    if (name->kind != NODE_STRING || !str_is_column(name->text)) {
        (void)snprintf(path, sizeof path, "schema[%zu].name", i);
        manifest_finding(r, path, "unsafe_identifier",
                         "must hold only letters, digits and _ (at most 63)");
        return;
    }
    char *lower = x_strndup(name->text.p, name->text.n);
    for (char *p = lower; *p; p++)
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    if (map_get(names, str_from(lower)) || !map_put(names, str_from(lower), lower, NULL)) {
        manifest_finding(r, "schema", "duplicate_column", "`%s` stands twice (case does not count)",
                         name->text.p);
        mem_free(lower);
        return;
    }
    s->columns[s->n_columns++] = (struct column){x_strndup(name->text.p, name->text.n), type};
}

static void read_schema(struct manifest_reader *r, const struct node *root, struct manifest *m)
{
    const struct node *list = require(r, root, "", "schema");
    struct map names = {0};
    size_t i = 0, at = 0;
    void *lower;
    if (!list)
        return;
    if (list->kind != NODE_LIST || list->n_children == 0 || list->n_children > LIMIT_COLUMNS) {
        manifest_finding(r, "schema",
                         list->kind != NODE_LIST ? "invalid_type"
                         : list->n_children == 0 ? "missing"
                                                 : "invalid_value",
                         "must be a list of 1 to %d columns", LIMIT_COLUMNS);
        return;
    }
    m->schema.columns = x_array0(list->n_children, sizeof *m->schema.columns);
    for (const struct node *item = list->first; item; item = item->next, i++)
        read_column(r, item, i, &names, &m->schema);
    while (map_next(&names, &at, NULL, &lower))
        mem_free(lower);
    map_done(&names);
}

static void read_column_list(struct manifest_reader *r, const struct node *root, const char *key,
                             const struct schema *s)
{
    const struct node *list = require(r, root, "", key);
    if (!list)
        return;
    if (list->kind != NODE_LIST) {
        manifest_finding(r, key, "invalid_type", "must be a list of column names");
        return;
    }
    for (const struct node *item = list->first; item; item = item->next) {
        if (item->kind != NODE_STRING)
            manifest_finding(r, key, "invalid_type", "must be a list of column names");
        else if (schema_find(s, item->text) < 0)
            manifest_finding(r, key, "unknown_column", "`%.63s` is not in the schema",
                             item->text.p);
    }
}

static void read_file(struct manifest_reader *r, const struct node *item, size_t i,
                      struct data_file *f)
{
    char prefix[40], path[64];
    int64_t n;
    (void)snprintf(prefix, sizeof prefix, "files[%zu].", i);
    if (item->kind != NODE_MAP) {
        (void)snprintf(path, sizeof path, "files[%zu]", i);
        manifest_finding(r, path, "invalid_type", "must be an object with path and format");
        return;
    }
    const struct node *file_path = require(r, item, prefix, "path");
    (void)snprintf(path, sizeof path, "%spath", prefix);
    if (file_path && file_path->kind != NODE_STRING) {
        manifest_finding(r, path, "invalid_type", "must be a string");
    } else if (file_path) {
        f->path = x_strndup(file_path->text.p, file_path->text.n);
        f->location = manifest_resolve_path(r, file_path->text, path, &f->remote);
    }
    const struct node *format = require(r, item, prefix, "format");
    (void)snprintf(path, sizeof path, "%sformat", prefix);
    if (format && str_is(format->text, "parquet") && format->kind == NODE_STRING)
        f->format = FILE_PARQUET;
    else if (format && !(str_is(format->text, "csv") && format->kind == NODE_STRING))
        manifest_finding(r, path, "unsupported_type", "must be csv or parquet");
    f->has_row_count = read_count(r, item, prefix, "row_count", false, 0, &n);
    f->row_count = f->has_row_count ? (uint64_t)n : 0;
    f->has_size_bytes = read_count(r, item, prefix, "size_bytes", false, 0, &n);
    f->size_bytes = f->has_size_bytes ? (uint64_t)n : 0;
    const struct node *digest = node_get(item, "sha256");
    if (digest && digest->kind != NODE_NULL) {
        (void)snprintf(path, sizeof path, "%ssha256", prefix);
        f->has_sha256 = digest->kind == NODE_STRING && hex_decode(digest->text, f->sha256, 32);
        if (!f->has_sha256)
            manifest_finding(r, path,
                             digest->kind == NODE_STRING ? "invalid_value" : "invalid_type",
                             "must be 64 lower-case hex digits");
    }
}

static void read_files(struct manifest_reader *r, const struct node *root, struct manifest *m)
{
    const struct node *list = require(r, root, "", "files");
    size_t i = 0;
    if (!list)
        return;
    if (list->kind != NODE_LIST || list->n_children == 0 ||
        list->n_children > LIMIT_MANIFEST_FILES) {
        manifest_finding(r, "files",
                         list->kind != NODE_LIST ? "invalid_type"
                         : list->n_children == 0 ? "missing"
                                                 : "invalid_value",
                         "must be a list of 1 to %d files", LIMIT_MANIFEST_FILES);
        return;
    }
    m->files = x_array0(list->n_children, sizeof *m->files);
    m->n_files = list->n_children;
    for (const struct node *item = list->first; item; item = item->next, i++)
        read_file(r, item, i, &m->files[i]);
}

static void read_policies(struct manifest_reader *r, const struct node *root, struct manifest *m)
{
    static const char *const qualities[] = {"passed", "warning", "failed"};
    const struct node *n = require(r, root, "", "data_quality_status");
    bool known = false;
    for (size_t i = 0; n && i < ARRAY_LEN(qualities); i++) {
        if (n->kind == NODE_STRING && str_is(n->text, qualities[i])) {
            m->quality = (enum quality)i;
            known = true;
        }
    }
    if (n && !known)
        manifest_finding(r, "data_quality_status", "invalid_value",
                         "must be one of: passed, warning, failed");
    n = require(r, root, "", "compatibility_policy");
    if (n && n->kind == NODE_STRING && str_is(n->text, "exact"))
        m->compatibility = COMPAT_EXACT;
    else if (n && !(n->kind == NODE_STRING && str_is(n->text, "additive_only")))
        manifest_finding(r, "compatibility_policy", "invalid_compatibility_policy",
                         "must be additive_only or exact");
}

static void read_all(struct manifest_reader *r, const struct node *root, const char *dataset_id,
                     struct manifest *m)
{
    int64_t n = 0;
    read_identity(r, root, dataset_id, m);
    read_time(r, root, "created_at", &m->created_at_us);
    read_time(r, root, "watermark", &m->watermark_us);
    read_schema(r, root, m);
    read_files(r, root, m);
    read_column_list(r, root, "partition_columns", &m->schema);
    read_column_list(r, root, "sort_columns", &m->schema);
    m->has_row_count = read_count(r, root, "", "row_count", true, 0, &n);
    m->row_count = (uint64_t)n;
    if (read_count(r, root, "", "size_bytes", true, 0, &n))
        m->size_bytes = (uint64_t)n;
    (void)read_count(r, root, "", "schema_version", true, 1, &m->schema_version);
    read_policies(r, root, m);
}

enum rc manifest_parse(struct str text, const struct manifest_origin *origin,
                       const char *dataset_id, struct errlist *findings, struct manifest **ret,
                       struct err *err)
{
    struct manifest_reader r = {origin->shown_as, findings, origin};
    size_t errors_before = findings->n_errors;
    struct arena arena;
    struct err problem = ERR_INIT;
    arena_init(&arena, LIMIT_MANIFEST_MEMORY);
    struct json_place place;
    const struct node *root = json_parse_at(text, &arena, &place, &problem);
    struct manifest *m = x_alloc0(sizeof *m);
    if (!root && problem.rc == RC_NO_MEMORY) {
        err_copy(err, &problem);
    } else if (!root) {
        errlist_add(findings, FINDING_ERROR, r.shown_as, place.line, place.column, "",
                    "invalid_json", NULL, "%s", text.n ? problem.message : "the file is empty");
    } else if (root->kind != NODE_MAP) {
        manifest_finding(&r, "", "not_a_map", "must be an object");
    } else {
        read_all(&r, root, dataset_id, m);
    }
    arena_done(&arena);
    if (problem.rc != RC_NO_MEMORY && findings->n_errors == errors_before) {
        *ret = m;
        return RC_OK;
    }
    manifest_free(m);
    if (problem.rc == RC_NO_MEMORY)
        return RC_NO_MEMORY;
    return err_set_code(err, RC_INVALID, findings->items[findings->n_items - 1].code, "%s: %s",
                        findings->items[findings->n_items - 1].path,
                        findings->items[findings->n_items - 1].message);
}

void manifest_peek_id(struct str text, char ret[201])
{
    struct arena arena;
    struct err err = ERR_INIT;
    ret[0] = 0;
    arena_init(&arena, LIMIT_MANIFEST_MEMORY);
    const struct node *id = node_get(json_parse(text, &arena, &err), "snapshot_id");
    if (id && id->kind == NODE_STRING && matches_alphabet(id->text, ":_.-"))
        memcpy(ret, id->text.p, id->text.n + 1);
    arena_done(&arena);
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    mem_free(m->dataset_id);
    mem_free(m->snapshot_id);
    mem_free(m->producer);
    mem_free(m->upstream_run_id);
    schema_done(&m->schema);
    for (size_t i = 0; i < m->n_files; i++) {
        mem_free(m->files[i].path);
        mem_free(m->files[i].location);
        mem_free(m->files[i].etag);
    }
    mem_free(m->files);
    mem_free(m);
}
