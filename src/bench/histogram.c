/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slot of a value: itself below 2 × HISTOGRAM_STEPS; above, its highest bit and the six bits that
 * follow it.
 */
#include "bench/bench.h"

static size_t slot_of(uint64_t ns)
{
    if (ns < 2 * HISTOGRAM_STEPS)
        return (size_t)ns;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - 6;
    size_t slot = (size_t)shift * HISTOGRAM_STEPS + (size_t)(ns >> shift);
    return slot < HISTOGRAM_SLOTS ? slot : HISTOGRAM_SLOTS - 1;
}

/* The greatest value of a slot. */
static uint64_t top_of(size_t slot)
{
    if (slot < 2 * HISTOGRAM_STEPS)
        return slot;
    unsigned shift = (unsigned)(slot / HISTOGRAM_STEPS) - 1;
    uint64_t step = slot - (size_t)shift * HISTOGRAM_STEPS;
    return ((step + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->counts[slot_of(ns)]++;
    h->n++;
    if (ns > h->max_ns)
        h->max_ns = ns;
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->n + 0.5), seen = 0;
    if (h->n == 0)
        return 0;
    if (wanted == 0)
        wanted = 1;
    for (size_t i = 0; i < HISTOGRAM_SLOTS; i++) {
        seen += h->counts[i];
        if (seen >= wanted)
            return top_of(i) < h->max_ns ? top_of(i) : h->max_ns;
    }
    return h->max_ns;
}
