/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the writer makes of a block's numbers, and that every value comes back to the bit: read row
 * by row, in runs, by an equality and by a range, summed, at the edges of each encoding.
 */
#include "base/mem.h"

#include "../unit.h"
#include "store/store_int.h"

#define LIMIT_ROWS (BLOCK_ROWS + 37) /* the second block is a partial one */

/* The key of row @i, or false for NULL. */
typedef bool make_key(size_t i, int64_t *ret);

struct habit {
    enum column_type type;
    make_key *make;
    unsigned width, bits; /* of the first block */
    enum chunk_form form;
    unsigned detail;
    const char *why;
};

static int64_t as_key(double v)
{
    return key_from_double(v);
}
static size_t mixed(size_t i)
{
    return i * 2654435761u % 1000003;
}

static bool is_seven(size_t i, int64_t *ret)
{
    (void)i;
    *ret = 7;
    return true;
}
static bool is_null(size_t i, int64_t *ret)
{
    (void)i;
    (void)ret;
    return false;
}
static bool one_bit(size_t i, int64_t *ret)
{
    *ret = (int64_t)(i % 2) - 1;
    return true;
}
static bool seventeen_bits(size_t i, int64_t *ret)
{
    *ret = (int64_t)(i % 9 == 8 ? 131071 : mixed(i) % 100000);
    return true;
}
static bool negative_frame(size_t i, int64_t *ret)
{
    *ret = -1000000 - (int64_t)(mixed(i) % 1000);
    return true;
}
static bool a_byte(size_t i, int64_t *ret)
{
    *ret = (int64_t)(i % 256) - 128;
    return true;
}
static bool two_bytes(size_t i, int64_t *ret)
{
    *ret = i % 2 ? 65535 : (int64_t)(mixed(i) % 65536);
    return i != 5;
}
static bool four_bytes(size_t i, int64_t *ret)
{
    *ret = i % 3 ? INT32_MAX - (int64_t)mixed(i) : INT32_MIN + (int64_t)mixed(i / 3) - 1;
    return true;
}
static bool fifty_six_bits(size_t i, int64_t *ret)
{
    *ret = (int64_t)(i % 2) * ((INT64_C(1) << 56) - 1) + INT64_MIN;
    return true;
}
static bool fifty_seven_bits(size_t i, int64_t *ret)
{
    *ret = (int64_t)(i % 2) << 56;
    return true;
}
static bool all_bits(size_t i, int64_t *ret)
{
    *ret = i % 2 ? INT64_MIN : INT64_MAX;
    return i % 5 != 4;
}
static bool nulls_between(size_t i, int64_t *ret)
{
    *ret = 500 + (int64_t)(i % 300);
    return i % 3 != 1;
}
static bool cents(size_t i, int64_t *ret)
{
    *ret = as_key(((double)mixed(i) - 500000) / 100);
    return i % 11 != 3;
}
static bool whole_doubles(size_t i, int64_t *ret)
{
    *ret = as_key((double)mixed(i) - 3);
    return true;
}
static bool largest_decimals(size_t i, int64_t *ret)
{
    *ret = as_key(i % 2 ? 4503599627370495.0 : -4503599627370495.0);
    return true;
}
static bool past_the_largest_decimal(size_t i, int64_t *ret)
{
    *ret = as_key(i % 2 ? 4503599627370496.0 : 0.5);
    return true;
}
static bool smallest_decimals(size_t i, int64_t *ret)
{
    *ret = as_key((double)(i % 900) / 1e18);
    return true;
}
static bool with_nan(size_t i, int64_t *ret)
{
    *ret = as_key(i == 100 ? (double)NAN : (double)(i % 100) / 10);
    return true;
}
static bool with_infinity(size_t i, int64_t *ret)
{
    *ret = as_key(i == 100 ? -(double)INFINITY : (double)(i % 100) / 10);
    return true;
}
static bool with_negative_zero(size_t i, int64_t *ret)
{
    *ret = as_key(i % 4 ? (double)mixed(i) / 10 : -0.0);
    return true;
}
static bool with_a_sum(size_t i, int64_t *ret)
{
    volatile double tenth = 0.1;
    *ret = as_key(i == 8000 ? tenth + 0.2 : (double)mixed(i) / 10);
    return true;
}
static bool denormals(size_t i, int64_t *ret)
{
    *ret = as_key(i % 2 ? 5e-324 : 1e300);
    return true;
}
static bool seconds(size_t i, int64_t *ret)
{
    *ret = INT64_C(1780000000000001) + (int64_t)mixed(i) % 5000 * 1000000;
    return i % 7 != 2;
}
static bool steps_across_all(size_t i, int64_t *ret)
{
    /* 18 steps of 10^18 are the most that 64 bits hold. */
    static const uint64_t steps[] = {0, 18, 9, 1};
    *ret = (int64_t)((UINT64_C(1) << 63) + steps[i % 4] * UINT64_C(1000000000000000000));
    return true;
}
static bool few_decimals(size_t i, int64_t *ret)
{
    *ret = as_key((double)(i % 4) / 10);
    return true;
}
static bool few_seconds(size_t i, int64_t *ret)
{
    *ret = (int64_t)(i % 4) * 1000000;
    return true;
}
static bool no_steps(size_t i, int64_t *ret)
{
    *ret = (int64_t)(i % 500) * 1000 + (i == 400);
    return true;
}

