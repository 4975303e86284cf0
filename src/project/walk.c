/* SPDX-License-Identifier: Apache-2.0 */
/* Has a project directory changed? A walk of paths, times and sizes answers without reading files.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "project/project.h"

#define LIMIT_WALK_DEPTH 16
#define LIMIT_WALK_FILES 100000

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

enum rc project_walk_fingerprint(const char *path, uint8_t ret[32], struct err *err)
{
    struct walk w = {.hash = sha256_new()};
    struct stat st;
    AUTO(mem_free_auto) char *root = x_strdup(path);
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        char *slash = strrchr(root, '/');
        if (slash)
            *(slash == root ? slash + 1 : slash) = 0;
        else
            memcpy(root, ".", 2);
    }
    enum rc rc = walk_directory(&w, root, "", 0, err);
    if (rc == RC_OK)
        sha256_finish(w.hash, ret);
    else
        sha256_free(w.hash);
    return rc;
}
