/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for the calls of sites.h in build/offloader-fault: the linker's --wrap sends every
 * reference in our own objects here, so the sources under test are those that are shipped.
 * Libraries (libuv, OpenSSL, DuckDB) call the system as always.
 *
 * Names that end in 64 are what the C library's headers make of the plain ones for 64-bit offsets.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "lane.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* the linker knows them */

/* ---- files ---- */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    if (lane_fails(SITE_open))
        return -1;
    int fd = __real_open64(path, flags, mode);
    if (fd >= 0 && (flags & (O_CREAT | O_TRUNC)))
        lane_durable_step_on(fd);
    return fd;
}

int __real_openat64(int at, const char *path, int flags, ...);
int __wrap_openat64(int at, const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    return lane_fails(SITE_openat) ? -1 : __real_openat64(at, path, flags, mode);
}

ssize_t __real_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n)
{
    return lane_fails_transfer(SITE_read, &n) ? -1 : __real_read(fd, p, n);
}

ssize_t __wrap___read_chk(int fd, void *p, size_t n, size_t room)
{
    if (n > room)
        abort();
    return __wrap_read(fd, p, n);
}

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    if (lane_fails_transfer(SITE_write, &n))
        return -1;
    ssize_t done = __real_write(fd, p, n);
    if (done > 0)
        lane_durable_step_on(fd);
    return done;
}

ssize_t __real_pread64(int fd, void *p, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *p, size_t n, off_t at)
{
    return lane_fails_transfer(SITE_pread, &n) ? -1 : __real_pread64(fd, p, n, at);
}

ssize_t __wrap___pread64_chk(int fd, void *p, size_t n, off_t at, size_t room)
{
    if (n > room)
        abort();
    return __wrap_pread64(fd, p, n, at);
}

ssize_t __real_pwrite64(int fd, const void *p, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *p, size_t n, off_t at)
{
    if (lane_fails_transfer(SITE_pwrite, &n))
        return -1;
    ssize_t done = __real_pwrite64(fd, p, n, at);
    if (done > 0)
        lane_durable_step_on(fd);
    return done;
}

int __real_fsync(int fd);
int __wrap_fsync(int fd)
{
    if (lane_fails(SITE_fsync))
        return -1;
    int result = __real_fsync(fd);
    lane_durable_step_on(fd);
    return result;
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    if (lane_fails(SITE_fsync))
        return -1;
    int result = __real_fdatasync(fd);
    lane_durable_step_on(fd);
    return result;
}

int __real_ftruncate64(int fd, off_t n);
int __wrap_ftruncate64(int fd, off_t n)
{
    if (lane_fails(SITE_ftruncate))
        return -1;
    int result = __real_ftruncate64(fd, n);
    lane_durable_step_on(fd);
    return result;
}

int __real_fstat64(int fd, struct stat *ret);
int __wrap_fstat64(int fd, struct stat *ret)
{
    return lane_fails(SITE_fstat) ? -1 : __real_fstat64(fd, ret);
}

/* Only locks: what else fcntl does here cannot fail for an outside reason. */
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (command == F_SETLK && lane_fails(SITE_lock))
        return -1;
    return __real_fcntl64(fd, command, argument);
}

void *__real_mmap64(void *at, size_t n, int protection, int flags, int fd, off_t from);
void *__wrap_mmap64(void *at, size_t n, int protection, int flags, int fd, off_t from)
{
    return lane_fails(SITE_mmap) ? MAP_FAILED : __real_mmap64(at, n, protection, flags, fd, from);
}

/* ---- names ---- */

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    if (lane_fails(SITE_rename))
        return -1;
    int result = __real_rename(from, to);
    if (result == 0)
        lane_durable_step();
    return result;
}

int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode)
{
    if (lane_fails(SITE_mkdir))
        return -1;
    int result = __real_mkdir(path, mode);
    if (result == 0)
        lane_durable_step();
    return result;
}

int __real_unlink(const char *path);
int __wrap_unlink(const char *path)
{
    if (lane_fails(SITE_unlink))
        return -1;
    int result = __real_unlink(path);
    if (result == 0)
        lane_durable_step();
    return result;
}

int __real_unlinkat(int at, const char *path, int flags);
int __wrap_unlinkat(int at, const char *path, int flags)
{
    if (lane_fails(SITE_unlinkat))
        return -1;
    int result = __real_unlinkat(at, path, flags);
    if (result == 0)
        lane_durable_step();
    return result;
}

