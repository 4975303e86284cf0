/* SPDX-License-Identifier: Apache-2.0 */
/* A table of every type, written by the store's writer; for the tests of src/store. */
#ifndef OFFLOADER_TESTS_STORE_ROWS_H
#define OFFLOADER_TESTS_STORE_ROWS_H

#include <math.h>

#include "../unit.h"
#include "store/store.h"

/* tenant, day, code and the row's number decide everything: tests can say what must come back. */
enum {
    COLUMN_TENANT, /* VARCHAR, leads the sort: t000, t001, ... */
    COLUMN_DAY,    /* DATE, second in the sort, rises within a tenant */
    COLUMN_CODE,   /* INTEGER, filtered by equality outside the sort: posting lists */
    COLUMN_AT,     /* TIMESTAMP */
    COLUMN_BIG,    /* BIGINT: 0, +-1, +-2^62 by turns */
    COLUMN_RATE,   /* DOUBLE with NaN, infinities, -0 and NULLs */
    COLUMN_FLAG,   /* BOOLEAN */
    COLUMN_WORD,   /* VARCHAR, each row another: plain text */
    COLUMN_NESTED, /* JSON with NULLs */
    N_TEST_COLUMNS
};
#define ROWS_PER_TENANT 100
#define ROWS_PER_DAY 10
#define N_CODES 97

static struct column test_columns[N_TEST_COLUMNS] = {
    {(char[]){"tenant"}, TYPE_VARCHAR}, {(char[]){"day"}, TYPE_DATE},
    {(char[]){"code"}, TYPE_INTEGER},   {(char[]){"at"}, TYPE_TIMESTAMP},
    {(char[]){"big"}, TYPE_BIGINT},     {(char[]){"rate"}, TYPE_DOUBLE},
    {(char[]){"flag"}, TYPE_BOOLEAN},   {(char[]){"word"}, TYPE_VARCHAR},
    {(char[]){"nested"}, TYPE_JSON},
};
static const struct schema test_schema = {.columns = test_columns, .n_columns = N_TEST_COLUMNS};

static inline int64_t test_big(size_t row)
{
    static const int64_t turns[] = {0, 1, -1, INT64_C(1) << 62, -(INT64_C(1) << 62)};
    return turns[row % 5];
}

/* False: NULL. */
static inline bool test_rate(size_t row, double *ret)
{
    static const double odd[] = {0.1, -2.5, 1e300, 0.0};
    if (row % 7 == 6)
        return false;
    *ret = row % 50 == 1 ? (double)NAN : row % 50 == 2 ? (double)INFINITY : odd[row % 4];
    return true;
}

static inline void test_word(size_t row, char ret[32])
{
    snprintf(ret, 32, "%s%zu", row % 3 ? "w\xc3\xb6rd-" : "say \"hi\" ", row);
}

/* Writes @n_rows rows into @directory; batches of @n_batch rows. */
static inline void rows_write(const char *directory, size_t n_rows, size_t n_batch)
{
    static const int sort[] = {COLUMN_TENANT, COLUMN_DAY};
    static const bool equality[N_TEST_COLUMNS] = {[COLUMN_CODE] = true};
    struct err err = ERR_INIT;
    struct store_writer *w = NULL;
    struct store_figures figures;
    struct store_writer_options options = {.directory = directory,
                                           .schema = &test_schema,
                                           .sort_columns = sort,
                                           .n_sort_columns = 2,
                                           .tenant_column = COLUMN_TENANT,
                                           .equality_columns = equality};
    CHECK_OK("a writer", store_writer_new(&options, &w, &err), &err);
    for (size_t from = 0; from < n_rows; from += n_batch) {
        size_t n = n_rows - from < n_batch ? n_rows - from : n_batch;
        int32_t *days = calloc(n, sizeof *days), *codes = calloc(n, sizeof *codes);
        int64_t *ats = calloc(n, sizeof *ats), *bigs = calloc(n, sizeof *bigs);
        double *rates = calloc(n, sizeof *rates);
        uint8_t *flags = calloc(n, 1), *rate_valid = calloc(n, 1), *nested_valid = calloc(n, 1);
        uint64_t *ordinals = calloc(n, sizeof *ordinals);
        struct str *tenants = calloc(n, sizeof *tenants), *words = calloc(n, sizeof *words),
                   *nesteds = calloc(n, sizeof *nesteds);
        char(*text)[3][32] = calloc(n, sizeof *text);
        for (size_t i = 0; i < n; i++) {
            size_t row = from + i;
            snprintf(text[i][0], 32, "t%03zu", row / ROWS_PER_TENANT);
            test_word(row, text[i][1]);
            snprintf(text[i][2], 32, "{\"row\":%zu}", row);
            tenants[i] = str_from(text[i][0]);
            words[i] = str_from(text[i][1]);
            nesteds[i] = str_from(text[i][2]);
            nested_valid[i] = row % 4 != 3;
            days[i] = (int32_t)(20000 + row % ROWS_PER_TENANT / ROWS_PER_DAY);
            codes[i] = (int32_t)(row * 31 % N_CODES);
            ats[i] = (int64_t)row * 1000003 - 5;
            bigs[i] = test_big(row);
            rate_valid[i] = test_rate(row, &rates[i]);
            flags[i] = row % 2 == 1;
            ordinals[i] = row;
        }
        struct store_column_batch columns[N_TEST_COLUMNS] = {
            [COLUMN_TENANT] = {.texts = tenants},
            [COLUMN_DAY] = {.fixed = days},
            [COLUMN_CODE] = {.fixed = codes},
            [COLUMN_AT] = {.fixed = ats},
            [COLUMN_BIG] = {.fixed = bigs},
            [COLUMN_RATE] = {.fixed = rates, .valid = rate_valid},
            [COLUMN_FLAG] = {.fixed = flags},
            [COLUMN_WORD] = {.texts = words},
            [COLUMN_NESTED] = {.texts = nesteds, .valid = nested_valid}};
        struct store_batch batch = {.columns = columns, .ordinals = ordinals, .n_rows = n};
        CHECK_OK("a batch", store_writer_add(w, &batch, &err), &err);
        void *const all[] = {days,         codes,    ats,     bigs,  rates,   flags, rate_valid,
                             nested_valid, ordinals, tenants, words, nesteds, text};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            free(all[i]);
    }
    CHECK_OK("an end", store_writer_finish(w, &figures, &err), &err);
    CHECK_INT("rows are counted", figures.n_rows, n_rows);
    CHECK_INT("tenants are counted", figures.n_tenants,
              (n_rows + ROWS_PER_TENANT - 1) / ROWS_PER_TENANT);
    store_figures_done(&figures);
    store_writer_free(w);
}

/* The same, opened. */
static inline struct store *rows_open(const char *directory, size_t n_rows, size_t n_batch)
{
    struct err err = ERR_INIT;
    struct store *store = NULL;
    rows_write(directory, n_rows, n_batch);
    CHECK_OK("it opens", store_open(directory, &store, &err), &err);
    return store;
}

#endif
