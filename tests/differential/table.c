/* SPDX-License-Identifier: Apache-2.0 */
/* Random tables: values of every kind in every habit a column may have. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/timeutil.h"
#include "differential.h"

#define LIMIT_TABLE_BYTES (UINT64_C(1) << 30)
#define BATCH 1000

/* ---- values ---- */

static const char *const odd_texts[] = {"",
                                        " ",
                                        "a",
                                        "A",
                                        "aa",
                                        "ab",
                                        "b",
                                        "\"",
                                        "\\",
                                        "\t",
                                        "z\n",
                                        "\xc3\xa4",
                                        "\xe2\x80\xa8",
                                        "\xef\xbf\xbf",
                                        "\xf0\x9f\x92\xa9",
                                        "\xf4\x8f\xbf\xbf",
                                        "e\xcc\x81",
                                        "\xc3\xa9",
                                        "NULL",
                                        "null",
                                        "true",
                                        "0",
                                        "-0",
                                        "1e5",
                                        "\x7f",
                                        "\x01",
                                        "longer than twelve bytes, inlined no more",
                                        "longer than twelve bytes, inlined no morf",
                                        "\xef\xbb\xbf",
                                        "%s",
                                        "';--",
                                        "a,b",
                                        "a;b"};
static const char *const json_texts[] = {"{}",
                                         "[]",
                                         "null",
                                         "true",
                                         "\"\"",
                                         "\"a\"",
                                         "0",
                                         "-1.5e10",
                                         "{\"a\":1}",
                                         "{\"a\":[1,2,{\"b\":null}]}",
                                         "[\"\xc3\xa4\",\"\\u0000\"]",
                                         "{\"b\":2,\"a\":1}"};
static const int64_t odd_integers[] = {
    0,      1,     -1,    2,         127,       128,           255,       256,
    -32768, 65535, 65536, INT32_MAX, INT32_MIN, INT32_MAX - 1, 1000000007};
static const int64_t odd_bigints[] = {INT64_MAX,
                                      INT64_MIN,
                                      INT64_MAX - 1,
                                      INT64_MIN + 1,
                                      INT64_C(9007199254740993),
                                      INT64_C(-9007199254740993),
                                      INT64_C(4294967296)};
static const double odd_doubles[] = {0,
                                     -0.0,
                                     1,
                                     -1,
                                     0.1,
                                     0.2,
                                     0.3,
                                     1e-300,
                                     -1e-300,
                                     5e-324,
                                     1.7976931348623157e308,
                                     -1.7976931348623157e308,
                                     1e16,
                                     -1e16,
                                     9007199254740993.0,
                                     1e22};

static int64_t odd_integer(struct chance *c, bool wide)
{
    if (wide && chance_is(c, 50))
        return odd_bigints[chance_below(c, ARRAY_LEN(odd_bigints))];
    return odd_integers[chance_below(c, ARRAY_LEN(odd_integers))];
}

static double odd_double(struct chance *c, bool for_files)
{
    size_t at = chance_below(c, ARRAY_LEN(odd_doubles) + (for_files ? 0 : 3));
    if (at < ARRAY_LEN(odd_doubles))
        return odd_doubles[at];
    return at == ARRAY_LEN(odd_doubles)       ? (double)NAN
           : at == ARRAY_LEN(odd_doubles) + 1 ? (double)INFINITY
                                              : -(double)INFINITY;
}

/* Without a @spread: one of many texts of one length. */
static struct str random_text(struct table *t, struct chance *c, size_t spread)
{
    char room[64];
    int n = spread > 0
                ? snprintf(room, sizeof room, "%s%zu",
                           chance_is(c, 50) ? "key-" : "another prefix ", chance_below(c, spread))
                : snprintf(room, sizeof room, "%08zu", chance_below(c, 100000000));
    char *p = arena_try_strndup(&t->arena, room, (size_t)n);
    assert(p);
    return (struct str){p, (size_t)n};
}

enum habit {
    HABIT_FEW,
    HABIT_SOME,
    HABIT_MANY,
    HABIT_ODD,
    HABIT_ONE,
    HABIT_RISING,
    HABIT_STEPS,
    N_HABITS
};

