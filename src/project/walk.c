/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Has a project directory changed? A walk of paths, times and sizes answers. Only offloader.yml is
 * read, for what it names that the walk passes over.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "markup/markup.h"
#include "project/project.h"

#define LIMIT_WALK_DEPTH 16
#define LIMIT_WALK_FILES 100000
#define LIMIT_TREE_BYTES (UINT64_C(64) << 20)

struct walk {
    struct sha256_stream *hash;
    size_t n_files;
};

static void add_stat(struct walk *w, const char *relative, const struct stat *st)
{
    int64_t facts[5] = {st->st_mtim.tv_sec, st->st_mtim.tv_nsec, st->st_size, (int64_t)st->st_ino,
                        (int64_t)(st->st_mode & S_IFMT)};
    sha256_add(w->hash, relative, strlen(relative) + 1);
    sha256_add(w->hash, facts, sizeof facts);
}

/* Only what makes a project counts: YAML files. Data files beside them change by themselves. */
static bool counts(const char *name)
{
    struct str s = str_from(name);
    return str_ends(s, ".yml") || str_ends(s, ".yaml");
}

static enum rc walk_directory(struct walk *w, const char *path, const char *relative, int depth,
                              struct err *err)
{
    char **names = NULL;
    size_t n = 0;
    enum rc rc = io_list_dir(path, &names, &n, err);
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        AUTO(mem_free_auto) char *child = path_join(path, names[i]);
        AUTO(mem_free_auto) char *shown =
            *relative ? path_join(relative, names[i]) : x_strdup(names[i]);
        struct stat st;
        if (names[i][0] == '.' || stat(child, &st) != 0)
            continue; /* it went away between the listing and here: the next walk sees that */
        if (S_ISDIR(st.st_mode) && depth < LIMIT_WALK_DEPTH) {
            rc = walk_directory(w, child, shown, depth + 1, err);
        } else if (S_ISREG(st.st_mode) && counts(names[i])) {
            if (++w->n_files > LIMIT_WALK_FILES)
                rc = err_set(err, RC_LIMIT, "%s: more than %d files", path, LIMIT_WALK_FILES);
            else
                add_stat(w, shown, &st);
        }
    }
    io_free_names(names, n);
    return rc;
}

/* ---- what offloader.yml names ---- */

static const struct node *parse_named(struct str offloader_yml, struct arena *arena)
{
    struct errlist findings = ERRLIST_INIT; /* who loads it tells them */
    const struct node *root = yaml_parse(offloader_yml, "offloader.yml", arena, &findings);
    errlist_done(&findings);
    return root;
}

/* Borrowed; NULL: it is not there, or no text. */
static const char *named(const struct node *root, const char *key)
{
    const struct node *n = node_get(root, key);
    return n && n->kind == NODE_STRING ? n->text.p : NULL;
}

char *project_named(struct str offloader_yml, const char *key)
{
    struct arena arena;
    arena_init(&arena, LIMIT_TREE_BYTES);
    const char *found = named(parse_named(offloader_yml, &arena), key);
    char *ret = found ? x_strdup(found) : NULL;
    arena_done(&arena);
    return ret;
}

/* The keys file may be anywhere and have any name. One that is not there yet adds nothing. */
static void add_keys(struct walk *w, const char *root, const char *keys)
{
    AUTO(mem_free_auto) char *path = keys ? path_join(root, keys) : NULL;
    struct stat st;
    if (path && stat(path, &st) == 0)
        add_stat(w, keys, &st);
}

/* A directory of datasets or endpoints is read even where its path has a step that is hidden. */
static enum rc add_hidden(struct walk *w, const char *root, const char *directory, struct err *err)
{
    if (!directory || (*directory != '.' && !strstr(directory, "/.")))
        return RC_OK;
    AUTO(mem_free_auto) char *path = path_join(root, directory);
    struct stat st;
    bool is_there = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    return is_there ? walk_directory(w, path, directory, 0, err) : RC_OK;
}

static enum rc add_named(struct walk *w, const char *root, const char *file, struct err *err)
{
    struct arena arena;
    struct buf text;
    struct err unused = ERR_INIT;
    enum rc rc = RC_OK;
    arena_init(&arena, LIMIT_TREE_BYTES);
    buf_init(&text, LIMIT_YAML_BYTES);
    if (io_read_file(file, &text, &unused) == RC_OK) { /* else it names nothing */
        const struct node *yaml = parse_named((struct str){text.p, text.n}, &arena);
        add_keys(w, root, named(yaml, "keys"));
        rc = add_hidden(w, root, named(yaml, "datasets_dir"), err);
        if (rc == RC_OK)
            rc = add_hidden(w, root, named(yaml, "endpoints_dir"), err);
    }
    buf_done(&text);
    arena_done(&arena);
    return rc;
}

/* The directory is the one that project_load() reads: where offloader.yml really is. */
enum rc project_walk_fingerprint(const char *path, uint8_t ret[32], struct err *err)
{
    struct stat st;
    bool is_directory = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    AUTO(mem_free_auto) char *asked =
        is_directory ? path_join(path, "offloader.yml") : x_strdup(path);
    AUTO(mem_free_auto) char *file = path_real(asked);
    if (!file || stat(file, &st) != 0)
        return err_set_errno(err, RC_IO, errno, "cannot look at '%s'", asked);
    struct walk w = {.hash = sha256_new()};
    const char *slash = strrchr(file, '/');
    AUTO(mem_free_auto) char *root = x_strndup(file, slash == file ? 1 : (size_t)(slash - file));
    add_stat(&w, file, &st);
    enum rc rc = walk_directory(&w, root, "", 0, err);
    if (rc == RC_OK)
        rc = add_named(&w, root, file, err);
    if (rc == RC_OK)
        sha256_finish(w.hash, ret);
    else
        sha256_free(w.hash);
    return rc;
}
