/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache directory.
 *
 *   <cache>/lock                                one process at a time
 *   <cache>/snapshots/<dataset>/<slug>/         snapshot.json, data.store: whole or not there
 *   <cache>/snapshots/<dataset>/index.json      which slug is active, which previous; what is
 *                                               quarantined
 *   <cache>/temporary/<dataset>.<n>/            builds; emptied at start
 *   <cache>/quarantine/                         what did not verify, the newest few
 *
 * A build becomes a snapshot by one rename after everything in it is on disk; an index that names
 * it is written after that, and directories no index names are removed. So a crash at any point
 * leaves the old snapshot or the new one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "refresh/refresh_int.h"

#define LIMIT_FACTS_BYTES (64u << 20)
#define QUARANTINE_KEPT 8

enum rc cache_prepare(const char *cache_dir, int *ret_lock_fd, struct err *err)
{
    static const char *const parts[] = {"snapshots", "temporary", "quarantine"};
    AUTO(mem_free_auto) char *lock = path_join(cache_dir, "lock");
    enum rc rc = io_mkdir_all(cache_dir, 0755, err);
    if (rc == RC_OK)
        rc = io_lock_file(lock, ret_lock_fd, err);
    if (rc == RC_BUSY)
        return err_set(
            err, RC_BUSY,
            "%s is in use by another offloader: give each process its own OFFLOADER_CACHE_DIR",
            cache_dir);
    for (size_t i = 0; rc == RC_OK && i < ARRAY_LEN(parts); i++) {
        AUTO(mem_free_auto) char *path = path_join(cache_dir, parts[i]);
        if (strcmp(parts[i], "temporary") == 0)
            rc = io_remove_tree(path, err);
        if (rc == RC_OK)
            rc = io_mkdir_all(path, 0755, err);
    }
    return rc == RC_OK ? RC_OK : err_prefix(err, "the cache directory (OFFLOADER_CACHE_DIR)");
}

static char *dataset_directory(const struct state *s)
{
    return x_printf("%s/snapshots/%s", s->refresh->options.cache_dir, s->id);
}

/* The entry itself is durable too: power that fails later takes no dataset's directory away. */
static enum rc make_dataset_directory(const struct state *s, struct err *err)
{
    AUTO(mem_free_auto) char *directory = dataset_directory(s);
    AUTO(mem_free_auto) char *parent = path_join(s->refresh->options.cache_dir, "snapshots");
    struct stat st;
    if (stat(directory, &st) == 0)
        return RC_OK;
    enum rc rc = io_mkdir_all(directory, 0755, err);
    if (rc == RC_OK)
        rc = io_fsync_dir(parent, err);
    return rc == RC_OK ? io_fsync_dir(s->refresh->options.cache_dir, err) : rc;
}

enum rc cache_begin_build(struct state *s, uint64_t number, char **ret_build, char **ret_temp,
                          struct err *err)
{
    AUTO(mem_free_auto) char *build =
        x_printf("%s/temporary/%s.%llu/build", s->refresh->options.cache_dir, s->id,
                 (unsigned long long)number);
    AUTO(mem_free_auto) char *temp =
        x_printf("%s/temporary/%s.%llu/spill", s->refresh->options.cache_dir, s->id,
                 (unsigned long long)number);
    enum rc rc = io_mkdir_all(build, 0755, err);
    if (rc == RC_OK)
        rc = io_mkdir_all(temp, 0755, err);
    if (rc != RC_OK)
        return rc;
    *ret_build = TAKE(build);
    *ret_temp = TAKE(temp);
    return RC_OK;
}

void cache_remove_left(struct state *s, uint64_t before)
{
    char **names = NULL;
    size_t n = 0, n_kept = 0, n_id = strlen(s->id);
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *parent = path_join(s->refresh->options.cache_dir, "temporary");
    if (s->left_from == 0 || io_list_dir(parent, &names, &n, &err) != RC_OK)
        return;
    for (size_t i = 0; i < n; i++) {
        uint64_t number = 0;
        if (strncmp(names[i], s->id, n_id) != 0 || names[i][n_id] != '.' ||
            !parse_uint64(str_from(names[i] + n_id + 1), &number) || number < s->left_from ||
            number >= before)
            continue;
        AUTO(mem_free_auto) char *path = path_join(parent, names[i]);
        n_kept += io_remove_tree(path, &err) != RC_OK;
    }
    io_free_names(names, n);
    if (n_kept == 0)
        s->left_from = 0;
}

