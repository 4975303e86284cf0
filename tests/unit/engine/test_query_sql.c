/* SPDX-License-Identifier: Apache-2.0 */
/* Plans as SQL: names from the contract, values bound, every order total. */
#include "engine/query_child.h"
#include "unit.h"

static struct column columns[] = {{(char *)(uintptr_t) "a\"; --", TYPE_VARCHAR},
                                  {(char *)(uintptr_t) "b", TYPE_INTEGER},
                                  {(char *)(uintptr_t) "c", TYPE_DOUBLE}};
static const struct schema schema = {columns, 3};
static const bool all[] = {true, true, true};
static const struct query_output plain[] = {{0, AGG_NONE}, {1, AGG_NONE}, {2, AGG_NONE}};
static const struct query_output sums[] = {{0, AGG_NONE}, {1, AGG_SUM}, {2, AGG_AVG}};
static const int groups[] = {0};
static const struct query_filter filters[] = {
    {.column = 0, .op = FILTER_EQ, .value = {.kind = VALUE_TEXT, .text = {"x' OR 1=1", 9}}},
    {.column = 1, .op = FILTER_GTE, .value = {.kind = VALUE_INT, .integer = 5}}};
static const struct query_order order[] = {{1, true}};
static const struct value after[] = {{.kind = VALUE_INT, .integer = 3},
                                     {.kind = VALUE_INT, .integer = 9}};
static const struct value after_null[] = {{.kind = VALUE_NULL}, {.kind = VALUE_INT, .integer = 9}};

