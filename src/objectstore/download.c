/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An object to a file. Large ones come as parts of PART_BYTES over several requests at once, all of
 * one pinned version; parts go straight to their place in the file, so memory does not grow with
 * size. The file has a temporary name until its size and checksums are right. It is not fsynced:
 * what is downloaded can be downloaded again.
 *
 * Threads: the caller's and, for parts, PARALLEL_PARTS of its own that are gone when the call
 * returns. Locks: download->mutex guards what is marked shared.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "objectstore/objectstore_int.h"

#define PROGRESS_EVERY_US 200000
#define CANCEL_POLL_US 50000

struct download {
    struct objectstore *store;
    const struct location *l;
    const struct object_request *q;
    const char *tag; /* pins; may be NULL */
    const char *path;
    int fd;
    uint64_t size_bytes;
    _Atomic uint64_t next_part, n_bytes_done;
    _Atomic int64_t reported_us;
    _Atomic bool stop;

    /* shared: mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int n_running;
    enum rc rc; /* of the first that failed */
    struct err why;
    bool no_ranges;
};

struct part {
    struct download *d;
    uint64_t from, n_bytes, n_done;
};

static void report(struct download *d, int64_t n_more)
{
    uint64_t done = atomic_fetch_add(&d->n_bytes_done, (uint64_t)n_more) + (uint64_t)n_more;
    int64_t now_us = monotonic_us();
    int64_t last_us = atomic_load(&d->reported_us);
    if (d->q->on_progress && now_us - last_us >= PROGRESS_EVERY_US &&
        atomic_compare_exchange_strong(&d->reported_us, &last_us, now_us))
        d->q->on_progress(d->q->arg, done);
}

static enum rc on_part_body(void *arg, const void *p, size_t n, struct err *err)
{
    struct part *part = arg;
    if (n > part->n_bytes - part->n_done)
        return err_set(err, RC_CORRUPT, "'%s': more bytes came than were asked for",
                       part->d->l->text);
    enum rc rc = io_pwrite_all(part->d->fd, p, n, part->from + part->n_done, part->d->path, err);
    if (rc == RC_OK) {
        part->n_done += n;
        report(part->d, (int64_t)n);
    }
    return rc;
}

static enum rc on_part_start(void *arg, const struct net_response *head, struct err *err)
{
    struct part *part = arg;
    struct download *d = part->d;
    struct object_meta m;
    report(d, -(int64_t)part->n_done); /* a repeated attempt */
    part->n_done = 0;
    if (head->status != 206) {
        LOCKED(&d->mutex);
        d->no_ranges = true;
        return err_set(err, RC_INVALID, "'%s': the server does not serve ranges", d->l->text);
    }
    meta_from(d->store, d->l, head, false, &m);
    enum rc rc = check_pinned(d->l, d->tag, &m, err);
    if (rc == RC_OK)
        rc = check_range(d->l, head, part->from, err);
    if (rc == RC_OK && m.size_bytes != d->size_bytes)
        rc = err_set(err, RC_CONFLICT, "'%s' was replaced meanwhile", d->l->text);
    object_meta_done(&m);
    return rc;
}

static enum rc fetch_part(struct download *d, uint64_t index, struct err *err)
{
    struct part part = {.d = d, .from = index * PART_BYTES};
    uint64_t left = d->size_bytes - part.from;
    part.n_bytes = left < PART_BYTES ? left : PART_BYTES;
    const struct ask a = {
        .tag = d->tag, .has_range = true, .from = part.from, .to = part.from + part.n_bytes - 1};
    const struct net_sink sink = {on_part_start, on_part_body, &part};
    struct net_response r = {0};
    enum rc rc = store_ask(d->store, d->l, &a, &sink, &d->stop, &r, err);
    net_response_done(&r);
    if (rc == RC_OK && part.n_done != part.n_bytes)
        rc = err_set(err, RC_CORRUPT, "'%s': fewer bytes came than were asked for", d->l->text);
    return rc;
}

static void *run_parts(void *arg)
{
    struct download *d = arg;
    uint64_t n_parts = (d->size_bytes + PART_BYTES - 1) / PART_BYTES;
    struct err why = ERR_INIT;
    enum rc rc = RC_OK;
    while (rc == RC_OK && !atomic_load(&d->stop)) {
        uint64_t index = atomic_fetch_add(&d->next_part, 1);
        if (index >= n_parts)
            break;
        rc = fetch_part(d, index, &why);
    }
    mutex_lock(&d->mutex);
    if (rc != RC_OK && d->rc == RC_OK) {
        d->rc = rc;
        err_copy(&d->why, &why);
    }
    if (rc != RC_OK)
        atomic_store(&d->stop, true);
    d->n_running--;
    cond_signal(&d->changed);
    mutex_unlock(&d->mutex);
    return NULL;
}

