/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Parquet file against the declared schema, and the expressions that read it. A column agrees
 * with a declared type when no value can be lost on the way (snapshots.md); what may not fit is
 * looked for before anything is cast, because DuckDB's casts round and wrap where we refuse.
 */
#include <stdio.h>

#include "base/mem.h"
#include "engine/child.h"
#include "engine/nested.h"
#include "engine/parts.h"

void parquet_put_sources(struct buf *b, const char *quoted_paths)
{
    buf_printf(
        b, "read_parquet([%s], file_row_number=true, hive_partitioning=false, union_by_name=false)",
        quoted_paths);
}

static void put_source(struct buf *b, const char *path)
{
    struct buf quoted;
    buf_init(&quoted, SIZE_MAX);
    sql_put_text(&quoted, path);
    parquet_put_sources(b, buf_cstr(&quoted));
    buf_done(&quoted);
}

/* ---- which physical types agree ---- */

static bool is_integer_of(duckdb_type t, bool wide)
{
    switch ((int)t) {
    case DUCKDB_TYPE_TINYINT:
    case DUCKDB_TYPE_UTINYINT:
    case DUCKDB_TYPE_SMALLINT:
    case DUCKDB_TYPE_USMALLINT:
    case DUCKDB_TYPE_INTEGER:
        return true;
    case DUCKDB_TYPE_UINTEGER:
    case DUCKDB_TYPE_BIGINT:
        return wide;
    default:
        return false;
    }
}

static bool agrees(duckdb_type t, enum column_type declared)
{
    switch (declared) {
    case TYPE_INTEGER:
        return is_integer_of(t, false);
    case TYPE_BIGINT:
        return is_integer_of(t, true);
    case TYPE_DOUBLE:
        return t == DUCKDB_TYPE_FLOAT || t == DUCKDB_TYPE_DOUBLE || t == DUCKDB_TYPE_DECIMAL;
    case TYPE_DATE:
        return t == DUCKDB_TYPE_DATE;
    case TYPE_TIMESTAMP:
        return nested_is_timestamp(t);
    case TYPE_VARCHAR:
        return t == DUCKDB_TYPE_VARCHAR || t == DUCKDB_TYPE_ENUM || t == DUCKDB_TYPE_UUID;
    case TYPE_BOOLEAN:
        return t == DUCKDB_TYPE_BOOLEAN;
    case TYPE_JSON:
        return nested_is(t) || t == DUCKDB_TYPE_VARCHAR;
    }
    return false;
}

/*
 * DuckDB divides two doubles, which is the nearest one while both are exact: a whole number below
 * 2^53 by a power of ten up to 10^22. The text of a decimal is read right always, and takes longer.
 */
static void put_double(struct buf *b, duckdb_logical_type type, const char *of)
{
    enum { EXACT_DIGITS = 15 };
    bool is_decimal = duckdb_get_type_id(type) == DUCKDB_TYPE_DECIMAL;
    int scale = is_decimal ? duckdb_decimal_scale(type) : 0;
    if (!is_decimal || duckdb_decimal_width(type) <= EXACT_DIGITS)
        buf_printf(b, "CAST(%s AS DOUBLE)", of);
    else if (scale > EXACT_DIGITS)
        buf_printf(b, "CAST(CAST(%s AS VARCHAR) AS DOUBLE)", of);
    else
        buf_printf(b,
                   "CASE WHEN %s BETWEEN -1%.*d AND 1%.*d THEN CAST(%s AS DOUBLE) "
                   "ELSE CAST(CAST(%s AS VARCHAR) AS DOUBLE) END",
                   of, EXACT_DIGITS - scale, 0, EXACT_DIGITS - scale, 0, of, of);
}

static void put_cast(struct buf *b, const char *of, enum column_type contract,
                     duckdb_logical_type type)
{
    if (contract == TYPE_JSON && nested_is(duckdb_get_type_id(type))) {
        nested_put_json(b, type, of);
    } else if (contract == TYPE_TIMESTAMP) {
        nested_put_timestamp(b, duckdb_get_type_id(type), of);
    } else if (contract == TYPE_DOUBLE) {
        put_double(b, type, of);
    } else {
        buf_printf(b, "CAST(%s AS %s)", of, sql_type(contract));
    }
}

static bool put_misfit(struct buf *b, const char *name, enum column_type declared,
                       enum column_type contract);
