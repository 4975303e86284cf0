/* SPDX-License-Identifier: Apache-2.0 */
/* Writing, opening and asking one file: every type and encoding, the prefix, postings, seeks. */
#include <math.h>

#include "base/mem.h"

#include "rows.h"

#define MANY_ROWS 20011 /* three blocks, the last one ragged */

static char *directory;
static struct store *store;
static struct store_scratch *scratch;

static int set_up(void **state)
{
    (void)state;
    directory = unit_directory();
    store = rows_open(directory, MANY_ROWS, 777);
    scratch = store_scratch_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    store_scratch_free(scratch);
    store_free(store);
    unit_remove(directory);
    return 0;
}

/* ---- asking ---- */

#define LIMIT_SEEN 512

struct seen {
    int64_t integers[LIMIT_SEEN]; /* of the first output */
    size_t n;
};

static enum rc see(void *arg, const struct value *values)
{
    struct seen *s = arg;
    assert_true(s->n < LIMIT_SEEN);
    s->integers[s->n++] =
        values[0].kind == VALUE_INT128 ? (int64_t)values[0].integer128 : values[0].integer;
    return RC_OK;
}

static void ask(const struct query *q, struct seen *seen, struct query_result *result,
                struct query_stats *stats)
{
    struct err err = ERR_INIT;
    struct query_control control = {0};
    seen->n = 0;
    CHECK_OK("a query",
             store_execute(store, q, &control, (struct row_sink){see, seen}, scratch, result, stats,
                           &err),
             &err);
}

static struct query_filter text_is(int column, const char *text)
{
    return (struct query_filter){
        .column = column, .op = FILTER_EQ, .value = {.kind = VALUE_TEXT, .text = str_from(text)}};
}

static struct query_filter integer(int column, enum filter_op op, int64_t v)
{
    return (struct query_filter){
        .column = column, .op = op, .value = {.kind = VALUE_INT, .integer = v}};
}

static const bool all_wanted[N_TEST_COLUMNS] = {true, true, true, true, true,
                                                true, true, true, true};

/* ---- every value comes back ---- */

static size_t next_row;

static enum rc compare_row(void *arg, const struct value *v)
{
    size_t row = next_row++;
    char text[32];
    double rate;
    (void)arg;
    snprintf(text, sizeof text, "t%03zu", row / ROWS_PER_TENANT);
    assert_true(str_is(v[COLUMN_TENANT].text, text) && v[COLUMN_TENANT].plain);
    assert_int_equal(v[COLUMN_DAY].integer,
                     20000 + (int64_t)(row % ROWS_PER_TENANT / ROWS_PER_DAY));
    assert_int_equal(v[COLUMN_CODE].integer, (int64_t)(row * 31 % N_CODES));
    assert_int_equal(v[COLUMN_AT].integer, (int64_t)row * 1000003 - 5);
    assert_int_equal(v[COLUMN_BIG].integer, test_big(row));
    if (!test_rate(row, &rate))
        assert_int_equal(v[COLUMN_RATE].kind, VALUE_NULL);
    else if (isnan(rate))
        assert_true(isnan(v[COLUMN_RATE].number));
    else
        assert_true(v[COLUMN_RATE].number == rate &&
                    !signbit(v[COLUMN_RATE].number) == !(rate < 0));
    assert_int_equal(v[COLUMN_FLAG].boolean, row % 2 == 1);
    test_word(row, text);
    assert_true(str_is(v[COLUMN_WORD].text, text) && !v[COLUMN_WORD].plain);
    snprintf(text, sizeof text, "{\"row\":%zu}", row);
    if (row % 4 == 3)
        assert_int_equal(v[COLUMN_NESTED].kind, VALUE_NULL);
    else
        assert_true(str_is(v[COLUMN_NESTED].text, text));
    return RC_OK;
}

