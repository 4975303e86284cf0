/* SPDX-License-Identifier: Apache-2.0 */
/* The distinct texts of a column, gathered while rows stream by. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "store/writer_int.h"

void distinct_init(struct distinct *d)
{
    *d = (struct distinct){.is_alive = true};
    buf_init(&d->bytes, LIMIT_DISTINCT_BYTES);
}

void distinct_done(struct distinct *d)
{
    buf_done(&d->bytes);
    mem_free(d->ends);
    mem_free(d->table);
    mem_free(d->rank);
    mem_free(d->sorted);
    *d = (struct distinct){0};
}

struct str distinct_entry(const struct distinct *d, uint32_t entry)
{
    uint32_t from = entry ? d->ends[entry - 1] : 0;
    return (struct str){d->bytes.p + from, d->ends[entry] - from};
}

static uint32_t slot_of(const struct distinct *d, struct str s)
{
    uint32_t at = (uint32_t)process_hash(s.p, s.n) & (d->n_table - 1);
    while (d->table[at] && !str_eq(distinct_entry(d, d->table[at] - 1), s))
        at = (at + 1) & (d->n_table - 1);
    return at;
}

/* Twice the room; false: give up. */
static bool grow(struct distinct *d)
{
    uint32_t capacity = d->capacity ? d->capacity * 2 : 1024;
    if (capacity > LIMIT_DISTINCT)
        return false;
    uint32_t *ends = try_realloc(d->ends, capacity * sizeof *ends);
    if (!ends)
        return false;
    d->ends = ends;
    uint32_t *table = try_array0(capacity * 2, sizeof *table);
    if (!table)
        return false;
    mem_free(d->table);
    d->table = table;
    d->n_table = capacity * 2;
    d->capacity = capacity;
    for (uint32_t i = 0; i < d->n; i++)
        d->table[slot_of(d, distinct_entry(d, i))] = i + 1;
    return true;
}

void distinct_add(struct distinct *d, struct str s)
{
    if (!d->is_alive)
        return;
    if (d->n == d->capacity && !grow(d)) {
        distinct_done(d);
        return;
    }
    uint32_t at = slot_of(d, s);
    if (d->table[at])
        return;
    buf_put_str(&d->bytes, s);
    if (d->bytes.failed) {
        distinct_done(d);
        return;
    }
    d->ends[d->n++] = (uint32_t)d->bytes.n;
    d->table[at] = d->n;
}

uint32_t distinct_find(const struct distinct *d, struct str s)
{
    uint32_t at = slot_of(d, s);
    assert(d->table[at]);
    return d->table[at] - 1;
}

static int compare_entries(const void *a, const void *b, void *arg)
{
    const struct distinct *d = arg;
    return str_cmp(distinct_entry(d, *(const uint32_t *)a),
                   distinct_entry(d, *(const uint32_t *)b));
}

bool distinct_sort(struct distinct *d)
{
    d->rank = try_array0(d->n ? d->n : 1, sizeof *d->rank);
    d->sorted = try_array0(d->n ? d->n : 1, sizeof *d->sorted);
    if (!d->rank || !d->sorted)
        return false;
    for (uint32_t i = 0; i < d->n; i++)
        d->sorted[i] = i;
    qsort_r(d->sorted, d->n, sizeof *d->sorted, compare_entries, d);
    for (uint32_t i = 0; i < d->n; i++)
        d->rank[d->sorted[i]] = i;
    return true;
}
