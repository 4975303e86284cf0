/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CSV file into a table: our own reader, the grammar of params for values, DuckDB's
 * appender for the rows. Values become the declared type first and the contract's after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "engine/bridge.h"
#include "engine/child.h"
#include "engine/csv_reader.h"

struct csv_file {
    struct ingest *g;
    const struct job_file *file;
    size_t index;
    int fd;
    struct csv_reader reader;
    int *contract_of; /* per header field: contract column, -1: not of the contract */
    int *declared_of; /* per header field: declared column */
    duckdb_appender appender;
    duckdb_data_chunk chunk;
    idx_t n_in_chunk, chunk_capacity;
    struct buf json;
    uint64_t n_rows;
    uint64_t bridged_at; /* bytes read of a bridged file */
};

/* A query's: the server reads the file. */
static long read_bridged(struct csv_file *f, void *p, size_t n)
{
    uint64_t left = f->file->size_bytes - f->bridged_at;
    size_t some = n < left ? n : (size_t)left;
    if (some && !bridge_read(f->file->source, (uint32_t)f->index, f->bridged_at, p, some)) {
        errno = EIO;
        return -1;
    }
    f->bridged_at += some;
    return (long)some;
}

static long read_bytes(void *arg, void *p, size_t n)
{
    struct csv_file *f = arg;
    ssize_t got;
    if (f->file->is_bridged)
        return read_bridged(f, p, n);
    do
        got = read(f->fd, p, n);
    while (got < 0 && errno == EINTR);
    return (long)got;
}

static enum rc mismatch(const struct csv_file *f, struct err *err, const char *why, struct str name)
{
    if (str_is_column(name))
        return err_set_code(err, RC_INVALID, "schema_data_mismatch", "%s: %s: `%.*s`",
                            f->file->shown_as, why, (int)name.n, name.p);
    return err_set_code(err, RC_INVALID, "schema_data_mismatch", "%s: %s", f->file->shown_as, why);
}

static enum rc read_header(struct csv_file *f, struct err *err)
{
    const struct schema *declared = &f->g->job.declared;
    bool more = false;
    enum rc rc = csv_reader_next(&f->reader, &more, err);
    if (rc != RC_OK)
        return err_prefix(err, "%s", f->file->shown_as);
    if (!more)
        return err_set_code(err, RC_INVALID, "schema_data_mismatch", "%s: has no header",
                            f->file->shown_as);
    f->declared_of = x_array0(f->reader.n_fields, sizeof *f->declared_of);
    f->contract_of = x_array0(f->reader.n_fields, sizeof *f->contract_of);
    for (size_t i = 0; i < f->reader.n_fields; i++) {
        struct str name = f->reader.fields[i].text;
        f->declared_of[i] = schema_find(declared, name);
        f->contract_of[i] = schema_find(&f->g->job.contract, name);
        if (f->declared_of[i] < 0)
            return mismatch(f, err, "the header has a column that is not declared", name);
        for (size_t j = 0; j < i; j++)
            if (f->declared_of[j] == f->declared_of[i])
                return mismatch(f, err, "the header has a column twice", name);
    }
    if (f->reader.n_fields != declared->n_columns)
        return mismatch(f, err, "the header lacks a declared column", (struct str){"", 0});
    return RC_OK;
}

/* ---- values ---- */

static enum rc refuse_value(const struct csv_file *f, int declared, enum column_type type,
                            struct err *err)
{
    return err_set_code(err, RC_INVALID, "cast_failed",
                        "%s: column `%s`, data row %llu: the value is no %s", f->file->shown_as,
                        f->g->job.declared.columns[declared].name,
                        (unsigned long long)f->n_rows + 1, column_type_name(type));
}

static void put_text(duckdb_vector v, idx_t row, struct str s)
{
    duckdb_vector_assign_string_element_len(v, row, s.p ? s.p : "", s.n);
}

static bool put_integer(struct csv_file *f, enum column_type contract, duckdb_vector v, int64_t n)
{
    if (contract == TYPE_INTEGER) {
        if (n < INT32_MIN || n > INT32_MAX)
            return false;
        ((int32_t *)duckdb_vector_get_data(v))[f->n_in_chunk] = (int32_t)n;
    } else if (contract == TYPE_BIGINT) {
        ((int64_t *)duckdb_vector_get_data(v))[f->n_in_chunk] = n;
    } else {
        double wide = (double)n; /* exact, or refused; 2^63 itself would not convert back */
        if (wide >= 9223372036854775808.0 || (int64_t)wide != n)
            return false;
        ((double *)duckdb_vector_get_data(v))[f->n_in_chunk] = wide;
    }
    return true;
}

