/* SPDX-License-Identifier: Apache-2.0 */
/* A burst may wait, a standing queue may not; with a clock of the test's own. */
#include "pool/lane.h"
#include "unit.h"

#define PATIENCE_US 250000
#define SERVICE_US 5000
#define WIDTH 2

/* A pool of WIDTH workers with jobs of SERVICE_US each, as seen from its lane. */
struct pretended {
    struct lane lane;
    int64_t now_us, queued_at_us[4096], longest_us; /* of the jobs that began to run */
    int n_queued, first, n_run, n_shed;
    int64_t free_at_us[WIDTH];
};

static void begin(struct pretended *p)
{
    *p = (struct pretended){0};
    lane_init(&p->lane, WIDTH, PATIENCE_US);
    for (int i = 0; i < 100; i++)
        lane_on_served(&p->lane, SERVICE_US);
    p->now_us = 1000000;
}

static int64_t take(struct pretended *p)
{
    p->n_queued--;
    return p->queued_at_us[p->first++ % 4096];
}

static void work_until_now(struct pretended *p)
{
    lane_look(&p->lane, p->n_queued, p->now_us);
    while (p->n_queued && p->now_us - p->queued_at_us[p->first % 4096] >= lane_limit_us(&p->lane)) {
        (void)take(p);
        lane_on_late(&p->lane);
        p->n_shed++;
    }
    for (int i = 0; i < WIDTH; i++)
        if (p->n_queued && p->free_at_us[i] <= p->now_us) {
            int64_t waited_us = p->now_us - take(p);
            p->longest_us = waited_us > p->longest_us ? waited_us : p->longest_us;
            p->free_at_us[i] = p->now_us + SERVICE_US;
            p->n_run++;
            lane_look(&p->lane, p->n_queued, p->now_us);
        }
}

static void offer(struct pretended *p)
{
    bool is_free = p->free_at_us[0] <= p->now_us || p->free_at_us[1] <= p->now_us;
    if (!lane_offer(&p->lane, is_free, p->n_queued)) {
        p->n_shed++;
        return;
    }
    lane_on_queued(&p->lane, p->n_queued, p->now_us);
    p->queued_at_us[(p->first + p->n_queued++) % 4096] = p->now_us;
}

/* One job every @every_us; what was counted before is forgotten. */
static void run_for(struct pretended *p, int64_t for_us, int64_t every_us)
{
    int64_t until_us = p->now_us + for_us, due_us = p->now_us;
    p->longest_us = p->n_run = p->n_shed = 0;
    for (; p->now_us < until_us; p->now_us += 100) {
        for (; due_us <= p->now_us; due_us += every_us)
            offer(p);
        work_until_now(p);
    }
}

static void test_a_burst_waits(void **state)
{
    (void)state;
    struct pretended p;
    begin(&p);
    for (int i = 0; i < 90; i++) /* 225 ms of work for two */
        offer(&p);
    run_for(&p, 240000, 1000000);
    assert_true(p.n_shed == 0 && p.n_run == 91 && !p.lane.is_short);
    assert_true(p.longest_us > 200000);
}

static void test_a_standing_queue_does_not(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        int64_t every_us; /* two in 5,000 is all that can be done */
    } rows[] = {
        {"a quarter too much", 2000}, {"twice", 1250}, {"five times", 500}, {"fifty times", 50}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pretended p;
        begin(&p);
        run_for(&p, 5000000, rows[i].every_us); /* until it has noticed */
        run_for(&p, 2000000, rows[i].every_us);
        print_message("%s: run %d, shed %d, longest wait %d us\n", rows[i].why, p.n_run, p.n_shed,
                      (int)p.longest_us);
        CHECK_INT(rows[i].why, p.lane.is_short, true);
        CHECK_INT(rows[i].why, p.longest_us <= 2 * SERVICE_US + 1000, true);
        CHECK_INT(rows[i].why, p.n_run >= 2000000 / SERVICE_US * WIDTH * 95 / 100, true);
    }
}

static void test_it_ends_with_the_overload(void **state)
{
    (void)state;
    struct pretended p;
    begin(&p);
    run_for(&p, 2000000, 500);
    assert_true(p.lane.is_short);
    run_for(&p, 2 * PATIENCE_US, 5000); /* half of what can be done */
    assert_false(p.lane.is_short);
    run_for(&p, 1000000, 5000);
    assert_int_equal(p.n_shed, 0);
}

static void test_quiet_after_overload_is_patient(void **state)
{
    (void)state;
    struct pretended p;
    begin(&p);
    run_for(&p, 2000000, 500);
    run_for(&p, 2 * PATIENCE_US, 10 * PATIENCE_US); /* nothing more comes */
    assert_false(p.lane.is_short);
    assert_int_equal(lane_limit_us(&p.lane), PATIENCE_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_waits),
        cmocka_unit_test(test_a_standing_queue_does_not),
        cmocka_unit_test(test_it_ends_with_the_overload),
        cmocka_unit_test(test_quiet_after_overload_is_patient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
