/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the files of a project in an order that lets each check against what stands before it:
 * offloader.yml, datasets, endpoints, keys. Every file's findings are collected; nothing stops at
 * the first one.
 */
#include <errno.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "project/read.h"

struct loader {
    struct reader r;
    struct project *p;
    struct arena trees; /* YAML trees of one file; reset after each */
    struct buf text;
    struct sha256_stream *version;
    size_t n_errors_before; /* findings of others */
    char *datasets_dir, *endpoints_dir, *keys;
    bool has_datasets_dir, has_endpoints_dir;
    struct node datasets_at, endpoints_at, auth_at; /* line and column; their tree is gone */
};

/* Into the project's memory, for a load that unwinds frees nothing else. NULL stays NULL. */
static char *keep(struct reader *r, char *taken)
{
    char *kept = taken ? arena_try_strndup(r->arena, taken, strlen(taken)) : NULL;
    bool no_memory = taken && !kept;
    int saved = errno; /* of what gave NULL */
    mem_free(taken);
    if (no_memory)
        longjmp(*r->no_memory, 1);
    errno = saved;
    return kept;
}

/* Reads and parses @path, shown as @shown and called @name in the version. NULL after a finding. */
static const struct node *parse_file(struct loader *l, const char *path, const char *shown,
                                     const char *name, size_t limit_bytes)
{
    struct err err = ERR_INIT;
    struct node at = {.line = 0};
    l->r.file = read_copy(&l->r, str_from(shown));
    arena_reset(&l->trees);
    buf_done(&l->text);
    buf_init(&l->text, limit_bytes);
    enum rc rc = io_read_file(path, &l->text, &err);
    if (rc != RC_OK) {
        read_finding(&l->r, &at, "",
                     rc == RC_NOT_FOUND ? "missing_file"
                     : rc == RC_LIMIT   ? "file_too_large"
                                        : "unreadable_file",
                     NULL, "%s", rc == RC_NOT_FOUND ? "the file does not exist" : err.message);
        return NULL;
    }
    sha256_add(l->version, name, strlen(name) + 1);
    sha256_add(l->version, l->text.p, l->text.n);
    return yaml_parse((struct str){l->text.p, l->text.n}, l->r.file, &l->trees, l->r.findings);
}

/* Where @key stands, else the first line: for findings after the tree is gone. */
static struct node place_of(const struct node *root, const char *key)
{
    const struct node *n = node_get(root, key);
    return (struct node){.line = n ? n->line : 1, .column = n ? n->column : 1};
}

static char *directory_read(struct loader *l, const struct node *root, const char *key,
                            const char *otherwise, bool *ret_given)
{
    char *path = read_string(&l->r, root, "", key, false);
    *ret_given = path != NULL;
    if (path && !path_stays_inside(path)) {
        read_finding(&l->r, node_get(root, key), key, "unsafe_path", NULL,
                     "must be a relative path inside the project");
        path = NULL;
    }
    return path ? path : read_copy(&l->r, str_from(otherwise));
}

static void project_file_read(struct loader *l, const struct node *root)
{
    static const char *const known[] = {
        "version", "datasets_dir", "endpoints_dir", "keys", "auth", "object_store_mode", NULL};
    static const char *const auths[] = {"required", "none", NULL};
    struct reader *r = &l->r;
    int64_t version = 1;
    if (!read_map(r, root, "", known))
        return;
    if (read_integer(r, root, "", "version", true, &version) && version != 1)
        read_finding(r, node_get(root, "version"), "version", "invalid_value", NULL, "must be 1");
    (void)snprintf(l->p->config_version, sizeof l->p->config_version, "%lld", (long long)version);
    l->datasets_dir = directory_read(l, root, "datasets_dir", "datasets", &l->has_datasets_dir);
    l->endpoints_dir = directory_read(l, root, "endpoints_dir", "endpoints", &l->has_endpoints_dir);
    l->datasets_at = place_of(root, "datasets_dir");
    l->endpoints_at = place_of(root, "endpoints_dir");
    l->auth_at = place_of(root, "auth");
    l->keys = read_string(r, root, "", "keys", false);
    if (l->keys && *l->keys != '/' && !path_stays_inside(l->keys)) {
        read_finding(r, node_get(root, "keys"), "keys", "unsafe_path", NULL,
                     "must be inside the project, or an absolute path");
        l->keys = NULL;
    }
    l->p->auth_required = read_word(r, root, "", "auth", false, auths, 0) == 0;
    l->p->object_store_mode = read_string(r, root, "", "object_store_mode", false);
    if (l->p->auth_required && !read_get(r, root, "", "keys", false))
        read_warning(r, root, "keys", "no_keys",
                     "auth is required and there is no keys file: every call will be 401");
}