static const struct habit habits[] = {
    {TYPE_BIGINT, is_seven, 0, 0, FORM_KEYS, 0, "one value takes no bits"},
    {TYPE_BIGINT, is_null, 0, 0, FORM_KEYS, 0, "no value at all"},
    {TYPE_DOUBLE, is_null, 0, 0, FORM_KEYS, 0, "no double at all"},
    {TYPE_INTEGER, one_bit, 0, 1, FORM_KEYS, 0, "a bit, across zero"},
    {TYPE_BIGINT, seventeen_bits, 0, 17, FORM_KEYS, 0, "17 bits"},
    {TYPE_INTEGER, negative_frame, 0, 10, FORM_KEYS, 0, "a negative base"},
    {TYPE_INTEGER, a_byte, 1, 0, FORM_KEYS, 0, "8 bits are a byte"},
    {TYPE_INTEGER, two_bytes, 2, 0, FORM_KEYS, 0, "16 bits, a NULL"},
    {TYPE_BIGINT, four_bytes, 4, 0, FORM_KEYS, 0, "32 bits"},
    {TYPE_BIGINT, fifty_six_bits, 0, 56, FORM_KEYS, 0, "the most that is packed"},
    {TYPE_BIGINT, fifty_seven_bits, 8, 0, FORM_KEYS, 0, "a bit more"},
    {TYPE_BIGINT, all_bits, 8, 0, FORM_KEYS, 0, "from end to end, with NULLs"},
    {TYPE_TIMESTAMP, nulls_between, 0, 9, FORM_KEYS, 0, "NULLs between packed numbers"},
    {TYPE_DOUBLE, cents, 0, 20, FORM_DECIMAL, 2, "decimals of two places, with NULLs"},
    {TYPE_DOUBLE, whole_doubles, 0, 20, FORM_DECIMAL, 0, "whole doubles"},
    {TYPE_DOUBLE, largest_decimals, 0, 53, FORM_DECIMAL, 0, "the largest"},
    {TYPE_DOUBLE, past_the_largest_decimal, 8, 0, FORM_KEYS, 0, "past them"},
    {TYPE_DOUBLE, smallest_decimals, 0, 10, FORM_DECIMAL, 18, "eighteen places"},
    {TYPE_DOUBLE, with_nan, 8, 0, FORM_KEYS, 0, "NaN is no decimal"},
    {TYPE_DOUBLE, with_infinity, 8, 0, FORM_KEYS, 0, "nor is infinity"},
    {TYPE_DOUBLE, with_negative_zero, 0, 20, FORM_DECIMAL, 1, "-0 is 0, as ever"},
    {TYPE_DOUBLE, with_a_sum, 8, 0, FORM_KEYS, 0, "0.1 + 0.2 is not 0.3"},
    {TYPE_DOUBLE, denormals, 8, 0, FORM_KEYS, 0, "the least double"},
    {TYPE_TIMESTAMP, seconds, 0, 13, FORM_STEPS, 6, "whole seconds, from an odd base"},
    {TYPE_BIGINT, steps_across_all, 0, 5, FORM_STEPS, 18, "the largest steps, end to end"},
    {TYPE_BIGINT, no_steps, 0, 19, FORM_KEYS, 0, "one value between the steps"},
};

/* ---- writing a column a habit, and an ordinal a row ---- */