static int64_t random_integer(struct chance *c, enum habit h, size_t row, bool wide)
{
    switch (h) {
    case HABIT_FEW:
        return (int64_t)chance_below(c, 5) - 2;
    case HABIT_SOME:
        return (int64_t)chance_below(c, 300) - 50;
    case HABIT_MANY:
        return wide ? (int64_t)chance_next(c) >> chance_below(c, 63)
                    : (int32_t)chance_next(c) >> chance_below(c, 31);
    case HABIT_ODD:
        return odd_integer(c, wide);
    case HABIT_ONE:
        return 7;
    case HABIT_RISING:
        return (int64_t)row / 3;
    case HABIT_STEPS:
        return (int64_t)chance_below(c, 40000) * 1000 - 7;
    case N_HABITS:
        break;
    }
    return 0;
}

static double random_double(struct chance *c, enum habit h, size_t row, bool for_files)
{
    switch (h) {
    case HABIT_FEW:
        return (double)chance_below(c, 5) / 4;
    case HABIT_SOME:
        return (double)chance_below(c, 300) - 50;
    case HABIT_MANY:
        return ldexp((double)(int64_t)chance_next(c), (int)chance_below(c, 120) - 90);
    case HABIT_ODD:
        return odd_double(c, for_files);
    case HABIT_ONE:
        return 0.1;
    case HABIT_RISING:
        return (double)row * 0.7;
    case HABIT_STEPS:
        return ((double)chance_below(c, 2000000) - 1000000) / 1000;
    case N_HABITS:
        break;
    }
    return 0;
}

static struct str random_string(struct table *t, struct chance *c, enum habit h, size_t row,
                                bool for_files)
{
    static const struct str with_nul[] = {{"\0", 1}, {"a\0", 2}, {"a\0b", 3}, {"a\0c", 3}};
    if (h == HABIT_ODD && !for_files && chance_is(c, 10))
        return with_nul[chance_below(c, ARRAY_LEN(with_nul))];
    if (h == HABIT_ODD)
        return str_from(odd_texts[chance_below(c, ARRAY_LEN(odd_texts))]);
    if (h == HABIT_ONE)
        return STR("one");
    return random_text(t, c,
                       h == HABIT_FEW     ? 4
                       : h == HABIT_SOME  ? 200
                       : h == HABIT_MANY  ? 100000
                       : h == HABIT_STEPS ? 0
                                          : row / 4 + 1);
}

static int64_t random_date(struct chance *c, enum habit h, size_t row)
{
    if (h == HABIT_ODD)
        return chance_is(c, 50) ? DATE_MIN_DAYS : DATE_MAX_DAYS;
    if (h == HABIT_MANY) /* any at all */
        return DATE_MIN_DAYS + (int64_t)chance_below(c, DATE_MAX_DAYS - DATE_MIN_DAYS + 1);
    return 20000 + random_integer(c, h, row, false) % 400;
}

static int64_t random_timestamp(struct chance *c, enum habit h, size_t row)
{
    const int64_t recent_us = INT64_C(1780000000000000);
    if (h == HABIT_ODD)
        return chance_is(c, 50) ? TIMESTAMP_MIN_US : TIMESTAMP_MAX_US;
    if (h == HABIT_MANY)
        return TIMESTAMP_MIN_US +
               (int64_t)chance_below(c, (size_t)(TIMESTAMP_MAX_US - TIMESTAMP_MIN_US) + 1);
    if (h == HABIT_STEPS)
        return recent_us + (int64_t)chance_below(c, 1000000) * 1000000;
    return recent_us + random_integer(c, h, row, false) % 100000 * 1000003;
}

static struct value random_value(struct table *t, struct chance *c, enum column_type type,
                                 enum habit h, size_t row, bool for_files)
{
    struct value v = {.kind = VALUE_INT};
    switch (type) {
    case TYPE_DATE:
        v.integer = random_date(c, h, row);
        break;
    case TYPE_TIMESTAMP:
        v.integer = random_timestamp(c, h, row);
        break;
    case TYPE_INTEGER:
        v.integer = random_integer(c, h, row, false);
        break;
    case TYPE_BIGINT:
        v.integer = random_integer(c, h, row, true);
        break;
    case TYPE_DOUBLE:
        v.kind = VALUE_DOUBLE;
        v.number = random_double(c, h, row, for_files);
        break;
    case TYPE_BOOLEAN:
        v.kind = VALUE_BOOL;
        v.boolean = chance_is(c, h == HABIT_ONE ? 100 : 50);
        break;
    case TYPE_VARCHAR:
        v.kind = VALUE_TEXT;
        v.text = random_string(t, c, h, row, for_files);
        break;
    case TYPE_JSON:
        v.kind = VALUE_TEXT;
        v.text = str_from(json_texts[chance_below(c, h == HABIT_ONE ? 1 : ARRAY_LEN(json_texts))]);
        break;
    }
    return v;
}