static void test_every_value_comes_back(void **state)
{
    struct query_output outputs[N_TEST_COLUMNS];
    struct query_result result;
    struct err err = ERR_INIT;
    (void)state;
    for (int i = 0; i < N_TEST_COLUMNS; i++)
        outputs[i] = (struct query_output){i, AGG_NONE};
    struct query q = {.schema = &test_schema,
                      .outputs = outputs,
                      .n_outputs = N_TEST_COLUMNS,
                      .wanted = all_wanted,
                      .limit = MANY_ROWS + 1,
                      .count_total = true};
    next_row = 0;
    CHECK_OK("all rows",
             store_execute(store, &q, &(struct query_control){0},
                           (struct row_sink){compare_row, NULL}, scratch, &result, NULL, &err),
             &err);
    assert_int_equal(next_row, MANY_ROWS);
    assert_int_equal(result.total, MANY_ROWS);
    assert_false(result.has_more);
}

/* ---- how rows are found ---- */

struct lookup {
    struct query_filter filters[3];
    int n_filters, prefix;
    bool posting;
    uint64_t most_touched;
    size_t rows;
    const char *why;
};
#define N_LOOKUPS 12

static size_t lookups(struct lookup *ret)
{
    const struct lookup table[] = {
        {{text_is(COLUMN_TENANT, "t007")}, 1, 1, false, 100, 100, "a tenant is a range"},
        {{text_is(COLUMN_TENANT, "t082")}, 1, 1, false, 100, 100, "one that spans two blocks"},
        {{text_is(COLUMN_TENANT, "t200")}, 1, 1, false, 11, 11, "the last, ragged one"},
        {{text_is(COLUMN_TENANT, "t0075")},
         1,
         0,
         false,
         0,
         0,
         "between two texts there is nothing"},
        {{text_is(COLUMN_TENANT, "")}, 1, 0, false, 0, 0, "before the first"},
        {{text_is(COLUMN_TENANT, "u")}, 1, 0, false, 0, 0, "after the last"},
        {{text_is(COLUMN_TENANT, "t007"), integer(COLUMN_DAY, FILTER_GTE, 20008)},
         2,
         2,
         false,
         20,
         20,
         "a range on the second column"},
        {{text_is(COLUMN_TENANT, "t007"), integer(COLUMN_DAY, FILTER_GTE, 20003),
          integer(COLUMN_DAY, FILTER_LTE, 20003)},
         3,
         2,
         false,
         10,
         10,
         "both ends of it"},
        {{text_is(COLUMN_TENANT, "t007"), integer(COLUMN_DAY, FILTER_EQ, INT64_C(1) << 40)},
         2,
         0,
         false,
         0,
         0,
         "a value past the column's width"},
        {{integer(COLUMN_CODE, FILTER_EQ, 5)}, 1, 0, true, 207, 206, "a posting list"},
        {{integer(COLUMN_CODE, FILTER_EQ, N_CODES)}, 1, 0, false, 0, 0, "no such code"},
        {{text_is(COLUMN_TENANT, "t007"), integer(COLUMN_CODE, FILTER_EQ, 5)},
         2,
         1,
         true,
         2,
         1,
         "a posting list within the prefix"},
    };
    _Static_assert(sizeof table == N_LOOKUPS * sizeof *table, "the table's size has a name");
    memcpy(ret, table, sizeof table);
    return N_LOOKUPS;
}

static void test_rows_are_found_without_scanning(void **state)
{
    static const struct query_output outputs[] = {{COLUMN_AT, AGG_NONE}};
    struct seen seen;
    struct query_result result;
    struct query_stats stats;
    (void)state;
    struct lookup table[N_LOOKUPS];
    size_t n = lookups(table);
    for (size_t i = 0; i < n; i++) {
        struct query q = {.schema = &test_schema,
                          .outputs = outputs,
                          .n_outputs = 1,
                          .wanted = all_wanted,
                          .filters = table[i].filters,
                          .n_filters = table[i].n_filters,
                          .limit = 500};
        ask(&q, &seen, &result, &stats);
        CHECK_INT(table[i].why, seen.n, table[i].rows);
        CHECK_INT(table[i].why, stats.used_posting_list, table[i].posting);
        CHECK(table[i].why, stats.rows_touched <= table[i].most_touched);
        if (table[i].rows)
            CHECK_INT(table[i].why, stats.prefix_columns, table[i].prefix);
        for (size_t j = 1; j < seen.n; j++) /* `at` rises with the ordinal */
            CHECK(table[i].why, seen.integers[j - 1] < seen.integers[j]);
        CHECK(table[i].why, store_estimate(store, &q, false, scratch) >= seen.n);
    }
}