static void wait_for_parts(struct download *d)
{
    const _Atomic bool *cancelled = d->q->cancelled;
    mutex_lock(&d->mutex);
    while (d->n_running > 0) {
        (void)cond_wait_until(&d->changed, &d->mutex, monotonic_us() + CANCEL_POLL_US);
        if (cancelled && atomic_load_explicit(cancelled, memory_order_relaxed))
            atomic_store(&d->stop, true);
    }
    mutex_unlock(&d->mutex);
}

static enum rc download_parts(struct download *d, struct err *err)
{
    pthread_t threads[PARALLEL_PARTS];
    int n_threads = 0;
    enum rc rc = RC_OK;
    d->n_running = PARALLEL_PARTS;
    for (; n_threads < PARALLEL_PARTS && rc == RC_OK; n_threads++)
        rc = thread_start(&threads[n_threads], "download", run_parts, d, err);
    if (rc != RC_OK) {
        n_threads--; /* the one that did not start */
        atomic_store(&d->stop, true);
        mutex_lock(&d->mutex);
        d->n_running -= PARALLEL_PARTS - n_threads;
        mutex_unlock(&d->mutex);
    }
    wait_for_parts(d);
    for (int i = 0; i < n_threads; i++)
        thread_join(threads[i]);
    if (rc == RC_OK && d->rc != RC_OK) {
        err_copy(err, &d->why);
        rc = d->rc;
    }
    return rc;
}

/* ---- one request ---- */

/* Another version, or another size than was promised, is not read at all. */
static enum rc on_whole_start(void *arg, const struct net_response *head, struct err *err)
{
    struct part *whole = arg;
    struct announced a;
    struct object_meta m;
    meta_from(whole->d->store, whole->d->l, head, false, &m);
    announced_from(whole->d->l, head, false, &a);
    enum rc rc = check_pinned(whole->d->l, whole->d->tag, &m, err);
    object_meta_done(&m);
    if (rc == RC_OK)
        rc = announced_merge(whole->d->q, whole->d->l, &a, err);
    if (rc != RC_OK)
        return rc;
    report(whole->d, -(int64_t)whole->n_done);
    whole->n_done = 0;
    return ftruncate(whole->d->fd, 0) == 0
               ? RC_OK
               : err_set(err, RC_IO, "cannot empty '%s' for another attempt", whole->d->path);
}

static enum rc on_whole_body(void *arg, const void *p, size_t n, struct err *err)
{
    struct part *whole = arg;
    if (n > whole->n_bytes - whole->n_done)
        return err_set_code(err, RC_CORRUPT, "size_mismatch", "'%s' has more than %llu bytes",
                            whole->d->l->text, (unsigned long long)whole->n_bytes);
    return on_part_body(arg, p, n, err);
}

static enum rc download_whole(struct download *d, struct announced *a, struct object_meta *m,
                              struct err *err)
{
    struct part whole = {.d = d, .n_bytes = d->q->has_size ? d->q->size_bytes : UINT64_MAX};
    const struct ask ask = {.tag = d->tag, .unless_tag = d->q->unless_tag};
    const struct net_sink sink = {on_whole_start, on_whole_body, &whole};
    struct net_response r = {0};
    atomic_store(&d->n_bytes_done, 0);
    enum rc rc = store_ask(d->store, d->l, &ask, &sink, d->q->cancelled, &r, err);
    if (rc != RC_OK)
        return rc;
    object_meta_done(m);
    meta_from(d->store, d->l, &r, false, m);
    announced_from(d->l, &r, false, a);
    net_response_done(&r);
    return m->unchanged ? RC_OK : check_pinned(d->l, d->tag, m, err);
}

