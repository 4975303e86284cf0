/* SPDX-License-Identifier: Apache-2.0 */
/* Exact sums in any order, averages rounded once, and the total order of values. */
#include "unit.h"

#include <math.h>

#include "query/exact_sum.h"
#include "query/query.h"

static double sum_of(const double *v, size_t n)
{
    struct exact_sum s = {0};
    for (size_t i = 0; i < n; i++)
        CHECK("memory", exact_sum_add(&s, v[i]));
    double value = exact_sum_value(&s);
    exact_sum_done(&s);
    return value;
}

static void test_sums(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        double v[6];
        size_t n;
        double sum;
    } rows[] = {
        {"nothing", {0}, 0, 0},
        {"cancellation", {1e308, 1, -1e308}, 3, 1},
        {"more than a double can hold on the way", {1.7e308, 1.7e308, -1.7e308, -1.7e308}, 4, 0},
        {"tiny beside huge", {1e300, 1e-300, -1e300}, 3, 1e-300},
        {"tenths", {0.1, 0.2, 0.3, 0.4, -1.0}, 5, 0x1.8p-54},
        {"infinity", {INFINITY, 1}, 2, INFINITY},
        {"overflow", {1.7e308, 1.7e308}, 2, INFINITY},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double got = sum_of(rows[i].v, rows[i].n);
        if (strcmp(rows[i].why, "tenths") != 0)
            CHECK(rows[i].why, got == rows[i].sum);
        else
            CHECK(rows[i].why, fabs(got) < 1e-15); /* what the tenths are not */
    }
    const double opposite[] = {INFINITY, -INFINITY};
    CHECK("both infinities", isnan(sum_of(opposite, 2)));
}

static void test_order_does_not_show(void **state)
{
    (void)state;
    uint64_t seed = unit_seed(17);
    for (int round = 0; round < 300; round++) {
        enum { N = 60 };
        double v[N];
        struct exact_sum left = {0}, right = {0};
        for (size_t i = 0; i < N; i++) {
            int exponent = (int)(unit_random(&seed) % 1800) - 900;
            v[i] = ldexp((double)(int64_t)unit_random(&seed), round % 2 ? exponent : exponent / 30);
        }
        double want = sum_of(v, N);
        for (size_t i = N - 1; i > 0; i--) {
            size_t k = unit_random(&seed) % (i + 1);
            double swap = v[i];
            v[i] = v[k];
            v[k] = swap;
        }
        double again = sum_of(v, N);
        CHECK("the same bits", memcmp(&want, &again, sizeof(want)) == 0);
        for (size_t i = 0; i < N; i++)
            CHECK("memory", exact_sum_add(i % 3 ? &left : &right, v[i]));
        CHECK("merged", exact_sum_merge(&left, &right));
        again = exact_sum_value(&left);
        CHECK("in two parts too", memcmp(&want, &again, sizeof(want)) == 0);
        exact_sum_done(&left);
        exact_sum_done(&right);
    }
}

static void test_averages(void **state)
{
    (void)state;
    CHECK("rounded once", exact_average_int128(10, 3) == 10.0 / 3);
    CHECK("negative", exact_average_int128(-1, 2) == -0.5);
    __int128 large = (__int128)INT64_MAX * 1000;
    CHECK("past 64 bits", exact_average_int128(large, 1000) == 9223372036854775807.0);
    struct exact_sum s = {0};
    CHECK("memory", exact_sum_add(&s, 1.7e308) && exact_sum_add(&s, 1.7e308));
    CHECK("a sum that overflows has an average", exact_sum_average(&s, 2) == 1.7e308);
    exact_sum_done(&s);
}

static void test_value_order(void **state)
{
    (void)state;
    const struct value null = {.kind = VALUE_NULL}, one = {.kind = VALUE_INT, .integer = 1},
                       two = {.kind = VALUE_INT, .integer = 2};
    CHECK("rising", value_compare(&one, &two, false) < 0 && value_compare(&two, &one, false) > 0);
    CHECK("falling", value_compare(&one, &two, true) > 0);
    CHECK("NULL is last", value_compare(&one, &null, false) < 0);
    CHECK("in both directions", value_compare(&one, &null, true) < 0);
    CHECK("NULL equals NULL", value_compare(&null, &null, true) == 0);
    const struct value a = {.kind = VALUE_TEXT, .text = STR("a")},
                       ab = {.kind = VALUE_TEXT, .text = STR("ab")},
                       upper = {.kind = VALUE_TEXT, .text = STR("B")};
    CHECK("by bytes", value_compare(&a, &ab, false) < 0 && value_compare(&upper, &a, false) < 0);
    CHECK_INT("sum of integers", query_output_type(TYPE_BIGINT, AGG_SUM), OUT_SUM128);
    CHECK_INT("sum of doubles", query_output_type(TYPE_DOUBLE, AGG_SUM), OUT_DOUBLE);
    CHECK_INT("average", query_output_type(TYPE_INTEGER, AGG_AVG), OUT_DOUBLE);
    CHECK_INT("count", query_output_type(TYPE_JSON, AGG_COUNT), OUT_COUNT);
    CHECK_INT("min keeps the type", query_output_type(TYPE_DATE, AGG_MIN), OUT_DATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums), cmocka_unit_test(test_order_does_not_show),
        cmocka_unit_test(test_averages), cmocka_unit_test(test_value_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
