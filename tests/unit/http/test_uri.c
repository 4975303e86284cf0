/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-decoding: paths, and names and values of query strings. */
#include "http/http.h"
#include "unit.h"

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *why, *raw, *want; /* NULL: refused */
    } rows[] = {
        {"plain", "/a/b", "/a/b"},
        {"encoded", "/%61%2F%c3%bc", "/a/\xc3\xbc"},
        {"a plus is a plus", "/a+b", "/a+b"},
        {"empty", "", ""},
        {"a percent at the end", "/%", NULL},
        {"one digit", "/%4", NULL},
        {"no digits", "/%zz", NULL},
        {"NUL", "/%00", NULL},
        {"half a character", "/%c3", NULL},
        {"overlong", "/%c0%af", NULL},
        {"a surrogate", "/%ed%a0%80", NULL},
        {"past the last one", "/%f4%90%80%80", NULL},
        {"once only", "/%2561", "/%61"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char room[64];
        size_t n = 0;
        bool fine = http_decode_path(str_from(rows[i].raw), room, &n);
        CHECK_INT(rows[i].why, fine, rows[i].want != NULL);
        if (fine)
            CHECK(rows[i].why, str_is((struct str){room, n}, rows[i].want));
    }
}

static void test_queries(void **state)
{
    (void)state;
    static const struct {
        const char *why, *raw;
        int n; /* -1: refused */
        const char *first_name, *first_value;
    } rows[] = {
        {"none", "", 0, NULL, NULL},
        {"one", "a=b", 1, "a", "b"},
        {"a plus is a space", "a+b=c+d", 1, "a b", "c d"},
        {"an encoded plus is a plus", "a=%2B", 1, "a", "+"},
        {"a trailing ampersand is nothing", "a=b&", 1, "a", "b"},
        {"so are others", "&&a=b&&", 1, "a", "b"},
        {"no value", "a", 1, "a", ""},
        {"an empty value", "a=", 1, "a", ""},
        {"no name", "=b", 1, "", "b"},
        {"the first equals sign divides", "a=b=c", 1, "a", "b=c"},
        {"a semicolon is no divider", "a=b;c=d", 1, "a", "b;c=d"},
        {"an encoded ampersand is none", "a=b%26c", 1, "a", "b&c"},
        {"malformed later", "a=b&c=%", -1, NULL, NULL},
        {"malformed in a name", "%zz=1", -1, NULL, NULL},
        {"NUL", "a=%00", -1, NULL, NULL},
        {"a character split over name and value", "%c3=%bc", -1, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char room[128];
        struct http_param params[4] = {{{NULL, 0}, {NULL, 0}}};
        bool too_many = true;
        CHECK_INT(rows[i].why, http_decode_query(str_from(rows[i].raw), room, params, 4, &too_many),
                  rows[i].n);
        CHECK(rows[i].why, !too_many);
        if (rows[i].n > 0)
            CHECK(rows[i].why, str_is(params[0].name, rows[i].first_name) &&
                                   str_is(params[0].value, rows[i].first_value));
    }
    char room[64];
    struct http_param params[4];
    bool too_many = false;
    CHECK_INT("the limit", http_decode_query(STR("a&b&c&d"), room, params, 4, &too_many), 4);
    assert_false(too_many);
    (void)http_decode_query(STR("a&b&c&d&%"), room, params, 4, &too_many);
    assert_true(too_many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_paths),
                                       cmocka_unit_test(test_queries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
