/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers from text: the whole text or nothing, and the same double as strtod. */
#include "unit.h"

#include <math.h>

static void test_int64(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        bool fine;
        int64_t value;
    } rows[] = {
        {"zero", "0", true, 0},
        {"a sign", "+7", true, 7},
        {"negative", "-7", true, -7},
        {"minus zero", "-0", true, 0},
        {"leading zeros", "007", true, 7},
        {"the largest", "9223372036854775807", true, INT64_MAX},
        {"one more", "9223372036854775808", false, 0},
        {"the smallest", "-9223372036854775808", true, INT64_MIN},
        {"one less", "-9223372036854775809", false, 0},
        {"20 digits", "12345678901234567890", false, 0},
        {"wraps past 64 bits", "18446744073709551617", false, 0},
        {"empty", "", false, 0},
        {"a sign alone", "-", false, 0},
        {"two signs", "+-1", false, 0},
        {"a space before", " 1", false, 0},
        {"a space after", "1 ", false, 0},
        {"an exponent", "1e3", false, 0},
        {"a fraction", "1.0", false, 0},
        {"hexadecimal", "0x10", false, 0},
        {"a separator", "1_000", false, 0},
        {"an Arabic digit", "\xd9\xa1", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t got = 42;
        CHECK_INT(rows[i].why, parse_int64(str_from(rows[i].text), &got), rows[i].fine);
        CHECK_INT(rows[i].why, got, rows[i].fine ? rows[i].value : 42);
    }
    int64_t got = 42;
    CHECK("a NUL inside", !parse_int64((struct str){"1\0", 2}, &got) && got == 42);
}

static void test_uint64(void **state)
{
    (void)state;
    uint64_t got = 42;
    CHECK("the largest", parse_uint64(STR("18446744073709551615"), &got) && got == UINT64_MAX);
    CHECK("one more", !parse_uint64(STR("18446744073709551616"), &got));
    CHECK("a sign", !parse_uint64(STR("+1"), &got));
    CHECK("unchanged on failure", got == UINT64_MAX);
}

static void test_double_table(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        bool fine;
        double value;
    } rows[] = {
        {"an integer", "12", true, 12},
        {"a fraction", "0.1", true, 0.1},
        {"a sign", "+0.5", true, 0.5},
        {"an exponent", "1e3", true, 1000},
        {"a capital exponent with sign", "1E-3", true, 0.001},
        {"the largest", "1.7976931348623157e308", true, 1.7976931348623157e308},
        {"too large", "1.8e308", false, 0},
        {"far too large", "1e999999999999", false, 0},
        {"the smallest", "5e-324", true, 5e-324},
        {"underflows to zero", "1e-999", true, 0},
        {"halfway rounds to even", "9007199254740993", true, 9007199254740992},
        {"many digits", "0.1000000000000000055511151231257827", true, 0.1},
        {"zero with a large exponent", "0e99999", true, 0},
        {"no digit before the point", ".5", false, 0},
        {"no digit after the point", "5.", false, 0},
        {"two points", "1.2.3", false, 0},
        {"NaN", "NaN", false, 0},
        {"infinity", "inf", false, 0},
        {"hexadecimal", "0x1p3", false, 0},
        {"an exponent without digits", "1e", false, 0},
        {"a sign alone", "-", false, 0},
        {"empty", "", false, 0},
        {"a space", "1 ", false, 0},
        {"a comma", "1,5", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double got = 42;
        CHECK_INT(rows[i].why, parse_double(str_from(rows[i].text), &got), rows[i].fine);
        CHECK(rows[i].why, got == (rows[i].fine ? rows[i].value : 42));
    }
    double got = 1;
    CHECK("minus zero keeps its sign", parse_double(STR("-0"), &got) && got == 0 && signbit(got));
    char digits[1300];
    memset(digits, '1', sizeof(digits));
    CHECK("1,200 digits", !parse_double((struct str){digits, 1200}, &got)); /* past the largest */
    CHECK("1,201 digits", !parse_double((struct str){digits, 1201}, &got));
}

/* Random decimals of every shape: the same double as the C library's. */
static void test_double_random(void **state)
{
    (void)state;
    uint64_t seed = unit_seed(20261125);
    for (int i = 0; i < 300000; i++) {
        char text[64];
        uint64_t r = unit_random(&seed);
        int n = snprintf(text, sizeof(text), "%s%llu", r & 1 ? "-" : "",
                         (unsigned long long)(unit_random(&seed) >> (r >> 1 & 63)));
        if (r & 1 << 10)
            n += snprintf(text + n, sizeof(text) - (size_t)n, ".%llu",
                          (unsigned long long)(unit_random(&seed) >> (r >> 11 & 63)));
        if (r & 1 << 20)
            snprintf(text + n, sizeof(text) - (size_t)n, "e%d", (int)(r >> 21 & 1023) - 512);
        double want = strtod(text, NULL), got = 0;
        CHECK_INT(text, parse_double(str_from(text), &got), isfinite(want) ? 1 : 0);
        CHECK(text, !isfinite(want) || memcmp(&got, &want, sizeof(got)) == 0);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        bool fine;
        uint64_t bytes;
    } rows[] = {
        {"plain bytes", "123", true, 123},
        {"bytes", "5B", true, 5},
        {"decimal", "10 MB", true, 10000000},
        {"binary", "64MiB", true, 64 << 20},
        {"tera", "1TiB", true, UINT64_C(1) << 40},
        {"zero", "0", true, 0},
        {"the largest", "18446744073709551615", true, UINT64_MAX},
        {"overflows", "99999999999TiB", false, 0},
        {"no number", "MiB", false, 0},
        {"a fraction", "1.5MiB", false, 0},
        {"negative", "-1", false, 0},
        {"another unit", "1Mb", false, 0},
        {"two spaces", "1  MB", false, 0},
        {"a space and no unit", "1 ", false, 0},
        {"empty", "", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t got = 42;
        CHECK_INT(rows[i].why, parse_size_bytes(str_from(rows[i].text), &got), rows[i].fine);
        CHECK_INT(rows[i].why, got, rows[i].fine ? rows[i].bytes : 42);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_int64),        cmocka_unit_test(test_uint64),
        cmocka_unit_test(test_double_table), cmocka_unit_test(test_double_random),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