static enum rc check_nested(struct ingest *g, const struct job_file *f, const struct column *want,
                            duckdb_logical_type type, struct err *err);

/*
 * A query has no pass over the values before it: what an ingest looks for then is looked for here.
 * Dates and timestamps are checked when rows leave (query_run.c), so that their filters stay simple
 * enough for DuckDB to skip row groups by them.
 */
static void put_column(struct buf *b, const struct ingest *g, const struct column *want,
                       duckdb_logical_type type)
{
    const struct schema *declared = &g->job.declared;
    struct buf quoted, misfit;
    buf_init(&quoted, SIZE_MAX);
    buf_init(&misfit, SIZE_MAX);
    sql_put_name(&quoted, want->name);
    enum column_type from = declared->columns[schema_find(declared, str_from(want->name))].type;
    bool is_narrowed = want->type == TYPE_INTEGER || want->type == TYPE_BIGINT;
    bool is_json = g->job.is_query && want->type == TYPE_JSON;
    bool is_checked = is_json ? nested_put_misfit(&misfit, type, buf_cstr(&quoted))
                              : g->job.is_query && is_narrowed &&
                                    put_misfit(&misfit, want->name, from, want->type);
    if (is_checked)
        buf_printf(b, "CASE WHEN %s THEN error('cast_failed: column `%s`') ELSE ",
                   buf_cstr(&misfit), want->name);
    buf_put_cstr(b, is_json ? "minified_json(" : "");
    put_cast(b, buf_cstr(&quoted), want->type, type);
    buf_put_cstr(b, is_json ? ")" : "");
    buf_put_cstr(b, is_checked ? " END" : "");
    buf_done(&quoted);
    buf_done(&misfit);
}

/* ---- the file ---- */

struct file_columns { /* what the file holds, by DuckDB */
    duckdb_result result;
    idx_t n;
};

static enum rc unreadable(const struct job_file *f, const char *why, struct err *err)
{
    return err_set_code(err, RC_INVALID, "unreadable_file",
                        "%s: is no readable Parquet file: %.300s", f->shown_as, why);
}

static enum rc describe(struct ingest *g, const struct job_file *f, struct file_columns *ret,
                        struct err *err)
{
    struct buf sql;
    buf_init(&sql, SIZE_MAX);
    buf_put_literal(&sql, "SELECT * EXCLUDE (file_row_number) FROM ");
    put_source(&sql, f->path);
    buf_put_literal(&sql, " LIMIT 0");
    bool fine = duckdb_query(g->connection, buf_cstr(&sql), &ret->result) == DuckDBSuccess;
    enum rc rc = fine ? RC_OK : unreadable(f, duckdb_result_error(&ret->result), err);
    ret->n = fine ? duckdb_column_count(&ret->result) : 0;
    buf_done(&sql);
    return rc;
}

static int find_column(struct file_columns *c, const char *name)
{
    for (idx_t i = 0; i < c->n; i++)
        if (strcmp(duckdb_column_name(&c->result, i), name) == 0)
            return (int)i;
    return -1;
}

static const char *type_word(duckdb_type t)
{
    static const char *const words[] = {
        [DUCKDB_TYPE_BOOLEAN] = "BOOLEAN",     [DUCKDB_TYPE_TINYINT] = "TINYINT",
        [DUCKDB_TYPE_SMALLINT] = "SMALLINT",   [DUCKDB_TYPE_INTEGER] = "INTEGER",
        [DUCKDB_TYPE_BIGINT] = "BIGINT",       [DUCKDB_TYPE_UTINYINT] = "UTINYINT",
        [DUCKDB_TYPE_USMALLINT] = "USMALLINT", [DUCKDB_TYPE_UINTEGER] = "UINTEGER",
        [DUCKDB_TYPE_UBIGINT] = "UBIGINT",     [DUCKDB_TYPE_FLOAT] = "FLOAT",
        [DUCKDB_TYPE_DOUBLE] = "DOUBLE",       [DUCKDB_TYPE_TIMESTAMP] = "TIMESTAMP",
        [DUCKDB_TYPE_DATE] = "DATE",           [DUCKDB_TYPE_VARCHAR] = "VARCHAR",
        [DUCKDB_TYPE_DECIMAL] = "DECIMAL",     [DUCKDB_TYPE_LIST] = "LIST",
        [DUCKDB_TYPE_STRUCT] = "STRUCT",       [DUCKDB_TYPE_MAP] = "MAP",
    };
    const char *word = (size_t)t < ARRAY_LEN(words) ? words[t] : NULL;
    return word ? word : "another type";
}