static bool is_yaml_name(const char *name)
{
    struct str s = str_from(name);
    return *name != '.' && (str_ends(s, ".yml") || str_ends(s, ".yaml"));
}

struct file_list {
    char **names;
    size_t n;
};

static void file_list_done(struct file_list *f)
{
    io_free_names(f->names, f->n);
}

/* YAML files of a directory of the project, sorted; a missing default directory is an empty one. */
static void list_directory(struct loader *l, const char *directory, bool given, const char *key,
                           const struct node *at, struct file_list *ret)
{
    const char *path = keep(&l->r, path_join(l->p->root, directory));
    char **names = NULL;
    size_t n = 0;
    struct err err = ERR_INIT;
    enum rc rc = io_list_dir(path, &names, &n, &err);
    l->r.file = "offloader.yml";
    if (rc != RC_OK) {
        if (given || rc != RC_NOT_FOUND)
            read_finding(&l->r, at, key, "missing_file", NULL, "the directory `%s` cannot be read",
                         directory);
        else
            read_warning(&l->r, at, key, "missing_file", "there is no directory `%s`", directory);
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_yaml_name(names[i]))
            names[kept++] = names[i];
        else
            mem_free(names[i]);
    }
    *ret = (struct file_list){names, kept};
    if (kept > LIMIT_PROJECT_FILES)
        read_finding(&l->r, at, key, "invalid_value", NULL, "`%s` has more than %d files",
                     directory, LIMIT_PROJECT_FILES);
}

static const struct node *parse_in_directory(struct loader *l, const char *directory,
                                             const char *name)
{
    const char *shown =
        read_path(&l->r, "%s%s%s", directory, str_ends(str_from(directory), "/") ? "" : "/", name);
    const char *path = keep(&l->r, path_join(l->p->root, shown));
    return parse_file(l, path, shown, shown, LIMIT_YAML_BYTES);
}

static void datasets_load(struct loader *l, const struct file_list *files)
{
    struct project *p = l->p;
    p->datasets = read_take(&l->r, files->n, sizeof *p->datasets);
    for (size_t i = 0; i < files->n; i++) {
        const struct node *root = parse_in_directory(l, l->datasets_dir, files->names[i]);
        if (!root)
            continue;
        struct dataset d;
        dataset_read(&l->r, root, &d);
        for (size_t j = 0; d.id && j < p->n_datasets; j++) {
            if (str_is(str_from(d.id), p->datasets[j].id)) {
                read_finding(&l->r, node_get(root, "id"), "id", "duplicate_dataset", NULL,
                             "another file declares dataset `%s`", d.id);
                d.id = NULL;
            }
        }
        if (d.id)
            p->datasets[p->n_datasets++] = d;
    }
}

static void endpoints_load(struct loader *l, const struct file_list *files)
{
    struct project *p = l->p;
    p->endpoints = read_take(&l->r, files->n, sizeof *p->endpoints);
    for (size_t i = 0; i < files->n; i++) {
        const struct node *root = parse_in_directory(l, l->endpoints_dir, files->names[i]);
        if (!root)
            continue;
        struct endpoint *e = &p->endpoints[p->n_endpoints];
        endpoint_read(&l->r, root, p, e);
        if (e->tenant_scoped && !p->auth_required) {
            const char *file = l->r.file;
            l->r.file = "offloader.yml";
            read_finding(&l->r, &l->auth_at, "auth", "public_tenant_endpoint", NULL,
                         "auth is none, but endpoint `%s` is tenant-scoped",
                         e->name ? e->name : file);
            l->r.file = file;
        }
        if (!e->name)
            continue;
        if (map_get(&p->endpoint_by_name, str_from(e->name))) {
            read_finding(&l->r, node_get(root, "name"), "name", "duplicate_endpoint", NULL,
                         "another file declares endpoint `%s`", e->name);
            continue;
        }
        e->ordinal = (int)p->n_endpoints;
        if (!map_put(&p->endpoint_by_name, str_from(e->name), e, NULL))
            longjmp(*l->r.no_memory, 1);
        p->n_endpoints++;
    }
    p->n_endpoint_words = p->n_endpoints / 64 + 1;
}

static void keys_load(struct loader *l)
{
    if (!l->keys)
        return;
    const char *path = l->p->keys_path = keep(&l->r, path_join(l->p->root, l->keys));
    /* Instances that mount their secrets at different places have the same version. */
    const char *name = *l->keys == '/' ? "keys.yml" : l->keys;
    const struct node *root = parse_file(l, path, l->keys, name, LIMIT_KEYS_FILE_BYTES);
    if (root)
        keys_read(&l->r, root, l->p);
}

