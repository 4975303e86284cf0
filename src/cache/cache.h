/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The response cache: the `data` part of answers, by a key that holds the snapshot's generation and
 * the tenant, so that a swap invalidates by construction and no key can reach another tenant's
 * bytes. Identical misses that come while the first is being answered wait for it (one flight a
 * key).
 *
 * Model: shards, each with its own mutex, table and queues. Eviction is S3-FIFO (Yang et al., SOSP
 * 2023): a small queue for newcomers, a main queue for what was asked for again, and a table of
 * fingerprints of what left the small queue lately, so that a scan passes through without pushing
 * out what is used. Entries are immutable once filled and reference-counted: a reader writes to its
 * socket from the entry's own memory.
 *
 * Threads: everything from any thread. on_ready runs on the thread that fills or abandons the
 * flight.
 */
#ifndef OFFLOADER_CACHE_CACHE_H
#define OFFLOADER_CACHE_CACHE_H

#include "base/compiler.h"
#include "base/str.h"

struct cache;
struct cache_entry;

struct cache_options {
    uint64_t max_entries, max_bytes; /* 0 entries: nothing is kept, flights still coalesce */
};
struct cache *cache_new(const struct cache_options *options);
void cache_free(struct cache *c); /* no entry may be in use */

/* What an answer consists of besides what is made fresh for each request. */
struct cache_body {
    struct str data;        /* rows in the form of the key */
    struct str next_cursor; /* n = 0: none */
    uint64_t n_rows, total; /* total: when the key asked for it */
    bool has_more, has_total;
    uint8_t coding; /* of `data`: enum http_coding; a compressed form is an entry of its own */
};
const struct cache_body *cache_entry_body(const struct cache_entry *e);
void cache_entry_unref(struct cache_entry *e); /* NULL is fine */

/* Someone who waits for another's flight. Embedded by its owner; on_ready is called exactly once:
 * @e (a reference of the waiter's own), or NULL when the flight was abandoned: @why is then what
 * the leader gave to cache_abandon(). */
struct cache_waiter {
    struct cache_waiter *next;
    void (*on_ready)(struct cache_waiter *w, struct cache_entry *e, int why);
};

enum cache_outcome {
    CACHE_HIT,  /* *ret is a reference */
    CACHE_LEAD, /* the caller answers, then calls cache_fill or cache_abandon with *ret_flight */
    CACHE_WAIT, /* @waiter was queued */
};
struct cache_flight;
/* @waiter NULL: never waits (a lookup beside another's flight is then CACHE_LEAD without a flight).
 */
enum cache_outcome cache_begin(struct cache *c, struct str key, struct cache_waiter *waiter,
                               struct cache_entry **ret, struct cache_flight **ret_flight);
/*
 * Ends the flight with an answer: copies @body into an entry, gives it to all waiters, and keeps it
 * when there is room. Returns a reference for the caller, or NULL when memory is gone (waiters then
 * got NULL too, with @why 0).
 */
struct cache_entry *cache_fill(struct cache *c, struct cache_flight *taken,
                               const struct cache_body *body);
/* Ends it without one (NULL is fine). @why goes to the waiters as it is; 0 asks them to try again.
 */
void cache_abandon(struct cache *c, struct cache_flight *taken, int why);
/* Looks without flying; a reference or NULL. */
struct cache_entry *cache_get(struct cache *c, struct str key);
/* Keeps @body under @key unless something is there. */
void cache_put(struct cache *c, struct str key, const struct cache_body *body);
/* Drops entries whose keys begin with a generation not in @keep.
 * Housekeeping: they could never be hit again, but they take room. */
void cache_drop_generations(struct cache *c, const uint64_t *keep, size_t n_keep);

struct cache_stats {
    uint64_t entries, bytes;
};
void cache_stats(struct cache *c, struct cache_stats *ret);

#endif
