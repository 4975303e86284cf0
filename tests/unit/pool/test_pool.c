/* SPDX-License-Identifier: Apache-2.0 */
/* Every job ends once, by run or on_shed; waits are bounded; remote work leaves room for local. */
#include <pthread.h>

#include "base/timeutil.h"
#include "metrics/metrics.h"
#include "pool/pool.h"
#include "unit.h"

/* A gate that jobs wait at, so that tests decide when a worker is free. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_open;
static int n_running, n_run, n_shed, most_remote, n_remote;

struct work {
    struct pool_job job;
    int n_ends;
    bool was_shed;
};

static void run(struct pool_job *j, int worker)
{
    struct work *w = (struct work *)j;
    (void)worker;
    pthread_mutex_lock(&lock);
    n_running++;
    n_remote += j->is_remote;
    most_remote = n_remote > most_remote ? n_remote : most_remote;
    pthread_cond_broadcast(&changed);
    while (!is_open)
        pthread_cond_wait(&changed, &lock);
    n_running--;
    n_remote -= j->is_remote;
    n_run++;
    w->n_ends++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_shed(struct pool_job *j)
{
    struct work *w = (struct work *)j;
    pthread_mutex_lock(&lock);
    n_shed++;
    w->n_ends++;
    w->was_shed = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_until(const int *what, int n)
{
    pthread_mutex_lock(&lock);
    while (*what < n)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void set_gate(bool open)
{
    pthread_mutex_lock(&lock);
    is_open = open;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static struct pool *start_capped(int workers, int remote_cap, int queue_limit, int64_t timeout_us,
                                 int local_cap)
{
    struct pool_options o = {workers, remote_cap, queue_limit, timeout_us, local_cap};
    struct pool *p = NULL;
    struct err err = ERR_INIT;
    n_running = n_run = n_shed = most_remote = n_remote = 0;
    set_gate(false);
    CHECK_OK("the pool starts", pool_new(&o, &p, &err), &err);
    return p;
}

static struct pool *start(int workers, int remote_cap, int queue_limit, int64_t timeout_us)
{
    return start_capped(workers, remote_cap, queue_limit, timeout_us, 0);
}

static struct work work(bool is_remote)
{
    return (struct work){.job = {.run = run, .on_shed = on_shed, .is_remote = is_remote}};
}

static void test_all_run(void **state)
{
    (void)state;
    struct pool *p = start(3, 3, 100, 60000000);
    struct work w[50];
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        w[i] = work(i % 2);
        assert_int_equal(pool_submit(p, &w[i].job), RC_OK);
    }
    set_gate(true);
    wait_until(&n_run, 50);
    pool_free(p);
    for (size_t i = 0; i < ARRAY_LEN(w); i++)
        assert_int_equal(w[i].n_ends, 1);
}

static void test_a_full_queue_sheds_at_once(void **state)
{
    (void)state;
    struct pool *p = start(1, 1, 2, 60000000);
    struct work w[4] = {work(false), work(false), work(false), work(false)};
    assert_int_equal(pool_submit(p, &w[0].job), RC_OK);
    wait_until(&n_running, 1);
    assert_int_equal(pool_submit(p, &w[1].job), RC_OK);
    assert_int_equal(pool_submit(p, &w[2].job), RC_OK);
    assert_int_equal(pool_submit(p, &w[3].job), RC_BUSY);
    struct pool_gauges g;
    pool_gauges(p, &g);
    assert_true(g.workers == 1 && g.busy == 1 && g.queued == 2 && g.queue_age_us >= 0);
    assert_true(g.is_saturated);
    set_gate(true);
    wait_until(&n_run, 3);
    pool_free(p);
    assert_int_equal(w[3].n_ends, 0); /* its owner still has it */
}

