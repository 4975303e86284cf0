/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in and out: RFC 8259 and nothing else, with the place of every problem. */
#include "unit.h"

#include "markup/markup.h"

static void test_minify(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text, *minified; /* NULL: refused */
    } rows[] = {
        {"an object", " { \"a\" : [ 1 , true , null ] } ", "{\"a\":[1,true,null]}"},
        {"a scalar", " 5 ", "5"},
        {"spelling is kept", "[1.50,1E+2,-0,\"\\u0041\\/\"]", "[1.50,1E+2,-0,\"\\u0041\\/\"]"},
        {"keys twice are data", "{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}"},
        {"empty collections", "{ } ", "{}"},
        {"nothing", "", NULL},
        {"two values", "1 2", NULL},
        {"a comma at the end", "[1,]", NULL},
        {"a comma alone", "[,]", NULL},
        {"a missing comma", "[1 2]", NULL},
        {"a leading zero", "01", NULL},
        {"a plus", "+1", NULL},
        {"no digit before the point", ".5", NULL},
        {"no digit after the point", "1.", NULL},
        {"no digit in the exponent", "1e", NULL},
        {"NaN", "NaN", NULL},
        {"Infinity", "-Infinity", NULL},
        {"inf, inside", "[1,inf]", NULL},
        {"single quotes", "{'a':1}", NULL},
        {"a key without quotes", "{a:1}", NULL},
        {"a comment", "[1]//x", NULL},
        {"a newline in a string", "\"a\nb\"", NULL},
        {"an unknown escape", "\"\\x41\"", NULL},
        {"a short \\u", "\"\\u12\"", NULL},
        {"an open string", "\"a", NULL},
        {"an open list", "[1", NULL},
        {"the wrong bracket", "[1}", NULL},
        {"bytes that are no UTF-8", "\"\xff\"", NULL},
        {"a byte order mark", "\xef\xbb\xbf{}", NULL},
        {"upper case", "True", NULL},
        {"more than a word", "nullx", NULL},
        {"a form feed is no space", "\f1", NULL},
    };
    struct buf b;
    buf_init(&b, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_reset(&b);
        buf_put_literal(&b, "x");
        CHECK_INT(rows[i].why, json_minify(str_from(rows[i].text), &b),
                  rows[i].minified != NULL);
        CHECK_STR(rows[i].why, buf_cstr(&b) + 1, rows[i].minified ? rows[i].minified : "");
    }
    buf_done(&b);
}

static void test_depth(void **state)
{
    (void)state;
    char text[4 * LIMIT_JSON_DEPTH];
    struct buf b;
    struct arena arena;
    struct err err = ERR_INIT;
    buf_init(&b, 1 << 16);
    arena_init(&arena, 1 << 20);
    for (int depth = LIMIT_JSON_DEPTH; depth <= LIMIT_JSON_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        struct str s = {text, 2 * (size_t)depth};
        CHECK_INT("minify", json_minify(s, &b), depth == LIMIT_JSON_DEPTH);
        CHECK_INT("parse", json_parse(s, &arena, &err) != NULL, depth == LIMIT_JSON_DEPTH);
    }
    CHECK("says so", strstr(err.message, "64 levels") != NULL);
    arena_done(&arena);
    buf_done(&b);
}