/* ---- tables ---- */

const struct value *table_cell(const struct table *t, size_t row, int column)
{
    return &t->cells[row * t->schema.n_columns + (size_t)column];
}

/* Of a table of more than DEEPEST_ROWS: each is encoded in another way. (Ordinals of several files
 * are split ones.) */
static const struct {
    enum column_type type;
    enum habit habit;
} deepest[TABLE_COLUMNS] = {
    {TYPE_INTEGER, HABIT_SOME},    {TYPE_BIGINT, HABIT_MANY}, {TYPE_DOUBLE, HABIT_STEPS},
    {TYPE_TIMESTAMP, HABIT_STEPS}, {TYPE_INTEGER, HABIT_ONE}, {TYPE_VARCHAR, HABIT_MANY},
    {TYPE_VARCHAR, HABIT_STEPS},   {TYPE_DOUBLE, HABIT_MANY},
};

static void fill_column(struct table *t, struct chance *c, int column, bool for_files)
{
    enum habit h = (enum habit)chance_below(c, N_HABITS);
    int nulls = chance_is(c, 40) ? 0 : chance_is(c, 10) ? 100 : (int)chance_below(c, 60);
    /* Many blocks: values that let whole blocks be skipped, and keys that pay for a posting list.
     */
    if (t->n_rows > LARGE_ROWS && chance_is(c, 75)) {
        h = chance_is(c, 65) ? HABIT_RISING : chance_is(c, 50) ? HABIT_SOME : HABIT_STEPS;
        nulls = nulls < 30 ? nulls : 0;
    }
    if (t->n_rows > DEEPEST_ROWS) {
        h = deepest[column].habit;
        nulls = 0;
    }
    if (column == t->tenant_column)
        h = chance_is(c, 80) ? HABIT_FEW : HABIT_ODD;
    for (size_t row = 0; row < t->n_rows; row++) {
        struct value *v = &t->cells[row * t->schema.n_columns + (size_t)column];
        if (chance_is(c, nulls))
            *v = (struct value){.kind = VALUE_NULL};
        else
            *v = random_value(t, c, t->columns[column].type, h, row, for_files);
    }
}

static void choose_sort(struct table *t, struct chance *c)
{
    size_t n = t->schema.n_columns;
    bool is_large = t->n_rows > LARGE_ROWS;
    int most = (int)chance_below(c, is_large ? 2 : 4);
    if (t->n_rows > DEEPEST_ROWS) /* not by file, so that a block has rows of several */
        t->sort_columns[t->n_sort_columns++] = 0;
    if (t->tenant_column >= 0)
        t->sort_columns[t->n_sort_columns++] = t->tenant_column;
    for (size_t i = 0; i < n && t->n_sort_columns < most; i++) {
        int column = (int)chance_below(c, n);
        bool taken = t->columns[column].type == TYPE_JSON;
        for (int j = 0; j < t->n_sort_columns; j++)
            taken |= t->sort_columns[j] == column;
        if (!taken)
            t->sort_columns[t->n_sort_columns++] = column;
    }
    for (size_t i = 0; i < n; i++)
        t->equality_columns[i] = t->columns[i].type != TYPE_JSON && chance_is(c, 50);
}

static void cut_into_files(struct table *t, struct chance *c)
{
    t->n_files = t->n_rows > DEEPEST_ROWS ? TABLE_FILES : 1 + chance_below(c, TABLE_FILES);
    for (size_t i = 1; i < t->n_files; i++) {
        size_t left = t->n_rows - t->starts[i - 1];
        t->starts[i] = t->starts[i - 1] + chance_below(c, left + 1);
    }
    t->starts[t->n_files] = t->n_rows;
    for (size_t file = 0; file < t->n_files; file++)
        for (size_t row = t->starts[file]; row < t->starts[file + 1]; row++)
            t->ordinals[row] = (file << 40) + row - t->starts[file];
}