#define LIMIT_HABITS ARRAY_LEN(habits)

static char names[LIMIT_HABITS][8];
static struct column columns[LIMIT_HABITS];
static struct schema schema = {.columns = columns};
static uint64_t ordinals[LIMIT_ROWS];

union fixed {
    int32_t narrow[LIMIT_ROWS];
    int64_t wide[LIMIT_ROWS];
    double numbers[LIMIT_ROWS];
};

static void make_schema(const struct habit *h, size_t n)
{
    schema.n_columns = n;
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "c%zu", i);
        columns[i] = (struct column){names[i], h[i].type};
    }
}

static void fill(const struct habit *h, size_t n, union fixed *fixed, uint8_t *valid)
{
    for (size_t i = 0; i < n; i++) {
        int64_t key = 0;
        valid[i] = h->make(i, &key);
        if (h->type == TYPE_DOUBLE)
            fixed->numbers[i] = key_to_double(key);
        else if (h->type == TYPE_INTEGER || h->type == TYPE_DATE)
            fixed->narrow[i] = (int32_t)key;
        else
            fixed->wide[i] = key;
    }
}

static void write_habits(const struct habit *h, size_t n_habits, size_t n, const char *directory)
{
    static union fixed fixed[LIMIT_HABITS];
    static uint8_t valid[LIMIT_HABITS][LIMIT_ROWS];
    static const bool equality[LIMIT_HABITS] = {true}; /* the first one's, if there are enough */
    struct store_column_batch batches[LIMIT_HABITS];
    struct err err = ERR_INIT;
    struct store_writer *w = NULL;
    struct store_figures figures;
    make_schema(h, n_habits);
    for (size_t i = 0; i < n_habits; i++) {
        fill(&h[i], n, &fixed[i], valid[i]);
        batches[i] = (struct store_column_batch){.fixed = &fixed[i], .valid = valid[i]};
    }
    struct store_writer_options options = {.directory = directory,
                                           .schema = &schema,
                                           .tenant_column = -1,
                                           .equality_columns = equality};
    struct store_batch batch = {.columns = batches, .ordinals = ordinals, .n_rows = n};
    CHECK_OK(h->why, store_writer_new(&options, &w, &err), &err);
    CHECK_OK(h->why, store_writer_add(w, &batch, &err), &err);
    CHECK_OK(h->why, store_writer_finish(w, &figures, &err), &err);
    store_figures_done(&figures);
    store_writer_free(w);
}

static struct store *opened(const char *directory)
{
    struct err err = ERR_INIT;
    struct store *s = NULL;
    CHECK_OK("it opens", store_open(directory, &s, &err), &err);
    CHECK_OK("it verifies", store_scrub(s, 0, NULL, &err), &err);
    return s;
}

static struct store *written(const struct habit *h, size_t n, const char *directory)
{
    write_habits(h, 1, n, directory);
    return opened(directory);
}

static int64_t key_of_value(const struct value *v)
{
    return v->kind == VALUE_DOUBLE ? key_from_double(v->number) : v->integer;
}

/* ---- asking ---- */

struct seen {
    const struct habit *habit;
    int column;
    size_t row, n_rows; /* next row that may come */
    int64_t low, high;  /* keys that are asked for */
    bool is_all;
};

/* Rows come in order: those that do not match are skipped, none that matches may be. */
static enum rc see(void *arg, const struct value *values)
{
    struct seen *s = arg;
    for (; s->row < s->n_rows; s->row++) {
        int64_t key = 0;
        bool valid = s->habit->make(s->row, &key);
        if (!s->is_all && (!valid || key < s->low || key > s->high))
            continue;
        CHECK_INT(s->habit->why, values[0].kind != VALUE_NULL, valid);
        if (valid && key_of_value(&values[0]) != key)
            fail_msg("%s: row %zu has key %lld, not %lld", s->habit->why, s->row,
                     (long long)key_of_value(&values[0]), (long long)key);
        s->row++;
        return RC_OK;
    }
    fail_msg("%s: a row too many", s->habit->why);
    return RC_OK;
}

