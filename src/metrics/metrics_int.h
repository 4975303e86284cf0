/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shards, slots and bounds; for this room and its tests.
 *
 *  M1  A shard is written by one thread only (relaxed load, add, relaxed store) and read by scrapes.
 *  M2  Blocks and shards are never freed: a scrape may read them at any time. A thread that ends
 *      gives its shard to the next thread, counts included.
 *  M3  Locks: `slots.lock` guards names and references; `rare.lock` the series of datasets, stores
 *      and the project. Neither is held while the other is taken.
 */
#ifndef OFFLOADER_METRICS_METRICS_INT_H
#define OFFLOADER_METRICS_METRICS_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/map.h"
#include "metrics/metrics.h"

#define COARSE_BOUNDS 16
#define FINE_BOUNDS_LIMIT 128
#define REFRESH_BOUNDS 12
#define SLOTS_PER_CHUNK 64
#define N_CHUNKS (METRICS_LIMIT_SLOTS / SLOTS_PER_CHUNK)

typedef _Atomic uint64_t counter;

struct fine_histogram {
    counter buckets[FINE_BOUNDS_LIMIT + 1], sum_us;
};
struct coarse_histogram {
    counter buckets[COARSE_BOUNDS + 1], sum_us;
};

struct endpoint_block {
    counter status[4], cache[3], cold;
    struct fine_histogram duration;
};

struct endpoint_chunk {
    struct endpoint_block *_Atomic blocks[SLOTS_PER_CHUNK];
};

struct shard {
    struct shard *_Atomic next;
    _Atomic bool in_use;
    counter plain[N_METRICS]; /* counters without labels */
    counter shed[N_MSHED];
    struct coarse_histogram queue_wait, query[2];
    struct endpoint_chunk *_Atomic chunks[N_CHUNKS];
};

struct slot_name {
    char *name; /* owned */
    int64_t revision;
    int references;
};

struct dataset_series {
    char *id; /* owned */
    int references;
    uint64_t status[4], buckets[REFRESH_BOUNDS + 1];
    double sum_seconds;
};

#define CODE_CLASSES 5 /* 2xx 3xx 4xx 5xx error */

struct metrics_state {
    char *release;
    struct {
        pthread_mutex_t lock;
        struct slot_name *names;
        struct map by_key; /* "name" or "name\nrevision" -> slot + 1 */
        int n, capacity;
    } slots;
    struct {
        pthread_mutex_t lock;
        struct dataset_series *datasets;
        int n_datasets, capacity;
        uint64_t store_requests[N_MSTORE][CODE_CLASSES], store_retries[N_MSTORE];
        uint64_t config_sync[N_MSYNC];
    } rare;
    struct shard *_Atomic shards;
    double fine_bounds_ms[FINE_BOUNDS_LIMIT];
    int64_t fine_bounds_ns[FINE_BOUNDS_LIMIT];
    int n_fine_bounds;
};

extern struct metrics_state metrics_state;
extern const double metrics_coarse_bounds_ms[COARSE_BOUNDS];
extern const double metrics_refresh_bounds_s[REFRESH_BOUNDS];

#endif
