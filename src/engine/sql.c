/* SPDX-License-Identifier: Apache-2.0 */
/* DuckDB opened the way we want it, and small statements. */
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "engine/child.h"

const char *sql_type(enum column_type t)
{
    static const char *const names[N_COLUMN_TYPES] = {
        [TYPE_DATE] = "DATE",       [TYPE_TIMESTAMP] = "TIMESTAMP", [TYPE_VARCHAR] = "VARCHAR",
        [TYPE_INTEGER] = "INTEGER", [TYPE_BIGINT] = "BIGINT",       [TYPE_DOUBLE] = "DOUBLE",
        [TYPE_BOOLEAN] = "BOOLEAN", [TYPE_JSON] = "VARCHAR"};
    return names[t];
}

void sql_put_name(struct buf *b, const char *name)
{
    buf_putc(b, '"');
    for (; *name; name++) {
        if (*name == '"')
            buf_putc(b, '"');
        buf_putc(b, *name);
    }
    buf_putc(b, '"');
}

void sql_put_text(struct buf *b, const char *text)
{
    buf_putc(b, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            buf_putc(b, '\'');
        buf_putc(b, *text);
    }
    buf_putc(b, '\'');
}

enum rc sql_run(duckdb_connection c, struct err *err, const char *format, ...)
{
    duckdb_result result;
    va_list args;
    va_start(args, format);
    AUTO(mem_free_auto) char *text = x_vprintf(format, args);
    va_end(args);
    bool fine = duckdb_query(c, text, &result) == DuckDBSuccess;
    enum rc rc = fine ? RC_OK : err_set(err, RC_IO, "DuckDB: %.600s", duckdb_result_error(&result));
    duckdb_destroy_result(&result);
    return rc;
}

enum rc sql_number(duckdb_connection c, const char *sql, bool *ret_any, int64_t *ret,
                   struct err *err)
{
    duckdb_result result;
    bool fine = duckdb_query(c, sql, &result) == DuckDBSuccess;
    enum rc rc = fine ? RC_OK : err_set(err, RC_IO, "DuckDB: %.600s", duckdb_result_error(&result));
    *ret_any = false;
    if (fine && duckdb_row_count(&result) > 0 && !duckdb_value_is_null(&result, 0, 0)) {
        *ret_any = true;
        *ret = duckdb_value_int64(&result, 0, 0);
    }
    duckdb_destroy_result(&result);
    return rc;
}

static enum rc configure(duckdb_connection c, int threads, uint64_t memory_bytes, const char *temp,
                         struct err *err)
{
    struct buf sql;
    buf_init(&sql, SIZE_MAX);
    buf_printf(&sql, "SET threads=%d;", threads > 0 ? threads : 1);
    if (memory_bytes)
        buf_printf(&sql, "SET memory_limit='%lluB';", (unsigned long long)memory_bytes);
    if (temp) {
        buf_put_literal(&sql, "SET temp_directory=");
        sql_put_text(&sql, temp);
        buf_putc(&sql, ';');
    }
    buf_put_literal(&sql, "SET TimeZone='UTC';SET autoinstall_known_extensions=false;"
                          "SET autoload_known_extensions=false;SET enable_progress_bar=false;"
                          "SET preserve_insertion_order=false;");
    enum rc rc = sql_run(c, err, "%s", buf_cstr(&sql));
    buf_done(&sql);
    return rc;
}

enum rc sql_open(const char *path, int threads, uint64_t memory_bytes, const char *temp,
                 duckdb_database *ret_database, duckdb_connection *ret_connection, struct err *err)
{
    char *problem = NULL;
    *ret_connection = NULL;
    if (duckdb_open_ext(path, ret_database, NULL, &problem) != DuckDBSuccess) {
        enum rc rc =
            err_set(err, RC_IO, "cannot open DuckDB: %.400s", problem ? problem : "unknown");
        duckdb_free(problem);
        return rc;
    }
    if (duckdb_connect(*ret_database, ret_connection) != DuckDBSuccess)
        return err_set(err, RC_IO, "cannot connect to DuckDB");
    return configure(*ret_connection, threads, memory_bytes, temp, err);
}
