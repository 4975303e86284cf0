/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chain of blocks, filled from the front.
 *
 * Invariants
 *  A1  Blocks after `current` are empty and kept for reuse.
 *  A2  used_bytes counts what callers asked for, rounded up; it never passes limit_bytes.
 *  A3  Under AddressSanitizer every byte not handed out is poisoned, with a gap behind each piece.
 */
#include "base/arena.h"

#include <string.h>

#include "base/mem.h"

#define ARENA_BLOCK_BYTES ((size_t)16 << 10)
#define ARENA_BLOCK_MAX_BYTES ((size_t)1 << 20)
#define ARENA_ALIGN ((size_t)16)

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_SANITIZED 1
#endif
#endif

#ifdef ARENA_SANITIZED
#include <sanitizer/asan_interface.h>
#define ARENA_GAP_BYTES ARENA_ALIGN
#define POISON(p, n) __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define ARENA_GAP_BYTES ((size_t)0)
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

struct arena_block {
    struct arena_block *next;
    size_t capacity, n;
    _Alignas(16) char bytes[];
};

void arena_init(struct arena *a, size_t limit_bytes)
{
    *a = (struct arena){.limit_bytes = limit_bytes};
}

void arena_done(struct arena *a)
{
    struct arena_block *block = a->first;
    while (block) {
        struct arena_block *next = block->next;
        UNPOISON(block->bytes, block->capacity);
        mem_free(block);
        block = next;
    }
    *a = (struct arena){.limit_bytes = a->limit_bytes};
}

void arena_reset(struct arena *a)
{
    for (struct arena_block *block = a->first; block; block = block->next) {
        POISON(block->bytes, block->capacity);
        block->n = 0;
        if (block == a->current)
            break; /* A1 */
    }
    a->current = a->first;
    a->used_bytes = 0;
}

static struct arena_block *block_new(size_t bytes, size_t former_bytes)
{
    size_t capacity = former_bytes ? 2 * former_bytes : ARENA_BLOCK_BYTES;
    if (capacity > ARENA_BLOCK_MAX_BYTES)
        capacity = ARENA_BLOCK_MAX_BYTES;
    if (capacity < bytes)
        capacity = bytes;
    struct arena_block *block = try_alloc(sizeof(*block) + capacity);
    if (!block)
        return NULL;
    block->next = NULL;
    block->capacity = capacity;
    block->n = 0;
    POISON(block->bytes, capacity);
    return block;
}

/* Moves on to a block with room, an old one where it fits. */
static struct arena_block *next_block(struct arena *a, size_t bytes)
{
    struct arena_block *last = a->current;
    while (last && last->next) {
        last = last->next;
        if (last->capacity >= bytes) {
            a->current = last;
            return last;
        }
    }
    struct arena_block *block = block_new(bytes, last ? last->capacity : 0);
    if (!block)
        return NULL;
    if (last)
        last->next = block;
    else
        a->first = block;
    a->current = block;
    return block;
}

void *arena_try(struct arena *a, size_t bytes)
{
    size_t rounded;
    if (__builtin_add_overflow(bytes, ARENA_ALIGN - 1 + ARENA_GAP_BYTES, &rounded))
        return NULL;
    rounded &= ~(ARENA_ALIGN - 1);
    if (rounded == 0)
        rounded = ARENA_ALIGN;
    if (rounded > a->limit_bytes - a->used_bytes)
        return NULL; /* A2 */

    struct arena_block *block = a->current;
    if (!block || block->capacity - block->n < rounded) {
        block = next_block(a, rounded);
        if (!block)
            return NULL;
    }
    char *p = block->bytes + block->n;
    block->n += rounded;
    a->used_bytes += rounded;
    UNPOISON(p, bytes); /* A3 */
    memset(p, 0, bytes);
    return p;
}

void *arena_try_array(struct arena *a, size_t n, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, item_bytes, &bytes))
        return NULL;
    return arena_try(a, bytes);
}

char *arena_try_strndup(struct arena *a, const char *s, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *copy = arena_try(a, n + 1);
    if (copy && n)
        memcpy(copy, s, n);
    return copy;
}