/* ---- snapshot.json ---- */

static void put_hex(struct json_writer *w, const char *key, const uint8_t digest[32])
{
    char hex[SHA256_HEX_BYTES];
    hex_encode(digest, 32, hex);
    jw_key(w, key);
    jw_cstr(w, hex);
}

static void put_source(struct json_writer *w, const struct engine_source *s)
{
    jw_key(w, "exact");
    jw_bool(w, s->is_exact);
    jw_key(w, "files");
    jw_open(w, '[');
    for (size_t i = 0; i < s->n_files; i++) {
        jw_open(w, '{');
        jw_key(w, "location");
        jw_cstr(w, s->files[i].location);
        jw_key(w, "etag");
        jw_cstr(w, s->files[i].etag);
        jw_key(w, "size");
        jw_uint(w, s->files[i].size_bytes);
        jw_key(w, "parquet");
        jw_bool(w, s->files[i].format == FILE_PARQUET);
        jw_key(w, "remote");
        jw_bool(w, s->files[i].is_remote);
        jw_close(w, '}');
    }
    jw_close(w, ']');
    jw_key(w, "declared");
    jw_open(w, '[');
    for (size_t i = 0; i < s->declared.n_columns; i++) {
        jw_open(w, '{');
        jw_key(w, "name");
        jw_cstr(w, s->declared.columns[i].name);
        jw_key(w, "type");
        jw_cstr(w, column_type_name(s->declared.columns[i].type));
        jw_close(w, '}');
    }
    jw_close(w, ']');
}

static void put_facts(struct buf *b, const struct snapshot_facts *f)
{
    struct json_writer w;
    jw_init(&w, b);
    jw_open(&w, '{');
    jw_key(&w, "format");
    jw_int(&w, 1);
    jw_key(&w, "snapshot_id");
    jw_cstr(&w, f->snapshot_id);
    jw_key(&w, "model_tag");
    jw_cstr(&w, f->model_tag);
    jw_key(&w, "watermark_us");
    jw_int(&w, f->watermark_us);
    jw_key(&w, "created_at_us");
    jw_int(&w, f->created_at_us);
    jw_key(&w, "rows");
    jw_uint(&w, f->n_rows);
    jw_key(&w, "bytes");
    jw_uint(&w, f->n_bytes);
    if (f->has_store_crc) {
        jw_key(&w, "store_crc32c");
        jw_uint(&w, f->store_crc32c);
    }
    jw_key(&w, "in_place");
    jw_bool(&w, f->is_in_place);
    jw_key(&w, "quality_warning");
    jw_bool(&w, f->quality_warning);
    put_hex(&w, "fingerprint", f->fingerprint);
    put_hex(&w, "contract", f->contract_fingerprint);
    put_hex(&w, "build", f->build_fingerprint);
    put_hex(&w, "origin", f->origin_fingerprint);
    if (f->source)
        put_source(&w, f->source);
    jw_close(&w, '}');
}

void facts_done(struct snapshot_facts *f)
{
    mem_free(f->snapshot_id);
    mem_free(f->model_tag);
    engine_source_free(f->source);
    *f = (struct snapshot_facts){0};
}

static bool take_text(const struct node *root, const char *key, char **ret)
{
    const struct node *n = node_get(root, key);
    if (!n || n->kind != NODE_STRING)
        return false;
    *ret = x_strndup(n->text.p, n->text.n);
    return true;
}

static bool take_integer(const struct node *root, const char *key, int64_t *ret)
{
    const struct node *n = node_get(root, key);
    if (!n || n->kind != NODE_INT)
        return false;
    *ret = n->integer;
    return true;
}

static bool take_hex(const struct node *root, const char *key, uint8_t ret[32])
{
    const struct node *n = node_get(root, key);
    return n && n->kind == NODE_STRING && hex_decode(n->text, ret, 32);
}

