/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots of the file, an array of what each holds, and hash chains through it. Reading and writing
 * the disk happens without the lock: a slot's generation tells a reader whether it was replaced
 * meanwhile.
 */
#include "engine/block_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/thread.h"

struct slot {
    struct block_key key;
    uint64_t generation;
    uint32_t n, crc;
    uint32_t next_after; /* index + 1 of the next in its chain; 0: none */
    bool is_filled, is_writing, was_used;
};

struct block_cache {
    pthread_mutex_t lock;
    int fd;
    char *path;
    struct slot *slots;
    uint32_t *chains; /* index + 1 */
    uint32_t n_slots, hand;
};

struct block_cache *block_cache_new(const char *directory, uint64_t bytes)
{
    struct err err = ERR_INIT;
    uint64_t n = bytes / BLOCK_BYTES;
    struct block_cache *c;
    if (!directory || n == 0)
        return NULL;
    c = x_alloc0(sizeof *c);
    c->n_slots = n < UINT32_MAX / 2 ? (uint32_t)n : UINT32_MAX / 2;
    c->slots = try_array0(c->n_slots, sizeof *c->slots);
    c->chains = try_array0(c->n_slots, sizeof *c->chains);
    c->path = path_join(directory, "blocks");
    c->fd = -1;
    mutex_init(&c->lock);
    if (c->slots && c->chains &&
        io_open(c->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600, &c->fd, &err) == RC_OK)
        return c;
    block_cache_free(c);
    return NULL;
}

void block_cache_free(struct block_cache *c)
{
    if (!c)
        return;
    if (c->fd >= 0) {
        (void)close(c->fd); /* what it held is not needed again */
        (void)unlink(c->path);
    }
    mutex_done(&c->lock);
    mem_free(c->path);
    mem_free(c->slots);
    mem_free(c->chains);
    mem_free(c);
}

/* ---- under the lock ---- */

static uint32_t *chain_of(struct block_cache *c, const struct block_key *key)
{
    return &c->chains[process_hash(key, sizeof *key) % c->n_slots];
}

static bool is_same(const struct block_key *a, const struct block_key *b)
{
    return a->block == b->block && memcmp(a->file, b->file, sizeof a->file) == 0;
}

static struct slot *find(struct block_cache *c, const struct block_key *key)
{
    for (uint32_t at = *chain_of(c, key); at; at = c->slots[at - 1].next_after)
        if (is_same(&c->slots[at - 1].key, key))
            return &c->slots[at - 1];
    return NULL;
}

static void empty(struct block_cache *c, struct slot *s)
{
    uint32_t self = (uint32_t)(s - c->slots) + 1, *at = chain_of(c, &s->key);
    if (!s->is_filled)
        return;
    while (*at != self)
        at = &c->slots[*at - 1].next_after;
    *at = s->next_after;
    s->is_filled = false;
    s->generation++;
}

/* NULL: all are being written. */
static struct slot *pick_victim(struct block_cache *c)
{
    for (uint64_t i = 0; i < (uint64_t)c->n_slots * 2; i++) {
        struct slot *s = &c->slots[c->hand];
        c->hand = (c->hand + 1) % c->n_slots;
        if (s->is_writing)
            continue;
        if (!s->is_filled || !s->was_used)
            return s;
        s->was_used = false;
    }
    return NULL;
}

/* ---- the three things one does with it ---- */

bool block_cache_has(struct block_cache *c, const struct block_key *key)
{
    if (!c)
        return false;
    LOCKED(&c->lock);
    return find(c, key) != NULL;
}

bool block_cache_get(struct block_cache *c, const struct block_key *key, void *to, size_t *ret_n)
{
    struct err err = ERR_INIT;
    if (!c)
        return false;
    mutex_lock(&c->lock);
    struct slot *s = find(c, key);
    struct slot before = s ? *s : (struct slot){.n = 0};
    if (s)
        s->was_used = true;
    mutex_unlock(&c->lock);
    if (!s)
        return false;
    bool fine = io_pread_all(c->fd, to, before.n, (uint64_t)(s - c->slots) * BLOCK_BYTES, c->path,
                             &err) == RC_OK &&
                crc32c(0, to, before.n) == before.crc;
    LOCKED(&c->lock);
    if (s->generation != before.generation)
        return false;
    if (!fine)
        empty(c, s);
    *ret_n = before.n;
    return fine;
}

void block_cache_put(struct block_cache *c, const struct block_key *key, const void *p, size_t n)
{
    struct err err = ERR_INIT;
    if (!c || n == 0 || n > BLOCK_BYTES)
        return;
    mutex_lock(&c->lock);
    struct slot *s = find(c, key) ? NULL : pick_victim(c);
    if (s) {
        empty(c, s);
        s->is_writing = true;
    }
    mutex_unlock(&c->lock);
    if (!s)
        return;
    bool fine =
        io_pwrite_all(c->fd, p, n, (uint64_t)(s - c->slots) * BLOCK_BYTES, c->path, &err) == RC_OK;
    LOCKED(&c->lock);
    s->is_writing = false;
    if (!fine || find(c, key)) /* another thread was faster */
        return;
    s->key = *key;
    s->n = (uint32_t)n;
    s->crc = crc32c(0, p, n);
    s->generation++;
    s->was_used = false;
    s->is_filled = true;
    s->next_after = *chain_of(c, key);
    *chain_of(c, key) = (uint32_t)(s - c->slots) + 1;
}