int __real_stat64(const char *path, struct stat *ret);
int __wrap_stat64(const char *path, struct stat *ret)
{
    return lane_fails(SITE_stat) ? -1 : __real_stat64(path, ret);
}

int __real_statvfs64(const char *path, struct statvfs *ret);
int __wrap_statvfs64(const char *path, struct statvfs *ret)
{
    return lane_fails(SITE_statvfs) ? -1 : __real_statvfs64(path, ret);
}

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path)
{
    return lane_fails(SITE_opendir) ? NULL : __real_opendir(path);
}

DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd)
{
    return lane_fails(SITE_fdopendir) ? NULL : __real_fdopendir(fd);
}

struct dirent *__real_readdir64(DIR *d);
struct dirent *__wrap_readdir64(DIR *d)
{
    return lane_fails(SITE_readdir) ? NULL : __real_readdir64(d);
}

char *__real_realpath(const char *path, char *resolved);
char *__wrap_realpath(const char *path, char *resolved)
{
    return lane_fails(SITE_realpath) ? NULL : __real_realpath(path, resolved);
}

/* ---- processes, sockets, threads ---- */

int __real_pipe2(int fds[2], int flags);
int __wrap_pipe2(int fds[2], int flags)
{
    return lane_fails(SITE_pipe2) ? -1 : __real_pipe2(fds, flags);
}

pid_t __real_spawn_child(const char *const *args, const int *fds, int n_fds, int nice);
pid_t __wrap_spawn_child(const char *const *args, const int *fds, int n_fds, int nice)
{
    return lane_fails(SITE_fork) ? -1 : __real_spawn_child(args, fds, n_fds, nice);
}

int __real_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    return lane_fails(SITE_poll) ? -1 : __real_poll(fds, n, timeout_ms);
}

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol)
{
    return lane_fails(SITE_socket) ? -1 : __real_socket(domain, type, protocol);
}

int __real_pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg)
{
    return lane_fails(SITE_thread) ? errno : __real_pthread_create(ret, attributes, run, arg);
}

/* ---- the wall clock; what measures intervals stays the machine's ---- */

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    int result = __real_clock_gettime(clock, ret);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        ret->tv_sec += lane_wall_shift_s();
    return result;
}

/* ---- allocations whose size data, configuration or a client decides ---- */

void *__real_try_alloc(size_t bytes);
void *__wrap_try_alloc(size_t bytes)
{
    return lane_fails(SITE_alloc) ? NULL : __real_try_alloc(bytes);
}

void *__real_try_alloc0(size_t bytes);
void *__wrap_try_alloc0(size_t bytes)
{
    return lane_fails(SITE_alloc) ? NULL : __real_try_alloc0(bytes);
}

void *__real_try_array0(size_t n, size_t item_bytes);
void *__wrap_try_array0(size_t n, size_t item_bytes)
{
    return lane_fails(SITE_alloc) ? NULL : __real_try_array0(n, item_bytes);
}

void *__real_try_realloc(void *p, size_t bytes);
void *__wrap_try_realloc(void *p, size_t bytes)
{
    return lane_fails(SITE_alloc) ? NULL : __real_try_realloc(p, bytes);
}

/* ---- allocations that are counted only ---- */

void *__real_x_alloc(size_t bytes);
void *__wrap_x_alloc(size_t bytes)
{
    lane_count(SITE_x_alloc);
    return __real_x_alloc(bytes);
}

void *__real_x_alloc0(size_t bytes);
void *__wrap_x_alloc0(size_t bytes)
{
    lane_count(SITE_x_alloc);
    return __real_x_alloc0(bytes);
}

void *__real_x_realloc(void *p, size_t bytes);
void *__wrap_x_realloc(void *p, size_t bytes)
{
    lane_count(SITE_x_alloc);
    return __real_x_realloc(p, bytes);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* The process's own allocator functions come before the C library's, for every library of it. */
void *__libc_malloc(size_t bytes);
void *malloc(size_t bytes)
{
    lane_count(SITE_heap);
    return __libc_malloc(bytes);
}

void *__libc_calloc(size_t n, size_t item_bytes);
void *calloc(size_t n, size_t item_bytes)
{
    lane_count(SITE_heap);
    return __libc_calloc(n, item_bytes);
}

void *__libc_realloc(void *p, size_t bytes);
void *realloc(void *p, size_t bytes)
{
    lane_count(SITE_heap);
    return __libc_realloc(p, bytes);
}

#endif
