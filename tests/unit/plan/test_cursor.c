/* SPDX-License-Identifier: Apache-2.0 */
/* Cursors: there and back, every flipped bit, every other endpoint, tenant and secret. */
#include "base/hash.h"
#include "world.h"

static const char endpoint[] =
    "name: e\nversion: 1\ndataset: d\ntenant: {column: t}\nparams:\n- {name: s, type: string, "
    "aliases: {a: b, b: c}}\n- {name: i, type: integer, default: 4}\n"
    "query:\n  select:\n  - {as: v, column: v}\n  - {as: b, column: b}\n  - {as: x, column: x}\n  "
    "filters:\n  - {column: v, op: eq, param: s}\n"
    "  - {column: b, op: gte, param: i}\n  order_by:\n  - {column: v, dir: desc}\ncolumns: [v, b, "
    "x]\npagination: {default_limit: 10, max_limit: 20}\n";

static uint8_t fingerprint[32] = {1, 2, 3, 4};

struct made {
    struct world w;
    struct cursor_binding binding;
    struct buf token;
};

static struct query_result position_of(const char *text)
{
    struct query_result r = {.n_rows = 7, .has_more = true, .n_last = 2};
    r.last[0] = (struct value){.kind = VALUE_TEXT, .text = str_from(text)};
    r.last[1] = (struct value){.kind = VALUE_INT, .integer = 41};
    return r;
}

static struct made make(const char *query, const char *seek_text)
{
    struct made m = {.w = world_new("tenant_column: t\n", endpoint)};
    struct plan plan;
    char message[PLAN_MESSAGE_BYTES];
    struct query_result result = position_of(seek_text);
    m.binding = (struct cursor_binding){.endpoint = m.w.shape->endpoint,
                                        .dataset = m.w.shape->dataset,
                                        .tenant = STR("me"),
                                        .snapshot_fingerprint = fingerprint};
    cursor_set_secret("0123456789abcdef0123456789abcdef", 32);
    assert_int_equal(world_plan(&m.w, query, "me", &plan, message), RC_OK);
    buf_init(&m.token, CURSOR_LIMIT_BYTES + 256);
    assert_true(cursor_write(&m.binding, &plan, &result, plan.position + 7, &m.token));
    assert_true(m.token.n < CURSOR_LIMIT_BYTES);
    return m;
}

static void unmake(struct made *m)
{
    buf_done(&m->token);
    world_free(&m->w);
}

/* As serve does: plan with the token (and @more before it), then open. */
static enum rc open_with(struct made *m, const char *more, const char *token, struct plan *plan)
{
    static char query[16384];
    char message[PLAN_MESSAGE_BYTES];
    uint8_t found[32];
    snprintf(query, sizeof query, "%scursor=%s", more, token);
    enum rc rc = world_plan(&m->w, query, "me", plan, message);
    if (rc != RC_OK)
        return rc;
    rc = cursor_open(&m->binding, &m->w.arena, plan, found, message);
    if (rc == RC_OK)
        assert_memory_equal(found, fingerprint, 16);
    return rc;
}

static void test_there_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *why, *query, *seek;
    } rows[] = {
        {"defaults", "", "here"},
        {"params, an alias of an alias, columns, limit", "s=a&columns=x,v&limit=3", "h\xc3\xa9re"},
        {"an offset", "offset=100&i=-3", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct made m = make(rows[i].query, rows[i].seek);
        struct plan want, got;
        char message[PLAN_MESSAGE_BYTES];
        assert_int_equal(world_plan(&m.w, rows[i].query, "me", &want, message), RC_OK);
        assert_int_equal(open_with(&m, "", buf_cstr(&m.token), &got), RC_OK);
        CHECK(rows[i].why, str_eq(want.filter_key, got.filter_key) && want.limit == got.limit &&
                               want.n_columns == got.n_columns);
        CHECK_INT(rows[i].why, got.position, want.position + 7);
        CHECK(rows[i].why, got.query.has_seek && got.query.n_seek == 2 && got.query.offset == 0);
        CHECK(rows[i].why,
              str_is(got.query.seek[0].text, rows[i].seek) && got.query.seek[1].integer == 41);
        CHECK(rows[i].why, got.query.has_tenant && str_is(got.query.filters[0].value.text, "me"));
        unmake(&m);
    }
}

