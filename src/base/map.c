/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear probing over a power of two of slots, at most three quarters full counting tombs.
 *
 * Invariant M1: a probe always ends, because at least one slot in four is free.
 */
#include "base/map.h"

#include "base/hash.h"
#include "base/mem.h"

#define MAP_FIRST_CAPACITY 16

enum { SLOT_FREE, SLOT_TAKEN, SLOT_TOMB };

static struct map_slot *find(const struct map *m, struct str key, uint64_t hash)
{
    if (!m->n)
        return NULL;
    size_t mask = m->capacity - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        struct map_slot *slot = &m->slots[at];
        if (slot->state == SLOT_FREE)
            return NULL;
        if (slot->state == SLOT_TAKEN && slot->hash == hash && str_eq(slot->key, key))
            return slot;
    }
}

/* Puts @entry into the first slot of its probe that is not taken; returns what that slot was. */
static uint8_t place(struct map_slot *slots, size_t capacity, struct map_slot entry)
{
    size_t mask = capacity - 1;
    size_t at = entry.hash & mask;
    while (slots[at].state == SLOT_TAKEN)
        at = (at + 1) & mask;
    uint8_t former_state = slots[at].state;
    slots[at] = entry;
    return former_state;
}

/* Room for one more entry; drops the tombs when it moves. */
static bool make_room(struct map *m)
{
    if (4 * (m->n + m->n_tombs + 1) <= 3 * m->capacity)
        return true;
    size_t capacity = MAP_FIRST_CAPACITY;
    while (capacity < 2 * (m->n + 1))
        capacity *= 2;
    struct map_slot *slots = try_array0(capacity, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < m->capacity; i++) {
        if (m->slots[i].state == SLOT_TAKEN)
            (void)place(slots, capacity, m->slots[i]); /* a new table has no tombs */
    }
    mem_free(m->slots);
    m->slots = slots;
    m->capacity = capacity;
    m->n_tombs = 0;
    return true;
}

void *map_get(const struct map *m, struct str key)
{
    return m->n ? map_get_hashed(m, key, process_hash(key.p, key.n)) : NULL;
}

void *map_get_hashed(const struct map *m, struct str key, uint64_t hash)
{
    struct map_slot *slot = find(m, key, hash);
    return slot ? slot->value : NULL;
}

bool map_put(struct map *m, struct str key, void *value, void **ret_old)
{
    uint64_t hash = process_hash(key.p, key.n);
    struct map_slot *slot = find(m, key, hash);
    if (slot) {
        if (ret_old)
            *ret_old = slot->value;
        slot->key = key; /* the old key's memory may go with the old value */
        slot->value = value;
        return true;
    }
    if (!make_room(m))
        return false;
    struct map_slot entry = {.key = key, .value = value, .hash = hash, .state = SLOT_TAKEN};
    if (place(m->slots, m->capacity, entry) == SLOT_TOMB)
        m->n_tombs--;
    m->n++;
    if (ret_old)
        *ret_old = NULL;
    return true;
}

void *map_remove(struct map *m, struct str key)
{
    struct map_slot *slot = m->n ? find(m, key, process_hash(key.p, key.n)) : NULL;
    if (!slot)
        return NULL;
    void *value = slot->value;
    *slot = (struct map_slot){.state = SLOT_TOMB};
    m->n--;
    m->n_tombs++;
    return value;
}

bool map_next(const struct map *m, size_t *at, struct str *ret_key, void **ret_value)
{
    while (*at < m->capacity) {
        const struct map_slot *slot = &m->slots[(*at)++];
        if (slot->state != SLOT_TAKEN)
            continue;
        if (ret_key)
            *ret_key = slot->key;
        if (ret_value)
            *ret_value = slot->value;
        return true;
    }
    return false;
}

void map_done(struct map *m)
{
    mem_free(m->slots);
    *m = (struct map){0};
}
