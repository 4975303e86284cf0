/* SPDX-License-Identifier: Apache-2.0 */
/* For src/cache and its tests: a shard, its queues. Everything under the shard's lock. */
#ifndef OFFLOADER_CACHE_CACHE_INT_H
#define OFFLOADER_CACHE_CACHE_INT_H

#include <stdatomic.h>

#include "base/map.h"
#include "base/thread.h"
#include "cache/cache.h"

struct cache_entry {
    _Atomic uint64_t refs;
    uint64_t hash;
    struct str key;
    struct cache_body body; /* points into bytes */
    size_t n_bytes;
    struct cache_entry *next, *previous; /* in its queue */
    uint8_t frequency;                   /* 0 to 3: asked for since it was queued */
    bool in_main;
    char bytes[];
};

struct cache_flight {
    uint64_t hash;
    struct str key;
    struct cache_waiter *waiters;
    char bytes[];
};

struct cache_queue {
    struct cache_entry *first, *last; /* oldest first */
    uint64_t n, bytes;
};

struct cache_shard {
    pthread_mutex_t lock;
    struct map entries, flights;
    struct cache_queue small, main;
    uint32_t *ghosts; /* fingerprints of what left the small queue, a direct-mapped table */
    size_t n_ghosts;
    uint64_t max_entries, max_bytes;
};

struct cache {
    struct cache_shard *shards;
    size_t n_shards;
};

void queue_init(struct cache_shard *s);
void queue_done(struct cache_shard *s);
void queue_add(struct cache_shard *s, struct cache_entry *taken); /* evicts until it fits */
void queue_drop(struct cache_shard *s, struct cache_entry *e);    /* out of queue and table */

#endif
