/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every file system call of the program. EINTR and short transfers are handled here.
 * Thread-safe unless said.
 */
#ifndef OFFLOADER_BASE_IO_H
#define OFFLOADER_BASE_IO_H

#include <sys/stat.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/err.h"

void fd_auto(int *fd); /* for AUTO(fd_auto): closes when >= 0 */

MUST_CHECK enum rc io_open(const char *path, int flags, mode_t mode, int *ret_fd, struct err *err);
MUST_CHECK enum rc io_write_all(int fd, const void *p, size_t n, const char *name, struct err *err);
MUST_CHECK enum rc io_pwrite_all(int fd, const void *p, size_t n, uint64_t at, const char *name,
                                 struct err *err);
MUST_CHECK enum rc io_pread_all(int fd, void *p, size_t n, uint64_t at, const char *name,
                                struct err *err); /* short file is RC_CORRUPT */
MUST_CHECK enum rc io_fsync(int fd, const char *name, struct err *err);
MUST_CHECK enum rc io_fsync_dir(const char *path, struct err *err);
MUST_CHECK enum rc io_rename(const char *from, const char *to, struct err *err);
MUST_CHECK enum rc io_mkdir_all(const char *path, mode_t mode, struct err *err);
/* Whole file into @ret (its limit applies: RC_LIMIT). Missing is RC_NOT_FOUND. Regular files only.
 */
MUST_CHECK enum rc io_read_file(const char *path, struct buf *ret, struct err *err);
/* Durable replacement: temporary file beside it, fsync, rename, fsync of the directory. */
MUST_CHECK enum rc io_write_file(const char *path, const void *p, size_t n, mode_t mode,
                                 struct err *err);
/* The same for a file that is there: links to it, its owner, group and mode stay, or nothing is
 * changed. RC_NOT_FOUND: there is none. */
MUST_CHECK enum rc io_replace_file(const char *path, const void *p, size_t n, struct err *err);
/* As io_write_file for @object, JSON with a member at least, which gets one more: `crc32c`. And its
 * reading back: RC_CORRUPT when a bit has changed. */
MUST_CHECK enum rc io_write_checked(const char *path, struct buf *object, mode_t mode,
                                    struct err *err);
MUST_CHECK enum rc io_read_checked(const char *path, struct buf *ret, struct err *err);
MUST_CHECK enum rc io_stat(const char *path, struct stat *ret, struct err *err);
/* Removes a tree without following symbolic links; a missing one is fine. */
MUST_CHECK enum rc io_remove_tree(const char *path, struct err *err);
/* Sorted names of a directory without . and ..; owned array of owned strings. */
MUST_CHECK enum rc io_list_dir(const char *path, char ***ret_names, size_t *ret_n, struct err *err);
void io_free_names(char **names, size_t n);
MUST_CHECK enum rc io_free_bytes(const char *path, uint64_t *ret_bytes, struct err *err);
/* Advisory exclusive lock on @path (created); RC_BUSY when another process has it. It ends when
 * this process closes any descriptor of that file, or dies; no child inherits it. */
MUST_CHECK enum rc io_lock_file(const char *path, int *ret_fd, struct err *err);
/* Who has that lock: a pid, 0 for nobody and for this process itself (then the look ends the lock).
 */
MUST_CHECK enum rc io_lock_holder(const char *path, int *ret_pid, struct err *err);
MUST_CHECK enum rc io_sha256_file(const char *path, uint8_t ret_digest[32], uint64_t *ret_bytes,
                                  struct err *err);
/* The same; @on_bytes hears of each piece as it is done. */
MUST_CHECK enum rc io_sha256_file_told(const char *path, void (*on_bytes)(void *arg, size_t n),
                                       void *arg, uint8_t ret_digest[32], uint64_t *ret_bytes,
                                       struct err *err);
/* Absolute, symbolic links and dots resolved; owned. NULL and errno when it can not be reached. */
char *path_real(const char *path);
/* Relative, not empty, and without a `..` step: by its text it can not leave where it starts. */
bool path_stays_inside(const char *path);
char *path_join(const char *a, const char *b); /* owned; one slash between; absolute b wins */

#endif
