/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long jobs of one kind may wait: plain state and arithmetic, driven by the pool with its
 * clock.
 *
 * A burst may wait as long as the queue timeout. A queue that has not been empty for that long is
 * no burst: more comes than can be done, and waiting adds nothing but delay to every answer. Then
 * the wait is cut to SHORT_WAITS service times until less than a tenth of what comes is refused.
 *
 *            not empty for a whole queue timeout
 *   PATIENT ─────────────────────────────────────▶ SHORT
 *           ◀─────────────────────────────────────
 *            over a queue timeout less than a tenth refused
 */
#ifndef OFFLOADER_POOL_LANE_H
#define OFFLOADER_POOL_LANE_H

#include <stdbool.h>
#include <stdint.h>

struct lane {
    int width;                     /* jobs of this kind at once */
    int64_t patience_us;           /* the queue timeout */
    int64_t service_us;            /* of a job, smoothed; 0: none has ended */
    int64_t standing_from_us;      /* since then the queue is not empty; meaningless when it is */
    int64_t window_from_us;        /* while short: what came since */
    uint64_t n_offered, n_refused; /* in that window */
    bool is_short;
};

void lane_init(struct lane *l, int width, int64_t patience_us);
int64_t lane_limit_us(const struct lane *l); /* a job that has waited this long is shed */
/* Moves between the states. @n_queued: jobs of this kind that wait. */
void lane_look(struct lane *l, int n_queued, int64_t now_us);
/* May one more job come behind @n_queued others? @is_free: it would begin at once. Counts it. */
bool lane_offer(struct lane *l, bool is_free, int n_queued);
void lane_on_queued(struct lane *l, int n_queued_before, int64_t now_us);
void lane_on_late(struct lane *l); /* one was shed after all */
void lane_on_served(struct lane *l, int64_t took_us);

#endif
