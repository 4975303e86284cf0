/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of remote files kept in one file on disk, of a fixed size, checksummed; the index is in
 * memory, so that the cache starts empty with its process. The one used longest ago goes first, by
 * a clock. Thread-safe. A disk that fails or fills only makes misses.
 */
#ifndef OFFLOADER_ENGINE_BLOCK_CACHE_H
#define OFFLOADER_ENGINE_BLOCK_CACHE_H

#include "base/compiler.h"

#define BLOCK_BYTES (64u << 10)

struct block_key {
    uint8_t file[16]; /* a digest of the object's place, version and size */
    uint64_t block;   /* its bytes from block * BLOCK_BYTES on */
};

struct block_cache;
/* NULL when there is no room for a block or the file cannot be made: then nothing is cached. */
struct block_cache *block_cache_new(const char *directory, uint64_t bytes);
void block_cache_free(struct block_cache *c);
bool block_cache_has(struct block_cache *c, const struct block_key *key);
/* The block's bytes (BLOCK_BYTES, fewer at a file's end) into @to. False: not there, or not intact.
 */
MUST_CHECK bool block_cache_get(struct block_cache *c, const struct block_key *key, void *to,
                                size_t *ret_n);
void block_cache_put(struct block_cache *c, const struct block_key *key, const void *p, size_t n);

#endif