static void test_blocks_are_skipped_by_statistics(void **state)
{
    static const struct query_output outputs[] = {{COLUMN_AT, AGG_NONE}};
    const struct query_filter late =
        integer(COLUMN_AT, FILTER_GTE, (int64_t)(MANY_ROWS - 3) * 1000003 - 5);
    struct query q = {.schema = &test_schema,
                      .outputs = outputs,
                      .n_outputs = 1,
                      .wanted = all_wanted,
                      .filters = &late,
                      .n_filters = 1,
                      .limit = 500};
    struct seen seen;
    struct query_result result;
    struct query_stats stats;
    (void)state;
    ask(&q, &seen, &result, &stats);
    assert_int_equal(seen.n, 3);
    assert_int_equal(stats.blocks_total, 3);
    assert_int_equal(stats.blocks_skipped, 2);
}

/* ---- groups, order, paging ---- */

static void test_groups_sum_exactly(void **state)
{
    static const struct query_output outputs[] = {
        {COLUMN_BIG, AGG_SUM}, {COLUMN_TENANT, AGG_NONE}, {COLUMN_RATE, AGG_COUNT}};
    static const int groups[] = {1};
    struct query q = {.schema = &test_schema,
                      .outputs = outputs,
                      .n_outputs = 3,
                      .wanted = all_wanted,
                      .groups = groups,
                      .n_groups = 1,
                      .grouped = true,
                      .limit = 500};
    struct seen seen;
    struct query_result result;
    struct query_stats stats;
    (void)state;
    ask(&q, &seen, &result, &stats);
    assert_int_equal(seen.n, 201);
    for (size_t i = 0; i < 200; i++)
        assert_int_equal(seen.integers[i], 0); /* the turns cancel, through +-2^62 */
    assert_int_equal(seen.integers[200], 0);   /* 11 rows: two whole turns and a 0 */
}

/* As many values as a position holds, for the sanitizers: outputs that order and group. */
static void test_the_widest_position(void **state)
{
    enum { N = QUERY_LIMIT_OUTPUTS / 2 + 1 };
    struct query_output outputs[N];
    struct query_order order[N];
    bool wanted[N];
    int groups[N];
    for (int i = 0; i < N; i++) {
        outputs[i] = (struct query_output){COLUMN_DAY, AGG_NONE};
        order[i] = (struct query_order){.output = i};
        wanted[i] = true;
        groups[i] = i;
    }
    struct query q = {.schema = &test_schema,
                      .outputs = outputs,
                      .n_outputs = N,
                      .wanted = wanted,
                      .groups = groups,
                      .n_groups = N,
                      .grouped = true,
                      .order = order,
                      .n_order = N - 1,
                      .limit = 2};
    struct seen seen;
    struct query_result result;
    struct query_stats stats;
    (void)state;
    ask(&q, &seen, &result, &stats);
    assert_int_equal(seen.n, 2);
    assert_int_equal(result.n_last, QUERY_LIMIT_OUTPUTS + 1);
    for (int i = 0; i < result.n_last; i++)
        assert_int_equal(result.last[i].integer, seen.integers[1]);
}