static enum rc check_column(const struct job_file *f, struct file_columns *c,
                            const struct column *want, struct err *err)
{
    int at = find_column(c, want->name);
    if (at < 0)
        return err_set_code(err, RC_INVALID, "schema_data_mismatch", "%s: has no column `%s`",
                            f->shown_as, want->name);
    duckdb_type t = duckdb_column_type(&c->result, (idx_t)at);
    if (agrees(t, want->type))
        return RC_OK;
    return err_set_code(err, RC_INVALID, "schema_data_mismatch",
                        "%s: column `%s` is %s in the file and %s in the manifest", f->shown_as,
                        want->name, type_word(t), column_type_name(want->type));
}

static enum rc check_extra(const struct ingest *g, const struct job_file *f, struct file_columns *c,
                           struct err *err)
{
    for (idx_t i = 0; g->job.is_exact && i < c->n; i++) {
        const char *name = duckdb_column_name(&c->result, i);
        if (schema_find(&g->job.declared, str_from(name)) < 0)
            return err_set_code(err, RC_INVALID, "schema_data_mismatch",
                                "%s: column `%.63s` is not declared, and the policy is exact",
                                f->shown_as, name);
    }
    return RC_OK;
}

/* Two casts may lose digits and are allowed to: how many values did? */
static enum rc count_losses(struct ingest *g, const struct job_file *f, const struct column *want,
                            duckdb_logical_type type, struct err *err)
{
    duckdb_type t = duckdb_get_type_id(type);
    bool is_rounded = want->type == TYPE_DOUBLE && t == DUCKDB_TYPE_DECIMAL;
    bool is_cut = want->type == TYPE_TIMESTAMP && t == DUCKDB_TYPE_TIMESTAMP_NS;
    struct buf sql, quoted;
    bool any = false;
    int64_t n = 0;
    if (!is_rounded && !is_cut)
        return RC_OK;
    buf_init(&sql, SIZE_MAX);
    buf_init(&quoted, SIZE_MAX);
    sql_put_name(&quoted, want->name);
    const char *of = buf_cstr(&quoted);
    buf_put_literal(&sql, "SELECT count(*) FROM ");
    put_source(&sql, f->path);
    if (is_rounded) {
        buf_put_literal(&sql, " WHERE TRY_CAST(");
        put_double(&sql, type, of);
        buf_printf(&sql, " AS DECIMAL(%d,%d)) IS DISTINCT FROM %s", duckdb_decimal_width(type),
                   duckdb_decimal_scale(type), of);
    } else {
        buf_printf(&sql, " WHERE isfinite(%s) AND epoch_ns(%s) %% 1000 != 0", of, of);
    }
    enum rc rc = sql_number(g->connection, buf_cstr(&sql), &any, &n, err);
    if (rc != RC_OK)
        rc = unreadable(f, err ? err->message : "", err);
    else if (is_rounded)
        g->n_decimals_rounded += (uint64_t)n;
    else
        g->n_nanoseconds_cut += (uint64_t)n;
    buf_done(&sql);
    buf_done(&quoted);
    return rc;
}

enum rc parquet_check(struct ingest *g, size_t file, struct buf *select, struct buf *columns,
                      struct err *err)
{
    const struct job_file *f = &g->job.files[file];
    struct file_columns c = {.n = 0};
    enum rc rc = describe(g, f, &c, err);
    for (size_t i = 0; rc == RC_OK && i < g->job.declared.n_columns; i++)
        rc = check_column(f, &c, &g->job.declared.columns[i], err);
    if (rc == RC_OK)
        rc = check_extra(g, f, &c, err);
    if (rc == RC_OK && columns)
        parts_put_columns(columns, &c.result);
    for (size_t i = 0; rc == RC_OK && select && i < g->job.contract.n_columns; i++) {
        const struct column *want = &g->job.contract.columns[i];
        duckdb_logical_type type =
            duckdb_column_logical_type(&c.result, (idx_t)find_column(&c, want->name));
        put_column(select, g, want, type);
        buf_printf(select, " AS c%zu, ", i);
        if (!g->job.is_query)
            rc = count_losses(g, f, want, type, err);
        if (!g->job.is_query && rc == RC_OK)
            rc = check_nested(g, f, want, type, err);
        duckdb_destroy_logical_type(&type);
    }
    duckdb_destroy_result(&c.result);
    return rc;
}