static void take_file(const struct node *f, struct engine_file *ret)
{
    const struct node *parquet = node_get(f, "parquet"), *remote = node_get(f, "remote");
    int64_t size = 0;
    if (!take_text(f, "location", &ret->location))
        ret->location = x_strdup("");
    if (!take_text(f, "etag", &ret->etag))
        ret->etag = NULL;
    if (take_integer(f, "size", &size))
        ret->size_bytes = (uint64_t)size;
    ret->format = parquet && parquet->boolean ? FILE_PARQUET : FILE_CSV;
    ret->is_remote = remote && remote->boolean;
}

static struct engine_source *take_source(const struct node *root)
{
    const struct node *files = node_get(root, "files"), *declared = node_get(root, "declared");
    const struct node *exact = node_get(root, "exact");
    if (!files || !declared || !exact)
        return NULL;
    struct engine_source *s = engine_source_alloc(files->n_children);
    size_t at = 0;
    s->is_exact = exact->boolean;
    s->declared.columns = x_array0(declared->n_children + 1, sizeof *s->declared.columns);
    for (const struct node *f = files->first; f; f = f->next)
        take_file(f, &s->files[at++]);
    for (const struct node *c = declared->first; c; c = c->next) {
        const struct node *name = node_get(c, "name"), *type = node_get(c, "type");
        struct column *column = &s->declared.columns[s->declared.n_columns++];
        column->name = x_strdup(name ? name->text.p : "");
        if (!type || !column_type_parse(type->text, &column->type))
            column->type = TYPE_VARCHAR;
    }
    return s;
}

static bool take_facts(const struct node *root, const struct dataset *d, struct snapshot_facts *f)
{
    int64_t rows = 0, bytes = 0, crc = 0;
    const struct node *warning = node_get(root, "quality_warning");
    const struct node *in_place = node_get(root, "in_place");
    bool fine = take_text(root, "snapshot_id", &f->snapshot_id) &&
                take_text(root, "model_tag", &f->model_tag) &&
                take_integer(root, "watermark_us", &f->watermark_us) &&
                take_integer(root, "created_at_us", &f->created_at_us) &&
                take_integer(root, "rows", &rows) && take_integer(root, "bytes", &bytes) &&
                take_hex(root, "fingerprint", f->fingerprint) &&
                take_hex(root, "contract", f->contract_fingerprint) &&
                take_hex(root, "build", f->build_fingerprint);
    if (!take_hex(root, "origin", f->origin_fingerprint)) /* an older release wrote it */
        memcpy(f->origin_fingerprint, d->origin_fingerprint, 32);
    f->n_rows = (uint64_t)rows;
    f->n_bytes = (uint64_t)bytes;
    f->has_store_crc = take_integer(root, "store_crc32c", &crc);
    f->store_crc32c = (uint32_t)crc;
    f->quality_warning = warning && warning->boolean;
    f->is_in_place = in_place && in_place->boolean;
    f->source = take_source(root);
    return fine && (f->source || !f->is_in_place);
}

const struct node *cache_read_checked(const char *path, struct arena *arena, struct err *err)
{
    struct buf text;
    const struct node *root = NULL;
    buf_init(&text, LIMIT_FACTS_BYTES);
    if (io_read_checked(path, &text, err) == RC_OK)
        root = json_parse((struct str){text.p, text.n}, arena, err);
    buf_done(&text);
    return root;
}

/* ---- finishing a build ---- */

static char *make_slug(const char *snapshot_id, uint64_t number)
{
    char name[101];
    size_t n = 0;
    for (; snapshot_id[n] && n < sizeof name - 1; n++) {
        char c = snapshot_id[n];
        name[n] =
            c == ':' || c == '.' ? '_' : c; /* the rest of the alphabet suits every file system */
    }
    name[n] = 0;
    return x_printf("%s-%llx-%llx", name, (unsigned long long)wall_us(),
                    (unsigned long long)number);
}