static bool put_number(struct csv_file *f, enum column_type contract, duckdb_vector v, double n)
{
    if (contract == TYPE_DOUBLE) {
        ((double *)duckdb_vector_get_data(v))[f->n_in_chunk] = n == 0 ? 0 : n;
        return true;
    }
    if (n != trunc(n) || n < -9223372036854775808.0 || n >= 9223372036854775808.0)
        return false;
    return put_integer(f, contract, v, (int64_t)n);
}

/* The text of a time has digits that microseconds do not hold. */
static bool is_cut(struct str s)
{
    const char *dot = memchr(s.p, '.', s.n), *end = s.p + s.n;
    for (const char *p = dot ? dot + 1 : end; p < end && *p >= '0' && *p <= '9'; p++)
        if (p > dot + 6 && *p != '0')
            return true;
    return false;
}

/* A field of declared type into the contract's column. False: it is none, or does not fit. */
static bool put_value(struct csv_file *f, enum column_type declared, enum column_type contract,
                      duckdb_vector v, struct str s)
{
    int64_t integer;
    int32_t days;
    double number;
    switch (declared) {
    case TYPE_INTEGER:
    case TYPE_BIGINT:
        return parse_int64(s, &integer) &&
               (declared == TYPE_BIGINT || (integer >= INT32_MIN && integer <= INT32_MAX)) &&
               put_integer(f, contract, v, integer);
    case TYPE_DOUBLE:
        return parse_double(s, &number) && put_number(f, contract, v, number);
    case TYPE_BOOLEAN:
        if (!str_is(s, "true") && !str_is(s, "false"))
            return false;
        ((bool *)duckdb_vector_get_data(v))[f->n_in_chunk] = s.p[0] == 't';
        return true;
    case TYPE_DATE:
        if (!parse_date(s, &days))
            return false;
        ((int32_t *)duckdb_vector_get_data(v))[f->n_in_chunk] = days;
        return true;
    case TYPE_TIMESTAMP:
        if (!parse_timestamp(s, &integer))
            return false;
        f->g->n_nanoseconds_cut += is_cut(s);
        ((int64_t *)duckdb_vector_get_data(v))[f->n_in_chunk] = integer;
        return true;
    case TYPE_VARCHAR:
        put_text(v, f->n_in_chunk, s);
        return true;
    case TYPE_JSON:
        buf_reset(&f->json);
        if (!json_minify(s, &f->json))
            return false;
        put_text(v, f->n_in_chunk, (struct str){f->json.p, f->json.n});
        return true;
    }
    return false;
}

static void put_null(struct csv_file *f, duckdb_vector v)
{
    duckdb_vector_ensure_validity_writable(v);
    duckdb_validity_set_row_invalid(duckdb_vector_get_validity(v), f->n_in_chunk);
}

static enum rc put_row(struct csv_file *f, struct err *err)
{
    const struct child_job *j = &f->g->job;
    if (f->reader.n_fields != j->declared.n_columns)
        return err_set_code(err, RC_INVALID, "unreadable_file",
                            "%s: data row %llu has %zu fields, the header has %zu",
                            f->file->shown_as, (unsigned long long)f->n_rows + 1,
                            f->reader.n_fields, j->declared.n_columns);
    for (size_t i = 0; i < f->reader.n_fields; i++) {
        const struct csv_field *field = &f->reader.fields[i];
        enum column_type declared = j->declared.columns[f->declared_of[i]].type;
        if (f->contract_of[i] < 0)
            continue;
        duckdb_vector v = duckdb_data_chunk_get_vector(f->chunk, (idx_t)f->contract_of[i]);
        enum column_type contract = j->contract.columns[f->contract_of[i]].type;
        if (field->is_null)
            put_null(f, v);
        else if (!put_value(f, declared, contract, v, field->text))
            return refuse_value(f, f->declared_of[i], contract, err);
    }
    duckdb_vector ordinal = duckdb_data_chunk_get_vector(f->chunk, j->contract.n_columns);
    ((int64_t *)duckdb_vector_get_data(ordinal))[f->n_in_chunk] =
        (int64_t)((uint64_t)f->index << ORDINAL_FILE_SHIFT | f->n_rows);
    f->n_in_chunk++;
    f->n_rows++;
    return RC_OK;
}

