/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: make, list, remove. */
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define LIMIT_TREE_DEPTH 64

static void dir_auto(DIR **d)
{
    if (*d)
        (void)closedir(*d);
}

enum rc io_mkdir_all(const char *path, mode_t mode, struct err *err)
{
    AUTO(mem_free_auto) char *copy = x_strdup(path);
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char kept = *p;
        *p = '\0';
        struct stat st;
        if (mkdir(copy, mode) != 0 && errno != EEXIST)
            return err_set_errno(err, RC_IO, errno, "cannot make directory '%s'", copy);
        if (stat(copy, &st) != 0 || !S_ISDIR(st.st_mode))
            return err_set(err, RC_IO, "'%s' is not a directory", copy);
        *p = kept;
        if (kept == '\0')
            return RC_OK;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

enum rc io_list_dir(const char *path, char ***ret_names, size_t *ret_n, struct err *err)
{
    AUTO(dir_auto) DIR *d = opendir(path);
    if (!d)
        return err_set_errno(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, errno,
                             "cannot list directory '%s'", path);
    char **names = NULL;
    size_t n = 0, capacity = 0;
    struct dirent *e;
    while ((errno = 0, e = readdir(d)) != NULL) {
        if (is_dots(e->d_name))
            continue;
        if (n == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            names = x_realloc(names, capacity * sizeof(*names));
        }
        names[n++] = x_strdup(e->d_name);
    }
    if (errno != 0) {
        int saved = errno;
        io_free_names(names, n);
        return err_set_errno(err, RC_IO, saved, "cannot list directory '%s'", path);
    }
    if (n > 1)
        qsort(names, n, sizeof(*names), compare_names);
    *ret_names = names;
    *ret_n = n;
    return RC_OK;
}

void io_free_names(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mem_free(names[i]);
    mem_free(names);
}

static enum rc remove_at(int parent, const char *name, int depth, const char *shown,
                         struct err *err)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return RC_OK;
    if (errno != EISDIR && errno != EPERM)
        return err_set_errno(err, RC_IO, errno, "cannot remove '%s'", shown);
    if (depth > LIMIT_TREE_DEPTH)
        return err_set(err, RC_LIMIT, "'%s' is nested deeper than %d directories", shown,
                       LIMIT_TREE_DEPTH);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, RC_IO, errno, "cannot open '%s' to remove it", shown);
    AUTO(dir_auto) DIR *d = fdopendir(fd);
    if (!d) {
        int saved = errno;
        (void)close(fd); /* nothing was written through it */
        return err_set_errno(err, RC_IO, saved, "cannot list '%s' to remove it", shown);
    }
    struct dirent *e;
    while ((e = readdir(d)) != NULL) {
        if (is_dots(e->d_name))
            continue;
        enum rc rc = remove_at(dirfd(d), e->d_name, depth + 1, shown, err);
        if (rc != RC_OK)
            return rc;
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return err_set_errno(err, RC_IO, errno, "cannot remove directory '%s'", shown);
    return RC_OK;
}

enum rc io_remove_tree(const char *path, struct err *err)
{
    return remove_at(AT_FDCWD, path, 0, path, err);
}
