/* SPDX-License-Identifier: Apache-2.0 */
/* What the two processes say: the same on both ends, and refused when cut anywhere or made of
 * noise. */
#include "base/hash.h"
#include "base/mem.h"
#include "engine/query_wire.h"
#include "unit.h"

static struct column columns[] = {{(char *)(uintptr_t) "a", TYPE_VARCHAR},
                                  {(char *)(uintptr_t) "b", TYPE_BIGINT}};
static const struct schema schema = {columns, 2};

static const struct query_output outputs[] = {{0, AGG_NONE}, {1, AGG_SUM}, {1, AGG_COUNT}};
static const bool wanted[] = {true, true, false};
static const int groups[] = {0};
static const struct query_filter filters[] = {
    {.column = 0, .op = FILTER_EQ, .value = {.kind = VALUE_TEXT, .text = {"t\0x", 3}}},
    {.column = 1, .op = FILTER_LTE, .value = {.kind = VALUE_INT, .integer = INT64_MIN}}};
static const struct query_order order[] = {{1, true}};
static const struct value seek[] = {{.kind = VALUE_INT128, .integer128 = (__int128)INT64_MAX * 4},
                                    {.kind = VALUE_NULL}};
static const struct query query = {.schema = &schema,
                                   .outputs = outputs,
                                   .n_outputs = 3,
                                   .wanted = wanted,
                                   .groups = groups,
                                   .n_groups = 1,
                                   .grouped = true,
                                   .filters = filters,
                                   .n_filters = 2,
                                   .order = order,
                                   .n_order = 1,
                                   .limit = UINT64_MAX,
                                   .offset = 9,
                                   .count_total = true,
                                   .has_seek = true,
                                   .seek = seek,
                                   .n_seek = 2};

static enum rc read_query(const char *p, size_t n, struct query *ret, struct arena *arena)
{
    struct bytes_in in = {.p = p, .n = n};
    struct err err = ERR_INIT;
    return wire_get_query(&in, &schema, arena, ret, &err);
}

static void test_query(void **state)
{
    (void)state;
    struct arena arena;
    struct buf b, again;
    struct query q;
    arena_init(&arena, 1u << 20);
    buf_init(&b, 1u << 20);
    buf_init(&again, 1u << 20);
    wire_put_query(&b, &query);
    CHECK_INT("reads back", read_query(b.p, b.n, &q, &arena), RC_OK);
    wire_put_query(&again, &q);
    CHECK("writes the same bytes", again.n == b.n && memcmp(again.p, b.p, b.n) == 0);
    CHECK_INT("limit", q.limit == UINT64_MAX, true);
    for (size_t n = 0; n < b.n; n++) {
        char *cut = x_strndup(b.p, 0);
        cut = x_realloc(cut, n + 1); /* exactly as long, so that a sanitizer sees a byte too many */
        memcpy(cut, b.p, n);
        CHECK_INT("cut", read_query(cut, n, &q, &arena), RC_INTERNAL);
        mem_free(cut);
        arena_reset(&arena);
    }
    buf_done(&b);
    buf_done(&again);
    arena_done(&arena);
}

static void test_query_out_of_range(void **state)
{
    (void)state;
    static const struct query_output far[] = {{2, AGG_NONE}};
    static const int other_group[] = {3};
    struct {
        const char *why;
        struct query q;
    } rows[] = {{"a column that is not there", query}, {"a group that is no output", query}};
    rows[0].q.outputs = far;
    rows[0].q.n_outputs = 1;
    rows[1].q.groups = other_group;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena;
        struct buf b;
        struct query q;
        arena_init(&arena, 1u << 20);
        buf_init(&b, 1u << 20);
        wire_put_query(&b, &rows[i].q);
        CHECK_INT(rows[i].why, read_query(b.p, b.n, &q, &arena), RC_INTERNAL);
        buf_done(&b);
        arena_done(&arena);
    }
}

/* A position holds QUERY_LIMIT_OUTPUTS + 1 values. */
static void test_wide_positions(void **state)
{
    enum { N = QUERY_LIMIT_OUTPUTS / 2 + 1 };
    static const struct {
        const char *why;
        int n_order;
        enum rc want;
    } rows[] = {{"257 values", N - 1, RC_OK}, {"258 values", N, RC_INTERNAL}};
    struct query_output many[N];
    struct query_order orders[N];
    bool all[N];
    int keys[N];
    (void)state;
    for (int i = 0; i < N; i++) {
        many[i] = (struct query_output){0, AGG_NONE};
        orders[i] = (struct query_order){i, false};
        all[i] = true;
        keys[i] = i;
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena;
        struct buf b;
        struct query q = query, got;
        q.outputs = many;
        q.wanted = all;
        q.groups = keys;
        q.order = orders;
        q.n_outputs = q.n_groups = N;
        q.n_order = rows[i].n_order;
        arena_init(&arena, 1u << 20);
        buf_init(&b, 1u << 20);
        wire_put_query(&b, &q);
        CHECK_INT(rows[i].why, read_query(b.p, b.n, &got, &arena), rows[i].want);
        buf_done(&b);
        arena_done(&arena);
    }
}

