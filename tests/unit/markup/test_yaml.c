/* SPDX-License-Identifier: Apache-2.0 */
/* YAML: the core schema, places, and everything that is refused on purpose. */
#include "unit.h"

#include <math.h>

#include "markup/markup.h"

static struct arena arena;
static struct errlist findings;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 64 << 20);
    findings = (struct errlist)ERRLIST_INIT;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    errlist_done(&findings);
    return 0;
}

static struct node *parse(const char *text)
{
    return yaml_parse(str_from(text), "f.yml", &arena, &findings);
}

static void test_scalars(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        enum node_kind kind;
        double number;
    } rows[] = {
        {"an integer", "12", NODE_INT, 12},
        {"octal", "0o17", NODE_INT, 15},
        {"hexadecimal", "0xff", NODE_INT, 255},
        {"no octal of YAML 1.1", "017", NODE_INT, 17},
        {"past int64", "9223372036854775808", NODE_DOUBLE, 9223372036854775808.0},
        {"a float", "1.5e3", NODE_DOUBLE, 1500},
        {"a float without digits before the point", ".5", NODE_DOUBLE, 0.5},
        {"minus infinity", "-.inf", NODE_DOUBLE, -INFINITY},
        {"true", "true", NODE_BOOL, 0},
        {"yes is text", "yes", NODE_STRING, 0},
        {"null", "~", NODE_NULL, 0},
        {"nothing", "", NODE_NULL, 0},
        {"a quoted number is text", "'12'", NODE_STRING, 0},
        {"a date is text", "2026-01-01", NODE_STRING, 0},
        {"a version is text", "1.2.3", NODE_STRING, 0},
        {"a block is text", "|\n  1\n", NODE_STRING, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct node *n = parse(rows[i].text);
        CHECK(rows[i].why, n != NULL);
        CHECK_INT(rows[i].why, n->kind, rows[i].kind);
        if (n->kind == NODE_INT || n->kind == NODE_DOUBLE)
            CHECK(rows[i].why, n->number == rows[i].number);
    }
}

static void test_places(void **state)
{
    (void)state;
    const struct node *n = parse("a: 1\nlist:\n  - x\n  - { k: 'v' }\n'q': 1\n\"d\": 2\n");
    const struct node *list = node_get(n, "list"), *item = node_at(list, 1),
                      *v = node_get(item, "k");
    CHECK("the value of a", node_get(n, "a")->line == 1 && node_get(n, "a")->column == 4);
    CHECK("the key", list->key_line == 2 && list->key_column == 1);
    CHECK("an item", node_at(list, 0)->line == 3 && node_at(list, 0)->column == 5);
    CHECK("a quoted value begins at its quote", v->line == 4 && v->column == 10);
    CHECK("so does a quoted key",
          node_get(n, "q")->key_line == 5 && node_get(n, "q")->key_column == 1);
    CHECK("in either quotes", node_get(n, "d")->key_line == 6 && node_get(n, "d")->key_column == 1);
    CHECK("what is not there", !node_get(n, "b") && !node_at(list, 2) && !node_get(list, "k"));
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        int line;
    } rows[] = {
        {"an anchor", "a: &x 1\n", 1},
        {"an alias", "a: 1\nb: *a\n", 2},
        {"a tag", "a: !!str 1\n", 1},
        {"a second document", "a: 1\n---\nb: 2\n", 2},
        {"a key twice", "a: 1\nb: 2\na: 3\n", 3},
        {"a key that is a list", "? [a]\n: 1\n", 1},
        {"an open bracket", "a: [1\n", 2},
        {"a tab as indentation", "a:\n\tb: 1\n", 2},
        {"an open quote", "a: \"x\n", 1},
        {"a NUL by escape", "a: \"x\\0y\"\n", 1},
        {"text that is no UTF-8", "a: \xff\n", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK(rows[i].why, parse(rows[i].text) == NULL);
        CHECK_INT(rows[i].why, findings.n_items, 1);
        CHECK_STR(rows[i].why, findings.items[0].code, "yaml_error");
        if (rows[i].line)
            CHECK(rows[i].why, abs(findings.items[0].line - rows[i].line) <= 1);
        errlist_done(&findings);
    }
}

static void test_refused_places(void **state)
{
    (void)state;
    const struct {
        const char *why;
        struct str text;
        int line, column;
        const char *message;
    } rows[] = {
        {"a NUL hides what follows", STR("a: 1\nb: 2\0garbage: ["), 2, 5, "a NUL byte"},
        {"a NUL first", STR("\0"), 1, 1, "a NUL byte"},
        {"a NUL last", STR("a: \xc3\xa4\0"), 1, 5, "a NUL byte"},
        {"a NUL in a comment", STR("a: 1 # \0\n"), 1, 8, "a NUL byte"},
        {"the first bad byte is told", STR("a: \xff\0"), 1, 4, "UTF-8"},
        {"a character that does not end", STR("a: \xc3"), 1, 4, "UTF-8"},
        {"the version of YAML", STR("%YAML 1.1\n---\na: 1\n"), 1, 1, "directives"},
        {"names for tags", STR("\n# why\r\n  # more\n%TAG ! x:\n---\na: 1\n"), 4, 1, "directives"},
        {"a quoted key twice", STR("a: 1\n\"a\": 2\n"), 2, 1, "twice"},
        {"a directive of nobody", STR("\xef\xbb\xbf%FOO\n---\na: 1\n"), 1, 1, "directives"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK(rows[i].why, yaml_parse(rows[i].text, "f.yml", &arena, &findings) == NULL);
        CHECK_INT(rows[i].why, findings.n_items, 1);
        CHECK_INT(rows[i].why, findings.items[0].line, rows[i].line);
        CHECK_INT(rows[i].why, findings.items[0].column, rows[i].column);
        CHECK(rows[i].why, strstr(findings.items[0].message, rows[i].message) != NULL);
        errlist_done(&findings);
    }
    CHECK("per cents that begin no line", parse("# %YAML 1.1\na: 1 %\n'%b': |\n  %x\n") != NULL);
}

static void test_depth(void **state)
{
    (void)state;
    char text[3 * LIMIT_YAML_DEPTH];
    for (int depth = LIMIT_YAML_DEPTH; depth <= LIMIT_YAML_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = 0;
        CHECK_INT("32 levels and one more", parse(text) != NULL, depth == LIMIT_YAML_DEPTH);
    }
}

static void test_memory(void **state)
{
    (void)state;
    struct arena small;
    arena_init(&small, 500);
    CHECK("an arena that is too small is a finding",
          !yaml_parse(STR("a: [1, 2, 3, 4, 5, 6, 7, 8]"), "f.yml", &small, &findings));
    CHECK_INT("one", findings.n_errors, 1);
    arena_done(&small);
}

int main(void)
{
#define FRESH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {FRESH(test_scalars), FRESH(test_places),
                                       FRESH(test_refused), FRESH(test_refused_places),
                                       FRESH(test_depth),   FRESH(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