enum rc parquet_count(struct ingest *g, size_t file, uint64_t *ret, struct err *err)
{
    struct buf sql;
    bool any = false;
    int64_t n = 0;
    buf_init(&sql, SIZE_MAX);
    buf_put_literal(&sql, "SELECT count(*) FROM ");
    put_source(&sql, g->job.files[file].path);
    enum rc rc = sql_number(g->connection, buf_cstr(&sql), &any, &n, err);
    buf_done(&sql);
    *ret = (uint64_t)n;
    return rc == RC_OK ? RC_OK : unreadable(&g->job.files[file], err ? err->message : "", err);
}

/* ---- values that do not fit ---- */

/* The condition under which a value of @name has no place in the contract's type; NULL: always
 * fits. */
static bool put_misfit(struct buf *b, const char *name, enum column_type declared,
                       enum column_type contract)
{
    struct buf quoted;
    bool can_misfit = true;
    buf_init(&quoted, SIZE_MAX);
    sql_put_name(&quoted, name);
    const char *of = buf_cstr(&quoted);
    if (contract == TYPE_DATE || contract == TYPE_TIMESTAMP)
        nested_put_beyond(b, contract == TYPE_DATE, of);
    else if (contract == TYPE_INTEGER && declared == TYPE_BIGINT)
        buf_printf(b, "(%s < -2147483648 OR %s > 2147483647)", of, of);
    else if ((contract == TYPE_INTEGER || contract == TYPE_BIGINT) && declared == TYPE_DOUBLE)
        /* Decimals too: no step may round one. */
        buf_printf(b, "(%s IS NOT NULL AND (TRY_CAST(%s AS %s) IS NULL OR trunc(%s) != %s))", of,
                   of, sql_type(contract), of, of);
    else
        can_misfit = false;
    buf_done(&quoted);
    return can_misfit;
}

/* @misfit: the condition of put_misfit(), or nested_put_misfit(). */
static enum rc find_misfit(struct ingest *g, const struct job_file *f, const struct column *c,
                           struct buf *misfit, struct err *err)
{
    struct buf sql;
    bool any = false;
    int64_t row = 0;
    buf_init(&sql, SIZE_MAX);
    buf_put_literal(&sql, "SELECT min(file_row_number) FROM ");
    put_source(&sql, f->path);
    buf_printf(&sql, " WHERE %s", buf_cstr(misfit));
    enum rc rc = sql_number(g->connection, buf_cstr(&sql), &any, &row, err);
    if (rc != RC_OK)
        rc = unreadable(f, err ? err->message : "", err);
    else if (any)
        rc = err_set_code(err, RC_INVALID, "cast_failed",
                          "%s: column `%s`, data row %lld: the value does not fit %s%s",
                          f->shown_as, c->name, (long long)row + 1, column_type_name(c->type),
                          c->type == TYPE_JSON ? ": a date in it is not of the years 1 to 9999"
                                               : "");
    buf_done(&sql);
    return rc;
}

/* A nested column's dates, which are looked at by the file's own type. */
static enum rc check_nested(struct ingest *g, const struct job_file *f, const struct column *want,
                            duckdb_logical_type type, struct err *err)
{
    struct buf quoted, misfit;
    enum rc rc = RC_OK;
    buf_init(&quoted, SIZE_MAX);
    buf_init(&misfit, SIZE_MAX);
    sql_put_name(&quoted, want->name);
    if (want->type == TYPE_JSON && nested_put_misfit(&misfit, type, buf_cstr(&quoted)))
        rc = find_misfit(g, f, want, &misfit, err);
    buf_done(&quoted);
    buf_done(&misfit);
    return rc;
}

enum rc parquet_check_values(struct ingest *g, size_t file, struct err *err)
{
    const struct job_file *f = &g->job.files[file];
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < g->job.contract.n_columns; i++) {
        const struct column *c = &g->job.contract.columns[i];
        int declared = schema_find(&g->job.declared, str_from(c->name));
        struct buf misfit;
        buf_init(&misfit, SIZE_MAX);
        if (declared >= 0 &&
            put_misfit(&misfit, c->name, g->job.declared.columns[declared].type, c->type))
            rc = find_misfit(g, f, c, &misfit, err);
        buf_done(&misfit);
    }
    return rc;
}
