/* SPDX-License-Identifier: Apache-2.0 */
/* Ages by two clocks: which one is asked, and what is said when neither knows. */
#include <unistd.h>

#include "admin/moment.h"
#include "unit.h"

static void test_ages(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        struct moment then, now;
        int64_t age_us;
        bool is_to_come;
    } rows[] = {
        {"one boot", {"a", 100, 5000}, {"a", 130, 5030}, 30, false},
        {"one boot, at once", {"a", 100, 5000}, {"a", 100, 5000}, 0, false},
        {"the wall clock was set ahead", {"a", 100, 5000}, {"a", 130, 9999}, 30, false},
        {"the wall clock was set back", {"a", 100, 5000}, {"a", 130, 10}, 30, false},
        {"another boot", {"a", 100, 5000}, {"b", 7, 5200}, 200, false},
        {"another boot, whose clock is not set yet", {"a", 100, 5000}, {"b", 7, 10}, 0, true},
        {"another boot, at the same time", {"a", 100, 5000}, {"b", 7, 5000}, 0, false},
        {"a boot nobody knows", {"", 100, 5000}, {"", 130, 5200}, 200, false},
        {"only now's boot is known", {"", 0, 5000}, {"b", 130, 5200}, 200, false},
        {"a boot clock that ran backwards is no clock",
         {"a", 100, 5000},
         {"a", 99, 5200},
         200,
         false},
        {"before 1970", {"a", 1, -50}, {"b", 1, -20}, 30, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK_INT(rows[i].why, moment_age_us(&rows[i].then, &rows[i].now), rows[i].age_us);
        CHECK_INT(rows[i].why, moment_is_to_come(&rows[i].then, &rows[i].now), rows[i].is_to_come);
    }
}

static void test_now(void **state)
{
    (void)state;
    struct moment a = moment_now();
    struct moment b = moment_now();
    for (int i = 0; i < 1000000 && moment_age_us(&a, &b) < 2000; i++)
        b = moment_now();
    CHECK_INT("this boot has a name", strlen(a.boot), BOOT_ID_BYTES - 1);
    CHECK_STR("and keeps it", a.boot, b.boot);
    CHECK_INT("time goes by", moment_age_us(&a, &b) >= 2000, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ages),
        cmocka_unit_test(test_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