static void test_pages_go_on_where_they_ended(void **state)
{
    static const struct query_output outputs[] = {{COLUMN_AT, AGG_NONE}, {COLUMN_CODE, AGG_NONE}};
    static const struct query_order order[] = {{.output = 1, .descending = true}};
    const struct query_filter tenant = text_is(COLUMN_TENANT, "t050");
    struct query q = {.schema = &test_schema,
                      .outputs = outputs,
                      .n_outputs = 2,
                      .wanted = all_wanted,
                      .filters = &tenant,
                      .n_filters = 1,
                      .order = order,
                      .n_order = 1,
                      .limit = 500};
    struct seen whole, part;
    struct query_result result;
    struct query_stats stats;
    (void)state;
    ask(&q, &whole, &result, &stats);
    assert_int_equal(whole.n, 100);
    for (uint64_t limit = 1; limit <= 101; limit += 9) {
        struct value seek[2];
        size_t n = 0;
        struct query page = q;
        page.limit = limit;
        do {
            ask(&page, &part, &result, &stats);
            for (size_t i = 0; i < part.n; i++)
                assert_int_equal(part.integers[i], whole.integers[n++]);
            assert_int_equal(result.has_more, n < whole.n);
            assert_int_equal(result.n_last, 2); /* the order's value and the ordinal */
            memcpy(seek, result.last, sizeof seek);
            page.has_seek = true;
            page.seek = seek;
            page.n_seek = 2;
        } while (result.has_more);
        assert_int_equal(n, whole.n);
        page = q;
        page.limit = limit;
        page.offset = 100 - limit % 100;
        ask(&page, &part, &result, &stats);
        for (size_t i = 0; i < part.n; i++)
            assert_int_equal(part.integers[i], whole.integers[page.offset + i]);
    }
}

static _Atomic bool is_cancelled = true;

static void test_deadline_and_cancellation(void **state)
{
    static const struct query_output outputs[] = {{COLUMN_AT, AGG_SUM}, {COLUMN_WORD, AGG_NONE}};
    static const int groups[] = {1};
    struct query q = {.schema = &test_schema,
                      .outputs = outputs,
                      .n_outputs = 2,
                      .wanted = all_wanted,
                      .groups = groups,
                      .n_groups = 1,
                      .grouped = true,
                      .limit = 1};
    struct seen seen = {.n = 0};
    struct query_result result;
    struct err err = ERR_INIT;
    (void)state;
    struct query_control late = {.deadline_us = 1}, gone = {.cancelled = &is_cancelled};
    assert_int_equal(store_execute(store, &q, &late, (struct row_sink){see, &seen}, scratch,
                                   &result, NULL, &err),
                     RC_TIMEOUT);
    assert_int_equal(store_execute(store, &q, &gone, (struct row_sink){see, &seen}, scratch,
                                   &result, NULL, &err),
                     RC_CANCELLED);
    assert_int_equal(seen.n, 0);
}

/* ---- the writer refuses what would lie ---- */

