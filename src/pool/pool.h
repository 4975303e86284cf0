/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker threads for what must not run on a loop: large scans of the serving store and DuckDB
 * plans.
 *
 * A bounded wait is the contract: a job that could not start within the queue timeout is shed. At
 * submission that is predicted (jobs ahead × smoothed service time / how many run at once); a job
 * whose prediction was wrong is shed when its time is up. When more comes than can be done, the
 * wait is cut to about two service times (lane.h), so that answers stay quick while it lasts.
 * Remote jobs never take the last quarter of the workers (at least one where there is more than
 * one), so that slow sources cannot starve local work.
 */
#ifndef OFFLOADER_POOL_POOL_H
#define OFFLOADER_POOL_POOL_H

#include <stdatomic.h>

#include "base/compiler.h"
#include "base/err.h"

struct pool;

/* Embedded by its owner and owned by the pool from a successful submit until run or on_shed begins.
 */
struct pool_job {
    struct pool_job *next;
    void (*run)(struct pool_job *j, int worker); /* on a worker's thread; 0 <= worker < n_workers */
    void (*on_shed)(struct pool_job *j);         /* on a thread of the pool: it waited too long */
    bool is_remote;
    const _Atomic bool *cancelled; /* NULL: never; a cancelled job is shed */
    int64_t queued_us;
};

struct pool_options {
    int n_workers, remote_cap;
    int queue_limit; /* jobs; 0: 64 a worker */
    int64_t queue_timeout_us;
    int local_cap; /* local jobs at once, slow ones aside; 0: all workers */
};
MUST_CHECK enum rc pool_new(const struct pool_options *options, struct pool **ret, struct err *err);
/* Runs no further job (those queued are shed, and those submitted from now on refused), waits for
 * those that run. One thread; what a job has posted elsewhere may still submit. */
void pool_stop(struct pool *p);
void pool_free(struct pool *p); /* stops it where that was not done; nobody may submit any more */
/* RC_BUSY: shed at once. Any thread. */
MUST_CHECK enum rc pool_submit(struct pool *p, struct pool_job *j);

struct pool_gauges {
    int workers, busy, remote_busy, remote_cap, queued;
    bool is_saturated;    /* all workers are busy, or jobs wait because their kind has no room */
    int64_t queue_age_us; /* of the oldest waiting job */
};
void pool_gauges(struct pool *p, struct pool_gauges *ret);

#endif