void table_make(struct table *t, struct chance *c, size_t n_rows, bool for_files)
{
    *t = (struct table){.n_rows = n_rows, .tenant_column = -1};
    arena_init(&t->arena, LIMIT_TABLE_BYTES);
    bool is_deep = n_rows > DEEP_ROWS; /* wide, and with nothing that leaves few rows */
    size_t n = is_deep ? TABLE_COLUMNS : 1 + chance_below(c, TABLE_COLUMNS);
    t->schema = (struct schema){t->columns, n};
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(t->names[i], sizeof t->names[i], "col%zu", i);
        t->columns[i] = (struct column){
            t->names[i], n_rows > DEEPEST_ROWS ? deepest[i].type
                                               : (enum column_type)chance_below(c, N_COLUMN_TYPES)};
    }
    size_t at = chance_below(c, n);
    enum column_type type = t->columns[at].type;
    if (!is_deep && chance_is(c, 50) &&
        (type == TYPE_VARCHAR || type == TYPE_INTEGER || type == TYPE_BIGINT))
        t->tenant_column = (int)at;
    t->cells = arena_try_array(&t->arena, n_rows * n + 1, sizeof *t->cells);
    t->ordinals = arena_try_array(&t->arena, n_rows + 1, sizeof *t->ordinals);
    assert(t->cells && t->ordinals);
    cut_into_files(t, c);
    for (size_t i = 0; i < n; i++)
        fill_column(t, c, (int)i, for_files);
    choose_sort(t, c);
}

void table_done(struct table *t)
{
    arena_done(&t->arena);
}

struct value table_pick(const struct table *t, struct chance *c, int column)
{
    struct table *scratch = (struct table *)(uintptr_t)t; /* its arena takes new texts */
    for (int i = 0; i < 4 && t->n_rows && chance_is(c, 85); i++) {
        const struct value *v = table_cell(t, chance_below(c, t->n_rows), column);
        if (v->kind != VALUE_NULL)
            return *v;
    }
    return random_value(scratch, c, t->columns[column].type, (enum habit)chance_below(c, N_HABITS),
                        chance_below(c, t->n_rows + 1), false);
}

/* ---- into the store ---- */

static int compare_rows(const void *a, const void *b, void *arg)
{
    const struct table *t = arg;
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    for (int i = 0; i < t->n_sort_columns; i++) {
        int order = value_compare(table_cell(t, x, t->sort_columns[i]),
                                  table_cell(t, y, t->sort_columns[i]), false);
        if (order)
            return order;
    }
    return (x > y) - (x < y);
}

struct batch {
    struct store_column_batch columns[TABLE_COLUMNS];
    uint64_t ordinals[BATCH];
    uint8_t valid[TABLE_COLUMNS][BATCH];
    struct str texts[TABLE_COLUMNS][BATCH];
    union {
        int32_t narrow[BATCH];
        int64_t wide[BATCH];
        double numbers[BATCH];
        uint8_t bits[BATCH];
    } fixed[TABLE_COLUMNS];
};

static void put_cell(struct batch *b, const struct table *t, int column, size_t at,
                     const struct value *v)
{
    b->valid[column][at] = v->kind != VALUE_NULL;
    switch (t->columns[column].type) {
    case TYPE_DATE:
    case TYPE_INTEGER:
        b->fixed[column].narrow[at] = (int32_t)v->integer;
        break;
    case TYPE_TIMESTAMP:
    case TYPE_BIGINT:
        b->fixed[column].wide[at] = v->integer;
        break;
    case TYPE_DOUBLE:
        b->fixed[column].numbers[at] = v->number;
        break;
    case TYPE_BOOLEAN:
        b->fixed[column].bits[at] = v->boolean;
        break;
    case TYPE_VARCHAR:
    case TYPE_JSON:
        b->texts[column][at] = v->kind == VALUE_NULL ? STR("") : v->text;
        break;
    }
}

static enum rc write_rows(const struct table *t, struct store_writer *w, struct err *err)
{
    AUTO(mem_free_auto) size_t *rows = x_array0(t->n_rows + 1, sizeof *rows);
    AUTO(mem_free_auto) struct batch *b = x_alloc0(sizeof *b);
    enum rc rc = RC_OK;
    for (size_t i = 0; i < t->n_rows; i++)
        rows[i] = i;
    qsort_r(rows, t->n_rows, sizeof *rows, compare_rows, (void *)(uintptr_t)t);
    for (size_t at = 0; rc == RC_OK && at < t->n_rows; at += BATCH) {
        size_t n = t->n_rows - at < BATCH ? t->n_rows - at : BATCH;
        for (size_t i = 0; i < n; i++) {
            b->ordinals[i] = t->ordinals[rows[at + i]];
            for (size_t j = 0; j < t->schema.n_columns; j++)
                put_cell(b, t, (int)j, i, table_cell(t, rows[at + i], (int)j));
        }
        for (size_t j = 0; j < t->schema.n_columns; j++)
            b->columns[j] = (struct store_column_batch){&b->fixed[j], b->texts[j], b->valid[j]};
        struct store_batch batch = {b->columns, b->ordinals, n};
        rc = store_writer_add(w, &batch, err);
    }
    return rc;
}