static enum rc flush(struct csv_file *f, struct err *err)
{
    if (f->n_in_chunk == 0)
        return RC_OK;
    duckdb_data_chunk_set_size(f->chunk, f->n_in_chunk);
    if (duckdb_append_data_chunk(f->appender, f->chunk) != DuckDBSuccess) {
        const char *why = duckdb_appender_error(f->appender);
        return sql_failed(why, err);
    }
    duckdb_data_chunk_reset(f->chunk);
    f->g->rows_done += f->n_in_chunk;
    f->n_in_chunk = 0;
    ingest_progress(f->g);
    return RC_OK;
}

static enum rc open_appender(struct csv_file *f, struct err *err)
{
    static const duckdb_type types[N_COLUMN_TYPES] = {
        [TYPE_DATE] = DUCKDB_TYPE_DATE,       [TYPE_TIMESTAMP] = DUCKDB_TYPE_TIMESTAMP,
        [TYPE_VARCHAR] = DUCKDB_TYPE_VARCHAR, [TYPE_INTEGER] = DUCKDB_TYPE_INTEGER,
        [TYPE_BIGINT] = DUCKDB_TYPE_BIGINT,   [TYPE_DOUBLE] = DUCKDB_TYPE_DOUBLE,
        [TYPE_BOOLEAN] = DUCKDB_TYPE_BOOLEAN, [TYPE_JSON] = DUCKDB_TYPE_VARCHAR};
    const struct schema *contract = &f->g->job.contract;
    AUTO(mem_free_auto) duckdb_logical_type *logical =
        x_array0(contract->n_columns + 1, sizeof *logical);
    if (duckdb_appender_create(f->g->connection, NULL, f->g->table, &f->appender) != DuckDBSuccess)
        return sql_failed(duckdb_appender_error(f->appender), err);
    for (size_t i = 0; i < contract->n_columns; i++)
        logical[i] = duckdb_create_logical_type(types[contract->columns[i].type]);
    logical[contract->n_columns] = duckdb_create_logical_type(DUCKDB_TYPE_BIGINT);
    f->chunk = duckdb_create_data_chunk(logical, contract->n_columns + 1);
    for (size_t i = 0; i <= contract->n_columns; i++)
        duckdb_destroy_logical_type(&logical[i]);
    f->chunk_capacity = duckdb_vector_size();
    return RC_OK;
}

static enum rc load_rows(struct csv_file *f, struct err *err)
{
    bool more = true;
    for (;;) {
        enum rc rc = csv_reader_next(&f->reader, &more, err);
        if (rc != RC_OK)
            return err_prefix(err, "%s", f->file->shown_as);
        if (!more)
            break;
        rc = put_row(f, err);
        if (rc == RC_OK && f->n_in_chunk == f->chunk_capacity)
            rc = flush(f, err);
        if (rc != RC_OK)
            return rc;
    }
    enum rc rc = flush(f, err);
    if (rc == RC_OK && duckdb_appender_close(f->appender) != DuckDBSuccess)
        rc = sql_failed(duckdb_appender_error(f->appender), err);
    return rc;
}

enum rc csv_create_table(struct ingest *g, struct err *err)
{
    struct buf columns;
    buf_init(&columns, SIZE_MAX);
    for (size_t i = 0; i < g->job.contract.n_columns; i++)
        buf_printf(&columns, "c%zu %s, ", i, sql_type(g->job.contract.columns[i].type));
    enum rc rc =
        sql_run(g->connection, err, "CREATE TABLE %s(%sord BIGINT)", g->table, buf_cstr(&columns));
    buf_done(&columns);
    return rc;
}

enum rc csv_load(struct ingest *g, size_t file, struct err *err)
{
    struct csv_file f = {.g = g, .file = &g->job.files[file], .index = file, .fd = -1};
    csv_reader_init(&f.reader, read_bytes, &f);
    buf_init(&f.json, LIMIT_CSV_RECORD_BYTES);
    enum rc rc = RC_OK;
    if (!f.file->is_bridged)
        rc = io_open(f.file->path, O_RDONLY | O_CLOEXEC, 0, &f.fd, err);
    if (rc == RC_OK)
        rc = read_header(&f, err);
    if (rc == RC_OK)
        rc = open_appender(&f, err);
    if (rc == RC_OK)
        rc = load_rows(&f, err);
    if (f.chunk)
        duckdb_destroy_data_chunk(&f.chunk);
    if (f.appender)
        (void)duckdb_appender_destroy(&f.appender); /* its error was told by close */
    g->file_rows[file] = f.n_rows;
    csv_reader_done(&f.reader);
    buf_done(&f.json);
    mem_free(f.contract_of);
    mem_free(f.declared_of);
    if (f.fd >= 0)
        (void)close(f.fd); /* read only */
    return rc;
}
