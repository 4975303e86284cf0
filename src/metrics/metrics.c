/* SPDX-License-Identifier: Apache-2.0 */
/* Counting: shards of threads, slots of endpoints, series of datasets. Invariants in metrics_int.h.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"
#include "metrics/metrics_int.h"

struct metrics_state metrics_state;

const double metrics_coarse_bounds_ms[COARSE_BOUNDS] = {
    0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000};
const double metrics_refresh_bounds_s[REFRESH_BOUNDS] = {0.05, 0.1, 0.25, 0.5, 1,   2.5,
                                                         5,    10,  30,   60,  300, 1800};
/* The step between neighbours stays below 1.15 even after rounding to 100 ns. */
#define FINE_STEP 1.145

static const struct {
    const char *name, *help;
    enum metric_kind kind;
} table[N_METRICS] = {
#define METRIC(id, metric_text, metric_kind_of, help_text) {metric_text, help_text, metric_kind_of},
#include "metrics/metrics_table.h"
#undef METRIC
};

const char *metric_name(enum metric m)
{
    return table[m].name;
}

const char *metric_help(enum metric m)
{
    return table[m].help;
}

enum metric_kind metric_kind(enum metric m)
{
    return table[m].kind;
}

/* ---- bounds ---- */

static void add_bound(double ms)
{
    assert(metrics_state.n_fine_bounds < FINE_BOUNDS_LIMIT);
    int at = metrics_state.n_fine_bounds++;
    metrics_state.fine_bounds_ms[at] = ms;
    metrics_state.fine_bounds_ns[at] = llround(ms * 1e6);
}

static void build_bounds(void)
{
    for (int i = 0; i < COARSE_BOUNDS; i++) {
        double low = metrics_coarse_bounds_ms[i];
        add_bound(low);
        if (i + 1 == COARSE_BOUNDS)
            break;
        double ratio = metrics_coarse_bounds_ms[i + 1] / low;
        int steps = (int)ceil(log(ratio) / log(FINE_STEP));
        for (int k = 1; k < steps; k++)
            add_bound(round(low * pow(ratio, (double)k / steps) * 1e4) / 1e4);
    }
}

const double *metrics_duration_bounds(int *ret_n)
{
    *ret_n = metrics_state.n_fine_bounds;
    return metrics_state.fine_bounds_ms;
}

/* ---- shards ---- */

static pthread_key_t shard_key;
static _Thread_local struct shard *own_shard;

static void shard_give_back(void *arg)
{
    struct shard *s = arg;
    atomic_store_explicit(&s->in_use, false, memory_order_release);
}

static struct shard *shard_adopt(void)
{
    for (struct shard *s = atomic_load(&metrics_state.shards); s; s = atomic_load(&s->next)) {
        bool expected = false;
        if (atomic_compare_exchange_strong(&s->in_use, &expected, true))
            return s;
    }
    struct shard *s = x_alloc0(sizeof(*s));
    atomic_store(&s->in_use, true);
    struct shard *head = atomic_load(&metrics_state.shards);
    do
        atomic_store(&s->next, head);
    while (!atomic_compare_exchange_weak(&metrics_state.shards, &head, s));
    return s;
}

static struct shard *shard(void)
{
    if (UNLIKELY(!own_shard)) {
        assert(metrics_state.n_fine_bounds); /* metrics_init was called: the key is ours */
        own_shard = shard_adopt();
        (void)pthread_setspecific(shard_key, own_shard); /* fails only for lack of memory: a leak */
    }
    return own_shard;
}

static inline void bump(counter *c, uint64_t n) /* M1 */
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static struct endpoint_block *make_block(struct shard *s, int slot)
{
    struct endpoint_chunk *chunk = atomic_load(&s->chunks[slot / SLOTS_PER_CHUNK]);
    if (!chunk) {
        chunk = try_alloc0(sizeof(*chunk));
        if (!chunk)
            return NULL;
        atomic_store_explicit(&s->chunks[slot / SLOTS_PER_CHUNK], chunk, memory_order_release);
    }
    struct endpoint_block *b = try_alloc0(sizeof(*b));
    if (b)
        atomic_store_explicit(&chunk->blocks[slot % SLOTS_PER_CHUNK], b, memory_order_release);
    return b;
}

/* The thread's counters of a slot, made at its first use. NULL: out of memory, nothing is counted.
 */
