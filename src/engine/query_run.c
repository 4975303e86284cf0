/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection of a query process: statements prepared once a plan shape (the SQL text is the
 * shape), values bound, result vectors turned into rows.
 */
#include "base/map.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "engine/child.h"
#include "engine/query_child.h"

#define LIMIT_STATEMENTS 64

struct statement {
    char *sql; /* owned; the map's key */
    duckdb_prepared_statement prepared;
};

struct query_session {
    duckdb_connection connection;
    struct map by_sql; /* -> struct statement * */
    struct statement statements[LIMIT_STATEMENTS];
    size_t next; /* the one to replace next */
    struct query_sql sql;
};

struct query_session *query_session_new(duckdb_connection c)
{
    struct query_session *s = x_alloc0(sizeof *s);
    s->connection = c;
    query_sql_init(&s->sql);
    return s;
}

static void drop_statement(struct query_session *s, struct statement *t)
{
    if (!t->sql)
        return;
    (void)map_remove(&s->by_sql, str_from(t->sql)); /* it is there */
    duckdb_destroy_prepare(&t->prepared);
    mem_free(t->sql);
    *t = (struct statement){0};
}

void query_session_free(struct query_session *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < LIMIT_STATEMENTS; i++)
        drop_statement(s, &s->statements[i]);
    map_done(&s->by_sql);
    query_sql_done(&s->sql);
    mem_free(s);
}

/* DuckDB says of a failure what kind it was in its text only. */
static enum rc failed(const char *message, struct err *err)
{
    if (!message)
        message = "unknown";
    if (strstr(message, "INTERRUPT"))
        return err_set(err, RC_CANCELLED, "the query was stopped");
    if (strstr(message, "cast_failed"))
        return err_set_code(err, RC_INVALID, "cast_failed", "DuckDB: %.600s", message);
    return sql_failed(message, err);
}

static enum rc prepare(struct query_session *s, struct statement **ret, struct err *err)
{
    const char *sql = buf_cstr(&s->sql.text);
    if (s->sql.text.failed)
        return err_set(err, RC_NO_MEMORY, "out of memory for a query");
    *ret = map_get(&s->by_sql, str_from(sql));
    if (*ret)
        return RC_OK;
    struct statement *t = &s->statements[s->next];
    s->next = (s->next + 1) % LIMIT_STATEMENTS;
    drop_statement(s, t);
    if (duckdb_prepare(s->connection, sql, &t->prepared) != DuckDBSuccess) {
        enum rc rc = failed(duckdb_prepare_error(t->prepared), err);
        duckdb_destroy_prepare(&t->prepared);
        return rc;
    }
    t->sql = x_strdup(sql);
    if (!map_put(&s->by_sql, str_from(t->sql), t, NULL)) {
        duckdb_destroy_prepare(&t->prepared);
        mem_free(TAKE(t->sql));
        return err_set(err, RC_NO_MEMORY, "out of memory for a query");
    }
    *ret = t;
    return RC_OK;
}

static duckdb_hugeint to_hugeint(__int128 v)
{
    return (duckdb_hugeint){.lower = (uint64_t)v, .upper = (int64_t)(v >> 64)};
}

static duckdb_state bind_one(duckdb_prepared_statement p, idx_t at, const struct sql_bind *b)
{
    const struct value *v = &b->value;
    switch (b->type) {
    case BIND_DATE:
        return duckdb_bind_date(p, at, (duckdb_date){(int32_t)v->integer});
    case BIND_TIMESTAMP:
        return duckdb_bind_timestamp(p, at, (duckdb_timestamp){v->integer});
    case BIND_TEXT:
        return duckdb_bind_varchar_length(p, at, v->text.n ? v->text.p : "", v->text.n);
    case BIND_INTEGER:
    case BIND_BIGINT:
        return duckdb_bind_int64(p, at, v->integer);
    case BIND_HUGEINT:
        return duckdb_bind_hugeint(
            p, at, to_hugeint(v->kind == VALUE_INT128 ? v->integer128 : v->integer));
    case BIND_DOUBLE:
        return duckdb_bind_double(p, at, v->number);
    case BIND_BOOLEAN:
        return duckdb_bind_boolean(p, at, v->boolean);
    }
    return DuckDBError;
}