static void test_source(void **state)
{
    (void)state;
    struct wire_file files[] = {{STR("a.csv"), FILE_CSV, 12, true, 3},
                                {STR("b"), FILE_PARQUET, 1, false, 0}};
    struct wire_source s = {7, schema, schema, true, files, 2}, got;
    struct arena arena;
    struct err err = ERR_INIT;
    struct buf b;
    arena_init(&arena, 1u << 20);
    buf_init(&b, 1u << 20);
    wire_put_source(&b, &s);
    struct bytes_in in = {.p = b.p, .n = b.n};
    CHECK_OK("reads back", wire_get_source(&in, &arena, &got, &err), &err);
    CHECK_INT("id", got.id, 7);
    CHECK_INT("files", got.n_files, 2);
    CHECK_STR("column", got.declared.columns[1].name, "b");
    CHECK("format, size, rows", got.files[0].format == FILE_CSV && got.files[0].size_bytes == 12 &&
                                    got.files[0].row_count == 3);
    for (size_t n = 0; n < b.n; n++) {
        struct bytes_in cut = {.p = b.p, .n = n};
        CHECK_INT("cut", wire_get_source(&cut, &arena, &got, &err), RC_INTERNAL);
        arena_reset(&arena);
    }
    buf_done(&b);
    arena_done(&arena);
}

static void test_end(void **state)
{
    (void)state;
    struct query_result result = {.has_more = true, .total = 5, .n_last = 2}, got = {.n_rows = 1};
    struct err fine = ERR_INIT, bad = ERR_INIT, err = ERR_INIT;
    struct buf b;
    buf_init(&b, 1u << 20);
    result.last[0] = (struct value){.kind = VALUE_TEXT, .text = STR("key")};
    result.last[1] = (struct value){.kind = VALUE_DOUBLE, .number = 0.1};
    wire_put_end(&b, &fine, &result);
    struct bytes_in in = {.p = b.p, .n = b.n};
    CHECK_OK("went well", wire_get_end(&in, &got, &err), &err);
    CHECK("position",
          got.n_last == 2 && str_is(got.last[0].text, "key") && got.last[1].number > 0.05);
    CHECK("more, total", got.has_more && got.total == 5);
    for (size_t n = 0; n < b.n; n++) {
        struct bytes_in cut = {.p = b.p, .n = n};
        CHECK_INT("cut", wire_get_end(&cut, &got, &err), RC_INTERNAL);
    }
    buf_reset(&b);
    (void)err_set_code(&bad, RC_INVALID, "cast_failed", "row 3");
    wire_put_end(&b, &bad, &result);
    in = (struct bytes_in){.p = b.p, .n = b.n};
    CHECK_INT("its failure is ours", wire_get_end(&in, &got, &err), RC_INVALID);
    CHECK_STR("with its code", err.code, "cast_failed");
    CHECK_STR("and words", err.message, "row 3");
    CHECK_STR("a code that is not ours is none", wire_known_code(STR("<script>")), "");
    buf_done(&b);
}

/* Noise of every length: no reader may read past its bytes (a sanitizer's to see) or loop. */
static void test_noise(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint8_t noise[96];
        struct arena arena;
        struct query q;
        struct wire_source s;
        struct query_result result;
        struct err err = ERR_INIT;
        random_bytes(noise, sizeof noise);
        for (size_t j = 0; j < sizeof noise; j++)
            noise[j] = noise[j] & 1 ? noise[j] & 7 : 0; /* small counts get furthest */
        struct bytes_in in = {.p = (const char *)noise, .n = noise[95] * 13u};
        arena_init(&arena, 1u << 20);
        struct bytes_in a = in, b = in, c = in;
        IGNORE(wire_get_query(&a, &schema, &arena, &q, &err)); /* any verdict will do */
        IGNORE(wire_get_source(&b, &arena, &s, &err));
        IGNORE(wire_get_end(&c, &result, &err));
        CHECK("within its bytes", a.at <= in.n && b.at <= in.n && c.at <= in.n);
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_query_out_of_range),
        cmocka_unit_test(test_wide_positions),
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