static struct endpoint_block *block(int slot)
{
    assert(slot >= 0 && slot < METRICS_LIMIT_SLOTS);
    struct shard *s = shard();
    struct endpoint_chunk *chunk =
        atomic_load_explicit(&s->chunks[slot / SLOTS_PER_CHUNK], memory_order_relaxed);
    struct endpoint_block *b = NULL;
    if (LIKELY(chunk != NULL))
        b = atomic_load_explicit(&chunk->blocks[slot % SLOTS_PER_CHUNK], memory_order_relaxed);
    return LIKELY(b != NULL) ? b : make_block(s, slot);
}

void metrics_init(const char *release)
{
    assert(!metrics_state.slots.names);
    metrics_state.release = release && *release ? x_strdup(release) : NULL;
    mutex_init(&metrics_state.slots.lock);
    mutex_init(&metrics_state.rare.lock);
    int failed = pthread_key_create(&shard_key, shard_give_back);
    assert(!failed);
    build_bounds();
    int unknown = metrics_endpoint_register("_unknown", 0);
    assert(unknown == METRICS_UNKNOWN);
}

/* ---- slots ---- */

int metrics_endpoint_register(const char *name, int64_t revision)
{
    if (!metrics_state.release)
        revision = 0;
    AUTO(mem_free_auto) char *key = x_printf("%s\n%lld", name, (long long)revision);
    LOCKED(&metrics_state.slots.lock);
    uintptr_t found = (uintptr_t)map_get(&metrics_state.slots.by_key, str_from(key));
    if (found) {
        metrics_state.slots.names[found - 1].references++;
        return (int)(found - 1);
    }
    if (metrics_state.slots.n == METRICS_LIMIT_SLOTS)
        return METRICS_UNKNOWN;
    if (metrics_state.slots.n == metrics_state.slots.capacity) {
        int capacity = metrics_state.slots.capacity ? metrics_state.slots.capacity * 2 : 64;
        metrics_state.slots.names =
            x_realloc(metrics_state.slots.names, (size_t)capacity * sizeof(struct slot_name));
        metrics_state.slots.capacity = capacity;
    }
    int slot = metrics_state.slots.n;
    if (!map_put(&metrics_state.slots.by_key, str_from(key), (void *)(uintptr_t)(slot + 1), NULL))
        return METRICS_UNKNOWN;
    (void)TAKE(key); /* kept for the program's life: the map borrows it */
    metrics_state.slots.names[slot] =
        (struct slot_name){.name = x_strdup(name), .revision = revision, .references = 1};
    metrics_state.slots.n++;
    return slot;
}

void metrics_endpoint_unregister(int slot)
{
    if (slot == METRICS_UNKNOWN)
        return;
    LOCKED(&metrics_state.slots.lock);
    assert(slot < metrics_state.slots.n && metrics_state.slots.names[slot].references > 0);
    metrics_state.slots.names[slot].references--;
}

/* ---- the request path ---- */

enum metrics_status metrics_status_of(int http_status)
{
    if ((http_status >= 200 && http_status < 300) || http_status == 304)
        return MSTATUS_OK;
    if (http_status == 503)
        return MSTATUS_NOT_READY;
    return http_status >= 500 ? MSTATUS_SERVER_ERROR : MSTATUS_CLIENT_ERROR;
}