static void test_writer_refuses_rows_out_of_order(void **state)
{
    struct column one[] = {{(char[]){"n"}, TYPE_BIGINT}};
    const struct schema schema = {.columns = one, .n_columns = 1};
    static const int sort[] = {0};
    static const struct {
        int64_t keys[3];
        uint64_t ordinals[3];
        enum rc want;
        const char *why;
    } table[] = {
        {{1, 2, 3}, {5, 1, 0}, RC_OK, "rising keys, any ordinals"},
        {{1, 1, 1}, {0, 1, 2}, RC_OK, "equal keys, rising ordinals"},
        {{1, 3, 2}, {0, 1, 2}, RC_INTERNAL, "a key that falls"},
        {{1, 1, 1}, {0, 2, 1}, RC_INTERNAL, "an ordinal that falls"},
        {{1, 1, 2}, {0, 0, 1}, RC_INTERNAL, "the same row twice"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *where = unit_directory();
        struct err err = ERR_INIT;
        struct store_writer *w = NULL;
        struct store_writer_options options = {.directory = where,
                                               .schema = &schema,
                                               .sort_columns = sort,
                                               .n_sort_columns = 1,
                                               .tenant_column = -1};
        struct store_column_batch column = {.fixed = table[i].keys};
        struct store_batch batch = {.columns = &column, .ordinals = table[i].ordinals, .n_rows = 3};
        CHECK_OK(table[i].why, store_writer_new(&options, &w, &err), &err);
        CHECK_INT(table[i].why, store_writer_add(w, &batch, &err), table[i].want);
        store_writer_free(w);
        char *path = path_join(where, STORE_FILE_NAME);
        CHECK_INT("an unfinished file is gone", access(path, F_OK), -1);
        mem_free(path);
        unit_remove(where);
    }
}

static void test_an_empty_table_opens(void **state)
{
    char *where = unit_directory();
    struct err err = ERR_INIT;
    struct store *empty = NULL;
    static const struct query_output outputs[] = {{COLUMN_AT, AGG_NONE}};
    const struct query_filter tenant = text_is(COLUMN_TENANT, "t000");
    struct query q = {.schema = &test_schema,
                      .outputs = outputs,
                      .n_outputs = 1,
                      .wanted = all_wanted,
                      .filters = &tenant,
                      .n_filters = 1,
                      .limit = 5};
    struct seen seen = {.n = 0};
    struct query_result result;
    (void)state;
    rows_write(where, 0, 10);
    CHECK_OK("no rows are a table too", store_open(where, &empty, &err), &err);
    assert_int_equal(store_rows(empty), 0);
    CHECK_OK("and answer",
             store_execute(empty, &q, &(struct query_control){0}, (struct row_sink){see, &seen},
                           scratch, &result, NULL, &err),
             &err);
    assert_int_equal(seen.n + result.has_more, 0);
    store_free(empty);
    unit_remove(where);
}

/* ---- the format stays readable ---- */

static void check_golden(const char *where)
{
    struct err err = ERR_INIT;
    struct store *golden = NULL, *mine = store;
    AUTO(mem_free_auto) char *golden_directory = path_join(GOLDEN_DIRECTORY, where);
    CHECK_OK(where, store_open(golden_directory, &golden, &err), &err);
    assert_int_equal(store_rows(golden), 1234);
    assert_int_equal(store_tenants(golden), 13);
    CHECK_OK("and verifies", store_scrub(golden, 0, NULL, &err), &err);
    store = golden;
    struct query_output outputs[N_TEST_COLUMNS];
    for (int i = 0; i < N_TEST_COLUMNS; i++)
        outputs[i] = (struct query_output){i, AGG_NONE};
    struct query q = {.schema = &test_schema,
                      .outputs = outputs,
                      .n_outputs = N_TEST_COLUMNS,
                      .wanted = all_wanted,
                      .limit = 2000};
    struct query_result result;
    next_row = 0;
    CHECK_OK("every value is the one that was written",
             store_execute(golden, &q, &(struct query_control){0},
                           (struct row_sink){compare_row, NULL}, scratch, &result, NULL, &err),
             &err);
    assert_int_equal(next_row, 1234);
    store = mine;
    store_free(golden);
}

static void test_golden_files_open(void **state)
{
    (void)state;
    check_golden("store-v1");
    check_golden("store-v2-rows"); /* test_encodings.c has version 2's forms of numbers */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_value_comes_back),
        cmocka_unit_test(test_rows_are_found_without_scanning),
        cmocka_unit_test(test_blocks_are_skipped_by_statistics),
        cmocka_unit_test(test_groups_sum_exactly),
        cmocka_unit_test(test_the_widest_position),
        cmocka_unit_test(test_pages_go_on_where_they_ended),
        cmocka_unit_test(test_deadline_and_cancellation),
        cmocka_unit_test(test_writer_refuses_rows_out_of_order),
        cmocka_unit_test(test_an_empty_table_opens),
        cmocka_unit_test(test_golden_files_open),
    };
    if (argc == 2) { /* writes the golden file of a new version into the directory that is named */
        rows_write(argv[1], 1234, 100);
        return 0;
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