static void ask(struct store *s, struct store_scratch *x, struct seen *seen)
{
    static const bool wanted[] = {true};
    static struct query_result result;
    const struct query_output outputs[] = {{seen->column, AGG_NONE}};
    struct err err = ERR_INIT;
    bool is_double = seen->habit->type == TYPE_DOUBLE;
    struct query_filter filters[2];
    for (int i = 0; i < 2; i++) {
        int64_t key = i ? seen->high : seen->low;
        filters[i] =
            (struct query_filter){.column = seen->column, .op = i ? FILTER_LTE : FILTER_GTE};
        filters[i].value = is_double
                               ? (struct value){.kind = VALUE_DOUBLE, .number = key_to_double(key)}
                               : (struct value){.kind = VALUE_INT, .integer = key};
    }
    struct query q = {.schema = store_schema(s),
                      .outputs = outputs,
                      .n_outputs = 1,
                      .wanted = wanted,
                      .filters = filters,
                      .n_filters = seen->is_all ? 0 : 2,
                      .limit = LIMIT_ROWS};
    CHECK_OK(seen->habit->why,
             store_execute(s, &q, NULL, (struct row_sink){see, seen}, x, &result, NULL, &err),
             &err);
    /* What is left must not match. */
    for (; seen->row < seen->n_rows; seen->row++) {
        int64_t key = 0;
        bool valid = seen->habit->make(seen->row, &key);
        CHECK(seen->habit->why, !seen->is_all && (!valid || key < seen->low || key > seen->high));
    }
}

/* Runs that begin anywhere decode as single rows do. */
static void check_runs(const struct store *s, const struct habit *h, size_t n)
{
    static const size_t firsts[] = {0, 1, 7, 8, 9, 1000};
    static int64_t keys[BLOCK_ROWS];
    const struct chunk_entry *e = &s->columns[0].chunks[0];
    struct chunk_view v;
    n = n < BLOCK_ROWS ? n : BLOCK_ROWS;
    codes_view(e, s->map + e->at, n, &v);
    for (size_t f = 0; f < ARRAY_LEN(firsts); f++) {
        size_t first = firsts[f] < n ? firsts[f] : 0;
        chunk_keys(&v, first, n - first, keys);
        for (size_t i = first; i < n; i++)
            CHECK(h->why, keys[i - first] == chunk_key(&v, i));
    }
}

static void check_habit(const struct habit *h, size_t n, struct store_scratch *x)
{
    char *directory = unit_directory();
    struct store *s = written(h, n, directory);
    const struct chunk_entry *e = s->columns[0].chunks;
    if (n == LIMIT_ROWS) {
        CHECK_INT(h->why, e->width, h->width);
        CHECK_INT(h->why, e->bits, h->bits);
        CHECK_INT(h->why, e->form, h->form);
        CHECK_INT(h->why, e->detail, h->detail);
    }
    check_runs(s, h, n);
    struct seen all = {.habit = h, .n_rows = n, .is_all = true};
    ask(s, x, &all);
    for (size_t i = 0; i < n; i += n / 13 + 1) {
        int64_t key = 0, other = 0;
        if (!h->make(i, &key) || !h->make(n - 1 - i, &other))
            continue;
        struct seen equal = {.habit = h, .n_rows = n, .low = key, .high = key};
        ask(s, x, &equal);
        struct seen between = {.habit = h,
                               .n_rows = n,
                               .low = key < other ? key : other,
                               .high = key < other ? other : key};
        ask(s, x, &between);
    }
    store_free(s);
    unit_remove(directory);
}

static void test_every_encoding_reads_back(void **state)
{
    static const size_t counts[] = {LIMIT_ROWS, BLOCK_ROWS, 1, 2, 9};
    struct store_scratch *x = store_scratch_new();
    (void)state;
    for (size_t i = 0; i < LIMIT_ROWS; i++)
        ordinals[i] = i;
    for (size_t i = 0; i < ARRAY_LEN(habits); i++)
        for (size_t c = 0; c < ARRAY_LEN(counts); c++)
            check_habit(&habits[i], counts[c], x);
    store_scratch_free(x);
}

/* ---- ordinals ---- */