static enum rc fsync_file(const char *directory, const char *name, struct err *err)
{
    AUTO(mem_free_auto) char *path = path_join(directory, name);
    AUTO(fd_auto) int fd = -1;
    enum rc rc = io_open(path, O_RDONLY | O_CLOEXEC, 0, &fd, err);
    return rc == RC_OK ? io_fsync(fd, path, err) : rc;
}

enum rc cache_finish_build(struct state *s, const char *build, const struct snapshot_facts *facts,
                           uint64_t number, char **ret_directory, struct err *err)
{
    AUTO(mem_free_auto) char *parent = dataset_directory(s);
    AUTO(mem_free_auto) char *slug = make_slug(facts->snapshot_id, number);
    AUTO(mem_free_auto) char *directory = path_join(parent, slug);
    AUTO(mem_free_auto) char *facts_path = path_join(build, "snapshot.json");
    struct buf json;
    buf_init(&json, LIMIT_FACTS_BYTES);
    put_facts(&json, facts);
    enum rc rc = io_write_checked(facts_path, &json, 0644, err);
    buf_done(&json);
    if (rc == RC_OK && !facts->is_in_place)
        rc = fsync_file(build, STORE_FILE_NAME, err);
    if (rc == RC_OK)
        rc = io_fsync_dir(build, err);
    if (rc == RC_OK)
        rc = make_dataset_directory(s, err);
    if (rc == RC_OK)
        rc = io_rename(build, directory, err);
    if (rc == RC_OK)
        rc = io_fsync_dir(parent, err);
    if (rc == RC_OK)
        *ret_directory = TAKE(directory);
    return rc;
}

/* ---- index ---- */

static const char *slug_of(const struct snapshot *s)
{
    const char *slash = s && s->directory ? strrchr(s->directory, '/') : NULL;
    return slash ? slash + 1 : NULL;
}

enum rc cache_write_index(const struct state *s, const struct snapshot *active,
                          const struct snapshot *previous, const char *quarantined, struct err *err)
{
    AUTO(mem_free_auto) char *parent = dataset_directory(s);
    AUTO(mem_free_auto) char *path = path_join(parent, "index.json");
    struct json_writer w;
    struct buf json;
    enum rc rc = make_dataset_directory(s, err);
    if (rc != RC_OK)
        return rc;
    buf_init(&json, LIMIT_FACTS_BYTES);
    jw_init(&w, &json);
    jw_open(&w, '{');
    jw_key(&w, "active");
    jw_cstr(&w, slug_of(active));
    jw_key(&w, "previous");
    jw_cstr(&w, slug_of(previous));
    jw_key(&w, "quarantined");
    jw_cstr(&w, *quarantined ? quarantined : NULL);
    jw_close(&w, '}');
    rc = io_write_checked(path, &json, 0644, err);
    buf_done(&json);
    return rc;
}

/* ---- opening ---- */

/* A store can be whole and yet be another's: what reads it believes the contract. */
static enum rc check_store(const struct store *s, const struct dataset *d,
                           const struct snapshot_facts *f, const char *directory, struct err *err)
{
    const char *why = NULL;
    if (store_rows(s) != f->n_rows)
        why = "has another number of rows than its facts say";
    else if (f->has_store_crc && store_crc32c(s) != f->store_crc32c)
        why = "is not the file that its facts are of";
    else if (!schema_equal(store_schema(s), &d->schema) ||
             store_tenant_column(s) != d->tenant_column)
        why = "is of another contract than the dataset";
    return why ? err_set(err, RC_CORRUPT, "%s: %s", directory, why) : RC_OK;
}

