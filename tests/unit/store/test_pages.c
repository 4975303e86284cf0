/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages whose rows are more than one pass keeps, what a large query leaves behind, and that sorting
 * looks at the clock. Entries are made wide by ordering by one column many times: so few rows are
 * many passes.
 */
#include "base/mem.h"
#include "rows.h"
#include "store/group_int.h"

#define MANY_ROWS 20011
#define N_KEYS 200 /* 1.6 KiB an entry: 5,190 rows a pass, or a few less */

static char *directory;
static struct store *store;
static struct store_scratch *scratch;
static char words[MANY_ROWS][32];

static int set_up(void **state)
{
    (void)state;
    directory = unit_directory();
    store = rows_open(directory, MANY_ROWS, 1000);
    scratch = store_scratch_new();
    for (size_t i = 0; i < MANY_ROWS; i++)
        test_word(i, words[i]);
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

struct ask {
    struct query query;
    struct query_output outputs[QUERY_LIMIT_OUTPUTS];
    struct query_order order[QUERY_LIMIT_OUTPUTS];
    bool wanted[QUERY_LIMIT_OUTPUTS];
};

/* Rows by @column, then by their code over and over, then by ordinal. Only the first output, which
 * tells the row, is wanted. */
static void order_by(struct ask *a, int column, bool descending)
{
    *a = (struct ask){.outputs = {{COLUMN_AT, AGG_NONE}}, .wanted = {true}};
    for (int i = 0; i < N_KEYS; i++) {
        a->outputs[i + 1] = (struct query_output){i ? COLUMN_CODE : column, AGG_NONE};
        a->order[i] = (struct query_order){i + 1, descending};
    }
    a->query = (struct query){.schema = &test_schema,
                              .outputs = a->outputs,
                              .n_outputs = N_KEYS + 1,
                              .wanted = a->wanted,
                              .order = a->order,
                              .n_order = N_KEYS};
}

struct seen {
    uint32_t rows[MANY_ROWS];
    size_t n;
    size_t most_bytes; /* of the rows that are being ordered */
};

static enum rc see(void *arg, const struct value *values)
{
    struct seen *s = arg;
    assert_true(s->n < MANY_ROWS);
    s->rows[s->n++] = (uint32_t)((values[0].integer + 5) / 1000003);
    if (scratch->entries.n_bytes > s->most_bytes)
        s->most_bytes = scratch->entries.n_bytes;
    return RC_OK;
}

static enum rc run(const struct query *q, const _Atomic bool *cancelled, struct seen *seen,
                   struct query_result *result)
{
    struct err err = ERR_INIT;
    struct query_control control = {.cancelled = cancelled};
    seen->n = seen->most_bytes = 0;
    return store_execute(store, q, &control, (struct row_sink){see, seen}, scratch, result, NULL,
                         &err);
}

/* ---- what must come ---- */

struct expected_order {
    int column;
    bool descending;
    const char *why;
};

static struct value cell(int column, size_t row)
{
    struct value v = {.kind = VALUE_INT, .integer = (int64_t)(row * 31 % N_CODES)};
    if (column == COLUMN_WORD)
        return (struct value){.kind = VALUE_TEXT, .text = str_from(words[row])};
    if (column == COLUMN_RATE) {
        v.kind = VALUE_DOUBLE;
        if (!test_rate(row, &v.number))
            v.kind = VALUE_NULL;
    }
    return v;
}

static int compare_rows(const void *a, const void *b, void *arg)
{
    const struct expected_order *o = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    const int columns[] = {o->column, COLUMN_CODE};
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        struct value v = cell(columns[i], x), w = cell(columns[i], y);
        int order = value_compare(&v, &w, o->descending);
        if (order)
            return order;
    }
    return (x > y) - (x < y);
}

static void expect(struct expected_order *o, uint32_t *ret)
{
    for (uint32_t i = 0; i < MANY_ROWS; i++)
        ret[i] = i;
    qsort_r(ret, MANY_ROWS, sizeof *ret, compare_rows, o);
}

static struct seen seen;
static struct query_result result;
static uint32_t expected[MANY_ROWS];

static void check_page(const struct query *q, uint64_t from, const char *why)
{
    CHECK_INT(why, run(q, NULL, &seen, &result), RC_OK);
    uint64_t left = from < MANY_ROWS ? MANY_ROWS - from : 0;
    CHECK_INT(why, seen.n, q->limit < left ? q->limit : left);
    CHECK(why, memcmp(seen.rows, expected + (left ? from : 0), seen.n * sizeof *expected) == 0);
    CHECK_INT(why, result.has_more, q->limit < left);
    if (q->count_total)
        CHECK_INT(why, result.total, MANY_ROWS);
    if (seen.n == 0)
        return;
    CHECK_INT(why, result.n_last, N_KEYS + 1);
    CHECK_INT(why, result.last[N_KEYS].integer, seen.rows[seen.n - 1]);
    CHECK("memory has a limit", seen.most_bytes <= 24u << 20); /* all of them twice: 65 MB */
    CHECK("and is given back", scratch->entries.n_bytes <= SCRATCH_KEPT_BYTES);
}

