/* SPDX-License-Identifier: Apache-2.0 */
/* Calendar text, against the C library for every day of 9,999 years, and the grammar's edges. */
#include "unit.h"

#include <time.h>

#include "base/timeutil.h"

static void test_every_day(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 64);
    for (int32_t days = DATE_MIN_DAYS; days <= DATE_MAX_DAYS; days += days % 7 == 0 ? 1 : 3) {
        time_t seconds = (time_t)days * 86400;
        struct tm tm;
        char want[32];
        gmtime_r(&seconds, &tm);
        snprintf(want, sizeof(want), "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday);
        buf_reset(&b);
        buf_put_date(&b, days);
        CHECK_STR("as the C library", buf_cstr(&b), want);
        int32_t back = 0;
        CHECK("reads back", parse_date(str_from(want), &back) && back == days);
    }
    buf_done(&b);
}

static void test_dates(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        bool fine;
        int32_t days;
    } rows[] = {
        {"the epoch", "1970-01-01", true, 0},
        {"the first", "0001-01-01", true, DATE_MIN_DAYS},
        {"the last", "9999-12-31", true, DATE_MAX_DAYS},
        {"a leap day", "2024-02-29", true, 19782},
        {"a leap day of a century", "2000-02-29", true, 11016},
        {"no leap day", "2023-02-29", false, 0},
        {"no leap day of a century", "1900-02-29", false, 0},
        {"year 0", "0000-01-01", false, 0},
        {"month 0", "2026-00-01", false, 0},
        {"month 13", "2026-13-01", false, 0},
        {"day 0", "2026-01-00", false, 0},
        {"day 31 of a short month", "2026-04-31", false, 0},
        {"short forms", "2026-6-1", false, 0},
        {"slashes", "2026/06/01", false, 0},
        {"a space behind", "2026-06-01 ", false, 0},
        {"a time behind", "2026-06-01T00:00:00Z", false, 0},
        {"five digits", "12026-06-01", false, 0},
        {"a sign", "-2026-06-01", false, 0},
        {"empty", "", false, 0},
        {"cut short", "2026-06-0", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int32_t got = 42;
        CHECK_INT(rows[i].why, parse_date(str_from(rows[i].text), &got), rows[i].fine);
        CHECK_INT(rows[i].why, got, rows[i].fine ? rows[i].days : 42);
    }
}

static void test_instants(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        bool rfc3339, timestamp;
        int64_t us;
    } rows[] = {
        {"the epoch", "1970-01-01T00:00:00Z", true, true, 0},
        {"lower case", "1970-01-01t00:00:00z", true, true, 0},
        {"a fraction", "1970-01-01T00:00:00.5Z", true, true, 500000},
        {"six digits", "1970-01-01T00:00:00.000001Z", true, true, 1},
        {"nanoseconds are cut", "1970-01-01T00:00:00.000001999Z", true, true, 1},
        {"east", "1970-01-01T01:30:00+01:30", true, true, 0},
        {"west", "1969-12-31T23:00:00-01:00", true, true, 0},
        {"before the epoch", "1969-12-31T23:59:59.999999Z", true, true, -1},
        {"the last", "9999-12-31T23:59:59.999999Z", true, true, TIMESTAMP_MAX_US},
        {"the first", "0001-01-01T00:00:00Z", true, true, TIMESTAMP_MIN_US},
        {"past the last by its offset", "9999-12-31T23:59:59-00:01", false, false, 0},
        {"before the first by its offset", "0001-01-01T00:00:00+00:01", false, false, 0},
        {"no offset is CSV's only", "1970-01-01T00:00:00", false, true, 0},
        {"a space is CSV's only", "1970-01-01 00:00:00Z", false, true, 0},
        {"both", "1970-01-01 00:00:01", false, true, 1000000},
        {"two spaces", "1970-01-01  00:00:00", false, false, 0},
        {"a space before the offset", "1970-01-01T00:00:00 01:00", false, false, 0},
        {"an offset without colon", "1970-01-01T00:00:00+0100", false, false, 0},
        {"an offset of 24 hours", "1970-01-01T00:00:00+24:00", false, false, 0},
        {"a point without digits", "1970-01-01T00:00:00.Z", false, false, 0},
        {"hour 24", "1970-01-01T24:00:00Z", false, false, 0},
        {"second 60", "1970-01-01T00:00:60Z", false, false, 0},
        {"no seconds", "1970-01-01T00:00Z", false, false, 0},
        {"a date alone", "1970-01-01", false, false, 0},
        {"rest", "1970-01-01T00:00:00Zx", false, false, 0},
        {"empty", "", false, false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t got = 42;
        CHECK_INT(rows[i].why, parse_rfc3339(str_from(rows[i].text), &got), rows[i].rfc3339);
        CHECK_INT(rows[i].why, got, rows[i].rfc3339 ? rows[i].us : 42);
        got = 42;
        CHECK_INT(rows[i].why, parse_timestamp(str_from(rows[i].text), &got), rows[i].timestamp);
        CHECK_INT(rows[i].why, got, rows[i].timestamp ? rows[i].us : 42);
    }
}

static void test_written(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        int64_t us;
        const char *timestamp, *rfc3339;
    } rows[] = {
        {"the epoch", 0, "1970-01-01T00:00:00.000000", "1970-01-01T00:00:00Z"},
        {"before it", -1, "1969-12-31T23:59:59.999999", "1969-12-31T23:59:59.999999Z"},
        {"the first", TIMESTAMP_MIN_US, "0001-01-01T00:00:00.000000", "0001-01-01T00:00:00Z"},
        {"the last", TIMESTAMP_MAX_US, "9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999Z"},
        {"a fraction keeps its zeros", 500, "1970-01-01T00:00:00.000500",
         "1970-01-01T00:00:00.000500Z"},
    };
    struct buf b;
    buf_init(&b, 64);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_reset(&b);
        buf_put_timestamp(&b, rows[i].us);
        CHECK_STR(rows[i].why, buf_cstr(&b), rows[i].timestamp);
        buf_reset(&b);
        buf_put_rfc3339(&b, rows[i].us);
        CHECK_STR(rows[i].why, buf_cstr(&b), rows[i].rfc3339);
        int64_t back = 0;
        CHECK(rows[i].why, parse_rfc3339(str_from(rows[i].rfc3339), &back) && back == rows[i].us);
    }
    buf_done(&b);
    CHECK("time goes on",
          monotonic_us() <= monotonic_us() && wall_us() > 0 && thread_cpu_us() >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_day),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_instants),
        cmocka_unit_test(test_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