static const struct {
    const char *why;
    struct query q;
    const char *sql;
    int binds;
} shapes[] = {
    {"rows in file order, no value in the text",
     {.outputs = plain, .n_outputs = 3, .filters = filters, .n_filters = 2, .limit = 10},
     "SELECT c0 AS o0, c1 AS o1, c2 AS o2, ord FROM t WHERE c0 = CAST($1 AS VARCHAR) AND c1 >= "
     "CAST($2 AS BIGINT) ORDER BY ord ASC NULLS LAST LIMIT 11",
     2},
    {"what nobody wants is not read",
     {.outputs = plain, .n_outputs = 1, .limit = 1, .offset = 7},
     "SELECT c0 AS o0, ord FROM t ORDER BY ord ASC NULLS LAST LIMIT 2 OFFSET 7",
     0},
    {"descending, NULLs last, then the ordinal",
     {.outputs = plain, .n_outputs = 2, .order = order, .n_order = 1, .limit = 1},
     "SELECT c0 AS o0, c1 AS o1, ord FROM t ORDER BY c1 DESC NULLS LAST, ord ASC NULLS LAST "
     "LIMIT 2",
     0},
    {"groups, exact averages, then the groups",
     {.outputs = sums,
      .n_outputs = 3,
      .grouped = true,
      .groups = groups,
      .n_groups = 1,
      .order = order,
      .n_order = 1,
      .limit = 1},
     "SELECT * FROM (SELECT c0 AS o0, sum(c1) AS o1, exact_avg(c2) AS o2, count(*) AS n FROM t "
     "GROUP "
     "BY c0) ORDER BY o1 DESC NULLS LAST, o0 ASC NULLS LAST LIMIT 2",
     0},
    {"after a position",
     {.outputs = plain,
      .n_outputs = 2,
      .order = order,
      .n_order = 1,
      .limit = 1,
      .has_seek = true,
      .seek = after,
      .n_seek = 2},
     "SELECT c0 AS o0, c1 AS o1, ord FROM t WHERE (c1 IS NULL OR c1 < CAST($1 AS INTEGER) OR "
     "(c1 = "
     "CAST($1 AS INTEGER) AND (ord IS NULL OR ord > CAST($2 AS BIGINT) OR (ord = CAST($2 AS "
     "BIGINT) "
     "AND false)))) ORDER BY c1 DESC NULLS LAST, ord ASC NULLS LAST LIMIT 2",
     2},
    {"after a NULL only NULLs come",
     {.outputs = plain,
      .n_outputs = 2,
      .order = order,
      .n_order = 1,
      .limit = 1,
      .has_seek = true,
      .seek = after_null,
      .n_seek = 2},
     "SELECT c0 AS o0, c1 AS o1, ord FROM t WHERE ((c1 IS NULL AND (ord IS NULL OR ord > "
     "CAST($1 AS "
     "BIGINT) OR (ord = CAST($1 AS BIGINT) AND false)))) ORDER BY c1 DESC NULLS LAST, ord ASC "
     "NULLS "
     "LAST LIMIT 2",
     1},
    {"the largest limit does not overflow",
     {.outputs = plain, .n_outputs = 1, .limit = UINT64_MAX, .offset = UINT64_MAX},
     "SELECT c0 AS o0, ord FROM t WHERE ord IN (SELECT ord FROM t ORDER BY ord ASC NULLS LAST "
     "LIMIT 9223372036854775807 OFFSET CAST(random() * 0 AS BIGINT) + CAST($1 AS BIGINT)) ORDER BY "
     "ord ASC NULLS LAST LIMIT "
     "9223372036854775807",
     1},
    {"the last page that is not deep",
     {.outputs = plain, .n_outputs = 1, .limit = 5, .offset = 10000},
     "SELECT c0 AS o0, ord FROM t ORDER BY ord ASC NULLS LAST LIMIT 6 OFFSET 10000",
     0},
    {"a deep page: which rows, then the rows; its filters are bound once",
     {.outputs = plain,
      .n_outputs = 2,
      .filters = filters,
      .n_filters = 2,
      .order = order,
      .n_order = 1,
      .limit = 5,
      .offset = 10001},
     "SELECT c0 AS o0, c1 AS o1, ord FROM t WHERE c0 = CAST($1 AS VARCHAR) AND c1 >= CAST($2 AS "
     "BIGINT) AND ord IN (SELECT ord FROM t WHERE c0 = CAST($1 AS VARCHAR) AND c1 >= CAST($2 AS "
     "BIGINT) ORDER BY c1 DESC NULLS LAST, ord ASC NULLS LAST LIMIT 6 OFFSET CAST(random() * 0 AS "
     "BIGINT) + "
     "CAST($3 AS BIGINT)) ORDER BY c1 DESC NULLS LAST, ord ASC NULLS LAST LIMIT 6",
     3},
    {"deep among groups: a sort that spills",
     {.outputs = sums,
      .n_outputs = 1,
      .grouped = true,
      .groups = groups,
      .n_groups = 1,
      .limit = 5,
      .offset = 10001},
     "SELECT * FROM (SELECT c0 AS o0, count(*) AS n FROM t GROUP BY c0) ORDER BY o0 ASC NULLS LAST "
     "LIMIT 6 OFFSET CAST(random() * 0 AS BIGINT) + CAST($1 AS BIGINT)",
     1},
};

static void test_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct query q = shapes[i].q;
        struct query_sql s;
        q.schema = &schema;
        q.wanted = all;
        query_sql_init(&s);
        query_sql_rows(&s, &q, "t");
        CHECK_STR(shapes[i].why, buf_cstr(&s.text), shapes[i].sql);
        CHECK_INT(shapes[i].why, s.n_binds, shapes[i].binds);
        query_sql_done(&s);
    }
}

static void test_totals(void **state)
{
    (void)state;
    struct query q = {.schema = &schema,
                      .wanted = all,
                      .outputs = sums,
                      .n_outputs = 3,
                      .grouped = true,
                      .groups = groups,
                      .n_groups = 1,
                      .filters = filters,
                      .n_filters = 1};
    struct query_sql s;
    query_sql_init(&s);
    query_sql_total(&s, &q, "t");
    CHECK_STR("groups", buf_cstr(&s.text),
              "SELECT count(*) FROM (SELECT count(*) AS n FROM t WHERE c0 = CAST($1 AS VARCHAR) "
              "GROUP BY c0)");
    q.grouped = false;
    query_sql_total(&s, &q, "t");
    CHECK_STR("rows", buf_cstr(&s.text), "SELECT count(*) FROM t WHERE c0 = CAST($1 AS VARCHAR)");
    query_sql_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes),
                                       cmocka_unit_test(test_totals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
