/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mutex, two kinds of jobs (local, remote) with a queue and a lane each, n workers and a keeper
 * that sheds jobs whose time is up. Jobs run and are shed without the lock.
 *
 * Local jobs need a CPU, so only as many run at once as local_cap says: more would all take longer.
 * One that runs for longer than a quarter of the queue timeout stops counting, so that what is slow
 * lets what is quick pass on the workers that are left.
 */
#include "pool/pool.h"

#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "metrics/metrics.h"
#include "pool/lane.h"

#define JOBS_QUEUED_PER_WORKER 64
#define SLOW_SHARE 4 /* of the queue timeout: a local job that runs longer gives up its place */

struct queue {
    struct pool_job *first, *last;
    int n;
    struct lane lane;
};

struct worker {
    struct pool *pool;
    pthread_t thread;
    int index;
    int64_t local_from_us; /* it runs a local job since then; 0: it does not. Under the lock. */
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work, time; /* for workers; for the keeper */
    struct queue local, remote;
    struct worker *workers;
    pthread_t keeper;
    int n_workers, n_started, remote_cap, queue_limit;
    int busy, remote_busy;
    int64_t queue_timeout_us;
    int64_t keeper_until_us; /* when it looks again by itself */
    bool has_keeper, stopping;
};

static void push(struct queue *q, struct pool_job *j)
{
    j->next = NULL;
    if (q->last)
        q->last->next = j;
    else
        q->first = j;
    q->last = j;
    q->n++;
}

static struct pool_job *pop(struct queue *q)
{
    struct pool_job *j = q->first;
    if (!j)
        return NULL;
    q->first = j->next;
    if (!q->first)
        q->last = NULL;
    q->n--;
    return j;
}

/* Is there a place for one more local job among those that count? When the next one stops counting
 * goes to @ret_next_us, INT64_MAX when none will. */
static bool local_has_room(const struct pool *p, int64_t now_us, int64_t *ret_next_us)
{
    int n = 0;
    *ret_next_us = INT64_MAX;
    for (int i = 0; i < p->n_workers; i++) {
        int64_t until_us = p->workers[i].local_from_us + p->queue_timeout_us / SLOW_SHARE;
        if (p->workers[i].local_from_us == 0 || until_us <= now_us)
            continue;
        n++;
        *ret_next_us = until_us < *ret_next_us ? until_us : *ret_next_us;
    }
    return n < p->local.lane.width;
}

static bool remote_has_room(const struct pool *p)
{
    return p->remote_busy < p->remote_cap;
}

/* Does work wait, or would it, however many workers are free? */
static bool is_saturated(const struct pool *p, int64_t now_us)
{
    int64_t next_us;
    return p->busy == p->n_workers || (p->remote.first && !remote_has_room(p)) ||
           (p->local.first && !local_has_room(p, now_us, &next_us));
}

/* Whose first job runs next: the older of what may run now; NULL: none may. */
static struct queue *next_queue(struct pool *p, int64_t now_us)
{
    int64_t next_us;
    bool remote_may = p->remote.first && remote_has_room(p);
    bool local_may = p->local.first && local_has_room(p, now_us, &next_us);
    if (remote_may && local_may)
        return p->remote.first->queued_us < p->local.first->queued_us ? &p->remote : &p->local;
    return remote_may ? &p->remote : local_may ? &p->local : NULL;
}

/* For one more worker. Who goes on signals it without the lock, or whoever wakes would wait for it.
 */
static bool has_work(struct pool *p, int64_t now_us)
{
    return p->busy < p->n_workers && next_queue(p, now_us) != NULL;
}

static bool is_cancelled(const struct pool_job *j)
{
    return j->cancelled && atomic_load_explicit(j->cancelled, memory_order_relaxed);
}