struct snapshot *cache_make_snapshot(const struct state *s, const struct dataset *d,
                                     struct snapshot_facts *f, const char *directory,
                                     struct err *err)
{
    struct snapshot *snapshot = snapshot_new();
    enum rc rc = f->is_in_place ? RC_OK : store_open(directory, &snapshot->store, err);
    if (rc == RC_OK && !f->is_in_place)
        rc = check_store(snapshot->store, d, f, directory, err);
    if (rc != RC_OK) {
        snapshot_unref(snapshot);
        return NULL;
    }
    snapshot->dataset_id = x_strdup(s->id);
    snapshot->snapshot_id = x_strdup(f->snapshot_id);
    snapshot->model_tag = x_strdup(f->model_tag);
    snapshot->directory = x_strdup(directory);
    snapshot->watermark_us = f->watermark_us;
    (void)format_rfc3339(snapshot->watermark_text, f->watermark_us);
    snapshot->created_at_us = f->created_at_us;
    snapshot->n_rows = f->n_rows;
    snapshot->n_bytes = f->is_in_place ? f->n_bytes : store_bytes(snapshot->store);
    snapshot->quality_warning = f->quality_warning;
    memcpy(snapshot->fingerprint, f->fingerprint, 32);
    memcpy(snapshot->contract_fingerprint, f->contract_fingerprint, 32);
    memcpy(snapshot->build_fingerprint, f->build_fingerprint, 32);
    memcpy(snapshot->origin_fingerprint, f->origin_fingerprint, 32);
    hex_encode(f->fingerprint, 8, snapshot->index_hash);
    snapshot->source = TAKE(f->source);
    janitor_adopt(s->refresh->janitor, snapshot);
    atomic_store(&snapshot->warm, snapshot->store == NULL);
    return snapshot;
}

void cache_quarantine(const struct refresh *r, const char *from)
{
    AUTO(mem_free_auto) char *parent = path_join(r->options.cache_dir, "quarantine");
    const char *slash = strrchr(from, '/');
    struct err err = ERR_INIT;
    char **names = NULL;
    size_t n = 0;
    if (io_list_dir(parent, &names, &n, &err) == RC_OK && n >= QUARANTINE_KEPT) {
        AUTO(mem_free_auto) char *oldest = path_join(parent, names[0]);
        IGNORE(io_remove_tree(oldest, &err)); /* only tidiness: the next one tries again */
    }
    /* The time comes first, so that the first name is the oldest; also after the clock was set
     * back. */
    unsigned long long last = n ? strtoull(names[n - 1], NULL, 16) : 0;
    unsigned long long at = (unsigned long long)wall_us();
    AUTO(mem_free_auto) char *target =
        x_printf("%s/%016llx-%s", parent, at > last ? at : last + 1, slash ? slash + 1 : from);
    io_free_names(names, n);
    if (io_rename(from, target, &err) != RC_OK)
        log_event(LOG_WARN, "cache", "cannot move to quarantine what does not verify",
                  LF_STR("error", err.message));
}

/* The snapshot in @slug, or NULL after quarantining what is there and does not verify; where that
 * is its store alone, @ret_lost gets its fingerprint. */
static struct snapshot *open_slug(const struct state *s, const char *parent, const char *slug,
                                  uint8_t ret_lost[32])
{
    AUTO(mem_free_auto) char *directory = path_join(parent, slug);
    AUTO(mem_free_auto) char *facts_path = path_join(directory, "snapshot.json");
    struct snapshot_facts facts = {0};
    struct snapshot *snapshot = NULL;
    struct arena arena;
    struct err err = ERR_INIT;
    struct stat st;
    arena_init(&arena, UINT64_C(16) * LIMIT_FACTS_BYTES);
    const struct node *root = cache_read_checked(facts_path, &arena, &err);
    bool readable = root && take_facts(root, state_dataset(s), &facts);
    /* Store or files alone serve both modes until the rebuild; for_duckdb reads files only. */
    bool fits = readable && (facts.source || !s->refresh->options.for_duckdb) &&
                memcmp(facts.contract_fingerprint, state_dataset(s)->contract_fingerprint, 32) == 0;
    if (fits)
        snapshot = cache_make_snapshot(s, state_dataset(s), &facts, directory, &err);
    if (fits && !snapshot)
        memcpy(ret_lost, facts.fingerprint, 32);
    facts_done(&facts);
    arena_done(&arena);
    if (!snapshot && stat(directory, &st) == 0 && !(readable && !fits)) {
        log_event(LOG_WARN, "cache", "a cached snapshot does not verify and is rebuilt",
                  LF_STR("dataset", s->id), LF_STR("error", err.message));
        cache_quarantine(s->refresh, directory);
    }
    return snapshot;
}

