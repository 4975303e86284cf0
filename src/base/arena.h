/* SPDX-License-Identifier: Apache-2.0 */
/* Bump allocation, freed as a whole. Not thread-safe. Blocks survive arena_reset() for reuse. */
#ifndef OFFLOADER_BASE_ARENA_H
#define OFFLOADER_BASE_ARENA_H

#include "base/compiler.h"
#include "base/str.h"

struct arena_block;
struct arena {
    struct arena_block *first, *current;
    size_t limit_bytes, used_bytes;
};

void arena_init(struct arena *a, size_t limit_bytes); /* allocates nothing */
void arena_done(struct arena *a);
void arena_reset(struct arena *a);
/* Zeroed, 16-byte aligned; NULL past the limit or out of memory. */
MUST_CHECK void *arena_try(struct arena *a, size_t bytes);
MUST_CHECK void *arena_try_array(struct arena *a, size_t n, size_t item_bytes);
MUST_CHECK char *arena_try_strndup(struct arena *a, const char *s, size_t n); /* NUL-terminated */

#endif