/* S-08's sibling for cursors: no changed bit, no cut and no longer token is taken. */
static void test_every_flipped_bit(void **state)
{
    (void)state;
    struct made m = make("s=x&limit=3", "here");
    char token[CURSOR_LIMIT_BYTES];
    uint8_t bytes[CURSOR_LIMIT_BYTES];
    size_t n = 0, count = 0;
    assert_true(base64url_decode((struct str){m.token.p, m.token.n}, bytes, sizeof bytes, &n));
    for (size_t bit = 0; bit < 8 * n; bit++) {
        struct plan plan;
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        token[base64url_encode(bytes, n, token)] = 0;
        CHECK_INT("a flipped bit", open_with(&m, "", token, &plan), RC_INVALID);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        arena_reset(&m.w.arena);
        count++;
    }
    for (size_t cut = 1; cut < m.token.n; cut++) {
        struct plan plan;
        snprintf(token, sizeof token, "%.*s", (int)cut, m.token.p);
        CHECK_INT("a cut token", open_with(&m, "", token, &plan), RC_INVALID);
        arena_reset(&m.w.arena);
    }
    printf("%zu flipped bits, %zu cuts\n", count, m.token.n - 1);
    unmake(&m);
}

static void test_bindings(void **state)
{
    (void)state;
    struct made m = make("s=x&limit=3&columns=v", "here");
    const char *token = buf_cstr(&m.token);
    struct plan plan;
    struct cursor_binding right = m.binding;
    static const struct {
        const char *why, *more;
        enum rc want;
    } rows[] = {
        {"alone", "", RC_OK},
        {"with all that was sent", "s=x&limit=3&columns=v&", RC_OK},
        {"with a part of it", "limit=3&", RC_OK},
        {"with the default spelled out", "s=x&i=4&", RC_OK},
        {"another value", "s=y&", RC_INVALID},
        {"a further param", "s=x&i=5&", RC_INVALID},
        {"another limit", "limit=4&", RC_INVALID},
        {"other columns", "columns=v,b&", RC_INVALID},
        {"an offset", "offset=0&", RC_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_INT(rows[i].why, open_with(&m, rows[i].more, token, &plan), rows[i].want);
    m.binding.tenant = STR("you");
    CHECK_INT("another tenant", open_with(&m, "", token, &plan), RC_INVALID);
    m.binding.tenant = (struct str){NULL, 0};
    CHECK_INT("no tenant", open_with(&m, "", token, &plan), RC_INVALID);
    m.binding = right;
    struct endpoint other = *right.endpoint;
    other.name = (char[]){"f"};
    m.binding.endpoint = &other;
    CHECK_INT("another endpoint", open_with(&m, "", token, &plan), RC_INVALID);
    other = *right.endpoint;
    other.contract_hash[0] ^= 1;
    CHECK_INT("an earlier contract: gone, not forged", open_with(&m, "", token, &plan),
              RC_CONFLICT);
    m.binding = right;
    cursor_set_secret("another secret of 32 bytes......", 32);
    CHECK_INT("another secret", open_with(&m, "", token, &plan), RC_INVALID);
    cursor_set_secret("0123456789abcdef0123456789abcdef", 32);
    CHECK_INT("the right one again", open_with(&m, "", token, &plan), RC_OK);
    unmake(&m);
}

/* What does not fit a URL is left out: a seek falls back to the offset, params must be sent again.
 */
static void test_large_parts(void **state)
{
    (void)state;
    static char seek[6000], query[3000] = "s=";
    memset(seek, 'k', sizeof seek - 1);
    memset(query + 2, 'p', 2500);
    struct made m = make("s=x", seek);
    struct plan plan;
    assert_int_equal(open_with(&m, "", buf_cstr(&m.token), &plan), RC_OK);
    assert_true(!plan.query.has_seek && plan.query.offset == 7 && plan.position == 7);
    unmake(&m);
    m = make(query, "here");
    assert_int_equal(open_with(&m, "", buf_cstr(&m.token), &plan), RC_INVALID);
    query[2502] = '&';
    assert_int_equal(open_with(&m, query, buf_cstr(&m.token), &plan), RC_OK);
    assert_true(plan.query.has_seek);
    unmake(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_every_flipped_bit),
        cmocka_unit_test(test_bindings),
        cmocka_unit_test(test_large_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
