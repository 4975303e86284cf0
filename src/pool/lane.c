/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/lane.h"

#define SMOOTHING 8   /* weight of the past against one more service time */
#define SHORT_WAITS 2 /* with its own turn an answer then takes three service times */
#define SHORTEST_US 1000
#define REFUSED_SHARE 10

void lane_init(struct lane *l, int width, int64_t patience_us)
{
    *l = (struct lane){.width = width, .patience_us = patience_us};
}

int64_t lane_limit_us(const struct lane *l)
{
    int64_t short_us = l->service_us * SHORT_WAITS;
    if (short_us < SHORTEST_US)
        short_us = SHORTEST_US;
    return l->is_short && short_us < l->patience_us ? short_us : l->patience_us;
}

void lane_look(struct lane *l, int n_queued, int64_t now_us)
{
    if (!l->is_short && (n_queued == 0 || now_us - l->standing_from_us < l->patience_us))
        return;
    if (l->is_short && now_us - l->window_from_us < l->patience_us)
        return;
    l->is_short = !l->is_short || (l->n_offered && l->n_refused * REFUSED_SHARE >= l->n_offered);
    l->standing_from_us = l->window_from_us = now_us;
    l->n_offered = l->n_refused = 0;
}

bool lane_offer(struct lane *l, bool is_free, int n_queued)
{
    int64_t wait_us = (int64_t)(n_queued + 1) * l->service_us / l->width;
    bool may = (is_free && n_queued == 0) || wait_us <= lane_limit_us(l);
    l->n_offered++;
    l->n_refused += !may;
    return may;
}

void lane_on_queued(struct lane *l, int n_queued_before, int64_t now_us)
{
    if (n_queued_before == 0)
        l->standing_from_us = now_us;
}

void lane_on_late(struct lane *l)
{
    l->n_refused++;
}

void lane_on_served(struct lane *l, int64_t took_us)
{
    l->service_us += (took_us - l->service_us) / SMOOTHING;
}
