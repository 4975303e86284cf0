/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Revisions of a bucket project on this disk.
 *
 *   <cache>/config/<revision>/    the tree, nothing else in it
 *   <cache>/config/applied.json   which revision was applied last, from where, and each file's
 * SHA-256 <cache>/config/fetch-<x>/     a fetch under way; left-overs go at the next tidying
 */
#include "refresh/config_int.h"

#include <dirent.h>
#include <fcntl.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "refresh/refresh_int.h"

#define LIMIT_COPY_DEPTH 128

void config_copy_done(struct config_copy *c)
{
    for (size_t i = 0; i < c->n_files; i++)
        mem_free(c->files[i].name);
    mem_free(c->files);
    *c = (struct config_copy){0};
}

static void number_revision(struct config_copy *c)
{
    uint8_t digest[32];
    struct sha256_stream *hash = sha256_new();
    for (size_t i = 0; i < c->n_files; i++) {
        sha256_add(hash, c->files[i].name, strlen(c->files[i].name) + 1);
        sha256_add(hash, c->files[i].sha256, 32);
    }
    sha256_finish(hash, digest);
    hex_encode(digest, 8, c->revision);
}

static enum rc flush_file(const char *path, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    enum rc rc = io_open(path, O_RDONLY | O_CLOEXEC, 0, &fd, err);
    return rc == RC_OK ? io_fsync(fd, path, err) : rc;
}

enum rc config_copy_take(const char *directory, const struct object_list *l,
                         struct config_copy *ret, struct err *err)
{
    enum rc rc = RC_OK;
    ret->files = x_array0(l->n_items + 1, sizeof *ret->files);
    for (size_t i = 0; rc == RC_OK && i < l->n_items; i++) {
        if (config_is_placeholder(&l->items[i]))
            continue;
        struct config_file *f = &ret->files[ret->n_files++];
        AUTO(mem_free_auto) char *path = path_join(directory, l->items[i].name);
        f->name = x_strdup(l->items[i].name);
        rc = io_sha256_file(path, f->sha256, &f->size_bytes, err);
        if (rc == RC_OK)
            rc = flush_file(path, err);
    }
    if (rc == RC_OK)
        number_revision(ret);
    return rc;
}

/* ---- applied.json ---- */

static char *applied_path(const char *directory)
{
    return path_join(directory, "applied.json");
}

static void put_digest(struct json_writer *w, const char *key, const uint8_t digest[32])
{
    char hex[SHA256_HEX_BYTES];
    hex_encode(digest, 32, hex);
    jw_key(w, key);
    jw_cstr(w, hex);
}

enum rc config_copy_write(const char *directory, const struct config_copy *c, struct err *err)
{
    AUTO(mem_free_auto) char *path = applied_path(directory);
    struct json_writer w;
    struct buf json;
    buf_init(&json, 16u << 20);
    jw_init(&w, &json);
    jw_open(&w, '{');
    jw_key(&w, "revision");
    jw_cstr(&w, c->revision);
    put_digest(&w, "source", c->source);
    put_digest(&w, "listing", c->listing);
    jw_key(&w, "files");
    jw_open(&w, '[');
    for (size_t i = 0; i < c->n_files; i++) {
        jw_open(&w, '{');
        jw_key(&w, "name");
        jw_cstr(&w, c->files[i].name);
        put_digest(&w, "sha256", c->files[i].sha256);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
    enum rc rc = io_write_checked(path, &json, 0600, err);
    buf_done(&json);
    return rc;
}

static bool take_digest(const struct node *n, const char *key, uint8_t ret[32])
{
    const struct node *hex = node_get(n, key);
    return hex && hex->kind == NODE_STRING && hex_decode(hex->text, ret, 32);
}

static bool take_copy(const struct node *root, struct config_copy *ret)
{
    const struct node *revision = node_get(root, "revision"), *files = node_get(root, "files");
    if (!revision || revision->kind != NODE_STRING || revision->text.n != 16 || !files ||
        files->kind != NODE_LIST || !take_digest(root, "source", ret->source) ||
        !take_digest(root, "listing", ret->listing))
        return false;
    memcpy(ret->revision, revision->text.p, 17);
    ret->files = x_array0(files->n_children + 1, sizeof *ret->files);
    for (const struct node *f = files->first; f; f = f->next) {
        const struct node *name = node_get(f, "name");
        struct config_file *file = &ret->files[ret->n_files];
        if (!name || name->kind != NODE_STRING || config_name_problem(name->text) ||
            !take_digest(f, "sha256", file->sha256))
            return false;
        file->name = x_strndup(name->text.p, name->text.n);
        ret->n_files++;
    }
    return true;
}

enum rc config_copy_read(const char *directory, const uint8_t source[32], struct config_copy *ret,
                         struct err *err)
{
    AUTO(mem_free_auto) char *path = applied_path(directory);
    struct arena arena;
    enum rc rc = RC_OK;
    arena_init(&arena, UINT64_C(64) << 20);
    const struct node *root = cache_read_checked(path, &arena, err);
    if (!root || !take_copy(root, ret) || memcmp(ret->source, source, 32) != 0) {
        config_copy_done(ret);
        rc = err_set(err, RC_NOT_FOUND, "no copy of this project is kept");
    }
    arena_done(&arena);
    return rc;
}

/* ---- verifying ---- */

static size_t count_files(const char *path, int depth)
{
    char **names = NULL;
    size_t n = 0, total = 0;
    struct err err = ERR_INIT;
    if (io_list_dir(path, &names, &n, &err) != RC_OK)
        return SIZE_MAX / 2; /* certainly not what was recorded */
    for (size_t i = 0; i < n; i++) {
        AUTO(mem_free_auto) char *child = path_join(path, names[i]);
        struct stat st;
        if (lstat(child, &st) == 0 && S_ISDIR(st.st_mode) && depth < LIMIT_COPY_DEPTH)
            total += count_files(child, depth + 1);
        else
            total++;
    }
    io_free_names(names, n);
    return total;
}

enum rc config_copy_verify(const char *tree, const struct config_copy *c, struct err *err)
{
    for (size_t i = 0; i < c->n_files; i++) {
        AUTO(mem_free_auto) char *path = path_join(tree, c->files[i].name);
        uint8_t digest[32];
        uint64_t n_bytes;
        if (io_sha256_file(path, digest, &n_bytes, err) != RC_OK)
            return err_set(err, RC_CORRUPT, "the kept copy lacks a file");
        if (memcmp(digest, c->files[i].sha256, 32) != 0)
            return err_set(err, RC_CORRUPT, "the kept copy does not verify");
    }
    if (count_files(tree, 0) != c->n_files)
        return err_set(err, RC_CORRUPT, "the kept copy holds files that it should not");
    return RC_OK;
}

/* ---- tidying ---- */

void config_copy_tidy(const char *directory, const struct config_keep *keep)
{
    char **names = NULL;
    size_t n = 0;
    struct err err = ERR_INIT;
    if (io_list_dir(directory, &names, &n, &err) != RC_OK)
        return;
    for (size_t i = 0; i < n; i++) {
        AUTO(mem_free_auto) char *path = path_join(directory, names[i]);
        bool kept = strcmp(names[i], "applied.json") == 0 ||
                    strcmp(names[i], keep->revision) == 0 ||
                    strcmp(names[i], keep->previous) == 0 ||
                    (keep->is_used && keep->is_used(keep->arg, path));
        if (!kept && io_remove_tree(path, &err) != RC_OK)
            log_event(LOG_WARN, "config", "an old copy of the project cannot be removed",
                      LF_STR("error", err.message));
    }
    io_free_names(names, n);
}
