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

static void test_identifiers(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        bool is_name, is_column;
    } rows[] = {
        {"empty", "", false, false},
        {"one letter", "a", true, true},
        {"upper case is a column only", "Name", false, true},
        {"a digit first is a column only", "1st", false, true},
        {"an underscore first is a column only", "_x", false, true},
        {"digits and underscores", "a_1_b", true, true},
        {"a dash", "a-b", false, false},
        {"a dot", "a.b", false, false},
        {"a space at the end", "a ", false, false},
        {"a letter outside ASCII", "caf\xc3\xa9", false, false},
        {"63 characters", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true,
         true},
        {"64 characters", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false,
         false},
        {"a newline at the end", "name\n", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK_INT(rows[i].why, str_is_name(str_from(rows[i].text)), rows[i].is_name);
        CHECK_INT(rows[i].why, str_is_column(str_from(rows[i].text)), rows[i].is_column);
    }
    CHECK("a NUL inside is no name", !str_is_name((struct str){"a\0b", 3}));
}

static void test_compare(void **state)
{
    (void)state;
    static const struct {
        const char *why, *a, *b;
        int sign;
    } rows[] = {
        {"equal", "abc", "abc", 0},         {"both empty", "", "", 0},
        {"empty first", "", "a", -1},       {"a prefix first", "ab", "abc", -1},
        {"by bytes", "b", "abc", 1},        {"bytes are unsigned", "\x7f", "\x80", -1},
        {"upper case first", "B", "a", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int got = str_cmp(str_from(rows[i].a), str_from(rows[i].b));
        CHECK_INT(rows[i].why, (got > 0) - (got < 0), rows[i].sign);
        got = str_cmp(str_from(rows[i].b), str_from(rows[i].a));
        CHECK_INT(rows[i].why, (got > 0) - (got < 0), -rows[i].sign);
        CHECK_INT(rows[i].why, str_eq(str_from(rows[i].a), str_from(rows[i].b)), rows[i].sign == 0);
    }
    CHECK("case does not count", str_eq_nocase(STR("Content-Type"), STR("content-tYPE")));
    CHECK("[ and { are not one letter", !str_eq_nocase(STR("["), STR("{")));
    CHECK("@ and ` are not one letter", !str_eq_nocase(STR("@"), STR("`")));
    CHECK("other lengths", !str_eq_nocase(STR("a"), STR("ab")));
    CHECK("NULL is empty", str_eq(str_from(NULL), STR("")));
}

static void test_ends(void **state)
{
    (void)state;
    CHECK("starts", str_starts(STR("gs://b"), "gs://"));
    CHECK("shorter than the prefix", !str_starts(STR("gs:"), "gs://"));
    CHECK("everything starts with nothing", str_starts(STR(""), ""));
    CHECK("ends", str_ends(STR("a.yml"), ".yml"));
    CHECK("the suffix alone", str_ends(STR(".yml"), ".yml"));
    CHECK("shorter than the suffix", !str_ends(STR("yml"), ".yml"));
    CHECK("trimmed", str_eq(str_trim(STR(" \t a b \t")), STR("a b")));
    CHECK("only blanks", str_trim(STR(" \t ")).n == 0);
    CHECK("a newline is no blank", str_eq(str_trim(STR("\n")), STR("\n")));
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const words[] = {"dataset", "description", "params", "query"};
    static const struct {
        const char *why, *typed, *nearest;
    } rows[] = {
        {"one letter missing", "datset", "dataset"},
        {"two neighbours swapped", "qeury", "query"},
        {"one letter too many", "paramss", "params"},
        {"exact", "query", "query"},
        {"far away", "banana", NULL},
        {"short words have no near miss", "q", NULL},
        {"empty", "", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *got = str_nearest(rows[i].typed, words, ARRAY_LEN(words));
        if (rows[i].nearest)
            CHECK_STR(rows[i].why, got, rows[i].nearest);
        else
            CHECK(rows[i].why, got == NULL);
    }
    char long_word[500];
    memset(long_word, 'x', sizeof(long_word));
    long_word[sizeof(long_word) - 1] = 0;
    CHECK("a word of any length", str_nearest(long_word, words, ARRAY_LEN(words)) == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),    cmocka_unit_test(test_identifiers),
        cmocka_unit_test(test_compare), cmocka_unit_test(test_ends),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