/* Removes everything in @parent but what @kept (NULL-ended) names. */
static void remove_others(const char *parent, const char *const *kept)
{
    char **names = NULL;
    size_t n = 0;
    struct err err = ERR_INIT;
    if (io_list_dir(parent, &names, &n, &err) != RC_OK)
        return;
    for (size_t i = 0; i < n; i++) {
        AUTO(mem_free_auto) char *path = path_join(parent, names[i]);
        bool is_kept = false;
        for (size_t k = 0; kept[k]; k++)
            is_kept |= strcmp(names[i], kept[k]) == 0;
        if (!is_kept)
            IGNORE(io_remove_tree(path, &err)); /* only tidiness: the next start tries again */
    }
    io_free_names(names, n);
}

static void read_index(struct state *s, const char *parent, char ret_quarantined[DECIDE_ID_BYTES])
{
    AUTO(mem_free_auto) char *path = path_join(parent, "index.json");
    struct arena arena;
    struct err err = ERR_INIT;
    uint8_t lost[32]; /* of a rollback target: nobody gets it back */
    arena_init(&arena, UINT64_C(16) * LIMIT_FACTS_BYTES);
    const struct node *root = cache_read_checked(path, &arena, &err);
    const struct node *active = node_get(root, "active"), *previous = node_get(root, "previous");
    const struct node *quarantined = node_get(root, "quarantined");
    if (!root && err.rc != RC_NOT_FOUND) {
        log_event(LOG_WARN, "cache", "the index of a dataset does not verify; it starts cold",
                  LF_STR("dataset", s->id), LF_STR("error", err.message));
        cache_quarantine(s->refresh, path);
    }
    if (active && active->kind == NODE_STRING)
        s->active = open_slug(s, parent, active->text.p, s->lost);
    if (previous && previous->kind == NODE_STRING)
        s->previous = open_slug(s, parent, previous->text.p, lost);
    if (quarantined && quarantined->kind == NODE_STRING)
        (void)snprintf(ret_quarantined, DECIDE_ID_BYTES, "%s", quarantined->text.p);
    arena_done(&arena);
}

void cache_warm_start(struct state *s)
{
    AUTO(mem_free_auto) char *parent = dataset_directory(s);
    char quarantined[DECIDE_ID_BYTES] = "";
    struct contract contract;
    read_index(s, parent, quarantined);
    if (!s->active && s->previous) {
        log_event(LOG_WARN, "cache", "the previous snapshot serves until the active one is rebuilt",
                  LF_STR("dataset", s->id), LF_STR("snapshot_id", s->previous->snapshot_id));
        s->active = TAKE(s->previous);
    }
    const char *const kept[] = {"index.json", slug_of(s->active),
                                s->active ? slug_of(s->previous) : NULL, NULL};
    remove_others(parent, kept);
    contract_of(state_dataset(s), &contract);
    decide_init(&s->machine, &contract, s->active ? s->active->snapshot_id : NULL,
                s->previous ? s->previous->snapshot_id : NULL, quarantined);
    decide_origins(&s->machine, s->active ? s->active->origin_fingerprint : NULL,
                   s->previous ? s->previous->origin_fingerprint : NULL);
    if (s->active && memcmp(s->active->build_fingerprint, contract.build, 32) != 0)
        decide_rebuild(
            &s->machine); /* it serves, though in a form that endpoints do not call for */
    s->quality_warning = s->active && s->active->quality_warning;
}

void cache_forget(const struct state *s)
{
    AUTO(mem_free_auto) char *parent = dataset_directory(s);
    AUTO(mem_free_auto) char *path = path_join(parent, "index.json");
    (void)unlink(path); /* directories that nobody names go at the next start at the latest */
}

void cache_remove_strangers(const struct refresh *r, const struct project *p)
{
    AUTO(mem_free_auto) char *parent = path_join(r->options.cache_dir, "snapshots");
    AUTO(mem_free_auto) const char **kept = x_array0(p->n_datasets + 1, sizeof *kept);
    for (size_t i = 0; i < p->n_datasets; i++)
        kept[i] = p->datasets[i].id;
    remove_others(parent, kept);
}
