/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies keep their order and are within 1.6 % of what was measured. */
#include "bench/bench.h"
#include "unit.h"

static void test_empty(void **state)
{
    static struct histogram h;
    (void)state;
    assert_int_equal(histogram_quantile(&h, 0.99), 0);
}

static void test_one_value_is_every_quantile(void **state)
{
    static const uint64_t values[] = {
        0, 1, 127, 128, 129, 255, 256, 1000, 999999, 1000000007, UINT64_C(60000000000)};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        static struct histogram h;
        h = (struct histogram){0};
        histogram_add(&h, values[i]);
        assert_int_equal(histogram_quantile(&h, 0.5), values[i]);
        assert_int_equal(histogram_quantile(&h, 1), values[i]);
    }
}

static void test_quantiles_of_a_ramp(void **state)
{
    static struct histogram h;
    static const double shares[] = {0.001, 0.25, 0.5, 0.9, 0.99, 0.999};
    (void)state;
    h = (struct histogram){0};
    for (uint64_t i = 1; i <= 1000000; i++)
        histogram_add(&h, i);
    for (size_t i = 0; i < ARRAY_LEN(shares); i++) {
        double exact = shares[i] * 1e6, got = (double)histogram_quantile(&h, shares[i]);
        assert_true(got >= exact && got <= exact * 1.017 + 1);
    }
    assert_int_equal(h.max_ns, 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_one_value_is_every_quantile),
        cmocka_unit_test(test_quantiles_of_a_ramp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
