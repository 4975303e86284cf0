/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serving store against DuckDB: random tables, random requests, the same bytes from both.
 *
 * A world is one random table and what is asked of it. The bulk of the worlds goes to the store's
 * writer and to a DuckDB in this process, which answers with the query process's own SQL. Some go
 * the long way: project files, CSV and Parquet files, a manifest, ingest in a child, requests
 * through the planner, and a query process that reads the files through the bridge.
 */
#ifndef OFFLOADER_TESTS_DIFFERENTIAL_H
#define OFFLOADER_TESTS_DIFFERENTIAL_H

#include <duckdb.h>
#include <pthread.h>

#include "base/arena.h"
#include "engine/engine.h"
#include "engine/query_child.h"
#include "query/query.h"
#include "store/store.h"
#include "unit/store/encodings.h"

/* ---- chance: replays from its seed ---- */

struct chance {
    uint64_t state;
};
static inline uint64_t chance_next(struct chance *c)
{
    uint64_t z = c->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
static inline size_t chance_below(struct chance *c, size_t n)
{
    return (size_t)(chance_next(c) % n);
}
static inline bool chance_is(struct chance *c, int percent)
{
    return chance_below(c, 100) < (size_t)percent;
}

/* ---- table.c ---- */

#define TABLE_COLUMNS 8
#define TABLE_FILES 4
#define LARGE_ROWS 8192 /* more than a block of the store */
#define DEEP_ROWS 65536 /* pages beyond so many rows are asked for */
/* A table of more has a column of each encoding: no chance decides whether a run meets them all. */
#define DEEPEST_ROWS ((size_t)3 * DEEP_ROWS)

struct table {
    struct arena arena; /* owns everything */
    struct schema schema;
    struct column columns[TABLE_COLUMNS];
    char names[TABLE_COLUMNS][16];
    size_t n_rows;
    struct value *cells;                     /* row by row, in the order of the files */
    uint64_t *ordinals;                      /* of the rows; rising */
    size_t n_files, starts[TABLE_FILES + 1]; /* rows of a file: up to the next one's start */
    int sort_columns[4], n_sort_columns, tenant_column;
    bool equality_columns[TABLE_COLUMNS];
};
/* @plain: values that survive a CSV file; @n_rows as given. */
void table_make(struct table *t, struct chance *c, size_t n_rows, bool for_files);
void table_done(struct table *t);
const struct value *table_cell(const struct table *t, size_t row, int column);
/* A value of this column's kind: one that is in the table, mostly. */
struct value table_pick(const struct table *t, struct chance *c, int column);
MUST_CHECK enum rc table_write_store(const struct table *t, const char *directory, struct err *err);
MUST_CHECK enum rc table_load_duckdb(const struct table *t, duckdb_connection c, const char *name,
                                     struct err *err);

/* ---- request.c ---- */

struct request {
    struct query query;
    struct query_output outputs[TABLE_COLUMNS * 2];
    bool wanted[TABLE_COLUMNS * 2];
    int groups[TABLE_COLUMNS * 2];
    struct query_filter filters[5];
    struct query_order order[TABLE_COLUMNS];
    struct value seek[TABLE_COLUMNS * 3 + 4];
};
void request_make(struct request *r, const struct table *t, struct chance *c);
/* Of a table of more than DEEPEST_ROWS: a page near its end, ordered by every column, which takes
 * the store several passes. */
void request_make_deepest(struct request *r, const struct table *t, struct chance *c);
/* The same request with other values in its filters. */
void request_vary(struct request *r, const struct table *t, struct chance *c);
void request_print(const struct request *r);

/* ---- answer.c: what an executor said, as bytes ---- */

struct answer {
    struct buf bytes; /* every row, value by value */
    struct buf keep;
    struct query_result result;
    enum rc rc;
    struct err err;
    int n_outputs;
};
void answer_init(struct answer *a);
void answer_done(struct answer *a);
void answer_begin(struct answer *a, const struct query *q);
struct row_sink answer_sink(struct answer *a);
/* NULL when both say the same; else what differs. */
const char *answer_compare(const struct query *q, const struct answer *a, const struct answer *b);
void answer_print(const char *name, const struct answer *a);

/* ---- long_way.c, project_files.c ---- */

struct tally {
    uint64_t pairs, seeks, groups, rows, long_way, refused, block_skips, postings;
    uint64_t deep, again;            /* pages behind DEEP_ROWS; found in more than one pass */
    uint64_t encodings[N_ENCODINGS]; /* blocks read */
};

struct lane { /* one thread */
    pthread_t thread;
    int index;
    uint64_t seed;
    char *directory; /* its own */
    duckdb_database database;
    duckdb_connection connection;
    struct query_session *session;
    struct store_scratch *scratch;
    struct engine *engine; /* the long way's query process */
    struct tally tally;
};

/* A project of one dataset and @n_requests endpoints, its data files and manifest, in @directory.
 */
MUST_CHECK enum rc project_files_write(const struct table *t, const struct request *requests,
                                       int n_requests, struct chance *c,
                                       duckdb_connection connection, const char *directory,
                                       struct err *err);
/* A query string for the endpoint made from @r. */
void project_query_string(const struct request *r, const struct table *t, struct chance *c,
                          struct buf *ret);
/* A value as a param or CSV writes it. */
void project_put_text(struct buf *b, enum column_type type, const struct value *v);

/* One world through files, ingest, planner and query process. False: differs, or failed; it was
 * printed. */
bool long_way(struct lane *l, struct chance *c);

#endif
