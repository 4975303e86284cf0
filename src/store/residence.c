/* SPDX-License-Identifier: Apache-2.0 */
/* Which bytes of the map are in memory: mincore(2), which asks the page cache and reads nothing. */
#include <sys/mman.h>
#include <unistd.h>

#include "store/store_int.h"

#define PAGES_AT_ONCE 1024

bool store_is_in_memory(const struct store *s, uint64_t at, uint64_t n_bytes)
{
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE), from = at / page_bytes * page_bytes;
    for (uint64_t end = at + n_bytes; from < end; from += PAGES_AT_ONCE * page_bytes) {
        unsigned char pages[PAGES_AT_ONCE];
        uint64_t n =
            end - from < sizeof pages * page_bytes ? end - from : sizeof pages * page_bytes;
        /* No answer, as where the file has been cut: reading says what is the matter. */
        if (mincore((void *)(uintptr_t)(s->map + from), (size_t)n, pages) != 0)
            return true;
        for (uint64_t i = 0; i * page_bytes < n; i++)
            if (!(pages[i] & 1))
                return false;
    }
    return true;
}

static size_t forget(const struct store *s, uint64_t at, uint64_t n_bytes,
                     _Atomic uint8_t *verified)
{
    if (!atomic_load_explicit(verified, memory_order_relaxed) || store_is_in_memory(s, at, n_bytes))
        return 0;
    atomic_store_explicit(verified, 0, memory_order_relaxed);
    return 1;
}

size_t store_forget_dropped(struct store *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_columns + 1; i++) {
        struct store_column *c = &s->columns[i];
        const struct column_entry *e = c->entry;
        for (size_t block = 0; block < s->n_blocks; block++)
            n += forget(s, c->chunks[block].at, c->chunks[block].n_bytes, &c->verified[block]);
        n += forget(s, e->dictionary_at, e->dictionary_bytes, &c->dictionary_verified);
        n += forget(s, e->posting_at, e->posting_bytes, &c->posting_verified);
    }
    return n;
}
