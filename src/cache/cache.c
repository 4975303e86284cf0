/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries, flights, lookup. Lock order: a shard's lock is innermost; on_ready is called without it.
 * An entry is in its shard's table and in one queue, or in neither (evicted, still referenced).
 */
#include "cache/cache_int.h"

#include "base/hash.h"
#include "base/mem.h"
#include "metrics/metrics.h"

#define SHARD_MIN_ENTRIES 1024
#define SHARD_MIN_BYTES (UINT64_C(16) << 20)
#define LIMIT_SHARDS 16

struct cache *cache_new(const struct cache_options *options)
{
    struct cache *c = x_alloc0(sizeof *c);
    c->n_shards = 1;
    /* Few enough that a shard, which keeps no entry above a quarter of its bytes, is worth having.
     */
    while (c->n_shards < LIMIT_SHARDS &&
           options->max_entries / (c->n_shards * 2) >= SHARD_MIN_ENTRIES &&
           options->max_bytes / (c->n_shards * 2) >= SHARD_MIN_BYTES)
        c->n_shards *= 2;
    c->shards = x_array0(c->n_shards, sizeof *c->shards);
    for (size_t i = 0; i < c->n_shards; i++) {
        mutex_init(&c->shards[i].lock);
        c->shards[i].max_entries = options->max_entries / c->n_shards;
        c->shards[i].max_bytes = options->max_bytes / c->n_shards;
        queue_init(&c->shards[i]);
    }
    return c;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_shards; i++) {
        struct cache_shard *s = &c->shards[i];
        while (s->small.first)
            queue_drop(s, s->small.first);
        while (s->main.first)
            queue_drop(s, s->main.first);
        map_done(&s->entries);
        map_done(&s->flights);
        queue_done(s);
        mutex_done(&s->lock);
    }
    mem_free(c->shards);
    mem_free(c);
}

static struct cache_shard *shard_of(struct cache *c, struct str key, uint64_t *ret_hash)
{
    *ret_hash = process_hash(key.p, key.n);
    return &c->shards[(*ret_hash >> 48) & (c->n_shards - 1)];
}

const struct cache_body *cache_entry_body(const struct cache_entry *e)
{
    return &e->body;
}

void cache_entry_unref(struct cache_entry *e)
{
    if (e && atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1)
        mem_free(e);
}

static struct cache_entry *entry_new(struct str key, uint64_t hash, const struct cache_body *body)
{
    size_t n = sizeof(struct cache_entry) + key.n + body->data.n + body->next_cursor.n;
    struct cache_entry *e = try_alloc(n);
    if (!e)
        return NULL;
    memset(e, 0, sizeof *e);
    atomic_init(&e->refs, 1);
    e->hash = hash;
    e->n_bytes = n;
    e->body = *body;
    char *to = e->bytes;
    memcpy(to, key.p, key.n);
    e->key = (struct str){to, key.n};
    to += key.n;
    if (body->data.n)
        memcpy(to, body->data.p, body->data.n);
    e->body.data.p = to;
    to += body->data.n;
    if (body->next_cursor.n)
        memcpy(to, body->next_cursor.p, body->next_cursor.n);
    e->body.next_cursor.p = to;
    return e;
}

