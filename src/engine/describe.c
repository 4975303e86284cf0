/* SPDX-License-Identifier: Apache-2.0 */
/* The columns of a data file, for scaffolding. */
#include <stdio.h>

#include "engine/child.h"
#include "engine/sandbox.h"

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
    struct sandbox sandbox = {.read = &path, .n_read = 1};
    (void)format;
    if (sandbox_enter(&sandbox, &err) != RC_OK ||
        sql_open(":memory:", 1, 0, NULL, &database, &connection, &err) != RC_OK)
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