static void test_a_late_job_is_shed(void **state)
{
    (void)state;
    /* Long enough for a busy machine to start the first job before its time is up. */
    struct pool *p = start(1, 1, 10, 500000);
    struct work first = work(false), second = work(false);
    assert_int_equal(pool_submit(p, &first.job), RC_OK);
    wait_until(&n_running, 1);
    int64_t from_us = monotonic_us();
    assert_int_equal(pool_submit(p, &second.job), RC_OK);
    wait_until(&n_shed, 1);
    assert_true(second.was_shed && monotonic_us() - from_us >= 500000);
    set_gate(true);
    wait_until(&n_run, 1);
    pool_free(p);
}

static void test_cancelled_jobs_do_not_run(void **state)
{
    (void)state;
    struct pool *p = start(1, 1, 10, 60000000);
    _Atomic bool cancelled = false;
    struct work first = work(false), second = work(false);
    second.job.cancelled = &cancelled;
    assert_int_equal(pool_submit(p, &first.job), RC_OK);
    wait_until(&n_running, 1);
    assert_int_equal(pool_submit(p, &second.job), RC_OK);
    atomic_store(&cancelled, true);
    set_gate(true);
    wait_until(&n_shed, 1);
    pool_free(p);
    assert_true(second.was_shed && second.n_ends == 1 && first.n_ends == 1);
}

/* Remote jobs never take the last quarter of the workers. */
static void test_remote_leaves_room(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        int workers, cap, want;
    } rows[] = {{"a quarter of 8", 8, 8, 6},
                {"at least one of 2", 2, 2, 1},
                {"its own cap", 8, 2, 2},
                {"a single worker takes both", 1, 1, 1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pool *p = start(rows[i].workers, rows[i].cap, 100, 60000000);
        struct work remote[10], local = work(false);
        struct pool_gauges g;
        for (size_t k = 0; k < ARRAY_LEN(remote); k++) {
            remote[k] = work(true);
            assert_int_equal(pool_submit(p, &remote[k].job), RC_OK);
        }
        wait_until(&n_running, rows[i].want);
        assert_int_equal(pool_submit(p, &local.job), RC_OK);
        if (rows[i].workers > 1)
            wait_until(&n_running, rows[i].want + 1); /* the local one runs beside them */
        pool_gauges(p, &g);
        CHECK_INT(rows[i].why, g.remote_cap, rows[i].want);
        CHECK(rows[i].why, g.is_saturated);
        set_gate(true);
        wait_until(&n_run, 11);
        CHECK_INT(rows[i].why, most_remote, rows[i].want);
        pool_free(p);
    }
}

/* As many local jobs run as there are CPUs for: a third waits, though a later remote one runs. */
static void test_local_jobs_leave_no_cpu_short(void **state)
{
    (void)state;
    struct pool *p = start_capped(4, 4, 100, 60000000, 2);
    struct work w[4] = {work(false), work(false), work(false), work(true)};
    struct pool_gauges g;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pool_submit(p, &w[i].job), RC_OK);
    wait_until(&n_running, 3);
    wait_until(&n_remote, 1);
    pool_gauges(p, &g);
    assert_true(g.busy == 3 && g.queued == 1 && g.is_saturated); /* with a worker to spare */
    set_gate(true);
    wait_until(&n_run, 4);
    pool_free(p);
}

/* Shown to fail when a slow job goes on counting: the second one was shed. */
static void test_a_slow_job_lets_others_pass(void **state)
{
    (void)state;
    struct pool *p = start_capped(2, 2, 100, 2000000, 1);
    struct work w[2] = {work(false), work(false)};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pool_submit(p, &w[i].job), RC_OK);
    wait_until(&n_running, 2);
    set_gate(true);
    wait_until(&n_run, 2);
    pool_free(p);
    assert_false(w[1].was_shed);
}

/* Work in hand is no saturation, and neither is what waits for a worker that is about to take it.
 */