static struct cache_entry *entry_ref(struct cache_entry *e)
{
    (void)atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

/* Under the lock: a reference, and a mark for the eviction. */
static struct cache_entry *find(struct cache_shard *s, struct str key, uint64_t hash)
{
    struct cache_entry *e = map_get_hashed(&s->entries, key, hash);
    if (!e)
        return NULL;
    if (e->frequency < 3)
        e->frequency++;
    return entry_ref(e);
}

enum cache_outcome cache_begin(struct cache *c, struct str key, struct cache_waiter *waiter,
                               struct cache_entry **ret, struct cache_flight **ret_flight)
{
    uint64_t hash;
    struct cache_shard *s = shard_of(c, key, &hash);
    *ret_flight = NULL;
    LOCKED(&s->lock);
    *ret = find(s, key, hash);
    if (*ret)
        return CACHE_HIT;
    struct cache_flight *f = map_get_hashed(&s->flights, key, hash);
    if (f && waiter) {
        waiter->next = f->waiters;
        f->waiters = waiter;
        return CACHE_WAIT;
    }
    if (f)
        return CACHE_LEAD;
    f = try_alloc(sizeof *f + key.n);
    if (!f)
        return CACHE_LEAD; /* no memory to coalesce: answer without */
    *f = (struct cache_flight){.hash = hash};
    memcpy(f->bytes, key.p, key.n);
    f->key = (struct str){f->bytes, key.n};
    if (!map_put(&s->flights, f->key, f, NULL)) {
        mem_free(f);
        return CACHE_LEAD;
    }
    *ret_flight = f;
    return CACHE_LEAD;
}

static void land(struct cache_waiter *waiters, struct cache_entry *e, int why)
{
    while (waiters) {
        struct cache_waiter *w = waiters;
        waiters = w->next; /* before the call: it may free itself */
        w->on_ready(w, e ? entry_ref(e) : NULL, why);
    }
}

static void insert(struct cache_shard *s, struct cache_entry *e)
{
    if (s->max_entries == 0 || e->n_bytes > s->max_bytes / 4 || map_get(&s->entries, e->key) ||
        !map_put(&s->entries, e->key, e, NULL))
        return;
    queue_add(s, entry_ref(e));
}

struct cache_entry *cache_fill(struct cache *c, struct cache_flight *f,
                               const struct cache_body *body)
{
    struct cache_shard *s = &c->shards[(f->hash >> 48) & (c->n_shards - 1)];
    struct cache_entry *e = entry_new(f->key, f->hash, body);
    mutex_lock(&s->lock);
    (void)map_remove(&s->flights, f->key);
    struct cache_waiter *waiters = f->waiters;
    if (e)
        insert(s, e);
    mutex_unlock(&s->lock);
    land(waiters, e, 0);
    mem_free(f);
    return e;
}

void cache_abandon(struct cache *c, struct cache_flight *f, int why)
{
    if (!f)
        return;
    struct cache_shard *s = &c->shards[(f->hash >> 48) & (c->n_shards - 1)];
    mutex_lock(&s->lock);
    (void)map_remove(&s->flights, f->key);
    struct cache_waiter *waiters = f->waiters;
    mutex_unlock(&s->lock);
    land(waiters, NULL, why);
    mem_free(f);
}

struct cache_entry *cache_get(struct cache *c, struct str key)
{
    uint64_t hash;
    struct cache_shard *s = shard_of(c, key, &hash);
    LOCKED(&s->lock);
    return find(s, key, hash);
}

void cache_put(struct cache *c, struct str key, const struct cache_body *body)
{
    uint64_t hash;
    struct cache_shard *s = shard_of(c, key, &hash);
    struct cache_entry *e = entry_new(key, hash, body);
    if (!e)
        return;
    mutex_lock(&s->lock);
    insert(s, e);
    mutex_unlock(&s->lock);
    cache_entry_unref(e);
}

static bool is_kept(struct str key, const uint64_t *keep, size_t n_keep)
{
    uint64_t generation = 0;
    if (key.n < sizeof generation)
        return true;
    memcpy(&generation, key.p, sizeof generation);
    for (size_t i = 0; i < n_keep; i++)
        if (keep[i] == generation)
            return true;
    return false;
}

void cache_drop_generations(struct cache *c, const uint64_t *keep, size_t n_keep)
{
    for (size_t i = 0; i < c->n_shards; i++) {
        struct cache_shard *s = &c->shards[i];
        struct cache_queue *const queues[] = {&s->small, &s->main};
        LOCKED(&s->lock);
        for (size_t j = 0; j < ARRAY_LEN(queues); j++) {
            for (struct cache_entry *e = queues[j]->first, *next; e; e = next) {
                next = e->next;
                if (!is_kept(e->key, keep, n_keep))
                    queue_drop(s, e);
            }
        }
    }
}

void cache_stats(struct cache *c, struct cache_stats *ret)
{
    *ret = (struct cache_stats){0};
    for (size_t i = 0; i < c->n_shards; i++) {
        LOCKED(&c->shards[i].lock);
        ret->entries += c->shards[i].small.n + c->shards[i].main.n;
        ret->bytes += c->shards[i].small.bytes + c->shards[i].main.bytes;
    }
}
