/* SPDX-License-Identifier: Apache-2.0 */
/* Looks into data files without taking their rows: for validation and for scaffolding. */
#include <stdio.h>

#include "engine/child.h"

static void say_finding(size_t file, const struct err *err)
{
    struct buf b;
    struct json_writer w;
    char path[48];
    (void)snprintf(path, sizeof path, "files[%zu].path", file);
    buf_init(&b, 1u << 16);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "finding");
    jw_open(&w, '{');
    jw_key(&w, "path");
    jw_cstr(&w, path);
    jw_key(&w, "code");
    jw_cstr(&w, err->code);
    jw_key(&w, "message");
    jw_cstr(&w, err->message);
    jw_close(&w, '}');
    jw_close(&w, '}');
    child_say(&b);
    buf_done(&b);
}

/* Schema and row count of one Parquet file. */
static enum rc inspect_file(struct ingest *g, size_t i, struct err *err)
{
    const struct job_file *f = &g->job.files[i];
    uint64_t n = 0;
    enum rc rc = parquet_check(g, i, NULL, err);
    if (rc == RC_OK)
        rc = parquet_count(g, i, &n, err);
    if (rc == RC_OK && f->has_row_count && f->row_count != n)
        rc = err_set_code(err, RC_INVALID, "row_count_mismatch",
                          "%s: has %llu rows, the manifest says %llu", f->shown_as,
                          (unsigned long long)n, (unsigned long long)f->row_count);
    return rc;
}

int inspect_main(struct str job_text)
{
    struct ingest g = {.database = NULL};
    struct err err = ERR_INIT;
    struct buf b;
    arena_init(&g.arena, LIMIT_JOB_BYTES);
    enum rc rc = job_read(job_text, &g.arena, &g.job, &err);
    if (rc == RC_OK)
        rc = sql_open(":memory:", 1, 0, NULL, &g.database, &g.connection, &err);
    for (size_t i = 0; rc == RC_OK && i < g.job.n_files; i++) {
        struct err problem = ERR_INIT;
        if (g.job.files[i].format != FILE_PARQUET)
            continue;
        rc = inspect_file(&g, i, &problem);
        if (rc == RC_INVALID) {
            say_finding(i, &problem);
            rc = RC_OK;
        }
    }
    buf_init(&b, 4096);
    if (rc == RC_OK) {
        buf_put_literal(&b, "{\"result\":{}}");
        child_say(&b);
    }
    buf_done(&b);
    return rc == RC_OK ? 0 : 1;
}

/* A column of DuckDB's as one of ours; nested and unknown ones are JSON and VARCHAR. */
static enum column_type nearest_type(duckdb_type t)
{
    switch ((int)t) {
    case DUCKDB_TYPE_DATE:
        return TYPE_DATE;
    case DUCKDB_TYPE_TIMESTAMP:
    case DUCKDB_TYPE_TIMESTAMP_S:
    case DUCKDB_TYPE_TIMESTAMP_MS:
    case DUCKDB_TYPE_TIMESTAMP_NS:
    case DUCKDB_TYPE_TIMESTAMP_TZ:
        return TYPE_TIMESTAMP;
    case DUCKDB_TYPE_TINYINT:
    case DUCKDB_TYPE_UTINYINT:
    case DUCKDB_TYPE_SMALLINT:
    case DUCKDB_TYPE_USMALLINT:
    case DUCKDB_TYPE_INTEGER:
        return TYPE_INTEGER;
    case DUCKDB_TYPE_UINTEGER:
    case DUCKDB_TYPE_BIGINT:
        return TYPE_BIGINT;
    case DUCKDB_TYPE_FLOAT:
    case DUCKDB_TYPE_DOUBLE:
    case DUCKDB_TYPE_DECIMAL:
        return TYPE_DOUBLE;
    case DUCKDB_TYPE_BOOLEAN:
        return TYPE_BOOLEAN;
    case DUCKDB_TYPE_STRUCT:
    case DUCKDB_TYPE_MAP:
    case DUCKDB_TYPE_LIST:
    case DUCKDB_TYPE_ARRAY:
        return TYPE_JSON;
    default:
        return TYPE_VARCHAR;
    }
}

static void say_columns(duckdb_result *result, uint64_t n_rows)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, SIZE_MAX);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "result");
    jw_open(&w, '{');
    jw_key(&w, "rows");
    jw_uint(&w, n_rows);
    jw_key(&w, "columns");
    jw_open(&w, '[');
    for (idx_t i = 0; i < duckdb_column_count(result); i++) {
        jw_open(&w, '{');
        jw_key(&w, "name");
        jw_cstr(&w, duckdb_column_name(result, i));
        jw_key(&w, "type");
        jw_cstr(&w, column_type_name(nearest_type(duckdb_column_type(result, i))));
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
    jw_close(&w, '}');
    child_say(&b);
    buf_done(&b);
}

int describe_main(const char *path, const char *format)
{
    duckdb_database database = NULL;
    duckdb_connection connection = NULL;
    duckdb_result result;
    struct err err = ERR_INIT;
    struct buf sql;
    bool any = false;
    int64_t n_rows = 0;
    (void)format;
    if (sql_open(":memory:", 1, 0, NULL, &database, &connection, &err) != RC_OK)
        return 1;
    buf_init(&sql, SIZE_MAX);
    buf_put_literal(&sql, "SELECT count(*) FROM read_parquet(");
    sql_put_text(&sql, path);
    buf_putc(&sql, ')');
    if (sql_number(connection, buf_cstr(&sql), &any, &n_rows, &err) != RC_OK)
        return 1;
    buf_reset(&sql);
    buf_put_literal(&sql, "SELECT * FROM read_parquet(");
    sql_put_text(&sql, path);
    buf_put_literal(&sql, ") LIMIT 0");
    if (duckdb_query(connection, buf_cstr(&sql), &result) != DuckDBSuccess)
        return 1;
    say_columns(&result, (uint64_t)n_rows);
    duckdb_destroy_result(&result);
    buf_done(&sql);
    return 0;
}
