/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the query process: a plan as SQL, its statements, its rows.
 *
 * Sources are tables or subqueries with the columns c0, c1, … of the contract and `ord`, the hidden
 * ordinal. Everything a caller sent is bound; names never come from a request.
 */
#ifndef OFFLOADER_ENGINE_QUERY_CHILD_H
#define OFFLOADER_ENGINE_QUERY_CHILD_H

#include <duckdb.h>

#include "base/arena.h"
#include "engine/wire.h"
#include "query/query.h"

/* ---- query_sql.c: pure ---- */

enum bind_type {
    BIND_DATE,
    BIND_TIMESTAMP,
    BIND_TEXT,
    BIND_INTEGER,
    BIND_BIGINT,
    BIND_HUGEINT,
    BIND_DOUBLE,
    BIND_BOOLEAN
};
struct sql_bind {
    struct value value; /* text borrowed from the query */
    enum bind_type type;
};
#define LIMIT_BINDS (QUERY_LIMIT_FILTERS + QUERY_LIMIT_OUTPUTS + 2)

struct query_sql {
    struct buf text;
    struct sql_bind binds[LIMIT_BINDS];
    int n_binds;
    int position[QUERY_LIMIT_OUTPUTS]; /* of each output in the select list; -1: not selected */
    int n_selected;                    /* the ordinal of a plain query stands after them */
};
void query_sql_init(struct query_sql *s);
void query_sql_done(struct query_sql *s);
/* The rows of @q over @from, one more than its limit. */
void query_sql_rows(struct query_sql *s, const struct query *q, const char *from);
/* How many rows or groups match, whatever the page. */
void query_sql_total(struct query_sql *s, const struct query *q, const char *from);

/* ---- functions.c: what SQL lacks ---- */

/* exact_sum(DOUBLE), exact_avg(DOUBLE), exact_avg_int(BIGINT), minified_json(VARCHAR). Once a
 * database. */
MUST_CHECK enum rc functions_register(duckdb_connection c, struct err *err);

/* ---- query_run.c: one connection's statements ---- */

struct query_session;
struct query_session *query_session_new(duckdb_connection borrowed);
void query_session_free(struct query_session *s);
/*
 * Rows go to @sink in order; texts of ret->last are appended to @keep, which must be empty and
 * outlive @ret. Errors: RC_CANCELLED (interrupted), RC_INVALID (a value does not fit the contract),
 * RC_IO (DuckDB's), or what the sink returned.
 */
MUST_CHECK enum rc query_run(struct query_session *s, const struct query *q, const char *from,
                             struct row_sink sink, struct buf *keep, struct query_result *ret,
                             struct err *err);

#endif
