/* SPDX-License-Identifier: Apache-2.0 */
/* S3-FIFO: which entry goes when there is no more room. */
#include "base/mem.h"
#include "cache/cache_int.h"
#include "metrics/metrics.h"

#define SMALL_PERCENT 10
#define GHOST_LIMIT 65536

void queue_init(struct cache_shard *s)
{
    s->n_ghosts = 16;
    while (s->n_ghosts < s->max_entries && s->n_ghosts < GHOST_LIMIT)
        s->n_ghosts *= 2;
    s->ghosts = x_array0(s->n_ghosts, sizeof *s->ghosts);
}

void queue_done(struct cache_shard *s)
{
    mem_free(s->ghosts);
}

static void push(struct cache_queue *q, struct cache_entry *e)
{
    e->next = NULL;
    e->previous = q->last;
    if (q->last)
        q->last->next = e;
    else
        q->first = e;
    q->last = e;
    q->n++;
    q->bytes += e->n_bytes;
}

static void unlink_entry(struct cache_queue *q, struct cache_entry *e)
{
    if (e->previous)
        e->previous->next = e->next;
    else
        q->first = e->next;
    if (e->next)
        e->next->previous = e->previous;
    else
        q->last = e->previous;
    q->n--;
    q->bytes -= e->n_bytes;
}

void queue_drop(struct cache_shard *s, struct cache_entry *e)
{
    unlink_entry(e->in_main ? &s->main : &s->small, e);
    (void)map_remove(&s->entries, e->key);
    cache_entry_unref(e);
}

static uint32_t fingerprint(const struct cache_entry *e)
{
    return (uint32_t)(e->hash >> 32) | 1; /* never 0, which is an empty place */
}

static bool is_ghost(const struct cache_shard *s, const struct cache_entry *e)
{
    return s->ghosts[e->hash & (s->n_ghosts - 1)] == fingerprint(e);
}

static void move_to_main(struct cache_shard *s, struct cache_entry *e)
{
    unlink_entry(&s->small, e);
    e->in_main = true;
    e->frequency = 0;
    push(&s->main, e);
}

static void evict_small(struct cache_shard *s)
{
    struct cache_entry *e = s->small.first;
    if (e->frequency > 0) {
        move_to_main(s, e);
        return;
    }
    s->ghosts[e->hash & (s->n_ghosts - 1)] = fingerprint(e);
    queue_drop(s, e);
    metrics_add(METRIC_response_cache_evictions_total, 1);
}

/* An entry that was asked for goes round once more; the loop ends, as each round lowers a
 * frequency. */
static void evict_main(struct cache_shard *s)
{
    while (s->main.first->frequency > 0) {
        struct cache_entry *e = s->main.first;
        e->frequency--;
        unlink_entry(&s->main, e);
        push(&s->main, e);
    }
    queue_drop(s, s->main.first);
    metrics_add(METRIC_response_cache_evictions_total, 1);
}

static bool is_over(const struct cache_shard *s, const struct cache_entry *e)
{
    return s->small.n + s->main.n + 1 > s->max_entries ||
           s->small.bytes + s->main.bytes + e->n_bytes > s->max_bytes;
}

void queue_add(struct cache_shard *s, struct cache_entry *e)
{
    while (is_over(s, e) && (s->small.first || s->main.first)) {
        bool small_is_full = s->small.bytes * 100 >= s->max_bytes * SMALL_PERCENT ||
                             s->small.n * 100 >= s->max_entries * SMALL_PERCENT;
        if (s->small.first && (small_is_full || !s->main.first))
            evict_small(s);
        else
            evict_main(s);
    }
    e->in_main = is_ghost(s, e);
    push(e->in_main ? &s->main : &s->small, e);
}
