/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of a snapshot's files. Local ones are read as they are. Of remote ones whole blocks are
 * fetched: neighbours that are missing in one request, and some more when a file is read on where
 * the last read ended; what was fetched stays in the block cache.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "engine/block_cache.h"
#include "engine/engine_int.h"

#define AHEAD_BLOCKS 4
#define RUN_BLOCKS 128 /* of one request */
#define N_RECENT 64
#define LOOK_US 20000

struct recent { /* where the last read of a file ended */
    uint8_t file[16];
    uint64_t end;
};

struct watched { /* a remote read that runs */
    struct watched *next;
    const struct query_control *control;
    _Atomic bool stop;
};

struct ranges {
    struct engine_reader reader;
    char *directory; /* NULL: nothing is cached */
    uint64_t cache_bytes;
    struct block_cache *cache; /* made by the first remote read; NULL: none */
    bool has_begun;
    uint8_t key[16];
    pthread_mutex_t lock; /* of what stands above and below */
    struct recent recent[N_RECENT];
    size_t next_recent;
    struct watched *watched;
    pthread_cond_t changed; /* of watched and is_ending */
    pthread_t watcher;
    bool has_watcher, is_ending;
};

struct ranges *ranges_new(const struct engine_reader *reader, const char *directory,
                          uint64_t cache_bytes)
{
    struct ranges *r = x_alloc0(sizeof *r);
    r->reader = *reader;
    r->directory = directory ? x_strdup(directory) : NULL;
    r->cache_bytes = cache_bytes;
    random_bytes(r->key, sizeof r->key);
    mutex_init(&r->lock);
    cond_init(&r->changed);
    return r;
}

static bool is_over(const struct query_control *c, int64_t now_us)
{
    return (c->cancelled && atomic_load_explicit(c->cancelled, memory_order_relaxed)) ||
           (c->deadline_us && now_us > c->deadline_us);
}

static void *watch(void *arg)
{
    struct ranges *r = arg;
    mutex_lock(&r->lock);
    while (!r->is_ending) {
        int64_t now_us = monotonic_us();
        for (struct watched *w = r->watched; w; w = w->next)
            if (is_over(w->control, now_us))
                atomic_store(&w->stop, true);
        if (r->watched)
            (void)cond_wait_until(&r->changed, &r->lock, now_us + LOOK_US); /* looks again */
        else
            cond_wait(&r->changed, &r->lock);
    }
    mutex_unlock(&r->lock);
    return NULL;
}

static enum rc begin_watch(struct ranges *r, struct watched *w, struct err *err)
{
    enum rc rc = RC_OK;
    LOCKED(&r->lock);
    if (!r->has_watcher)
        rc = thread_start(&r->watcher, "ranges", watch, r, err);
    if (rc != RC_OK)
        return rc;
    r->has_watcher = true;
    w->next = r->watched;
    r->watched = w;
    cond_signal(&r->changed);
    return RC_OK;
}

static void end_watch(struct ranges *r, struct watched *w)
{
    LOCKED(&r->lock);
    struct watched **at = &r->watched;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
}

void ranges_free(struct ranges *r)
{
    if (!r)
        return;
    mutex_lock(&r->lock);
    r->is_ending = true;
    cond_signal(&r->changed);
    mutex_unlock(&r->lock);
    if (r->has_watcher)
        thread_join(r->watcher);
    block_cache_free(r->cache);
    cond_done(&r->changed);
    mutex_done(&r->lock);
    mem_free(r->directory);
    mem_free(r);
}

/* Late, because most servers never read a remote file. */
static void begin_cache(struct ranges *r)
{
    struct err err = ERR_INIT; /* without the directory there is no cache */
    LOCKED(&r->lock);
    if (r->has_begun)
        return;
    r->has_begun = true;
    if (r->directory && r->cache_bytes && io_mkdir_all(r->directory, 0700, &err) == RC_OK)
        r->cache = block_cache_new(r->directory, r->cache_bytes);
}

enum rc ranges_size(const struct engine_file *file, uint64_t *ret, struct err *err)
{
    struct stat st;
    if (file->is_remote) {
        *ret = file->size_bytes;
        return RC_OK;
    }
    enum rc rc = io_stat(file->location, &st, err);
    if (rc == RC_OK)
        *ret = (uint64_t)st.st_size;
    return rc;
}

static enum rc read_local(const struct engine_file *file, uint64_t offset, void *to, size_t n,
                          struct err *err)
{
    AUTO(fd_auto) int fd = -1;
    enum rc rc = io_open(file->location, O_RDONLY | O_CLOEXEC, 0, &fd, err);
    return rc == RC_OK ? io_pread_all(fd, to, n, offset, "a data file", err) : rc;
}

/* ---- remote ---- */

struct reading {
    struct ranges *ranges;
    const struct engine_file *file;
    const _Atomic bool *cancelled;
    uint8_t id[16];
    uint64_t offset;
    char *to;
    size_t n;
    uint8_t block[BLOCK_BYTES];
};