/* Index of the first bound that is not below @ns; @n when all are. */
static int bucket_of(const int64_t *bounds_ns, int n, int64_t ns)
{
    int low = 0, high = n;
    while (low < high) {
        int mid = (low + high) / 2;
        if (bounds_ns[mid] < ns)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void coarse_add(struct coarse_histogram *h, int64_t us)
{
    if (us < 0)
        us = 0;
    int at = 0;
    while (at < COARSE_BOUNDS && metrics_coarse_bounds_ms[at] * 1000 < (double)us)
        at++;
    bump(&h->buckets[at], 1);
    bump(&h->sum_us, (uint64_t)us);
}

void metrics_request(int slot, enum metrics_status status, int64_t duration_us)
{
    struct endpoint_block *b = block(slot);
    if (UNLIKELY(!b))
        return;
    if (duration_us < 0)
        duration_us = 0;
    bump(&b->status[status], 1);
    int at = bucket_of(metrics_state.fine_bounds_ns, metrics_state.n_fine_bounds,
                       duration_us < INT64_MAX / 1000 ? duration_us * 1000 : INT64_MAX);
    bump(&b->duration.buckets[at], 1);
    bump(&b->duration.sum_us, (uint64_t)duration_us);
}

void metrics_cache(int slot, enum metrics_cache_result result)
{
    struct endpoint_block *b = block(slot);
    if (LIKELY(b != NULL))
        bump(&b->cache[result], 1);
}

void metrics_cold(int slot)
{
    struct endpoint_block *b = block(slot);
    if (LIKELY(b != NULL))
        bump(&b->cold, 1);
}

void metrics_queue_wait(int64_t us)
{
    coarse_add(&shard()->queue_wait, us);
}

void metrics_query(enum metrics_executor executor, int64_t us)
{
    coarse_add(&shard()->query[executor], us);
}

void metrics_shed(enum metrics_shed reason)
{
    bump(&shard()->shed[reason], 1);
}

void metrics_add(enum metric m, uint64_t n)
{
    assert(m < N_METRICS && table[m].kind == METRIC_COUNTER);
    bump(&shard()->plain[m], n);
}

void metrics_totals(struct metrics_totals *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (struct shard *s = atomic_load(&metrics_state.shards); s; s = atomic_load(&s->next))
        for (int c = 0; c < N_CHUNKS; c++) {
            struct endpoint_chunk *chunk = atomic_load(&s->chunks[c]);
            for (int i = 0; chunk && i < SLOTS_PER_CHUNK; i++) {
                struct endpoint_block *b = atomic_load(&chunk->blocks[i]);
                for (int k = 0; b && k < 4; k++)
                    ret->requests[k] += atomic_load_explicit(&b->status[k], memory_order_relaxed);
                for (int k = 0; b && k < 3; k++)
                    ret->cache_results[k] +=
                        atomic_load_explicit(&b->cache[k], memory_order_relaxed);
            }
        }
}

/* ---- datasets and object stores ---- */

int metrics_dataset_register(const char *id)
{
    LOCKED(&metrics_state.rare.lock);
    for (int i = 0; i < metrics_state.rare.n_datasets; i++)
        if (strcmp(metrics_state.rare.datasets[i].id, id) == 0) {
            metrics_state.rare.datasets[i].references++;
            return i;
        }
    if (metrics_state.rare.n_datasets == metrics_state.rare.capacity) {
        int capacity = metrics_state.rare.capacity ? metrics_state.rare.capacity * 2 : 16;
        metrics_state.rare.datasets = x_realloc(metrics_state.rare.datasets,
                                                (size_t)capacity * sizeof(struct dataset_series));
        metrics_state.rare.capacity = capacity;
    }
    int slot = metrics_state.rare.n_datasets++;
    metrics_state.rare.datasets[slot] =
        (struct dataset_series){.id = x_strdup(id), .references = 1};
    return slot;
}

void metrics_dataset_unregister(int slot)
{
    LOCKED(&metrics_state.rare.lock);
    assert(slot < metrics_state.rare.n_datasets &&
           metrics_state.rare.datasets[slot].references > 0);
    metrics_state.rare.datasets[slot].references--;
}

void metrics_refresh(int slot, enum metrics_refresh_status status, int64_t duration_us)
{
    double seconds = (double)duration_us / 1e6;
    LOCKED(&metrics_state.rare.lock);
    assert(slot >= 0 && slot < metrics_state.rare.n_datasets);
    struct dataset_series *d = &metrics_state.rare.datasets[slot];
    int at = 0;
    while (at < REFRESH_BOUNDS && metrics_refresh_bounds_s[at] < seconds)
        at++;
    d->status[status]++;
    d->buckets[at]++;
    d->sum_seconds += seconds;
}

void metrics_config_sync(enum metrics_sync result)
{
    LOCKED(&metrics_state.rare.lock);
    metrics_state.rare.config_sync[result]++;
}

void metrics_object_store_request(enum metrics_store store, int http_status)
{
    int class = http_status >= 200 && http_status < 600 ? http_status / 100 - 2 : CODE_CLASSES - 1;
    LOCKED(&metrics_state.rare.lock);
    metrics_state.rare.store_requests[store][class]++;
}

void metrics_object_store_retry(enum metrics_store store)
{
    LOCKED(&metrics_state.rare.lock);
    metrics_state.rare.store_retries[store]++;
}