static void test_parse_problems(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text, *message;
    } rows[] = {
        {"nothing", "", "line 1 column 1: the text ends where a value is expected"},
        {"a missing comma", "{\"a\": 1\n \"b\": 2}", "line 2 column 2: ',' or '}' is expected"},
        {"a key twice", "{\"a\":1,\n\"a\":2}", "line 2 column 1: the key stands there twice"},
        {"columns count characters", "[\"\xc3\xa9\", x]", "line 1 column 7: a value is expected"},
        {"something behind", "[] x", "line 1 column 4: something follows the value"},
        {"half a pair", "\"\\ud800x\"", "line 1 column 2: half of a surrogate pair"},
        {"the other half", "\"\\udc00\"", "line 1 column 2: half of a surrogate pair"},
        {"a NUL", "\"\\u0000\"", "line 1 column 2: a NUL character is not allowed"},
        {"an open string", "[\"a]", "line 1 column 2: the text ends within a string"},
        {"a backslash at the end", "\"\\", "line 1 column 1: the text ends within a string"},
    };
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        CHECK(rows[i].why, json_parse(str_from(rows[i].text), &arena, &err) == NULL);
        CHECK_STR(rows[i].why, err.code, "invalid_json");
        CHECK_STR(rows[i].why, err.message, rows[i].message);
    }
    arena_done(&arena);
}

static void test_parse_values(void **state)
{
    (void)state;
    struct arena arena;
    struct err err = ERR_INIT;
    arena_init(&arena, 1 << 20);
    const struct node *n = json_parse(STR("{\"i\":-5,\"big\":9223372036854775808,\"d\":1.5e2,\"s\":"
                                          "\"\\ud83d\\ude00\\n\",\"l\":[true,null]}"),
                                      &arena, &err);
    CHECK("parsed", n != NULL && n->n_children == 5);
    CHECK("an integer", node_get(n, "i")->kind == NODE_INT && node_get(n, "i")->integer == -5);
    CHECK("past int64", node_get(n, "big")->kind == NODE_DOUBLE);
    CHECK_STR("as written", node_get(n, "big")->text.p, "9223372036854775808");
    CHECK("a double", node_get(n, "d")->number == 150);
    CHECK_STR("a pair is one character", node_get(n, "s")->text.p, "\xf0\x9f\x98\x80\n");
    CHECK("a list", node_get(n, "l")->kind == NODE_LIST && node_at(node_get(n, "l"), 0)->boolean);
    char many[4096] = "{";
    for (int i = 0; i < 200; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "\"k%d\":%d,", i, i);
    snprintf(many + strlen(many), sizeof(many) - strlen(many), "\"k7\":1}");
    CHECK("a repeated key among many", !json_parse(str_from(many), &arena, &err));
    struct arena small;
    arena_init(&small, 300);
    CHECK("memory", !json_parse(STR("[1,2,3,4,5,6,7,8,9]"), &small, &err));
    CHECK_INT("is its own failure", err.rc, RC_NO_MEMORY);
    arena_done(&small);
    arena_done(&arena);
}

static void test_writer(void **state)
{
    (void)state;
    struct buf b;
    struct json_writer w;
    buf_init(&b, 1 << 16);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "s");
    jw_cstr(&w, "a\"b\\c\n\x01 \xc3\xa9");
    jw_key(&w, "n");
    jw_cstr(&w, NULL);
    jw_key(&w, "l");
    jw_open(&w, '[');
    jw_int(&w, INT64_MIN);
    jw_uint(&w, UINT64_MAX);
    jw_double(&w, 1.0 / 0.0);
    jw_bool(&w, true);
    jw_time(&w, 0);
    jw_close(&w, ']');
    jw_key(&w, "o");
    jw_open(&w, '{');
    jw_close(&w, '}');
    jw_close(&w, '}');
    CHECK_STR("a document", buf_cstr(&b),
              "{\"s\":\"a\\\"b\\\\c\\n\\u0001 \xc3\xa9\",\"n\":null,\"l\":[-9223372036854775808,"
              "18446744073709551615,null,true,\"1970-01-01T00:00:00Z\"],\"o\":{}}");
    CHECK("plain", json_is_plain(STR("caf\xc3\xa9 / \x7f")));
    CHECK("not plain",
          !json_is_plain(STR("a\"")) && !json_is_plain(STR("\\")) && !json_is_plain(STR("\n")));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minify),         cmocka_unit_test(test_depth),
        cmocka_unit_test(test_parse_problems), cmocka_unit_test(test_parse_values),
        cmocka_unit_test(test_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