static void test_ordinals_of_several_files(void **state)
{
    static const struct {
        uint64_t files, rows_each, first_file, first_row;
        unsigned bits, width;
        enum chunk_form form;
        const char *why;
    } rows[] = {
        {1, 8000, 0, 0, 13, 0, FORM_KEYS, "one file: rows alone"},
        {1, 8000, 5, 1000000, 13, 0, FORM_KEYS, "one file that is not the first"},
        {8, 1000, 0, 0, 13, 0, FORM_SPLIT, "eight files and 1,000 rows"},
        {3, 2000, 1000, UINT64_C(1) << 39, 13, 0, FORM_SPLIT, "a base of both"},
        {8000, 1, 0, 7, 13, 0, FORM_SPLIT, "a file a row: no bits of rows"},
        {2, 4096, 8388606, (UINT64_C(1) << 40) - 4096, 13, 0, FORM_SPLIT, "the last there can be"},
        {2, 128, 0, 0, 0, 1, FORM_SPLIT, "eight bits in all are a byte"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static const struct habit numbers = {.type = TYPE_BIGINT, .make = is_seven, .why = "seven"};
        char *directory = unit_directory();
        size_t n = (size_t)(rows[i].files * rows[i].rows_each);
        for (size_t row = 0; row < n; row++)
            ordinals[row] = (rows[i].first_file + row / rows[i].rows_each) << SPLIT_SHIFT |
                            (rows[i].first_row + row % rows[i].rows_each);
        struct store *s = written(&numbers, n, directory);
        const struct chunk_entry *e = s->columns[1].chunks;
        CHECK_INT(rows[i].why, e->form, rows[i].form);
        CHECK_INT(rows[i].why, e->bits, rows[i].bits);
        CHECK_INT(rows[i].why, e->width, rows[i].width);
        struct chunk_view v;
        codes_view(e, s->map + e->at, n, &v);
        for (size_t row = 0; row < n; row++)
            CHECK(rows[i].why, (uint64_t)chunk_key(&v, row) == ordinals[row]);
        store_free(s);
        unit_remove(directory);
    }
}

/* ---- the format stays readable ---- */

/* As if files of @rows_each rows had brought them. */
static void number_files(size_t n, size_t rows_each)
{
    for (size_t row = 0; row < n; row++)
        ordinals[row] = (uint64_t)(row / rows_each) << SPLIT_SHIFT | row % rows_each;
}

#define GOLDEN_ROWS 300

static void test_golden_file_of_version_2_opens(void **state)
{
    struct store *s = opened(GOLDEN_DIRECTORY);
    struct store_scratch *x = store_scratch_new();
    bool forms[N_FORMS] = {false};
    (void)state;
    number_files(GOLDEN_ROWS, 60);
    assert_int_equal(store_rows(s), GOLDEN_ROWS);
    assert_int_equal(s->n_columns, ARRAY_LEN(habits));
    for (size_t i = 0; i < ARRAY_LEN(habits); i++) {
        struct seen all = {
            .habit = &habits[i], .column = (int)i, .n_rows = GOLDEN_ROWS, .is_all = true};
        ask(s, x, &all);
        forms[s->columns[i].chunks[0].form] = true;
    }
    const struct store_column *o = &s->columns[s->n_columns];
    struct chunk_view v;
    codes_view(o->chunks, s->map + o->chunks->at, GOLDEN_ROWS, &v);
    for (size_t row = 0; row < GOLDEN_ROWS; row++)
        assert_int_equal(chunk_key(&v, row), ordinals[row]);
    forms[o->chunks->form] = true;
    for (size_t i = 0; i < N_FORMS; i++)
        CHECK("the file has every form of numbers", forms[i] || i == FORM_LENGTHS);
    store_scratch_free(x);
    store_free(s);
}

/* What tests and fuzzers read: "golden" and "forms" are small, "blocks" has two and a posting list.
 */
static int write_file(const char *what, const char *directory)
{
    static const struct habit blocks[] = {
        {TYPE_INTEGER, a_byte, .why = "a posting list"},
        {TYPE_DOUBLE, few_decimals, .why = "decimals"},
        {TYPE_TIMESTAMP, few_seconds, .why = "steps"},
    };
    bool is_large = strcmp(what, "blocks") == 0;
    size_t n = is_large ? LIMIT_ROWS : strcmp(what, "golden") == 0 ? GOLDEN_ROWS : 40;
    number_files(n, n / 5);
    if (is_large)
        write_habits(blocks, ARRAY_LEN(blocks), n, directory);
    else
        write_habits(habits, ARRAY_LEN(habits), n, directory);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_encoding_reads_back),
        cmocka_unit_test(test_ordinals_of_several_files),
        cmocka_unit_test(test_golden_file_of_version_2_opens),
    };
    if (argc == 3)
        return write_file(argv[1], argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
