/* SPDX-License-Identifier: Apache-2.0 */
/* Query strings against a contract: what is taken, what is refused and in which order, one spelling
 * for one meaning. */
#include "world.h"

#define SELECT                                                                                     \
    "query:\n  select:\n  - {as: v, column: v}\n  - {as: b, column: b}\n  - {as: x, column: x}\n"
#define COLUMNS "columns: [v, b, x]\n"

static const char endpoint[] =
    "name: e\nversion: 1\ndataset: d\ntenant: {column: t}\nparams:\n"
    "- {name: s, type: string, aliases: {one: two, 'q+': plus}}\n- {name: i, type: integer, min: "
    "-5, max: 5}\n"
    "- {name: n, type: number, min: 0.5}\n- {name: o, type: boolean}\n- {name: d, type: date}\n- "
    "{name: ts, type: timestamp}\n"
    "- {name: e, type: enum, enum: [A, 'B+'], aliases: {a: A}}\n- {name: z, type: integer, "
    "default: 3}\n" SELECT "  filters:\n  - {column: v, op: eq, param: s}\n  - {column: b, op: "
    "gte, param: i}\n  - {column: x, op: lte, param: n}\n"
    "  - {column: o, op: eq, param: o}\n  - {column: d, op: gte, param: d}\n  - {column: s, op: "
    "lte, param: ts}\n"
    "  - {column: v, op: eq, param: e}\n  - {column: i, op: eq, param: z}\n" COLUMNS
    "pagination: {default_limit: 10, max_limit: 20}\n";

static const struct {
    const char *why, *query, *names; /* names NULL: fine; else what the message must hold */
} values[] = {
    {"none", "", NULL},
    {"a string as sent", "s=%20%F0%9F%98%80", NULL},
    {"the empty string", "s=", NULL},
    {"the least", "i=-5", NULL},
    {"below", "i=-6", "`i` is below"},
    {"the most", "i=5", NULL},
    {"above", "i=6", "`i` is above"},
    {"a sign", "i=%2B5", NULL},
    {"a plus that became a space", "i=+5", "`i`"},
    {"no decimals", "i=1.0", "`i`"},
    {"int64 and one", "z=9223372036854775808", "`z`"},
    {"int64", "z=-9223372036854775808", NULL},
    {"a number", "n=1e3", NULL},
    {"the least number", "n=0.5", NULL},
    {"below it", "n=0.49999999999999994", "`n` is below"},
    {"not finite", "n=1e999", "`n`"},
    {"not a number", "n=NaN", "`n`"},
    {"true", "o=true", NULL},
    {"True", "o=True", "`o`"},
    {"a leap day", "d=2024-02-29", NULL},
    {"no leap day", "d=2023-02-29", "`d`"},
    {"the first day", "d=0001-01-01", NULL},
    {"before it", "d=0000-12-31", "`d`"},
    {"an instant", "ts=2024-02-29T23:59:59.999999Z", NULL},
    {"an offset whose plus became a space", "ts=2024-02-29T23:59:59+02:00", NULL},
    {"no offset", "ts=2024-02-29T23:59:59", "`ts`"},
    {"an enum value", "e=A", NULL},
    {"its alias", "e=a", NULL},
    {"with a plus that became a space", "e=B+", NULL},
    {"another", "e=C", "`e` is not one of"},
    {"enum values are exact", "e=b%2B", "`e`"},
    {"no name twice", "s=1&s=1", "`s` was sent twice"},
    {"undeclared", "nope=1", "`nope`"},
    {"undeclared and no identifier", "No-Pe=1", "a param is not"},
    {"malformed", "s=%", "not well-formed"},
    {"a limit", "limit=20", NULL},
    {"too large a limit", "limit=21", "`limit`"},
    {"no limit", "limit=0", "`limit`"},
    {"the largest offset", "offset=9223372036854775807", NULL},
    {"a larger one", "offset=9223372036854775808", "`offset`"},
    {"a negative one", "offset=-1", "`offset`"},
    {"columns", "columns=x,%20v", NULL},
    {"an unknown column", "columns=t", "`columns`"},
    {"an empty item", "columns=v,", "`columns`"},
    {"cursor and offset", "cursor=x&offset=0", "`cursor` and `offset`"},
    {"an empty cursor", "cursor=", "`cursor`"},
    {"unknown names come first", "nope=1&i=x&columns=&limit=x", "`nope`"},
    {"then params as declared", "n=x&i=x&columns=&limit=x&offset=x", "`i`"},
    {"then columns", "columns=&limit=x&offset=x", "`columns`"},
    {"then the limit", "offset=x&limit=x", "`limit`"},
};