/* Prepares s->sql, binds and starts it. */
static enum rc start(struct query_session *s, duckdb_result *ret, struct err *err)
{
    struct statement *t = NULL;
    enum rc rc = prepare(s, &t, err);
    assert(rc != RC_OK || t);
    for (int i = 0; rc == RC_OK && i < s->sql.n_binds; i++)
        if (bind_one(t->prepared, (idx_t)i + 1, &s->sql.binds[i]) != DuckDBSuccess)
            rc = err_set(err, RC_IO, "DuckDB: cannot bind a value");
    if (rc == RC_OK && duckdb_execute_prepared_streaming(t->prepared, ret) != DuckDBSuccess) {
        rc = failed(duckdb_result_error(ret), err);
        duckdb_destroy_result(ret);
    }
    return rc;
}

/* ---- vectors to values ---- */

struct cells { /* one column of a chunk */
    const void *data;
    const uint64_t *mask;
    enum query_type type;
};

static enum rc misfit(struct err *err)
{
    return err_set_code(err, RC_INVALID, "cast_failed",
                        "a date or timestamp lies outside the years 0001 to 9999");
}

static enum rc take_cell(const struct cells *c, idx_t row, struct value *ret, struct err *err)
{
    *ret = (struct value){.kind = VALUE_NULL};
    if (c->mask && !(c->mask[row / 64] >> (row % 64) & 1))
        return RC_OK;
    switch (c->type) {
    case OUT_DATE:
        *ret = (struct value){.kind = VALUE_INT, .integer = ((const int32_t *)c->data)[row]};
        return ret->integer < DATE_MIN_DAYS || ret->integer > DATE_MAX_DAYS ? misfit(err) : RC_OK;
    case OUT_TIMESTAMP:
        *ret = (struct value){.kind = VALUE_INT, .integer = ((const int64_t *)c->data)[row]};
        return ret->integer < TIMESTAMP_MIN_US || ret->integer > TIMESTAMP_MAX_US ? misfit(err)
                                                                                  : RC_OK;
    case OUT_TEXT:
    case OUT_JSON: {
        /* DuckDB's accessor takes a pointer that it does not write through. */
        duckdb_string_t *s = (duckdb_string_t *)(uintptr_t)c->data + row;
        *ret = (struct value){.kind = VALUE_TEXT,
                              .text = {duckdb_string_t_data(s), duckdb_string_t_length(*s)}};
        return RC_OK;
    }
    case OUT_INTEGER:
        *ret = (struct value){.kind = VALUE_INT, .integer = ((const int32_t *)c->data)[row]};
        return RC_OK;
    case OUT_BIGINT:
    case OUT_COUNT:
        *ret = (struct value){.kind = VALUE_INT, .integer = ((const int64_t *)c->data)[row]};
        return RC_OK;
    case OUT_SUM128: {
        duckdb_hugeint h = ((const duckdb_hugeint *)c->data)[row];
        *ret = (struct value){
            .kind = VALUE_INT128,
            .integer128 = (__int128)(((unsigned __int128)(uint64_t)h.upper << 64) | h.lower)};
        return RC_OK;
    }
    case OUT_DOUBLE: {
        double v = ((const double *)c->data)[row];
        *ret = (struct value){.kind = VALUE_DOUBLE, .number = v == 0 ? 0 : v};
        return RC_OK;
    }
    case OUT_BOOLEAN:
        *ret = (struct value){.kind = VALUE_BOOL, .boolean = ((const bool *)c->data)[row]};
        return RC_OK;
    }
    return RC_OK;
}

struct page {
    const struct query *q;
    const struct query_sql *sql;
    struct row_sink sink;
    struct buf *keep;
    struct query_result *result;
    struct cells cells[QUERY_LIMIT_OUTPUTS];
    const int64_t *ordinals; /* of a plain query */
};

static void open_chunk(struct page *p, duckdb_data_chunk chunk)
{
    const struct query *q = p->q;
    for (int i = 0; i < q->n_outputs; i++) {
        if (p->sql->position[i] < 0)
            continue;
        duckdb_vector v = duckdb_data_chunk_get_vector(chunk, (idx_t)p->sql->position[i]);
        p->cells[i] = (struct cells){.data = duckdb_vector_get_data(v),
                                     .mask = duckdb_vector_get_validity(v),
                                     .type = query_type_of(q, i)};
    }
    p->ordinals =
        duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, (idx_t)p->sql->n_selected));
}

