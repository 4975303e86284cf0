/* SPDX-License-Identifier: Apache-2.0 */
/* How long the client waits: Retry-After in both forms, bounded, and the jittered backoff. */
#include "net/net_int.h"
#include "unit.h"

static void test_retry_after(void **state)
{
    (void)state;
    static const struct {
        const char *why, *value;
        int64_t now_s, ms;
        const char *date;
    } rows[] = {
        {"seconds", "7", 0, 7000},
        {"zero is at once", "0", 0, 0},
        {"the longest", "30", 0, 30000},
        {"one more is cut", "31", 0, 30000},
        {"absurd is cut", "999999999999", 0, 30000},
        {"past 64 bits is ignored", "99999999999999999999", 0, -1},
        {"spaces around", "  3 ", 0, 3000},
        {"no number", "soon", 0, -1},
        {"negative", "-1", 0, -1},
        {"fraction", "1.5", 0, -1},
        {"empty", "", 0, -1},
        {"a date ahead", "Thu, 01 Jan 1970 00:00:12 GMT", 2, 10000},
        {"a date gone by", "Thu, 01 Jan 1970 00:00:12 GMT", 20, 0},
        {"a date far ahead is cut", "Thu, 01 Jan 2026 00:00:12 GMT", 0, 30000},
        {"by the server's clock, ours is a year ahead", "Thu, 01 Jan 1970 00:00:12 GMT", 31536000,
         7000, "Thu, 01 Jan 1970 00:00:05 GMT"},
        {"by ours, the server's says nothing", "Thu, 01 Jan 1970 00:00:12 GMT", 2, 10000, "today"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_INT(rows[i].why,
                  retry_after_ms(str_from(rows[i].value),
                                 str_from(rows[i].date ? rows[i].date : ""),
                                 rows[i].now_s * 1000000),
                  rows[i].ms);
}

static void test_backoff(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        int nth;
        uint32_t random;
        int64_t ms;
    } rows[] = {
        {"first, least", 1, 0, 100},    {"first, most", 1, UINT32_MAX, 200},
        {"doubles", 2, 0, 200},         {"third, most", 3, UINT32_MAX, 800},
        {"capped, least", 9, 0, 15000}, {"capped for good, most", 60, UINT32_MAX, 30000},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_INT(rows[i].why, retry_backoff_ms(200, rows[i].nth, rows[i].random), rows[i].ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_backoff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
