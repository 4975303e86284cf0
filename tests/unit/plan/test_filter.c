/* SPDX-License-Identifier: Apache-2.0 */
/* A param's value in the terms of its column: exact on both sides of every edge. */
#include "world.h"

#define NEVER INT64_MIN + 7 /* marks: matches nothing */

static struct query_filter filter(enum filter_op op, enum column_type column, enum param_type type,
                                  const struct param_value *v)
{
    struct query_filter f = {.op = op};
    plan_filter(&f, column, type, v);
    return f;
}

static void test_numbers_on_integers(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        double sent;
        enum filter_op op;
        int64_t want;
    } rows[] = {
        {"whole", 3, FILTER_EQ, 3},
        {"between two integers", 3.5, FILTER_EQ, NEVER},
        {"at least 3.5 is at least 4", 3.5, FILTER_GTE, 4},
        {"at most 3.5 is at most 3", 3.5, FILTER_LTE, 3},
        {"at least -3.5 is at least -3", -3.5, FILTER_GTE, -3},
        {"at most -3.5 is at most -4", -3.5, FILTER_LTE, -4},
        {"minus nought", -0.0, FILTER_EQ, 0},
        {"2^63 is no int64", 9223372036854775808.0, FILTER_EQ, NEVER},
        {"at least 2^63", 9223372036854775808.0, FILTER_GTE, NEVER},
        {"at most 2^63 is everything", 9223372036854775808.0, FILTER_LTE, INT64_MAX},
        {"the last double below it", 9223372036854774784.0, FILTER_GTE,
         INT64_C(9223372036854774784)},
        {"-2^63", -9223372036854775808.0, FILTER_EQ, INT64_MIN},
        {"below it", -1e300, FILTER_LTE, NEVER},
        {"at least something below it is everything", -1e300, FILTER_GTE, INT64_MIN},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct param_value v = {.number = rows[i].sent};
        struct query_filter f = filter(rows[i].op, TYPE_BIGINT, PARAM_NUMBER, &v);
        CHECK_INT(rows[i].why, f.never_matches, rows[i].want == NEVER);
        if (!f.never_matches)
            CHECK_INT(rows[i].why, f.value.integer, rows[i].want);
    }
}

static void test_integers_on_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        int64_t sent;
        enum filter_op op;
        bool never;
        double want;
    } rows[] = {
        {"exact", 3, FILTER_EQ, false, 3},
        {"2^53 + 1 is no double", 9007199254740993, FILTER_EQ, true, 0},
        {"at least it", 9007199254740993, FILTER_GTE, false, 9007199254740994.0},
        {"at most it", 9007199254740993, FILTER_LTE, false, 9007199254740992.0},
        {"2^53 + 3 rounds up", 9007199254740995, FILTER_LTE, false, 9007199254740994.0},
        {"at least it", 9007199254740995, FILTER_GTE, false, 9007199254740996.0},
        {"the largest int64", INT64_MAX, FILTER_EQ, true, 0},
        {"at least it", INT64_MAX, FILTER_GTE, false, 9223372036854775808.0},
        {"at most it", INT64_MAX, FILTER_LTE, false, 9223372036854774784.0},
        {"the smallest", INT64_MIN, FILTER_EQ, false, -9223372036854775808.0},
        {"one more", INT64_MIN + 1, FILTER_GTE, false, -9223372036854774784.0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct param_value v = {.integer = rows[i].sent};
        struct query_filter f = filter(rows[i].op, TYPE_DOUBLE, PARAM_INTEGER, &v);
        CHECK_INT(rows[i].why, f.never_matches, rows[i].never);
        CHECK(rows[i].why, rows[i].never || f.value.number == rows[i].want);
    }
}

static void test_times(void **state)
{
    (void)state;
    const int64_t day_us = INT64_C(86400) * 1000000;
    struct param_value day = {.integer = 3}, noon = {.integer = 3 * day_us + day_us / 2},
                       midnight = {.integer = 3 * day_us};
    struct param_value before = {.integer = -1};
    CHECK_INT("a day is midnight",
              filter(FILTER_EQ, TYPE_TIMESTAMP, PARAM_DATE, &day).value.integer, 3 * day_us);
    CHECK_INT("an instant on a day",
              filter(FILTER_EQ, TYPE_DATE, PARAM_TIMESTAMP, &noon).never_matches, true);
    CHECK_INT("midnight on a day",
              filter(FILTER_EQ, TYPE_DATE, PARAM_TIMESTAMP, &midnight).value.integer, 3);
    CHECK_INT("at least noon is the next day",
              filter(FILTER_GTE, TYPE_DATE, PARAM_TIMESTAMP, &noon).value.integer, 4);
    CHECK_INT("at most noon is this day",
              filter(FILTER_LTE, TYPE_DATE, PARAM_TIMESTAMP, &noon).value.integer, 3);
    CHECK_INT("a moment before 1970",
              filter(FILTER_LTE, TYPE_DATE, PARAM_TIMESTAMP, &before).value.integer, -1);
    CHECK_INT("at least it", filter(FILTER_GTE, TYPE_DATE, PARAM_TIMESTAMP, &before).value.integer,
              0);
}

/* Text against other columns compares with their text form: only that very text can match. */
static void test_text_on_other_columns(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        enum column_type column;
        bool matches;
    } rows[] = {
        {"an integer", "12", TYPE_INTEGER, true},
        {"with zeros", "012", TYPE_INTEGER, false},
        {"with a plus", "+12", TYPE_BIGINT, false},
        {"minus nought", "-0", TYPE_BIGINT, false},
        {"no integer", "ALL", TYPE_INTEGER, false},
        {"nothing", "", TYPE_BIGINT, false},
        {"a double", "0.5", TYPE_DOUBLE, true},
        {"another spelling", "0.50", TYPE_DOUBLE, false},
        {"its exponent", "1e+21", TYPE_DOUBLE, true},
        {"another one", "1e21", TYPE_DOUBLE, false},
        {"no double", "NaN", TYPE_DOUBLE, false},
        {"true", "true", TYPE_BOOLEAN, true},
        {"TRUE", "TRUE", TYPE_BOOLEAN, false},
        {"a date", "2026-06-01", TYPE_DATE, true},
        {"no date", "2026-6-1", TYPE_DATE, false},
        {"a timestamp", "2026-06-01T12:00:00.000000", TYPE_TIMESTAMP, true},
        {"a short one", "2026-06-01T12:00:00", TYPE_TIMESTAMP, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct param_value v = {.text = str_from(rows[i].text)};
        CHECK_INT(rows[i].why, !filter(FILTER_EQ, rows[i].column, PARAM_STRING, &v).never_matches,
                  rows[i].matches);
        struct query_filter tenant;
        memset(&tenant, 0, sizeof tenant);
        if (rows[i].column == TYPE_INTEGER || rows[i].column == TYPE_BIGINT) {
            plan_tenant_filter(&tenant, rows[i].column, v.text);
            CHECK_INT(rows[i].why, !tenant.never_matches, rows[i].matches);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_on_integers),
        cmocka_unit_test(test_integers_on_numbers),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_text_on_other_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