/* When the keeper looks again: somebody's time is up, or a local job stops counting. */
static int64_t next_deadline(const struct pool *p, int64_t now_us)
{
    int64_t at_us = INT64_MAX, next_us;
    const struct queue *queues[] = {&p->local, &p->remote};
    for (size_t i = 0; i < ARRAY_LEN(queues); i++) {
        const struct pool_job *first = queues[i]->first;
        int64_t limit_us = lane_limit_us(&queues[i]->lane);
        if (first && first->queued_us + limit_us < at_us)
            at_us = first->queued_us + limit_us;
    }
    if (p->local.first && !local_has_room(p, now_us, &next_us) && next_us < at_us)
        at_us = next_us;
    return at_us;
}

static void tell_keeper(struct pool *p, int64_t now_us)
{
    if (next_deadline(p, now_us) < p->keeper_until_us)
        cond_signal(&p->time);
}

static void run_one(struct worker *w, struct pool_job *j, int64_t from_us)
{
    metrics_queue_wait(from_us - j->queued_us);
    if (is_cancelled(j))
        j->on_shed(j);
    else
        j->run(j, w->index);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    thread_give_way();
    mutex_lock(&p->lock);
    while (!p->stopping) {
        int64_t from_us = monotonic_us();
        struct queue *q = next_queue(p, from_us);
        if (!q) {
            cond_wait(&p->work, &p->lock);
            continue;
        }
        bool is_remote = q == &p->remote;
        p->busy++;
        p->remote_busy += is_remote;
        w->local_from_us = is_remote ? 0 : from_us;
        struct pool_job *j = pop(q); /* gone after it has run */
        lane_look(&q->lane, q->n, from_us);
        bool is_more = has_work(p, from_us);
        tell_keeper(p, from_us);
        mutex_unlock(&p->lock);
        if (is_more)
            cond_signal(&p->work);
        run_one(w, j, from_us);
        int64_t took_us = monotonic_us() - from_us;
        mutex_lock(&p->lock);
        lane_on_served(&q->lane, took_us);
        p->busy--;
        p->remote_busy -= is_remote;
        w->local_from_us = 0;
    }
    mutex_unlock(&p->lock);
    return NULL;
}

/* Takes the first job of @q that has waited too long, or all of them when the pool stops. */
static struct pool_job *pop_late(struct pool *p, struct queue *q, int64_t now_us)
{
    lane_look(&q->lane, q->n, now_us);
    bool is_late = q->first && now_us - q->first->queued_us >= lane_limit_us(&q->lane);
    if (is_late)
        lane_on_late(&q->lane);
    return is_late || p->stopping ? pop(q) : NULL;
}

static void *keeper_main(void *arg)
{
    struct pool *p = arg;
    mutex_lock(&p->lock);
    for (;;) {
        int64_t now_us = monotonic_us();
        struct pool_job *j = pop_late(p, &p->local, now_us);
        if (!j)
            j = pop_late(p, &p->remote, now_us);
        if (j) {
            mutex_unlock(&p->lock);
            metrics_queue_wait(now_us - j->queued_us);
            j->on_shed(j);
            mutex_lock(&p->lock);
            continue;
        }
        if (p->stopping)
            break;
        if (has_work(p, now_us))
            cond_signal(&p->work);
        p->keeper_until_us = next_deadline(p, now_us);
        if (p->keeper_until_us == INT64_MAX)
            cond_wait(&p->time, &p->lock);
        else
            (void)cond_wait_until(&p->time, &p->lock,
                                  p->keeper_until_us); /* the loop looks again */
        p->keeper_until_us = 0;                        /* it is awake */
    }
    mutex_unlock(&p->lock);
    return NULL;
}

