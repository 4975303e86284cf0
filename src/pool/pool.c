/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mutex, two queues (local, remote), n workers and a keeper that sheds jobs whose time is up.
 * Jobs run and are shed without the lock.
 */
#include "pool/pool.h"

#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "metrics/metrics.h"

#define JOBS_QUEUED_PER_WORKER 64
#define SMOOTHING 8 /* weight of the past against one more service time */

struct queue {
    struct pool_job *first, *last;
    int n;
};

struct worker {
    struct pool *pool;
    pthread_t thread;
    int index;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work, time; /* for workers; for the keeper */
    struct queue local, remote;
    struct worker *workers;
    pthread_t keeper;
    int n_workers, n_started, remote_cap, queue_limit;
    int busy, remote_busy;
    int64_t queue_timeout_us, service_us;
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

/* The older of what may run now. */
static struct pool_job *next_job(struct pool *p)
{
    bool remote_may = p->remote.first && p->remote_busy < p->remote_cap;
    if (remote_may && (!p->local.first || p->remote.first->queued_us < p->local.first->queued_us))
        return pop(&p->remote);
    return pop(&p->local);
}

static bool is_cancelled(const struct pool_job *j)
{
    return j->cancelled && atomic_load_explicit(j->cancelled, memory_order_relaxed);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    mutex_lock(&p->lock);
    while (!p->stopping) {
        struct pool_job *j = next_job(p);
        if (!j) {
            cond_wait(&p->work, &p->lock);
            continue;
        }
        bool is_remote = j->is_remote; /* the job is gone after run() */
        p->busy++;
        p->remote_busy += is_remote;
        mutex_unlock(&p->lock);
        int64_t from_us = monotonic_us();
        metrics_queue_wait(from_us - j->queued_us);
        if (is_cancelled(j))
            j->on_shed(j);
        else
            j->run(j, w->index);
        int64_t took_us = monotonic_us() - from_us;
        mutex_lock(&p->lock);
        p->service_us += (took_us - p->service_us) / SMOOTHING;
        p->busy--;
        p->remote_busy -= is_remote;
        if (is_remote && p->remote.first)
            cond_signal(&p->work);
    }
    mutex_unlock(&p->lock);
    return NULL;
}

/* Takes the first job of @q that has waited too long, or all of them when the pool stops. */
static struct pool_job *pop_late(struct pool *p, struct queue *q, int64_t now_us)
{
    bool is_late = q->first && (p->stopping || now_us - q->first->queued_us >= p->queue_timeout_us);
    return is_late ? pop(q) : NULL;
}

static int64_t next_deadline(const struct pool *p)
{
    int64_t at = INT64_MAX;
    if (p->local.first)
        at = p->local.first->queued_us;
    if (p->remote.first && p->remote.first->queued_us < at)
        at = p->remote.first->queued_us;
    return at == INT64_MAX ? at : at + p->queue_timeout_us;
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
        int64_t deadline_us = next_deadline(p);
        if (deadline_us == INT64_MAX)
            cond_wait(&p->time, &p->lock);
        else
            (void)cond_wait_until(&p->time, &p->lock, deadline_us); /* the loop looks again */
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
    p->workers = x_array0((size_t)p->n_workers, sizeof *p->workers);
    rc = thread_start(&p->keeper, "pool-keeper", keeper_main, p, err);
    p->has_keeper = rc == RC_OK;
    for (int i = 0; rc == RC_OK && i < p->n_workers; i++) {
        p->workers[i] = (struct worker){.pool = p, .index = i};
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

void pool_free(struct pool *p)
{
    if (!p)
        return;
    mutex_lock(&p->lock);
    p->stopping = true;
    cond_broadcast(&p->work);
    cond_broadcast(&p->time);
    mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_started; i++)
        thread_join(p->workers[i].thread);
    if (p->has_keeper)
        thread_join(p->keeper);
    cond_done(&p->work);
    cond_done(&p->time);
    mutex_done(&p->lock);
    mem_free(p->workers);
    mem_free(p);
}

/* Would a job of this kind wait longer than the queue timeout? Under the lock. */
static bool would_wait_too_long(const struct pool *p, bool is_remote)
{
    int workers = is_remote ? p->remote_cap : p->n_workers;
    int busy = is_remote ? p->remote_busy : p->busy;
    int ahead = is_remote ? p->remote.n : p->local.n + p->remote.n;
    if (busy < workers && ahead == 0)
        return false;
    return (int64_t)(ahead + 1) * p->service_us / workers > p->queue_timeout_us;
}

enum rc pool_submit(struct pool *p, struct pool_job *j)
{
    LOCKED(&p->lock);
    struct queue *q = j->is_remote ? &p->remote : &p->local;
    if (p->stopping || q->n >= p->queue_limit || would_wait_too_long(p, j->is_remote))
        return RC_BUSY;
    j->queued_us = monotonic_us();
    bool was_empty = !p->local.first && !p->remote.first;
    push(q, j);
    cond_signal(&p->work);
    if (was_empty)
        cond_signal(&p->time);
    return RC_OK;
}

void pool_gauges(struct pool *p, struct pool_gauges *ret)
{
    LOCKED(&p->lock);
    int64_t deadline_us = next_deadline(p);
    *ret = (struct pool_gauges){
        .workers = p->n_workers,
        .busy = p->busy,
        .remote_busy = p->remote_busy,
        .remote_cap = p->remote_cap,
        .queued = p->local.n + p->remote.n,
        .queue_age_us =
            deadline_us == INT64_MAX ? 0 : monotonic_us() - (deadline_us - p->queue_timeout_us),
    };
}
