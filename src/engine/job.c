/* SPDX-License-Identifier: Apache-2.0 */
/* The job's JSON, both ways. Sizes and counts travel as numbers, digests as hex. */
#include "engine/job.h"

#include "base/hash.h"
#include "base/mem.h"

/* ---- writing ---- */

static void write_schema(struct json_writer *w, const char *key, const struct schema *s)
{
    jw_key(w, key);
    jw_open(w, '[');
    for (size_t i = 0; i < s->n_columns; i++) {
        jw_open(w, '{');
        jw_key(w, "name");
        jw_cstr(w, s->columns[i].name);
        jw_key(w, "type");
        jw_cstr(w, column_type_name(s->columns[i].type));
        jw_close(w, '}');
    }
    jw_close(w, ']');
}

static void write_files(struct json_writer *w, const struct manifest *m, const char *const *paths)
{
    char hex[SHA256_HEX_BYTES];
    jw_key(w, "files");
    jw_open(w, '[');
    for (size_t i = 0; i < m->n_files; i++) {
        const struct data_file *f = &m->files[i];
        jw_open(w, '{');
        jw_key(w, "path");
        jw_cstr(w, paths[i]);
        jw_key(w, "shown_as");
        jw_cstr(w, f->path);
        jw_key(w, "format");
        jw_cstr(w, f->format == FILE_PARQUET ? "parquet" : "csv");
        if (f->has_row_count) {
            jw_key(w, "row_count");
            jw_uint(w, f->row_count);
        }
        if (f->has_size_bytes) {
            jw_key(w, "size_bytes");
            jw_uint(w, f->size_bytes);
        }
        if (f->has_sha256) {
            hex_encode(f->sha256, 32, hex);
            jw_key(w, "sha256");
            jw_cstr(w, hex);
        }
        jw_close(w, '}');
    }
    jw_close(w, ']');
    jw_key(w, "exact");
    jw_bool(w, m->compatibility == COMPAT_EXACT);
    if (m->has_row_count) {
        jw_key(w, "row_count");
        jw_uint(w, m->row_count);
    }
}

static void write_integers(struct json_writer *w, const char *key, const int *p, size_t n)
{
    jw_key(w, key);
    jw_open(w, '[');
    for (size_t i = 0; i < n; i++)
        jw_int(w, p[i]);
    jw_close(w, ']');
}

void job_write(struct buf *b, const struct ingest_job *job)
{
    const struct dataset *d = job->dataset;
    struct json_writer w;
    jw_init(&w, b);
    jw_open(&w, '{');
    write_schema(&w, "contract", &d->schema);
    write_schema(&w, "declared", &job->manifest->schema);
    write_files(&w, job->manifest, job->local_paths);
    jw_key(&w, "tenant_column");
    jw_int(&w, d->tenant_column);
    write_integers(&w, "sort_columns", d->sort_columns, (size_t)d->n_sort_columns);
    jw_key(&w, "equality_columns");
    jw_open(&w, '[');
    for (size_t i = 0; i < d->schema.n_columns; i++)
        if (d->equality_columns[i])
            jw_int(&w, (int64_t)i);
    jw_close(&w, ']');
    jw_key(&w, "unique");
    jw_open(&w, '[');
    for (size_t i = 0; i < d->checks.n_unique; i++) {
        jw_open(&w, '[');
        for (size_t j = 0; j < d->checks.unique[i].n_columns; j++)
            jw_int(&w, d->checks.unique[i].columns[j]);
        jw_close(&w, ']');
    }
    jw_close(&w, ']');
    jw_key(&w, "target");
    jw_cstr(&w, job->target_directory);
    jw_key(&w, "temp");
    jw_cstr(&w, job->temp_directory);
    if (job->active_directory) {
        jw_key(&w, "active");
        jw_cstr(&w, job->active_directory);
    }
    jw_key(&w, "threads");
    jw_int(&w, job->limits.threads);
    jw_key(&w, "memory_bytes");
    jw_uint(&w, job->limits.memory_bytes);
    jw_close(&w, '}');
}

/* ---- reading ---- */

static const char *text_of(const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    return n && n->kind == NODE_STRING ? n->text.p : NULL;
}

static bool integer_of(const struct node *map, const char *key, uint64_t *ret)
{
    const struct node *n = node_get(map, key);
    if (!n || n->kind != NODE_INT)
        return false;
    *ret = (uint64_t)n->integer;
    return true;
}

