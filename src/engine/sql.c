/* SPDX-License-Identifier: Apache-2.0 */
/* DuckDB opened the way we want it, and small statements. */
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "engine/child.h"

#define DEFAULT_MEMORY_BYTES (UINT64_C(4) << 30)

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

enum rc sql_failed(const char *message, struct err *err)
{
    const char *text = message ? message : "unknown";
    int n = (int)strcspn(text, "\n"); /* what follows is advice for people at a prompt */
    if (strstr(text, "Out of Memory") || strstr(text, "allocate"))
        return err_set(err, RC_NO_MEMORY,
                       "DuckDB has too little memory; raise OFFLOADER_DUCKDB_MEMORY_LIMIT (%.*s)",
                       n, text);
    return err_set(err, RC_IO, "DuckDB: %.*s", n < 600 ? n : 600, text);
}

enum rc sql_run(duckdb_connection c, struct err *err, const char *format, ...)
{
    duckdb_result result;
    va_list args;
    va_start(args, format);
    AUTO(mem_free_auto) char *text = x_vprintf(format, args);
    va_end(args);
    bool fine = duckdb_query(c, text, &result) == DuckDBSuccess;
    enum rc rc = fine ? RC_OK : sql_failed(duckdb_result_error(&result), err);
    duckdb_destroy_result(&result);
    return rc;
}

enum rc sql_number(duckdb_connection c, const char *sql, bool *ret_any, int64_t *ret,
                   struct err *err)
{
    duckdb_result result;
    bool fine = duckdb_query(c, sql, &result) == DuckDBSuccess;
    enum rc rc = fine ? RC_OK : sql_failed(duckdb_result_error(&result), err);
    *ret_any = false;
    if (fine && duckdb_row_count(&result) > 0 && !duckdb_value_is_null(&result, 0, 0)) {
        *ret_any = true;
        *ret = duckdb_value_int64(&result, 0, 0);
    }
    duckdb_destroy_result(&result);
    return rc;
}

/* What is not fit for an option at opening. */
static enum rc configure(duckdb_connection c, struct err *err)
{
    return sql_run(c, err,
                   "SET TimeZone='UTC';SET autoinstall_known_extensions=false;"
                   "SET autoload_known_extensions=false;SET enable_progress_bar=false;"
                   "SET preserve_insertion_order=false;");
}

/* Threads and memory are said at opening: DuckDB would look into /proc for them, which is shut. */
static enum rc make_config(int threads, uint64_t memory_bytes, const char *temp, duckdb_config *ret,
                           struct err *err)
{
    char n_threads[16], memory[32];
    (void)snprintf(n_threads, sizeof n_threads, "%d", threads > 0 ? threads : 1);
    (void)snprintf(memory, sizeof memory, "%lluB",
                   (unsigned long long)(memory_bytes ? memory_bytes : DEFAULT_MEMORY_BYTES));
    if (duckdb_create_config(ret) != DuckDBSuccess ||
        duckdb_set_config(*ret, "threads", n_threads) != DuckDBSuccess ||
        duckdb_set_config(*ret, "memory_limit", memory) != DuckDBSuccess ||
        (temp && duckdb_set_config(*ret, "temp_directory", temp) != DuckDBSuccess)) {
        duckdb_destroy_config(ret);
        return err_set(err, RC_INTERNAL, "DuckDB does not take its options");
    }
    return RC_OK;
}

enum rc sql_open(const char *path, int threads, uint64_t memory_bytes, const char *temp,
                 duckdb_database *ret_database, duckdb_connection *ret_connection, struct err *err)
{
    char *problem = NULL;
    duckdb_config config = NULL;
    *ret_connection = NULL;
    enum rc rc = make_config(threads, memory_bytes, temp, &config, err);
    if (rc != RC_OK)
        return rc;
    bool fine = duckdb_open_ext(path, ret_database, config, &problem) == DuckDBSuccess;
    duckdb_destroy_config(&config);
    if (!fine) {
        rc = sql_failed(problem, err);
        duckdb_free(problem);
        return rc;
    }
    if (duckdb_connect(*ret_database, ret_connection) != DuckDBSuccess)
        return err_set(err, RC_IO, "cannot connect to DuckDB");
    return configure(*ret_connection, err);
}
