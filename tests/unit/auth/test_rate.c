/* SPDX-License-Identifier: Apache-2.0 */
/* Rate limits: the burst, the rate, Retry-After, extremes, and that a reload forgives nothing. */
#include <pthread.h>
#include <stdatomic.h>

#include "auth/rate.h"
#include "unit.h"

static struct key key_with(double rate, int64_t burst)
{
    struct key k = {.has_rate_limit = true, .requests_per_second = rate, .burst = burst};
    memset(k.digest, 7, sizeof k.digest);
    return k;
}

static int passed(struct rate_bucket *b, int n, int64_t now_us)
{
    int64_t after_s;
    int count = 0;
    for (int i = 0; i < n; i++)
        count += rate_bucket_take(b, now_us, &after_s);
    return count;
}

static void test_burst_and_rate(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        double rate;
        int64_t burst;
        int64_t wait_us; /* after the burst is used up */
        int want_burst, want_after;
        int64_t want_retry_s;
    } rows[] = {
        {"two a second, three at once", 2, 3, 500000, 3, 1, 1},
        {"the burst comes back as a whole", 2, 3, 60000000, 3, 3, 1},
        {"not a moment early", 2, 3, 499999, 3, 0, 1},
        {"one a minute", 1 / 60.0, 1, 60000001, 1, 1, 60},
        {"one in 1,000 seconds", 0.001, 1, 1000000000, 1, 1, 1000},
        {"a burst of one", 1000000, 1, 1, 1, 1, 1},
        {"faster than the clock", 1e12, 1, 1, 1, 100, 1},
        {"next to never: spans are cut to 73 years", 1e-12, 5, 1000000, 1, 0, 0},
        {"an endless burst", 1, INT64_MAX, 0, 100, 100, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct key k = key_with(rows[i].rate, rows[i].burst);
        struct rate_bucket *b = rate_bucket_get(&k);
        int64_t now_us = 1000000000, after_s = 0;
        int first = passed(b, 100, now_us);
        if (rows[i].rate < 1e11)
            CHECK_INT(rows[i].why, first, rows[i].want_burst);
        if (rows[i].want_retry_s) {
            while (rate_bucket_take(b, now_us, &after_s))
                continue;
            CHECK_INT(rows[i].why, after_s, rows[i].want_retry_s);
        }
        int later = passed(b, 100, now_us + rows[i].wait_us);
        CHECK(rows[i].why, rows[i].rate >= 1e11 ? later > 0 : later == rows[i].want_after);
        rate_bucket_put(b);
    }
}

static void test_reloads(void **state)
{
    (void)state;
    struct key k = key_with(1, 2), other = key_with(1, 3), none = {.has_rate_limit = false};
    assert_null(rate_bucket_get(&none));
    rate_bucket_put(NULL);
    struct rate_bucket *old = rate_bucket_get(&k);
    CHECK_INT("the burst", passed(old, 5, 1000000), 2);
    struct rate_bucket *same = rate_bucket_get(&k); /* the next view, before the old one goes */
    assert_ptr_equal(same, old);
    rate_bucket_put(old);
    CHECK_INT("a reload forgives nothing", passed(same, 5, 1000000), 0);
    struct rate_bucket *changed = rate_bucket_get(&other);
    assert_ptr_not_equal(changed, same);
    CHECK_INT("another limit begins anew", passed(changed, 5, 1000000), 3);
    rate_bucket_put(same); /* the replaced one goes without taking the new one along */
    assert_ptr_equal(rate_bucket_get(&other), changed);
    rate_bucket_put(changed);
    rate_bucket_put(changed);
}

struct many {
    struct rate_bucket *bucket;
    atomic_int n_passed;
};

static void *take_many(void *arg)
{
    struct many *m = arg;
    int64_t after_s;
    for (int i = 0; i < 20000; i++)
        if (rate_bucket_take(m->bucket, 1000000, &after_s))
            atomic_fetch_add(&m->n_passed, 1);
    return NULL;
}

static void test_threads_share_it(void **state)
{
    (void)state;
    struct key k = key_with(1, 30000);
    struct many m = {.bucket = rate_bucket_get(&k)};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, &m), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    CHECK_INT("exactly the burst", atomic_load(&m.n_passed), 30000);
    rate_bucket_put(m.bucket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_and_rate),
        cmocka_unit_test(test_reloads),
        cmocka_unit_test(test_threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