enum rc table_write_store(const struct table *t, const char *directory, struct err *err)
{
    struct store_writer_options options = {.directory = directory,
                                           .schema = &t->schema,
                                           .sort_columns = t->sort_columns,
                                           .n_sort_columns = t->n_sort_columns,
                                           .tenant_column = t->tenant_column,
                                           .equality_columns = t->equality_columns};
    struct store_writer *w = NULL;
    struct store_figures figures = {0};
    enum rc rc = store_writer_new(&options, &w, err);
    if (rc == RC_OK)
        rc = write_rows(t, w, err);
    if (rc == RC_OK)
        rc = store_writer_finish(w, &figures, err);
    store_figures_done(&figures);
    store_writer_free(w);
    return rc;
}

/* ---- into DuckDB ---- */

static duckdb_state append_cell(duckdb_appender a, enum column_type type, const struct value *v)
{
    if (v->kind == VALUE_NULL)
        return duckdb_append_null(a);
    switch (type) {
    case TYPE_DATE:
        return duckdb_append_date(a, (duckdb_date){(int32_t)v->integer});
    case TYPE_TIMESTAMP:
        return duckdb_append_timestamp(a, (duckdb_timestamp){v->integer});
    case TYPE_INTEGER:
        return duckdb_append_int32(a, (int32_t)v->integer);
    case TYPE_BIGINT:
        return duckdb_append_int64(a, v->integer);
    case TYPE_DOUBLE:
        return duckdb_append_double(a, v->number);
    case TYPE_BOOLEAN:
        return duckdb_append_bool(a, v->boolean);
    case TYPE_VARCHAR:
    case TYPE_JSON:
        return duckdb_append_varchar_length(a, v->text.p, v->text.n);
    }
    return DuckDBError;
}

enum rc table_load_duckdb(const struct table *t, duckdb_connection c, const char *name,
                          struct err *err)
{
    static const char *const types[N_COLUMN_TYPES] = {
        [TYPE_DATE] = "DATE",       [TYPE_TIMESTAMP] = "TIMESTAMP", [TYPE_VARCHAR] = "VARCHAR",
        [TYPE_INTEGER] = "INTEGER", [TYPE_BIGINT] = "BIGINT",       [TYPE_DOUBLE] = "DOUBLE",
        [TYPE_BOOLEAN] = "BOOLEAN", [TYPE_JSON] = "VARCHAR"};
    duckdb_appender a = NULL;
    struct buf sql;
    buf_init(&sql, SIZE_MAX);
    buf_printf(&sql, "CREATE OR REPLACE TABLE %s(", name);
    for (size_t i = 0; i < t->schema.n_columns; i++)
        buf_printf(&sql, "c%zu %s, ", i, types[t->columns[i].type]);
    buf_put_literal(&sql, "ord BIGINT)");
    bool fine = duckdb_query(c, buf_cstr(&sql), NULL) == DuckDBSuccess &&
                duckdb_appender_create(c, NULL, name, &a) == DuckDBSuccess;
    for (size_t row = 0; fine && row < t->n_rows; row++) {
        for (size_t i = 0; fine && i < t->schema.n_columns; i++)
            fine = append_cell(a, t->columns[i].type, table_cell(t, row, (int)i)) == DuckDBSuccess;
        fine = fine && duckdb_append_int64(a, (int64_t)t->ordinals[row]) == DuckDBSuccess &&
               duckdb_appender_end_row(a) == DuckDBSuccess;
    }
    fine = fine && duckdb_appender_close(a) == DuckDBSuccess;
    enum rc rc =
        fine ? RC_OK : err_set(err, RC_IO, "DuckDB: %s", a ? duckdb_appender_error(a) : "?");
    if (a)
        (void)duckdb_appender_destroy(&a); /* closed above */
    buf_done(&sql);
    return rc;
}