static void test_deep_pages_are_found_in_passes(void **state)
{
    static const struct {
        uint64_t offset, limit;
        const char *why;
    } pages[] = {
        {0, MANY_ROWS, "all of them, from every pass"},
        {0, 3, "a first page is one pass"},
        {5189, 3, "on the edge of the first pass"},
        {5190, 3, "just behind it"},
        {7000, 9000, "from one pass into a third"},
        {MANY_ROWS - 3, 3, "the last rows, and no more"},
        {MANY_ROWS - 1, 3, "the last one alone"},
        {MANY_ROWS, 3, "behind the last"},
        {UINT64_C(1) << 62, 3, "far behind the last"},
    };
    static struct expected_order orders[] = {
        {COLUMN_CODE, true, "integers, falling"},
        {COLUMN_WORD, false, "texts"},
        {COLUMN_RATE, false, "doubles with NULLs"},
    };
    static struct ask ask;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        order_by(&ask, orders[i].column, orders[i].descending);
        expect(&orders[i], expected);
        for (size_t j = 0; j < ARRAY_LEN(pages); j++) {
            ask.query.offset = pages[j].offset;
            ask.query.limit = pages[j].limit;
            ask.query.count_total = j % 2;
            check_page(&ask.query, pages[j].offset, pages[j].why);
        }
    }
}

static void test_passes_go_on_behind_a_position(void **state)
{
    static struct expected_order order = {COLUMN_RATE, true, "doubles with NULLs, falling"};
    static struct value position[N_KEYS + 1];
    static struct ask ask;
    (void)state;
    order_by(&ask, order.column, order.descending);
    expect(&order, expected);
    ask.query.limit = 100;
    check_page(&ask.query, 0, "a first page");
    memcpy(position, result.last, sizeof position);
    ask.query.has_seek = true;
    ask.query.seek = position;
    ask.query.n_seek = N_KEYS + 1;
    ask.query.limit = 12000;
    check_page(&ask.query, 100, "a page of several passes behind it");
    ask.query.offset = 9000;
    check_page(&ask.query, 9100, "and one with an offset from there");
}

/* So few rows that scanning them alone never looks at the clock. */
static void test_sorting_stops_when_it_is_told_to(void **state)
{
    static const int groups[] = {0};
    static _Atomic bool is_cancelled = true;
    static struct ask ask;
    const struct query_filter few = {.column = COLUMN_TENANT,
                                     .op = FILTER_LTE,
                                     .value = {.kind = VALUE_TEXT, .text = STR("t119")}};
    const struct query_output by_word[] = {{COLUMN_WORD, AGG_NONE}};
    (void)state;
    order_by(&ask, COLUMN_WORD, true);
    ask.query.filters = &few;
    ask.query.n_filters = 1;
    ask.query.n_order = 1;
    ask.query.limit = MANY_ROWS;
    CHECK_INT("rows", run(&ask.query, &is_cancelled, &seen, &result), RC_CANCELLED);
    struct query grouped = {.schema = &test_schema,
                            .outputs = by_word,
                            .n_outputs = 1,
                            .wanted = ask.wanted,
                            .filters = &few,
                            .n_filters = 1,
                            .groups = groups,
                            .n_groups = 1,
                            .grouped = true,
                            .limit = 1};
    CHECK_INT("groups", run(&grouped, &is_cancelled, &seen, &result), RC_CANCELLED);
    CHECK("what was gathered is given back", scratch->entries.n_bytes <= SCRATCH_KEPT_BYTES &&
                                                 scratch->states.n_bytes <= SCRATCH_KEPT_BYTES);
}

static size_t limit_seen;

static enum rc see_limit(void *arg, const struct value *values)
{
    (void)arg;
    (void)values;
    limit_seen = grouping.limit;
    return RC_OK;
}

static void test_groups_have_a_limit_in_bytes(void **state)
{
    static const struct {
        int n_sums;
        size_t least, most;
        const char *why;
    } rows[] = {
        {1, STORE_LIMIT_GROUPS, STORE_LIMIT_GROUPS, "few sums: their number"},
        {QUERY_LIMIT_OUTPUTS - 1, 1000,
         STORE_LIMIT_GROUP_BYTES / (QUERY_LIMIT_OUTPUTS - 1) / sizeof(struct aggregate_state),
         "many: their bytes"},
    };
    static const int groups[] = {0};
    static struct ask ask;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = ERR_INIT;
        ask = (struct ask){.outputs = {{COLUMN_FLAG, AGG_NONE}}, .wanted = {true}};
        for (int j = 1; j <= rows[i].n_sums; j++) {
            ask.outputs[j] = (struct query_output){COLUMN_CODE, AGG_SUM};
            ask.wanted[j] = true;
        }
        ask.query = (struct query){.schema = &test_schema,
                                   .outputs = ask.outputs,
                                   .n_outputs = rows[i].n_sums + 1,
                                   .wanted = ask.wanted,
                                   .groups = groups,
                                   .n_groups = 1,
                                   .grouped = true,
                                   .limit = 1};
        CHECK_OK(rows[i].why,
                 store_execute(store, &ask.query, NULL, (struct row_sink){see_limit, NULL}, scratch,
                               &result, NULL, &err),
                 &err);
        CHECK(rows[i].why, limit_seen >= rows[i].least && limit_seen <= rows[i].most);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deep_pages_are_found_in_passes),
        cmocka_unit_test(test_passes_go_on_behind_a_position),
        cmocka_unit_test(test_sorting_stops_when_it_is_told_to),
        cmocka_unit_test(test_groups_have_a_limit_in_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
