/* SPDX-License-Identifier: Apache-2.0 */
/* Doubles as ECMAScript's Number::toString writes them, and no digit more than reads back. */
#include "unit.h"

#include <math.h>

#include "base/buf.h"

static void test_table(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        double value;
        const char *text;
    } rows[] = {
        {"zero", 0, "0"},
        {"minus zero has no sign", -0.0, "0"},
        {"an integer has no point", 100, "100"},
        {"a fraction", 0.1, "0.1"},
        {"negative", -1.5, "-1.5"},
        {"shortest digits", 0.1 + 0.2, "0.30000000000000004"},
        {"the last without exponent", 1e20, "100000000000000000000"},
        {"21 digits", 123456789012345680000.0, "123456789012345680000"},
        {"the first with exponent", 1e21, "1e+21"},
        {"digits and exponent", 1.5e300, "1.5e+300"},
        {"small without exponent", 0.000001, "0.000001"},
        {"small with exponent", 0.0000001, "1e-7"},
        {"small with digits", 1.234e-7, "1.234e-7"},
        {"six zeros kept", 0.00000123, "0.00000123"},
        {"the largest", 1.7976931348623157e308, "1.7976931348623157e+308"},
        {"the smallest", 5e-324, "5e-324"},
        {"the smallest normal", 2.2250738585072014e-308, "2.2250738585072014e-308"},
        {"2^53", 9007199254740992.0, "9007199254740992"},
        {"2^63", 9223372036854775808.0, "9223372036854776000"},
        {"one third", 1.0 / 3, "0.3333333333333333"},
        {"pi", 3.141592653589793, "3.141592653589793"},
        {"a power of ten that no double is", 1e23, "1e+23"},
        {"digits end before the point", 4350000, "4350000"},
        {"a power of two, whose lower neighbour is closer", 0x1p182, "6.129982163463556e+54"},
        {"another", 0x1p-791, "7.678447687145631e-239"},
        {"large with a fraction", 123456.789, "123456.789"},
    };
    struct buf b;
    buf_init(&b, 1 << 10);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_reset(&b);
        buf_put_double(&b, rows[i].value);
        CHECK_STR(rows[i].why, buf_cstr(&b), rows[i].text);
    }
    buf_done(&b);
}

/* The digits of @text without point and zeros at either end. */
static int digits_of(const char *text, char *ret)
{
    int n = 0, last = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (n == 0 && *text == '0'))
            continue;
        ret[n++] = *text;
        if (*text != '0')
            last = n;
    }
    ret[last] = '\0';
    return last;
}

/* A million random bit patterns: what is written reads back, no shorter form does, and of the forms
 * of its length it is the nearest (what printf rounds to), but at powers of two, where printf's may
 * not read back. */
static void test_round_trip(void **state)
{
    (void)state;
    uint64_t seed = unit_seed(7);
    struct buf b;
    buf_init(&b, 1 << 10);
    for (int i = 0; i < 1000000; i++) {
        uint64_t bits = unit_random(&seed);
        double value;
        char text[64], digits[400], want[64];
        memcpy(&value, &bits, sizeof(value));
        if (i % 3 == 0)
            value = (double)(int64_t)(bits >> 20) / 1000; /* what tables hold */
        if (!isfinite(value))
            continue;
        buf_reset(&b);
        buf_put_double(&b, value);
        CHECK(buf_cstr(&b), strtod(buf_cstr(&b), NULL) == value);
        int n = digits_of(buf_cstr(&b), digits);
        if (i % 16 || n == 0)
            continue;
        snprintf(text, sizeof(text), "%.*e", n - 1, fabs(value));
        (void)digits_of(text, want);
        CHECK_STR(text, digits, want);
        if (n > 1) {
            snprintf(text, sizeof(text), "%.*e", n - 2, value);
            CHECK(buf_cstr(&b), strtod(text, NULL) != value);
        }
    }
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table),
                                       cmocka_unit_test(test_round_trip)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