static void test_values(void **state)
{
    (void)state;
    struct world w = world_new("tenant_column: t\n", endpoint);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct plan plan;
        char message[PLAN_MESSAGE_BYTES];
        enum rc rc = world_plan(&w, values[i].query, "me", &plan, message);
        CHECK_INT(values[i].why, rc, values[i].names ? RC_INVALID : RC_OK);
        CHECK(message[0] ? message : values[i].why,
              !values[i].names || strstr(message, values[i].names));
        if (rc == RC_OK) { /* the tenant's predicate is always there, and first */
            CHECK(values[i].why, plan.query.has_tenant && plan.query.filters[0].op == FILTER_EQ &&
                                     plan.query.filters[0].column == 0 &&
                                     str_is(plan.query.filters[0].value.text, "me"));
        }
        arena_reset(&w.arena);
    }
    world_free(&w);
}

static void test_one_spelling_for_one_meaning(void **state)
{
    (void)state;
    static const struct {
        const char *why, *one, *two;
        bool same;
    } rows[] = {
        {"defaults", "", "z=3&limit=10&offset=0&columns=v,b,x", true},
        {"aliases", "s=one", "s=two", true},
        {"repaired", "e=B+", "e=B%2B", true},
        {"integers", "i=%2B03", "i=3", true},
        {"numbers", "n=1e0", "n=1", true},
        {"instants", "ts=2024-01-01T02:00:00%2B02:00", "ts=2024-01-01T00:00:00.000Z", true},
        {"order of params", "s=1&i=2", "i=2&s=1", true},
        {"order of columns", "columns=b,v", "columns=v,b,b", true},
        {"absent and empty", "", "s=", false},
        {"one param and another", "s=A", "e=A", false},
        {"columns", "columns=v", "columns=b", false},
        {"limits", "limit=1", "limit=2", false},
        {"offsets", "offset=1", "offset=2", false},
        {"a limit is no offset", "limit=1&offset=2", "limit=2&offset=1", false},
        {"text runs over nothing", "s=ab", "s=a&e=A", false},
        {"case", "s=a", "s=A", false},
    };
    struct world w = world_new("tenant_column: t\n", endpoint);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct plan one, two;
        char message[PLAN_MESSAGE_BYTES];
        CHECK_INT(rows[i].why, world_plan(&w, rows[i].one, "me", &one, message), RC_OK);
        CHECK_INT(rows[i].why, world_plan(&w, rows[i].two, "me", &two, message), RC_OK);
        CHECK_INT(rows[i].why, str_eq(one.canonical, two.canonical), rows[i].same);
        arena_reset(&w.arena);
    }
    world_free(&w);
}

static void test_combinations_and_required(void **state)
{
    (void)state;
    static const char combined[] =
        "name: e\nversion: 1\ndataset: d\nparams:\n- {name: a, type: integer}\n- {name: b, type: "
        "integer, required: true}\n"
        "- {name: c, type: integer, default: 1}\ncombinations: [[b], [a, b]]\n" SELECT
        "  filters:\n  - {column: b, op: eq, param: a}\n  - {column: b, op: eq, param: b}\n  - "
        "{column: b, op: eq, param: c}\n" COLUMNS;
    static const struct {
        const char *why, *query, *names;
    } rows[] = {
        {"one of them", "b=1", NULL},
        {"another", "a=1&b=1", NULL},
        {"reserved names do not count", "b=1&limit=2&offset=1&columns=v", NULL},
        {"none sent", "", "combinations"},
        {"a default is not sent", "c=1", "combinations"},
        {"one too many", "a=1&b=1&c=1", "combinations"},
        {"before values", "a=x", "combinations"},
        {"a cursor alone needs none", "cursor=abc", NULL},
        {"with a param it does", "cursor=abc&a=1", "combinations"},
    };
    struct world w = world_new("", combined);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct plan plan;
        char message[PLAN_MESSAGE_BYTES];
        CHECK_INT(rows[i].why, world_plan(&w, rows[i].query, NULL, &plan, message),
                  rows[i].names ? RC_INVALID : RC_OK);
        CHECK(rows[i].why, !rows[i].names || strstr(message, rows[i].names));
        arena_reset(&w.arena);
    }
    world_free(&w);
}

/* At every point where memory can end, the planner says so and touches nothing else. */
static void test_memory_ends(void **state)
{
    (void)state;
    struct world w = world_new("tenant_column: t\n", endpoint);
    bool has_passed = false;
    for (size_t limit = 64; limit < 1 << 16 && !has_passed; limit += 64) {
        struct plan plan;
        char message[PLAN_MESSAGE_BYTES];
        arena_done(&w.arena);
        arena_init(&w.arena, limit);
        enum rc rc = world_plan(&w, "s=one&i=3&n=1.5&ts=2024-01-01T00:00:00Z&e=B+&columns=v,b",
                                "me", &plan, message);
        assert_true(rc == RC_OK || rc == RC_NO_MEMORY);
        has_passed = rc == RC_OK;
    }
    assert_true(has_passed);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_one_spelling_for_one_meaning),
        cmocka_unit_test(test_combinations_and_required),
        cmocka_unit_test(test_memory_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
