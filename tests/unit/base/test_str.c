/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of bytes: comparison, UTF-8, the identifiers of the spec, near misses, strict numbers. */
#include "unit.h"

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *why, *p;
        size_t n;
        bool valid;
    } rows[] = {
        {"empty", "", 0, true},
        {"ASCII", "plain", 5, true},
        {"NUL is a character", "a\0b", 3, true},
        {"two bytes", "\xc3\xa9", 2, true},
        {"three bytes", "\xe2\x82\xac", 3, true},
        {"four bytes, the last code point", "\xf4\x8f\xbf\xbf", 4, true},
        {"the smallest of two bytes", "\xc2\x80", 2, true},
        {"overlong slash", "\xc0\xaf", 2, false},
        {"overlong in three bytes", "\xe0\x80\xaf", 3, false},
        {"overlong in four bytes", "\xf0\x80\x80\xaf", 4, false},
        {"a surrogate", "\xed\xa0\x80", 3, false},
        {"the last before the surrogates", "\xed\x9f\xbf", 3, true},
        {"past U+10FFFF", "\xf4\x90\x80\x80", 4, false},
        {"five-byte form", "\xf8\x88\x80\x80\x80", 5, false},
        {"a continuation alone", "\x80", 1, false},
        {"cut short", "\xe2\x82", 2, false},
        {"cut after the first of four", "\xf0", 1, false},
        {"second byte is no continuation", "\xc3(", 2, false},
        {"bad in the middle of a long run",
         "0123456789abcdef\xff"
         "0123456789abcdef",
         33, false},
        {"latin-1", "caf\xe9", 4, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_INT(rows[i].why, utf8_valid((struct str){rows[i].p, rows[i].n}), rows[i].valid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
