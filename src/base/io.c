/* SPDX-License-Identifier: Apache-2.0 */
/* Files: open, whole transfers, durable replacement, locks. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"

#define COPY_BYTES (256u * 1024)
#define READ_BYTES (64u * 1024)

void fd_auto(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* what had to be durable was fsynced before */
}

enum rc io_open(const char *path, int flags, mode_t mode, int *ret_fd, struct err *err)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return err_set_errno(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, errno, "cannot open '%s'",
                             path);
    *ret_fd = fd;
    return RC_OK;
}

enum rc io_write_all(int fd, const void *p, size_t n, const char *name, struct err *err)
{
    const char *at = p;
    while (n > 0) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return err_set_errno(err, RC_IO, done < 0 ? errno : ENOSPC, "cannot write '%s'", name);
        at += done;
        n -= (size_t)done;
    }
    return RC_OK;
}

enum rc io_pwrite_all(int fd, const void *p, size_t n, uint64_t at, const char *name,
                      struct err *err)
{
    const char *from = p;
    while (n > 0) {
        ssize_t done = pwrite(fd, from, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return err_set_errno(err, RC_IO, done < 0 ? errno : ENOSPC, "cannot write '%s'", name);
        from += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return RC_OK;
}

enum rc io_pread_all(int fd, void *p, size_t n, uint64_t at, const char *name, struct err *err)
{
    char *to = p;
    while (n > 0) {
        ssize_t done = pread(fd, to, n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_set_errno(err, RC_IO, errno, "cannot read '%s'", name);
        if (done == 0)
            return err_set(err, RC_CORRUPT, "'%s' is shorter than it should be", name);
        to += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return RC_OK;
}

enum rc io_fsync(int fd, const char *name, struct err *err)
{
    /* Never retried: after a failed fsync the kernel has dropped the dirty pages. */
    if (fsync(fd) != 0)
        return err_set_errno(err, RC_IO, errno, "cannot make '%s' durable", name);
    return RC_OK;
}

enum rc io_fsync_dir(const char *path, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    enum rc rc = io_open(path, O_RDONLY | O_DIRECTORY, 0, &fd, err);
    return rc != RC_OK ? rc : io_fsync(fd, path, err);
}

enum rc io_rename(const char *from, const char *to, struct err *err)
{
    if (rename(from, to) != 0)
        return err_set_errno(err, errno == ENOENT ? RC_NOT_FOUND : RC_IO, errno,
                             "cannot rename '%s' to '%s'", from, to);
    return RC_OK;
}

enum rc io_stat(const char *path, struct stat *ret, struct err *err)
{
    if (stat(path, ret) != 0)
        return err_set_errno(err, errno == ENOENT || errno == ENOTDIR ? RC_NOT_FOUND : RC_IO, errno,
                             "cannot look at '%s'", path);
    return RC_OK;
}

enum rc io_read_file(const char *path, struct buf *ret, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    /* O_NONBLOCK: a FIFO in a project directory must not hang the open. */
    enum rc rc = io_open(path, O_RDONLY | O_NONBLOCK, 0, &fd, err);
    if (rc != RC_OK)
        return rc;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set_errno(err, RC_IO, errno, "cannot look at '%s'", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, RC_INVALID, "'%s' is not a regular file", path);
    for (;;) {
        char beyond; /* at the limit one byte more tells whether the file ends there */
        bool full = ret->n == ret->limit_bytes;
        size_t room = full ? 1 : ret->limit_bytes - ret->n;
        if (room > READ_BYTES)
            room = READ_BYTES;
        if (!full && !buf_reserve(ret, room))
            return err_set(err, RC_NO_MEMORY, "out of memory while reading '%s'", path);
        ssize_t got = read(fd, full ? &beyond : ret->p + ret->n, room);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set_errno(err, RC_IO, errno, "cannot read '%s'", path);
        if (got == 0)
            return RC_OK;
        if (full)
            return err_set(err, RC_LIMIT, "'%s' is larger than %zu bytes", path, ret->limit_bytes);
        ret->n += (size_t)got;
    }
}

static enum rc fill_and_publish(int fd, const char *temporary, const char *path,
                                const char *directory, struct str content, struct err *err)
{
    enum rc rc = io_write_all(fd, content.p, content.n, temporary, err);
    if (rc == RC_OK)
        rc = io_fsync(fd, temporary, err);
    if (rc == RC_OK)
        rc = io_rename(temporary, path, err);
    if (rc == RC_OK)
        rc = io_fsync_dir(directory, err);
    return rc;
}

/* The owner first: giving a file away takes bits of its mode. */
static enum rc make_like(int fd, const char *name, const struct stat *like, struct err *err)
{
    struct stat now;
    if (fstat(fd, &now) != 0 ||
        ((now.st_uid != like->st_uid || now.st_gid != like->st_gid) &&
         fchown(fd, like->st_uid, like->st_gid) != 0) ||
        fchmod(fd, like->st_mode & 07777) != 0)
        return err_set_errno(err, RC_IO, errno,
                             "cannot give '%s' the owner and mode of the file it would replace",
                             name);
    return RC_OK;
}

/* @like NULL: nobody's in particular. */
static enum rc write_beside(const char *path, struct str content, mode_t mode,
                            const struct stat *like, struct err *err)
{
    AUTO(mem_free_auto) char *temporary = x_printf("%s.tmp-%ld", path, (long)getpid());
    const char *slash = strrchr(path, '/');
    AUTO(mem_free_auto)
    char *directory = !slash          ? x_strdup(".")
                      : slash == path ? x_strdup("/")
                                      : x_strndup(path, (size_t)(slash - path));
    AUTO(fd_auto) int fd = -1;
    enum rc rc = io_open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode, &fd, err);
    if (rc != RC_OK)
        return rc;
    if (like)
        rc = make_like(fd, temporary, like, err);
    if (rc == RC_OK)
        rc = fill_and_publish(fd, temporary, path, directory, content, err);
    if (rc != RC_OK)
        (void)unlink(temporary); /* the first failure is the one to report */
    return rc;
}

enum rc io_write_file(const char *path, const void *p, size_t n, mode_t mode, struct err *err)
{
    return write_beside(path, (struct str){p, n}, mode, NULL, err);
}

enum rc io_replace_file(const char *path, const void *p, size_t n, struct err *err)
{
    AUTO(mem_free_auto) char *real = path_real(path);
    struct stat st;
    if (!real)
        return err_set_errno(err, errno == ENOENT || errno == ENOTDIR ? RC_NOT_FOUND : RC_IO, errno,
                             "cannot look at '%s'", path);
    enum rc rc = io_stat(real, &st, err);
    return rc != RC_OK ? rc : write_beside(real, (struct str){p, n}, 0600, &st, err);
}

enum rc io_free_bytes(const char *path, uint64_t *ret_bytes, struct err *err)
{
    struct statvfs v;
    if (statvfs(path, &v) != 0)
        return err_set_errno(err, RC_IO, errno, "cannot read the free space of '%s'", path);
    *ret_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return RC_OK;
}

enum rc io_lock_file(const char *path, int *ret_fd, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    enum rc rc = io_open(path, O_RDWR | O_CREAT, 0600, &fd, err);
    if (rc != RC_OK)
        return rc;
    /* Not flock: a child that has not yet come to its exec would hold that one past our death. */
    const struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_SETLK, &whole) != 0) {
        if (errno == EAGAIN || errno == EACCES)
            return err_set(err, RC_BUSY,
                           "'%s' is locked by another process; stop it or use another directory",
                           path);
        return err_set_errno(err, RC_IO, errno, "cannot lock '%s'", path);
    }
    *ret_fd = TAKE_FD(fd);
    return RC_OK;
}

enum rc io_lock_holder(const char *path, int *ret_pid, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    enum rc rc = io_open(path, O_RDONLY, 0, &fd, err);
    if (rc == RC_OK && fcntl(fd, F_GETLK, &whole) != 0)
        rc = err_set_errno(err, RC_IO, errno, "cannot look at the lock '%s'", path);
    *ret_pid = rc == RC_OK && whole.l_type != F_UNLCK ? whole.l_pid : 0;
    return rc;
}

enum rc io_sha256_file(const char *path, uint8_t ret_digest[32], uint64_t *ret_bytes,
                       struct err *err)
{
    return io_sha256_file_told(path, NULL, NULL, ret_digest, ret_bytes, err);
}

enum rc io_sha256_file_told(const char *path, void (*on_bytes)(void *arg, size_t n), void *arg,
                            uint8_t ret_digest[32], uint64_t *ret_bytes, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    enum rc rc = io_open(path, O_RDONLY, 0, &fd, err);
    if (rc != RC_OK)
        return rc;
    AUTO(mem_free_auto) char *chunk = x_alloc(COPY_BYTES);
    struct sha256_stream *stream = sha256_new();
    uint64_t total = 0;
    for (;;) {
        ssize_t got = read(fd, chunk, COPY_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int saved = errno;
            sha256_free(stream);
            return err_set_errno(err, RC_IO, saved, "cannot read '%s'", path);
        }
        if (got == 0)
            break;
        sha256_add(stream, chunk, (size_t)got);
        total += (uint64_t)got;
        if (on_bytes)
            on_bytes(arg, (size_t)got);
    }
    sha256_finish(stream, ret_digest);
    *ret_bytes = total;
    return RC_OK;
}

char *path_real(const char *path)
{
    char resolved[PATH_MAX];
    return realpath(path, resolved) ? x_strdup(resolved) : NULL;
}

char *path_join(const char *a, const char *b)
{
    if (b[0] == '/')
        return x_strdup(b);
    size_t n = strlen(a);
    return x_printf("%s%s%s", a, n > 0 && a[n - 1] == '/' ? "" : "/", b);
}

bool path_stays_inside(const char *path)
{
    if (*path == '/' || *path == 0)
        return false;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return false;
        p += n + (p[n] == '/');
    }
    return true;
}
