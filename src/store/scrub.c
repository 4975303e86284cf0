/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading through pread, beside the map: the scrub, which verifies every byte of the file, and the
 * warm-up, which reads what leads to rows before a request asks for it.
 *
 * S1  Header, directory, chunks, dictionaries and postings lie in the file one after the other;
 * between them is nothing but zeros up to the next multiple of eight, and nothing follows the last.
 */
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/store_int.h"

struct extent {
    uint64_t at, n_bytes;
    uint32_t crc;
    size_t chunk; /* column × n_blocks + block; SIZE_MAX: not one */
    bool is_header;
};

struct scrub {
    struct store *s;
    struct extent *extents;
    size_t n;
    struct buf room;
    uint64_t bytes_per_second;
};

static void add(struct scrub *c, uint64_t at, uint64_t n_bytes, uint32_t crc, size_t chunk)
{
    c->extents[c->n++] = (struct extent){.at = at, .n_bytes = n_bytes, .crc = crc, .chunk = chunk};
}

static bool list_extents(struct scrub *c)
{
    const struct store *s = c->s;
    size_t n_columns = s->n_columns + 1;
    c->extents = try_array0(2 + n_columns * (s->n_blocks + 2), sizeof *c->extents);
    if (!c->extents)
        return false;
    add(c, 0, sizeof *s->header, s->header->crc, SIZE_MAX);
    c->extents[0].is_header = true;
    add(c, s->header->directory_at, s->header->directory_bytes, s->header->directory_crc, SIZE_MAX);
    for (size_t i = 0; i < n_columns; i++) {
        const struct column_entry *e = s->columns[i].entry;
        for (size_t block = 0; block < s->n_blocks; block++) {
            const struct chunk_entry *chunk = &s->columns[i].chunks[block];
            add(c, chunk->at, chunk->n_bytes, chunk->crc, i * s->n_blocks + block);
        }
        if (e->flags & COLUMN_HAS_DICTIONARY)
            add(c, e->dictionary_at, e->dictionary_bytes, e->dictionary_crc, SIZE_MAX);
        if (e->flags & COLUMN_HAS_POSTING)
            add(c, e->posting_at, e->posting_bytes, e->posting_crc, SIZE_MAX);
    }
    return true;
}

static int compare_extents(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes); /* empty ones first */
}

static bool is_cancelled(const _Atomic bool *cancelled)
{
    return cancelled && atomic_load_explicit(cancelled, memory_order_relaxed);
}

static void pace(uint64_t n_bytes, uint64_t bytes_per_second)
{
    uint64_t ns = bytes_per_second ? n_bytes * 1000000000 / bytes_per_second : 0;
    struct timespec pause = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    if (ns)
        (void)nanosleep(&pause, NULL); /* waking early only scrubs faster */
}

static enum rc read_bytes(struct scrub *c, uint64_t at, uint64_t n, struct err *err)
{
    buf_reset(&c->room);
    if (!buf_reserve(&c->room, (size_t)n + 8))
        return err_set(err, RC_NO_MEMORY, "out of memory while scrubbing");
    enum rc rc = io_pread_all(c->s->fd, c->room.p, (size_t)n, at, c->s->path, err);
    pace(n, c->bytes_per_second);
    return rc;
}

static bool extent_verifies(const struct scrub *c, const struct extent *e)
{
    const uint8_t *p = (const uint8_t *)c->room.p;
    if (e->is_header)
        return crc32c(0, p, offsetof(struct store_header, crc)) == e->crc &&
               memcmp(p + offsetof(struct store_header, crc), &e->crc, sizeof e->crc) == 0;
    if (e->chunk != SIZE_MAX)
        return chunk_verify(c->s, (int)(e->chunk / c->s->n_blocks), e->chunk % c->s->n_blocks, p);
    return crc32c(0, p, (size_t)e->n_bytes) == e->crc;
}

static enum rc broken(struct scrub *c, struct err *err)
{
    atomic_store(&c->s->broken, true);
    return err_set(err, RC_CORRUPT, "%s: a block does not verify", c->s->path);
}