enum rc pool_new(const struct pool_options *options, struct pool **ret, struct err *err)
{
    struct pool *p = x_alloc0(sizeof *p);
    enum rc rc;
    mutex_init(&p->lock);
    cond_init(&p->work);
    cond_init(&p->time);
    p->n_workers = options->n_workers;
    p->queue_timeout_us = options->queue_timeout_us;
    p->queue_limit =
        options->queue_limit ? options->queue_limit : options->n_workers * JOBS_QUEUED_PER_WORKER;
    int reserved = p->n_workers > 1 ? (p->n_workers / 4 > 1 ? p->n_workers / 4 : 1) : 0;
    p->remote_cap = p->n_workers - reserved;
    if (options->remote_cap > 0 && options->remote_cap < p->remote_cap)
        p->remote_cap = options->remote_cap;
    int local_cap = p->n_workers;
    if (options->local_cap > 0 && options->local_cap < local_cap)
        local_cap = options->local_cap;
    lane_init(&p->local.lane, local_cap, p->queue_timeout_us);
    lane_init(&p->remote.lane, p->remote_cap, p->queue_timeout_us);
    p->workers = x_array0((size_t)p->n_workers, sizeof *p->workers);
    for (int i = 0; i < p->n_workers; i++) /* before any runs: workers look at each other */
        p->workers[i] = (struct worker){.pool = p, .index = i};
    rc = thread_start(&p->keeper, "pool-keeper", keeper_main, p, err);
    p->has_keeper = rc == RC_OK;
    for (int i = 0; rc == RC_OK && i < p->n_workers; i++) {
        rc = thread_start(&p->workers[i].thread, "worker", worker_main, &p->workers[i], err);
        p->n_started += rc == RC_OK;
    }
    if (rc != RC_OK) {
        pool_free(p);
        return rc;
    }
    *ret = p;
    return RC_OK;
}

void pool_stop(struct pool *p)
{
    mutex_lock(&p->lock);
    p->stopping = true;
    cond_broadcast(&p->work);
    cond_broadcast(&p->time);
    mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_started; i++)
        thread_join(p->workers[i].thread);
    if (p->has_keeper)
        thread_join(p->keeper);
    p->n_started = 0;
    p->has_keeper = false;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pool_stop(p);
    cond_done(&p->work);
    cond_done(&p->time);
    mutex_done(&p->lock);
    mem_free(p->workers);
    mem_free(p);
}

static enum rc take_in(struct pool *p, struct pool_job *j, bool *ret_may_run)
{
    LOCKED(&p->lock);
    struct queue *q = j->is_remote ? &p->remote : &p->local;
    int64_t now_us = monotonic_us(), next_us;
    bool has_room = j->is_remote ? remote_has_room(p) : local_has_room(p, now_us, &next_us);
    *ret_may_run = has_room && p->busy < p->n_workers;
    lane_look(&q->lane, q->n, now_us);
    tell_keeper(p, now_us);
    if (p->stopping || q->n >= p->queue_limit || !lane_offer(&q->lane, *ret_may_run, q->n))
        return RC_BUSY;
    j->queued_us = now_us;
    lane_on_queued(&q->lane, q->n, now_us);
    push(q, j);
    tell_keeper(p, now_us);
    return RC_OK;
}

enum rc pool_submit(struct pool *p, struct pool_job *j)
{
    bool may_run = false;
    enum rc rc = take_in(p, j, &may_run);
    /* Where none may run it now, a worker that ends its job looks again, or the keeper. */
    if (rc == RC_OK && may_run)
        cond_signal(&p->work);
    return rc;
}

void pool_gauges(struct pool *p, struct pool_gauges *ret)
{
    LOCKED(&p->lock);
    int64_t now_us = monotonic_us(), oldest_us = now_us;
    if (p->local.first)
        oldest_us = p->local.first->queued_us;
    if (p->remote.first && p->remote.first->queued_us < oldest_us)
        oldest_us = p->remote.first->queued_us;
    *ret = (struct pool_gauges){
        .workers = p->n_workers,
        .busy = p->busy,
        .remote_busy = p->remote_busy,
        .remote_cap = p->remote_cap,
        .queued = p->local.n + p->remote.n,
        .is_saturated = is_saturated(p, now_us),
        .queue_age_us = now_us - oldest_us,
    };
}