static bool read_schema(const struct node *list, struct arena *arena, struct schema *ret)
{
    if (!list || list->kind != NODE_LIST)
        return false;
    ret->columns = arena_try_array(arena, list->n_children + 1, sizeof *ret->columns);
    if (!ret->columns)
        return false;
    for (const struct node *n = list->first; n; n = n->next) {
        struct column *c = &ret->columns[ret->n_columns++];
        const char *name = text_of(n, "name"), *type = text_of(n, "type");
        c->name = name ? arena_try_strndup(arena, name, strlen(name)) : NULL;
        if (!c->name || !type || !column_type_parse(str_from(type), &c->type))
            return false;
    }
    return true;
}

static bool read_files(const struct node *list, struct arena *arena, struct child_job *j)
{
    if (!list || list->kind != NODE_LIST)
        return false;
    j->files = arena_try_array(arena, list->n_children + 1, sizeof *j->files);
    if (!j->files)
        return false;
    for (const struct node *n = list->first; n; n = n->next) {
        struct job_file *f = &j->files[j->n_files++];
        const char *format = text_of(n, "format"), *digest = text_of(n, "sha256");
        f->path = text_of(n, "path");
        f->shown_as = text_of(n, "shown_as");
        if (!f->path || !f->shown_as || !format)
            return false;
        f->format = strcmp(format, "parquet") == 0 ? FILE_PARQUET : FILE_CSV;
        f->has_row_count = integer_of(n, "row_count", &f->row_count);
        f->has_size_bytes = integer_of(n, "size_bytes", &f->size_bytes);
        f->has_sha256 = digest && hex_decode(str_from(digest), f->sha256, 32);
    }
    return true;
}

static bool read_columns(const struct node *root, struct arena *arena, struct child_job *j)
{
    const struct node *list = node_get(root, "sort_columns");
    for (const struct node *n = list ? list->first : NULL; n; n = n->next)
        if (j->n_sort_columns < STORE_LIMIT_SORT_COLUMNS)
            j->sort_columns[j->n_sort_columns++] = (int)n->integer;
    j->equality_columns =
        arena_try_array(arena, j->contract.n_columns + 1, sizeof *j->equality_columns);
    if (!j->equality_columns)
        return false;
    list = node_get(root, "equality_columns");
    for (const struct node *n = list ? list->first : NULL; n; n = n->next)
        if (n->integer >= 0 && (size_t)n->integer < j->contract.n_columns)
            j->equality_columns[n->integer] = true;
    list = node_get(root, "unique");
    j->unique = arena_try_array(arena, list ? list->n_children + 1 : 1, sizeof *j->unique);
    for (const struct node *n = list && j->unique ? list->first : NULL; n; n = n->next) {
        struct column_set *set = &j->unique[j->n_unique++];
        set->columns = arena_try_array(arena, n->n_children + 1, sizeof *set->columns);
        if (!set->columns)
            return false;
        for (const struct node *c = n->first; c; c = c->next)
            set->columns[set->n_columns++] = (int)c->integer;
    }
    return j->unique != NULL;
}

enum rc job_read(struct str text, struct arena *arena, struct child_job *j, struct err *err)
{
    const struct node *root = json_parse(text, arena, err);
    uint64_t n = 0;
    *j = (struct child_job){.tenant_column = -1, .threads = 1};
    if (!root)
        return err ? err->rc : RC_INTERNAL;
    if (!read_schema(node_get(root, "contract"), arena, &j->contract) ||
        !read_schema(node_get(root, "declared"), arena, &j->declared) ||
        !read_files(node_get(root, "files"), arena, j) || !read_columns(root, arena, j))
        return err_set(err, RC_INTERNAL, "the job is not well-formed");
    if (integer_of(root, "tenant_column", &n))
        j->tenant_column = (int)(int64_t)n;
    j->has_row_count = integer_of(root, "row_count", &j->row_count);
    if (integer_of(root, "threads", &n))
        j->threads = (int)n;
    if (integer_of(root, "memory_bytes", &n))
        j->memory_bytes = n;
    const struct node *flag = node_get(root, "exact");
    j->is_exact = flag && flag->boolean;
    j->target = text_of(root, "target");
    j->temp = text_of(root, "temp");
    j->active = text_of(root, "active");
    return RC_OK;
}