/* The position after this row; its texts are copied, in two steps because the buffer may move. */
static enum rc keep_last(struct page *p, const struct value *all, idx_t row, struct err *err)
{
    const struct query *q = p->q;
    struct query_result *r = p->result;
    assert((size_t)(q->n_order + q->n_groups) <= ARRAY_LEN(r->last));
    r->n_last = 0;
    for (int i = 0; i < q->n_order; i++)
        r->last[r->n_last++] = all[q->order[i].output];
    for (int i = 0; q->grouped && i < q->n_groups; i++)
        r->last[r->n_last++] = all[q->groups[i]];
    if (!q->grouped)
        r->last[r->n_last++] = (struct value){.kind = VALUE_INT, .integer = p->ordinals[row]};
    buf_reset(p->keep);
    for (int i = 0; i < r->n_last; i++)
        if (r->last[i].kind == VALUE_TEXT)
            buf_put_str(p->keep, r->last[i].text);
    if (p->keep->failed)
        return err_set(err, RC_NO_MEMORY, "out of memory for a position");
    for (int i = 0, at = 0; i < r->n_last; i++) {
        if (r->last[i].kind != VALUE_TEXT)
            continue;
        r->last[i].text.p = r->last[i].text.n ? p->keep->p + at : "";
        at += (int)r->last[i].text.n;
    }
    return RC_OK;
}

static enum rc take_row(struct page *p, idx_t row, bool is_last, struct err *err)
{
    struct value values[QUERY_LIMIT_OUTPUTS];
    const struct query *q = p->q;
    for (int i = 0; i < q->n_outputs; i++) {
        values[i] = (struct value){.kind = VALUE_NULL};
        if (p->sql->position[i] < 0)
            continue;
        enum rc rc = take_cell(&p->cells[i], row, &values[i], err);
        if (rc != RC_OK)
            return rc;
    }
    if (is_last) {
        enum rc rc = keep_last(p, values, row, err);
        if (rc != RC_OK)
            return rc;
    }
    for (int i = 0; i < q->n_outputs; i++)
        if (!q->wanted[i])
            values[i].kind = VALUE_NULL;
    enum rc rc = p->sink.on_row(p->sink.arg, values);
    if (rc != RC_OK)
        return err_set(err, rc, "the sink stopped the query: %s", rc_name(rc));
    p->result->n_rows++;
    return RC_OK;
}

/* Whether a row is the last is known when the next one, or the end, is seen: the last row of every
 * chunk is kept, and the last of the page. */
static enum rc take_chunk(struct page *p, duckdb_data_chunk chunk, struct err *err)
{
    idx_t n = duckdb_data_chunk_get_size(chunk);
    open_chunk(p, chunk);
    for (idx_t i = 0; i < n; i++) {
        if (p->result->n_rows == p->q->limit) {
            p->result->has_more = true;
            return RC_OK;
        }
        enum rc rc = take_row(p, i, i + 1 == n || p->result->n_rows + 1 == p->q->limit, err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc run_rows(struct query_session *s, struct page *p, const char *from, struct err *err)
{
    duckdb_result result;
    duckdb_data_chunk chunk;
    query_sql_rows(&s->sql, p->q, from);
    enum rc rc = start(s, &result, err);
    if (rc != RC_OK)
        return rc;
    while (rc == RC_OK && (chunk = duckdb_fetch_chunk(result)) != NULL) {
        rc = take_chunk(p, chunk, err);
        duckdb_destroy_data_chunk(&chunk);
    }
    const char *problem = duckdb_result_error(&result);
    if (rc == RC_OK && problem && *problem)
        rc = failed(problem, err);
    duckdb_destroy_result(&result);
    return rc;
}

static enum rc run_total(struct query_session *s, const struct query *q, const char *from,
                         uint64_t *ret, struct err *err)
{
    duckdb_result result;
    query_sql_total(&s->sql, q, from);
    enum rc rc = start(s, &result, err);
    if (rc != RC_OK)
        return rc;
    duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
    if (chunk && duckdb_data_chunk_get_size(chunk) == 1)
        *ret = (uint64_t)((const int64_t *)duckdb_vector_get_data(
            duckdb_data_chunk_get_vector(chunk, 0)))[0];
    else
        rc = failed(duckdb_result_error(&result), err);
    if (chunk)
        duckdb_destroy_data_chunk(&chunk);
    duckdb_destroy_result(&result);
    return rc;
}

enum rc query_run(struct query_session *s, const struct query *q, const char *from,
                  struct row_sink sink, struct buf *keep, struct query_result *ret, struct err *err)
{
    struct page page = {.q = q, .sql = &s->sql, .sink = sink, .keep = keep, .result = ret};
    ret->n_rows = ret->total = 0;
    ret->has_more = false;
    ret->n_last = 0;
    enum rc rc = run_rows(s, &page, from, err);
    if (rc == RC_OK && q->count_total)
        rc = run_total(s, q, from, &ret->total, err);
    return rc;
}
