/* SPDX-License-Identifier: Apache-2.0 */
/* Local files behind the same calls; a tag is made of inode, size and time of change. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "objectstore/objectstore_int.h"

#define COPY_BYTES (256u << 10)

/* Opened without waiting for a FIFO's writer, and then found to be no file. */
static enum rc open_file(const struct location *l, const struct object_request *q, int *ret_fd,
                         struct object_meta *m, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    struct stat st;
    enum rc rc = io_open(l->key, O_RDONLY | O_NONBLOCK, 0, &fd, err);
    if (rc != RC_OK)
        return rc;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(err, RC_INVALID, "'%s' is not a regular file", l->text);
    AUTO(mem_free_auto) char *tag = x_printf(
        "%llx-%llx-%llx.%09lx", (unsigned long long)st.st_ino, (unsigned long long)st.st_size,
        (unsigned long long)st.st_mtim.tv_sec, (unsigned long)st.st_mtim.tv_nsec);
    if (q->tag && strcmp(q->tag, tag) != 0)
        return err_set(err, RC_CONFLICT, "'%s' was replaced meanwhile", l->text);
    *m = (struct object_meta){
        .size_bytes = (uint64_t)st.st_size,
        .unchanged = q->unless_tag && strcmp(q->unless_tag, tag) == 0,
    };
    m->tag = TAKE(tag);
    *ret_fd = TAKE_FD(fd);
    return RC_OK;
}

enum rc local_stat(const struct location *l, const struct object_request *q,
                   struct object_meta *ret, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    return open_file(l, q, &fd, ret, err);
}

static enum rc merged(const struct location *l, const struct object_request *q,
                      const struct object_meta *m, struct announced *a, struct err *err)
{
    *a = (struct announced){.has_size = true, .size_bytes = m->size_bytes};
    return announced_merge(q, l, a, err);
}

enum rc local_get(const struct location *l, const struct object_request *q, struct buf *ret,
                  struct object_meta *ret_meta, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    struct object_meta m = {0};
    struct announced a;
    size_t n_before = ret->n;
    enum rc rc = open_file(l, q, &fd, &m, err);
    if (rc != RC_OK)
        return rc;
    if (!m.unchanged) {
        rc = merged(l, q, &m, &a, err);
        if (rc == RC_OK && m.size_bytes > ret->limit_bytes - ret->n)
            rc = err_set(err, RC_LIMIT, "'%s' is larger than %zu bytes", l->text, ret->limit_bytes);
        if (rc == RC_OK && !buf_reserve(ret, (size_t)m.size_bytes))
            rc = err_set(err, RC_NO_MEMORY, "out of memory for '%s'", l->text);
        if (rc == RC_OK && m.size_bytes)
            rc = io_pread_all(fd, ret->p + ret->n, (size_t)m.size_bytes, 0, l->text, err);
        if (rc == RC_OK) {
            ret->n += (size_t)m.size_bytes;
            rc = announced_check_bytes(&a, l, (struct str){ret->p + n_before, ret->n - n_before},
                                       err);
        }
    }
    if (rc == RC_OK)
        *ret_meta = m;
    else
        object_meta_done(&m);
    return rc;
}

enum rc local_copy(const struct location *l, const struct object_request *q, int to,
                   const char *path, struct object_meta *ret_meta, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    AUTO(mem_free_auto) char *block = x_alloc(COPY_BYTES);
    struct object_meta m = {0};
    struct announced a;
    enum rc rc = open_file(l, q, &fd, &m, err);
    if (rc != RC_OK)
        return rc;
    rc = merged(l, q, &m, &a, err);
    for (uint64_t at = 0; at < m.size_bytes && !m.unchanged && rc == RC_OK;) {
        size_t n = m.size_bytes - at < COPY_BYTES ? (size_t)(m.size_bytes - at) : COPY_BYTES;
        if (q->cancelled && atomic_load_explicit(q->cancelled, memory_order_relaxed))
            rc = err_set(err, RC_CANCELLED, "cancelled");
        else
            rc = io_pread_all(fd, block, n, at, l->text, err);
        if (rc == RC_OK)
            rc = io_pwrite_all(to, block, n, at, path, err);
        at += n;
        if (rc == RC_OK && q->on_progress)
            q->on_progress(q->arg, at);
    }
    if (rc == RC_OK && !m.unchanged)
        rc = announced_check_file(&a, l, to, path, q->cancelled, err);
    if (rc == RC_OK)
        *ret_meta = m;
    else
        object_meta_done(&m);
    return rc;
}

enum rc local_read(const struct location *l, const struct object_request *q, uint64_t offset,
                   void *to, size_t n, struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    struct object_meta m = {0};
    enum rc rc = open_file(l, q, &fd, &m, err);
    object_meta_done(&m);
    return rc != RC_OK ? rc : io_pread_all(fd, to, n, offset, l->text, err);
}