/* What there is, before a large object is fetched. RC_OK with no size: it could not be asked. */
static enum rc look(struct download *d, struct announced *a, struct object_meta *m,
                    bool *ret_ranges, struct err *err)
{
    bool is_json = d->l->kind == LOCATION_GS && gs_is_json(d->store);
    const struct ask ask = {.is_stat = true, .tag = d->q->tag, .unless_tag = d->q->unless_tag};
    struct net_response r = {0};
    struct err why = ERR_INIT;
    enum rc rc = store_ask(d->store, d->l, &ask, NULL, d->q->cancelled, &r, &why);
    *ret_ranges = false;
    if (rc != RC_OK && d->l->kind == LOCATION_HTTPS && rc != RC_CANCELLED)
        return RC_OK; /* servers that know no HEAD are asked for the object itself */
    if (rc != RC_OK) {
        err_copy(err, &why);
        return rc;
    }
    meta_from(d->store, d->l, &r, is_json, m);
    announced_from(d->l, &r, is_json, a);
    *ret_ranges =
        a->has_size && (d->l->kind != LOCATION_HTTPS ||
                        str_eq_nocase(net_response_header(&r, "accept-ranges"), STR("bytes")));
    net_response_done(&r);
    return m->unchanged ? RC_OK : check_pinned(d->l, d->q->tag, m, err);
}

static enum rc download_remote(struct download *d, struct object_meta *m, struct err *err)
{
    struct announced a = {0};
    bool ranges = false;
    enum rc rc = RC_OK;
    if (!d->q->has_size || d->q->size_bytes >= PARALLEL_FROM_BYTES) {
        rc = look(d, &a, m, &ranges, err);
        if (rc == RC_OK && !m->unchanged)
            rc = announced_merge(d->q, d->l, &a, err);
        if (rc != RC_OK || m->unchanged)
            return rc;
        if (!d->tag)
            d->tag = m->tag; /* pinned from here on */
    }
    AUTO(mem_free_auto) char *pin = d->tag ? x_strdup(d->tag) : NULL;
    d->tag = pin;
    /* Parts are of one version only where its tag is no other one's. */
    bool in_parts = ranges && a.size_bytes >= PARALLEL_FROM_BYTES && tag_is_exact(d->l, d->tag);
    if (in_parts) {
        d->size_bytes = a.size_bytes;
        rc = download_parts(d, err);
        in_parts = !d->no_ranges;
    }
    if (!in_parts) {
        rc = download_whole(d, &a, m, err);
        if (rc == RC_OK && !m->unchanged)
            rc = announced_merge(d->q, d->l, &a, err);
    }
    d->tag = NULL;
    if (rc != RC_OK || m->unchanged)
        return rc;
    return announced_check_file(&a, d->l, d->fd, d->path, d->q->cancelled, err);
}

static enum rc download_to(struct objectstore *o, const struct location *l,
                           const struct object_request *q, int fd, const char *path,
                           struct object_meta *m, struct err *err)
{
    struct download d = {.store = o, .l = l, .q = q, .tag = q->tag, .path = path, .fd = fd};
    if (l->kind == LOCATION_LOCAL)
        return local_copy(l, q, fd, path, m, err);
    mutex_init(&d.mutex);
    cond_init(&d.changed);
    enum rc rc = download_remote(&d, m, err);
    if (rc == RC_OK && !m->unchanged && q->on_progress)
        q->on_progress(q->arg, atomic_load(&d.n_bytes_done)); /* the last word is exact */
    cond_done(&d.changed);
    mutex_done(&d.mutex);
    return rc;
}

enum rc objectstore_download(struct objectstore *o, const struct object_request *request,
                             const char *path, struct object_meta *ret_meta, struct err *err)
{
    struct location l;
    struct object_meta m = {0};
    uint64_t random;
    AUTO(fd_auto) int fd = -1;
    enum rc rc = location_parse(request->url, &l, err);
    if (rc != RC_OK)
        return rc;
    random_bytes(&random, sizeof random);
    AUTO(mem_free_auto) char *partial =
        x_printf("%s.%016llx.part", path, (unsigned long long)random);
    rc = io_open(partial, O_RDWR | O_CREAT | O_EXCL, 0640, &fd, err);
    if (rc == RC_OK) {
        rc = download_to(o, &l, request, fd, partial, &m, err);
        if (rc == RC_OK && !m.unchanged)
            rc = io_rename(partial, path, err);
        if (rc != RC_OK || m.unchanged)
            (void)unlink(partial); /* a leftover is found by nobody; its name is random */
    }
    location_done(&l);
    if (rc == RC_OK && ret_meta)
        *ret_meta = m;
    else
        object_meta_done(&m);
    return rc;
}