static void identify(struct ranges *r, const struct engine_file *file, uint8_t ret[16])
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_printf(&b, "%s\n%s\n%llu", file->location, file->etag ? file->etag : "",
               (unsigned long long)file->size_bytes);
    siphash128(r->key, b.p, b.n, ret);
    buf_done(&b);
}

/* Did the last read of this file end where this one begins? And remembers where this one ends. */
static bool goes_on(struct ranges *r, const uint8_t id[16], uint64_t offset, uint64_t end)
{
    LOCKED(&r->lock);
    for (size_t i = 0; i < N_RECENT; i++) {
        struct recent *at = &r->recent[i];
        if (memcmp(at->file, id, sizeof at->file) != 0)
            continue;
        bool same = at->end == offset;
        at->end = end;
        return same;
    }
    struct recent *at = &r->recent[r->next_recent];
    r->next_recent = (r->next_recent + 1) % N_RECENT;
    memcpy(at->file, id, sizeof at->file);
    at->end = end;
    return false;
}

/* The part of a block that was asked for. */
static void hand_over(struct reading *g, uint64_t block, const uint8_t *p, size_t n)
{
    uint64_t from = block * BLOCK_BYTES, end = g->offset + g->n;
    uint64_t first = from > g->offset ? from : g->offset;
    uint64_t last = from + n < end ? from + n : end;
    if (first < last)
        memcpy(g->to + (first - g->offset), p + (first - from), last - first);
}

/* Blocks [block, block + n_blocks) by one request. */
static enum rc fetch(struct reading *g, uint64_t block, uint64_t n_blocks, struct err *err)
{
    uint64_t from = block * BLOCK_BYTES, end = from + n_blocks * BLOCK_BYTES;
    size_t n = (size_t)((end < g->file->size_bytes ? end : g->file->size_bytes) - from);
    AUTO(mem_free_auto) uint8_t *bytes = try_alloc(n);
    if (!bytes)
        return err_set(err, RC_NO_MEMORY, "out of memory for a range");
    enum rc rc =
        g->ranges->reader.read(g->ranges->reader.arg, g->file, from, bytes, n, g->cancelled, err);
    for (size_t at = 0; rc == RC_OK && at < n; at += BLOCK_BYTES, block++) {
        struct block_key key = {.block = block};
        size_t some = n - at < BLOCK_BYTES ? n - at : BLOCK_BYTES;
        memcpy(key.file, g->id, sizeof key.file);
        block_cache_put(g->ranges->cache, &key, bytes + at, some);
        hand_over(g, block, bytes + at, some);
    }
    return rc;
}

static bool is_cached(struct reading *g, uint64_t block)
{
    struct block_key key = {.block = block};
    memcpy(key.file, g->id, sizeof key.file);
    return block_cache_has(g->ranges->cache, &key);
}

static bool take_cached(struct reading *g, uint64_t block)
{
    struct block_key key = {.block = block};
    size_t n = 0;
    memcpy(key.file, g->id, sizeof key.file);
    if (!block_cache_get(g->ranges->cache, &key, g->block, &n))
        return false;
    hand_over(g, block, g->block, n);
    return true;
}

static enum rc read_blocks(struct reading *g, struct err *err)
{
    uint64_t last = (g->offset + g->n - 1) / BLOCK_BYTES, block = g->offset / BLOCK_BYTES;
    uint64_t n_all = (g->file->size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
    uint64_t ahead = goes_on(g->ranges, g->id, g->offset, g->offset + g->n) && g->ranges->cache
                         ? AHEAD_BLOCKS
                         : 0;
    enum rc rc = RC_OK;
    while (rc == RC_OK && block <= last) {
        uint64_t n = 1, limit = last + 1 + ahead < n_all ? last + 1 + ahead : n_all;
        if (take_cached(g, block)) {
            block++;
            continue;
        }
        while (n < RUN_BLOCKS && block + n < limit && !is_cached(g, block + n))
            n++;
        rc = fetch(g, block, n, err);
        block += n;
    }
    return rc;
}

enum rc ranges_read(struct ranges *r, const struct engine_file *file, uint64_t offset, void *to,
                    size_t n, const struct query_control *control, struct err *err)
{
    struct watched watched = {.control = control};
    if (!file->is_remote)
        return read_local(file, offset, to, n, err);
    if (!r->reader.read)
        return err_set(err, RC_UNAVAILABLE, "remote files cannot be read here");
    if (offset > file->size_bytes || n > file->size_bytes - offset)
        return err_set(err, RC_CORRUPT, "a range lies outside its file");
    if (n == 0)
        return RC_OK;
    begin_cache(r);
    AUTO(mem_free_auto) struct reading *g = try_alloc0(sizeof *g);
    if (!g)
        return err_set(err, RC_NO_MEMORY, "out of memory for a range");
    g->ranges = r;
    g->file = file;
    g->cancelled = &watched.stop;
    g->offset = offset;
    g->to = to;
    g->n = n;
    identify(r, file, g->id);
    enum rc rc = begin_watch(r, &watched, err);
    if (rc != RC_OK)
        return rc;
    rc = read_blocks(g, err);
    end_watch(r, &watched);
    return rc;
}