static void test_a_pool_with_room_is_not_saturated(void **state)
{
    (void)state;
    struct pool *p = start_capped(4, 2, 100, 60000000, 2);
    struct work w[4] = {work(false), work(true), work(true), work(false)};
    struct pool_gauges g;
    pool_gauges(p, &g);
    assert_false(g.is_saturated);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pool_submit(p, &w[i].job), RC_OK);
        pool_gauges(p, &g);
        assert_false(g.is_saturated);
    }
    wait_until(&n_running, 3);
    pool_gauges(p, &g);
    assert_true(g.busy == 3 && g.queued == 0 && !g.is_saturated);
    assert_int_equal(pool_submit(p, &w[3].job), RC_OK);
    wait_until(&n_running, 4);
    pool_gauges(p, &g);
    assert_true(g.busy == 4 && g.queued == 0 && g.is_saturated);
    set_gate(true);
    wait_until(&n_run, 4);
    pool_free(p);
}

static void test_freeing_sheds_what_waits(void **state)
{
    (void)state;
    struct pool *p = start(1, 1, 10, 60000000);
    struct work w[3] = {work(false), work(false), work(true)};
    for (int i = 0; i < 3; i++)
        assert_int_equal(pool_submit(p, &w[i].job), RC_OK);
    wait_until(&n_running, 1);
    set_gate(true);
    pool_free(p);
    for (int i = 0; i < 3; i++)
        assert_int_equal(w[i].n_ends, 1);
    pool_free(NULL);
}

/* An answer that a worker made just before the end may want to be compressed just after it. */
static void test_a_stopped_pool_refuses(void **state)
{
    (void)state;
    struct pool *p = start(2, 1, 10, 60000000);
    struct work done = work(false), late[2] = {work(false), work(true)};
    set_gate(true);
    assert_int_equal(pool_submit(p, &done.job), RC_OK);
    pool_stop(p);
    assert_int_equal(done.n_ends, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pool_submit(p, &late[i].job), RC_BUSY);
        assert_int_equal(late[i].n_ends, 0);
    }
    pool_free(p);
}

#define N_SUBMITTERS 4
#define N_ROUNDS 1000

static void *submit_rounds(void *arg)
{
    struct work w[4];
    for (int i = 0; i < N_ROUNDS; i++) {
        int n = 1 + i % 4;
        for (int k = 0; k < n; k++) {
            w[k] = work(k % 2);
            assert_int_equal(pool_submit(arg, &w[k].job), RC_OK);
        }
        pthread_mutex_lock(&lock);
        for (int k = 0; k < n; k++)
            while (!w[k].n_ends)
                pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

/* Workers fall asleep between rounds; a wake-up that got lost would be waited for without end. */
static void test_no_wake_up_is_lost(void **state)
{
    (void)state;
    struct pool *p = start_capped(4, 3, 100, INT64_C(3600000000), 2);
    pthread_t submitters[N_SUBMITTERS];
    set_gate(true);
    for (int i = 0; i < N_SUBMITTERS; i++)
        assert_int_equal(pthread_create(&submitters[i], NULL, submit_rounds, p), 0);
    for (int i = 0; i < N_SUBMITTERS; i++)
        assert_int_equal(pthread_join(submitters[i], NULL), 0);
    pool_free(p);
    assert_int_equal(n_shed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_run),
        cmocka_unit_test(test_a_full_queue_sheds_at_once),
        cmocka_unit_test(test_a_late_job_is_shed),
        cmocka_unit_test(test_cancelled_jobs_do_not_run),
        cmocka_unit_test(test_remote_leaves_room),
        cmocka_unit_test(test_local_jobs_leave_no_cpu_short),
        cmocka_unit_test(test_a_slow_job_lets_others_pass),
        cmocka_unit_test(test_a_pool_with_room_is_not_saturated),
        cmocka_unit_test(test_freeing_sheds_what_waits),
        cmocka_unit_test(test_a_stopped_pool_refuses),
        cmocka_unit_test(test_no_wake_up_is_lost),
    };
    metrics_init(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
