/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hash map from byte strings to pointers: open addressing, SipHash under a random key of the
 * process, so that colliding keys cannot be chosen from outside. Keys are borrowed: they must
 * outlive their entry. Not thread-safe; concurrent map_get is fine while nobody changes it.
 */
#ifndef OFFLOADER_BASE_MAP_H
#define OFFLOADER_BASE_MAP_H

#include "base/compiler.h"
#include "base/str.h"

struct map_slot {
    struct str key;
    void *value;
    uint64_t hash;
    uint8_t state;
};
struct map {
    struct map_slot *slots;
    size_t n, capacity, n_tombs;
};

void *map_get(const struct map *m, struct str key); /* NULL when absent */
/* The same with the process_hash() of @key at hand. */
void *map_get_hashed(const struct map *m, struct str key, uint64_t hash);
/* False only when memory is gone. Replaces; @ret_old (may be NULL) gets the former value. */
MUST_CHECK bool map_put(struct map *m, struct str key, void *value, void **ret_old);
void *map_remove(struct map *m, struct str key); /* the value that was there, or NULL */
/* Walks in no order: start with *at = 0; false at the end. */
bool map_next(const struct map *m, size_t *at, struct str *ret_key, void **ret_value);
void map_done(struct map *m); /* frees slots, not values; zeroed again */

#endif
