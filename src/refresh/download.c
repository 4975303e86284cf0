/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several objects at once, each to its own file. Workers take the next object until none is left or
 * one failed; the calling thread tells progress and passes a cancellation on.
 */
#include <stdatomic.h>

#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "refresh/remote.h"

#define LIMIT_PARALLEL 16
#define LOOK_US 100000

struct batch {
    const struct download_options *options;
    struct download *items;
    size_t n;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t next, n_done;
    int n_running;
    _Atomic bool stop; /* one failed, or the caller was cancelled */
    enum rc rc;
    size_t failed_at;
    struct err err;
};

static void on_bytes(void *arg, uint64_t bytes_done)
{
    struct download *item = arg;
    atomic_store(&item->bytes_done, bytes_done);
}

static enum rc fetch_one(struct batch *b, struct download *item, struct err *err)
{
    struct object_request request = {
        .url = item->url,
        .tag = item->tag,
        .has_size = item->has_size,
        .size_bytes = item->size_bytes,
        .cancelled = &b->stop,
        .on_progress = on_bytes,
        .arg = item,
    };
    enum rc rc =
        b->options->only_stat
            ? objectstore_stat(b->options->store, &request, &item->meta, err)
            : objectstore_download(b->options->store, &request, item->path, &item->meta, err);
    if (rc == RC_OK)
        atomic_store(&item->bytes_done, item->meta.size_bytes);
    return rc;
}

static void *work(void *arg)
{
    struct batch *b = arg;
    mutex_lock(&b->lock);
    while (b->next < b->n && b->rc == RC_OK && !atomic_load(&b->stop)) {
        struct err err = ERR_INIT;
        size_t at = b->next++;
        mutex_unlock(&b->lock);
        enum rc rc = fetch_one(b, &b->items[at], &err);
        mutex_lock(&b->lock);
        b->n_done += rc == RC_OK;
        if (rc != RC_OK && b->rc == RC_OK) { /* the others end because of this one */
            b->rc = rc;
            b->failed_at = at;
            b->err = err;
            atomic_store(&b->stop, true);
        }
    }
    b->n_running--;
    cond_broadcast(&b->changed);
    mutex_unlock(&b->lock);
    return NULL;
}

static void tell(const struct batch *b, size_t n_done)
{
    uint64_t bytes = 0;
    if (!b->options->on_progress)
        return;
    for (size_t i = 0; i < b->n; i++)
        bytes += atomic_load(&b->items[i].bytes_done);
    b->options->on_progress(b->options->arg, n_done, bytes);
}

static void watch(struct batch *b)
{
    mutex_lock(&b->lock);
    while (b->n_running > 0) {
        (void)cond_wait_until(&b->changed, &b->lock, monotonic_us() + LOOK_US); /* looks again */
        size_t n_done = b->n_done;
        mutex_unlock(&b->lock);
        if (b->options->cancelled && atomic_load(b->options->cancelled))
            atomic_store(&b->stop, true);
        tell(b, n_done);
        mutex_lock(&b->lock);
    }
    size_t n_done = b->n_done; /* the last may have ended while the one before was told */
    mutex_unlock(&b->lock);
    tell(b, n_done);
}

enum rc download_all(const struct download_options *options, struct download *items, size_t n,
                     size_t *ret_at, struct err *err)
{
    struct batch b = {.options = options, .items = items, .n = n};
    pthread_t threads[LIMIT_PARALLEL];
    size_t limit = options->parallel < LIMIT_PARALLEL ? (size_t)options->parallel : LIMIT_PARALLEL;
    size_t n_threads = 0;
    enum rc started = RC_OK;
    struct err no_thread = ERR_INIT;
    mutex_init(&b.lock);
    cond_init(&b.changed);
    atomic_init(&b.stop, options->cancelled && atomic_load(options->cancelled));
    while (n_threads < limit && n_threads < n && started == RC_OK) {
        mutex_lock(&b.lock);
        b.n_running++;
        mutex_unlock(&b.lock);
        started = thread_start(&threads[n_threads], "download", work, &b, &no_thread);
        n_threads += started == RC_OK;
    }
    if (started != RC_OK) {
        mutex_lock(&b.lock);
        b.n_running--;
        mutex_unlock(&b.lock);
    }
    watch(&b);
    for (size_t i = 0; i < n_threads; i++)
        thread_join(threads[i]);
    cond_done(&b.changed);
    mutex_done(&b.lock);
    *ret_at = b.failed_at;
    if (b.rc != RC_OK)
        err_copy(err, &b.err);
    else if (atomic_load(&b.stop))
        b.rc = err_set(err, RC_CANCELLED, "the download was stopped");
    else if (n_threads == 0 && n > 0)
        b.rc = err_set(err, started, "%s", no_thread.message);
    return b.rc;
}