static void load_all(struct loader *l, struct file_list *datasets, struct file_list *endpoints)
{
    const struct node *root =
        parse_file(l, l->p->file, "offloader.yml", "offloader.yml", LIMIT_YAML_BYTES);
    uint8_t digest[32];
    if (!root)
        return;
    if (root->kind != NODE_MAP) {
        read_finding(&l->r, root, "", "not_a_map", NULL, "must be a mapping");
        return;
    }
    project_file_read(l, root);
    if (!l->datasets_dir)
        return;
    list_directory(l, l->datasets_dir, l->has_datasets_dir, "datasets_dir", &l->datasets_at,
                   datasets);
    datasets_load(l, datasets);
    list_directory(l, l->endpoints_dir, l->has_endpoints_dir, "endpoints_dir", &l->endpoints_at,
                   endpoints);
    endpoints_load(l, endpoints);
    keys_load(l);
    sha256_finish(TAKE(l->version), digest);
    memcpy(l->p->fingerprint, digest, sizeof digest);
    if (l->r.findings->n_errors == l->n_errors_before)
        project_prepare(&l->r, l->p);
}

/* Root directory and offloader.yml of @path, absolute and without symbolic links. */
static enum rc find_root(const char *path, struct project *p, struct reader *r, struct err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        path = keep(r, path_join(path, "offloader.yml"));
    char *resolved = keep(r, path_real(path));
    if (!resolved && (errno == ENOENT || errno == ENOTDIR))
        return err_set(err, RC_NOT_FOUND, "%s: there is no such project file", path);
    if (!resolved)
        return err_set_errno(err, RC_IO, errno, "cannot look at '%s'", path);
    p->file = resolved;
    char *slash = strrchr(resolved, '/');
    p->root = read_copy(r, slash == resolved ? STR("/")
                                             : (struct str){resolved, (size_t)(slash - resolved)});
    return RC_OK;
}

/* One datasets/<id>.yml by itself. */
static void load_dataset(struct loader *l, const char *path)
{
    const struct node *root = parse_file(l, path, path, path, LIMIT_YAML_BYTES);
    l->p->datasets = read_take(&l->r, 1, sizeof *l->p->datasets);
    if (!root)
        return;
    dataset_read(&l->r, root, &l->p->datasets[0]);
    l->p->n_datasets = l->p->datasets[0].id != NULL;
}

static enum rc load(const char *path, bool is_dataset, struct errlist *findings,
                    struct project **ret, struct err *err)
{
    struct project *volatile p = x_alloc0(sizeof *p);
    struct loader *l = x_alloc0(sizeof *l);
    struct file_list *lists = x_array0(2, sizeof *lists);
    jmp_buf no_memory;
    volatile enum rc rc = RC_NO_MEMORY;
    const size_t n_errors_before = l->n_errors_before = findings->n_errors;
    arena_init(&p->arena, LIMIT_PROJECT_MEMORY_BYTES);
    arena_init(&l->trees, LIMIT_PROJECT_MEMORY_BYTES);
    l->r = (struct reader){"offloader.yml", findings, &p->arena, &no_memory};
    l->p = p;
    l->version = sha256_new();
    if (setjmp(no_memory) == 0) {
        rc = is_dataset ? RC_OK : find_root(path, p, &l->r, err);
        if (is_dataset)
            load_dataset(l, path);
        else if (rc == RC_OK)
            load_all(l, &lists[0], &lists[1]);
    } else {
        rc = err_set(err, RC_NO_MEMORY, "the project needs more memory than there is");
    }
    sha256_free(l->version);
    arena_done(&l->trees);
    buf_done(&l->text);
    mem_free(l);
    file_list_done(&lists[0]);
    file_list_done(&lists[1]);
    mem_free(lists);
    if (rc == RC_OK && findings->n_errors == n_errors_before) {
        *ret = p;
        return RC_OK;
    }
    project_free(p);
    if (rc == RC_OK)
        return err_set_code(err, RC_INVALID, "invalid_project", "the project has %zu error(s)",
                            findings->n_errors - n_errors_before);
    return rc;
}

enum rc project_load(const char *path, struct errlist *findings, struct project **ret,
                     struct err *err)
{
    return load(path, false, findings, ret, err);
}

enum rc project_load_dataset(const char *path, struct errlist *findings, struct project **ret,
                             struct err *err)
{
    return load(path, true, findings, ret, err);
}

void project_free(struct project *p)
{
    if (!p)
        return;
    map_done(&p->endpoint_by_name);
    arena_done(&p->arena);
    mem_free(p);
}