/* S1: what stands between @from and @to. */
static enum rc check_padding(struct scrub *c, uint64_t from, uint64_t to, struct err *err)
{
    static const char zeros[8];
    if (from > to || to - from >= sizeof zeros)
        return broken(c, err);
    if (from == to)
        return RC_OK;
    enum rc rc = read_bytes(c, from, to - from, err);
    return rc == RC_OK && memcmp(c->room.p, zeros, (size_t)(to - from)) != 0 ? broken(c, err) : rc;
}

static enum rc scrub_all(struct scrub *c, const _Atomic bool *cancelled, struct err *err)
{
    uint64_t at = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct extent *e = &c->extents[i];
        if (is_cancelled(cancelled))
            return err_set(err, RC_CANCELLED, "scrubbing was stopped");
        enum rc rc = check_padding(c, at, e->at, err);
        if (rc == RC_OK)
            rc = read_bytes(c, e->at, e->n_bytes, err);
        if (rc == RC_OK && !extent_verifies(c, e))
            rc = broken(c, err);
        if (rc == RC_CORRUPT)
            atomic_store(&c->s->broken, true); /* also a file that has become shorter */
        if (rc != RC_OK)
            return rc;
        at = e->at + e->n_bytes;
    }
    return at == c->s->n_map ? RC_OK : broken(c, err);
}

enum rc store_scrub(struct store *s, uint64_t bytes_per_second, const _Atomic bool *cancelled,
                    struct err *err)
{
    struct scrub c = {.s = s, .bytes_per_second = bytes_per_second};
    enum rc rc = RC_NO_MEMORY;
    buf_init(&c.room, SIZE_MAX);
    if (list_extents(&c)) {
        qsort(c.extents, c.n, sizeof *c.extents, compare_extents);
        rc = scrub_all(&c, cancelled, err);
    } else {
        (void)err_set(err, rc, "out of memory while scrubbing");
    }
    mem_free(c.extents);
    buf_done(&c.room);
    return rc;
}

/* ---- warming up ---- */

/* Bytes of one kind, unless they are in memory. What is verified here is verified once more when it
 * is first used, through the map. */
static enum rc warm_extent(struct scrub *c, const struct extent *e, struct err *err)
{
    if (store_is_in_memory(c->s, e->at, e->n_bytes))
        return RC_OK;
    enum rc rc = read_bytes(c, e->at, e->n_bytes, err);
    return rc == RC_OK && !extent_verifies(c, e) ? broken(c, err) : rc;
}

static enum rc warm_chunks(struct scrub *c, size_t column, const _Atomic bool *cancelled,
                           struct err *err)
{
    const struct store *s = c->s;
    enum rc rc = RC_OK;
    for (size_t block = 0; rc == RC_OK && block < s->n_blocks; block++) {
        const struct chunk_entry *chunk = &s->columns[column].chunks[block];
        struct extent e = {chunk->at, chunk->n_bytes, chunk->crc, column * s->n_blocks + block,
                           false};
        if (is_cancelled(cancelled))
            return err_set(err, RC_CANCELLED, "warming up was stopped");
        rc = warm_extent(c, &e, err);
    }
    return rc;
}

static enum rc warm_dictionary(struct scrub *c, size_t column, struct err *err)
{
    const struct column_entry *of = c->s->columns[column].entry;
    struct extent e = {of->dictionary_at, of->dictionary_bytes, of->dictionary_crc, SIZE_MAX,
                       false};
    return of->flags & COLUMN_HAS_DICTIONARY ? warm_extent(c, &e, err) : RC_OK;
}

enum rc store_warm_up(struct store *s, const _Atomic bool *cancelled, struct err *err)
{
    struct scrub c = {.s = s};
    enum rc rc = RC_OK;
    buf_init(&c.room, SIZE_MAX);
    for (size_t i = 0; rc == RC_OK && i < s->n_columns; i++)
        rc = warm_dictionary(&c, i, err);
    for (uint32_t i = 0; rc == RC_OK && i < s->header->n_sort_columns; i++)
        rc = warm_chunks(&c, (size_t)s->header->sort_columns[i], cancelled, err);
    if (rc == RC_OK)
        rc = warm_chunks(&c, s->n_columns, cancelled, err); /* the ordinal: rows' last order */
    if (rc == RC_CORRUPT)
        atomic_store(&s->broken, true); /* also a file that has become shorter */
    buf_done(&c.room);
    return rc;
}
