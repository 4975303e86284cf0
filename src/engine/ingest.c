/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files to a serving store: check each, cast, sort, stream into the writer, and the figures that
 * the quality gates compare. Only Parquet: read and sorted in one query. With CSV, and with Parquet
 * files whose columns change hundreds of times: rows are appended to a table first, in a database
 * file under the temporary directory, so that memory and open files stay bounded.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "engine/child.h"
#include "engine/parts.h"

#define PROGRESS_EVERY_US 200000
#define THREAD_MEMORY_BYTES (UINT64_C(256) << 20)
#define LIMIT_OPEN_PARTS 200 /* each keeps a file open for as long as rows are read */

void ingest_progress(struct ingest *g)
{
    int64_t at_us = monotonic_us();
    uint64_t files_done = 0;
    struct buf b;
    struct json_writer w;
    if (at_us - g->last_progress_us < PROGRESS_EVERY_US)
        return;
    g->last_progress_us = at_us;
    for (size_t i = 0; i < g->job.n_files; i++)
        files_done += g->file_sizes[i] != 0;
    buf_init(&b, 4096);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "progress");
    jw_open(&w, '{');
    jw_key(&w, "files");
    jw_uint(&w, files_done);
    jw_key(&w, "rows");
    jw_uint(&w, g->rows_done);
    jw_key(&w, "bytes");
    jw_uint(&w, g->bytes_done);
    jw_close(&w, '}');
    jw_close(&w, '}');
    child_say(&b);
    buf_done(&b);
}

/* ---- before anything is decoded: sizes and digests ---- */

static void on_hashed(void *arg, size_t n)
{
    struct ingest *g = arg;
    g->bytes_done += n;
    ingest_progress(g);
}

static enum rc check_files(struct ingest *g, struct err *err)
{
    for (size_t i = 0; i < g->job.n_files; i++) {
        const struct job_file *f = &g->job.files[i];
        enum rc rc =
            io_sha256_file_told(f->path, on_hashed, g, g->file_hashes[i], &g->file_sizes[i], err);
        if (rc == RC_NOT_FOUND)
            return err_set_code(err, RC_INVALID, "missing_file", "%s: the file does not exist",
                                f->shown_as);
        if (rc != RC_OK)
            return rc;
        if (f->has_size_bytes && f->size_bytes != g->file_sizes[i])
            return err_set_code(err, RC_INVALID, "size_mismatch",
                                "%s: has %llu bytes, the manifest says %llu", f->shown_as,
                                (unsigned long long)g->file_sizes[i],
                                (unsigned long long)f->size_bytes);
        if (f->has_sha256 && memcmp(f->sha256, g->file_hashes[i], 32) != 0)
            return err_set_code(err, RC_INVALID, "checksum_mismatch",
                                "%s: its SHA-256 is not the manifest's", f->shown_as);
    }
    return RC_OK;
}

static enum rc check_file_rows(const struct ingest *g, size_t i, struct err *err)
{
    const struct job_file *f = &g->job.files[i];
    if (!f->has_row_count || f->row_count == g->file_rows[i])
        return RC_OK;
    return err_set_code(err, RC_INVALID, "row_count_mismatch",
                        "%s: has %llu rows, the manifest says %llu", f->shown_as,
                        (unsigned long long)g->file_rows[i], (unsigned long long)f->row_count);
}

/* ---- the source of rows: columns c0, c1, … and `ord` ---- */

static enum rc add_parquet(struct ingest *g, size_t i, struct parts *parts, struct err *err)
{
    enum rc rc = parts_add(parts, g, i, err);
    if (rc == RC_OK)
        rc = parquet_check_values(g, i, err);
    if (rc == RC_OK)
        rc = parquet_count(g, i, &g->file_rows[i], err);
    if (rc == RC_OK)
        rc = check_file_rows(g, i, err);
    return rc;
}

static bool has_csv(const struct ingest *g)
{
    for (size_t i = 0; i < g->job.n_files; i++)
        if (g->job.files[i].format == FILE_CSV)
            return true;
    return false;
}

/* All files, each checked: CSV into the table, Parquet into @parts. */
static enum rc take_files(struct ingest *g, struct parts *parts, struct err *err)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < g->job.n_files; i++) {
        if (g->job.files[i].format == FILE_CSV) {
            rc = csv_load(g, i, err);
            if (rc == RC_OK)
                rc = check_file_rows(g, i, err);
            continue;
        }
        rc = add_parquet(g, i, parts, err);
    }
    return rc == RC_OK ? parts_finish(parts, err) : rc;
}

/* A table for more parts than can be open at once. */
static enum rc create_late_table(struct ingest *g, struct err *err)
{
    AUTO(mem_free_auto) char *path = path_join(g->job.temp, "parts.duckdb");
    struct buf quoted;
    buf_init(&quoted, SIZE_MAX);
    sql_put_text(&quoted, path);
    enum rc rc = sql_run(g->connection, err, "ATTACH %s AS parts; USE parts;", buf_cstr(&quoted));
    buf_done(&quoted);
    return rc == RC_OK ? csv_create_table(g, err) : rc;
}

static enum rc fill_table(struct ingest *g, const struct parts *parts, struct err *err)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < parts->n; i++) {
        struct str part = parts_get(parts, i);
        rc = sql_run(g->connection, err, "INSERT INTO %s %.*s", g->table, (int)part.n, part.p);
    }
    return rc;
}

/* Appends to @source what rows are selected from: a table that is filled here, or files. */
static enum rc gather(struct ingest *g, struct buf *source, struct err *err)
{
    struct parts parts;
    bool to_table = has_csv(g);
    g->table = "rows";
    parts_init(&parts, g->job.n_files, SIZE_MAX);
    enum rc rc = to_table ? csv_create_table(g, err) : RC_OK;
    if (rc == RC_OK)
        rc = take_files(g, &parts, err);
    if (rc == RC_OK && !to_table && parts.n > LIMIT_OPEN_PARTS) {
        rc = create_late_table(g, err);
        to_table = true;
    }
    if (rc == RC_OK && to_table)
        rc = fill_table(g, &parts, err);
    if (to_table) {
        buf_put_cstr(source, g->table);
    } else {
        buf_putc(source, '(');
        parts_put_all(&parts, source);
        buf_putc(source, ')');
    }
    if (rc == RC_OK && source->failed)
        rc = err_set(err, RC_NO_MEMORY, "out of memory");
    parts_done(&parts);
    return rc;
}

static enum rc check_total(const struct ingest *g, struct err *err)
{
    uint64_t n = 0;
    for (size_t i = 0; i < g->job.n_files; i++)
        n += g->file_rows[i];
    if (!g->job.has_row_count || n == g->job.row_count)
        return RC_OK;
    return err_set_code(err, RC_INVALID, "row_count_mismatch",
                        "the files have %llu rows, the manifest says %llu", (unsigned long long)n,
                        (unsigned long long)g->job.row_count);
}

/* ---- chunks to batches ---- */

struct stream {
    struct ingest *g;
    struct store_writer *writer;
    struct store_column_batch *columns;
    struct str **texts; /* per text column, a vector of them */
    uint8_t **valid;
    struct buf *json; /* per column */
    size_t *json_ends;
};

static enum rc bad_json(const struct ingest *g, size_t column, int64_t ordinal, struct err *err)
{
    size_t file = (size_t)((uint64_t)ordinal >> ORDINAL_FILE_SHIFT);
    return err_set_code(err, RC_INVALID, "cast_failed",
                        "%s: column `%s`, data row %llu: is no valid JSON",
                        file < g->job.n_files ? g->job.files[file].shown_as : "?",
                        g->job.contract.columns[column].name,
                        (unsigned long long)((uint64_t)ordinal & ORDINAL_ROW_MASK) + 1);
}

/* Minified JSON of a whole vector in one buffer; pointers are set when it no longer moves. */
static enum rc take_json(struct stream *s, size_t column, idx_t n, const int64_t *ordinals,
                         struct err *err)
{
    struct str *texts = s->texts[column];
    struct buf *json = &s->json[column];
    buf_reset(json);
    for (idx_t i = 0; i < n; i++) {
        if (s->valid[column][i] && !json_minify(texts[i], json)) {
            if (json->failed)
                return err_set(err, RC_NO_MEMORY, "out of memory while reading JSON");
            return bad_json(s->g, column, ordinals[i], err);
        }
        s->json_ends[i] = json->n;
    }
    for (idx_t i = 0; i < n; i++) {
        size_t from = i ? s->json_ends[i - 1] : 0;
        texts[i] = (struct str){json->p + from, s->json_ends[i] - from};
    }
    return RC_OK;
}

static void take_column(struct stream *s, size_t column, duckdb_vector v, idx_t n)
{
    uint64_t *mask = duckdb_vector_get_validity(v);
    uint8_t *valid = s->valid[column];
    struct store_column_batch *b = &s->columns[column];
    for (idx_t i = 0; i < n; i++)
        valid[i] = !mask || (mask[i / 64] >> (i % 64) & 1);
    b->valid = valid;
    b->fixed = duckdb_vector_get_data(v);
    b->texts = s->texts[column];
    if (!s->texts[column])
        return;
    duckdb_string_t *strings = duckdb_vector_get_data(v);
    for (idx_t i = 0; i < n; i++)
        s->texts[column][i] = valid[i] ? (struct str){duckdb_string_t_data(&strings[i]),
                                                      duckdb_string_t_length(strings[i])}
                                       : (struct str){"", 0};
}

static enum rc take_chunk(struct stream *s, duckdb_data_chunk chunk, struct err *err)
{
    const struct schema *contract = &s->g->job.contract;
    idx_t n = duckdb_data_chunk_get_size(chunk);
    duckdb_vector ordinal = duckdb_data_chunk_get_vector(chunk, contract->n_columns);
    const int64_t *ordinals = duckdb_vector_get_data(ordinal);
    enum rc rc = RC_OK;
    for (size_t i = 0; i < contract->n_columns; i++)
        take_column(s, i, duckdb_data_chunk_get_vector(chunk, i), n);
    for (size_t i = 0; rc == RC_OK && i < contract->n_columns; i++)
        if (contract->columns[i].type == TYPE_JSON)
            rc = take_json(s, i, n, ordinals, err);
    struct store_batch batch = {
        .columns = s->columns, .ordinals = (const uint64_t *)ordinals, .n_rows = n};
    if (rc == RC_OK)
        rc = store_writer_add(s->writer, &batch, err);
    s->g->rows_done += n;
    ingest_progress(s->g);
    return rc;
}

static void stream_init(struct stream *s, struct ingest *g, struct store_writer *writer)
{
    size_t n = g->job.contract.n_columns, rows = duckdb_vector_size();
    *s = (struct stream){.g = g, .writer = writer};
    s->columns = x_array0(n, sizeof *s->columns);
    s->texts = x_array0(n, sizeof(struct str *));
    s->valid = x_array0(n, sizeof(uint8_t *));
    s->json_ends = x_array0(rows, sizeof *s->json_ends);
    s->json = x_array0(n, sizeof *s->json);
    for (size_t i = 0; i < n; i++) {
        enum column_type t = g->job.contract.columns[i].type;
        s->valid[i] = x_array0(rows, 1);
        buf_init(&s->json[i], SIZE_MAX);
        if (t == TYPE_VARCHAR || t == TYPE_JSON)
            s->texts[i] = x_array0(rows, sizeof(struct str));
    }
}

static void stream_done(struct stream *s)
{
    for (size_t i = 0; i < s->g->job.contract.n_columns; i++) {
        mem_free(s->valid[i]);
        mem_free(s->texts[i]);
        buf_done(&s->json[i]);
    }
    mem_free(s->columns);
    mem_free(s->texts);
    mem_free(s->valid);
    mem_free(s->json_ends);
    mem_free(s->json);
}

static enum rc stream_rows(struct ingest *g, const char *sql, struct store_writer *writer,
                           struct err *err)
{
    duckdb_prepared_statement statement = NULL;
    duckdb_result result;
    struct stream s;
    enum rc rc = RC_OK;
    g->rows_done = 0;
    if (duckdb_prepare(g->connection, sql, &statement) != DuckDBSuccess)
        rc = sql_failed(duckdb_prepare_error(statement), err);
    if (rc == RC_OK && duckdb_execute_prepared_streaming(statement, &result) != DuckDBSuccess)
        rc = sql_failed(duckdb_result_error(&result), err);
    if (rc != RC_OK) {
        duckdb_destroy_prepare(&statement);
        return rc;
    }
    stream_init(&s, g, writer);
    duckdb_data_chunk chunk;
    while (rc == RC_OK && (chunk = duckdb_fetch_chunk(result)) != NULL) {
        rc = take_chunk(&s, chunk, err);
        duckdb_destroy_data_chunk(&chunk);
    }
    const char *problem = duckdb_result_error(&result);
    if (rc == RC_OK && problem && *problem)
        rc = sql_failed(problem, err);
    stream_done(&s);
    duckdb_destroy_result(&result);
    duckdb_destroy_prepare(&statement);
    return rc;
}

static void put_sorted_select(const struct ingest *g, const char *source, struct buf *sql)
{
    buf_put_literal(sql, "SELECT ");
    for (size_t i = 0; i < g->job.contract.n_columns; i++)
        buf_printf(sql, "c%zu, ", i);
    buf_printf(sql, "ord FROM %s", source);
    buf_put_literal(sql, " ORDER BY ");
    for (int i = 0; i < g->job.n_sort_columns; i++)
        buf_printf(sql, "c%d ASC NULLS LAST, ", g->job.sort_columns[i]);
    buf_put_literal(sql, "ord");
}

/* ---- figures ---- */

/* Rows beyond the first of each key, in which no column is NULL. */
static enum rc count_duplicates(struct ingest *g, const char *source, const struct column_set *set,
                                uint64_t *ret, struct err *err)
{
    struct buf sql;
    bool any = false;
    int64_t n = 0;
    buf_init(&sql, SIZE_MAX);
    buf_printf(&sql, "SELECT CAST(sum(n - 1) AS BIGINT) FROM (SELECT count(*) AS n FROM %s WHERE ",
               source);
    for (size_t i = 0; i < set->n_columns; i++)
        buf_printf(&sql, "%sc%d IS NOT NULL", i ? " AND " : "", set->columns[i]);
    buf_put_literal(&sql, " GROUP BY ");
    for (size_t i = 0; i < set->n_columns; i++)
        buf_printf(&sql, "%sc%d", i ? ", " : "", set->columns[i]);
    buf_putc(&sql, ')');
    enum rc rc = sql_number(g->connection, buf_cstr(&sql), &any, &n, err);
    *ret = any ? (uint64_t)n : 0;
    buf_done(&sql);
    return rc;
}

struct tenants {
    struct map set;
    uint64_t n_kept;
};

static enum rc remember_tenant(void *arg, struct str tenant)
{
    struct tenants *t = arg;
    char *copy = x_strndup(tenant.p, tenant.n);
    return map_put(&t->set, (struct str){copy, tenant.n}, copy, NULL) ? RC_OK : RC_NO_MEMORY;
}

static enum rc count_kept(void *arg, struct str tenant)
{
    struct tenants *t = arg;
    t->n_kept += map_get(&t->set, tenant) != NULL;
    return RC_OK;
}

static enum rc each_tenant(const char *directory,
                           enum rc (*on_tenant)(void *arg, struct str tenant), struct tenants *t,
                           struct err *err)
{
    struct store *store = NULL;
    enum rc rc = store_open(directory, &store, err);
    if (rc == RC_OK)
        rc = store_each_tenant(store, on_tenant, t, err);
    store_free(store);
    return rc;
}

/* How many of the active snapshot's tenants are in the new one. An active one that cannot be read
 * keeps no new one from replacing it: there is nothing to compare with then. */
static enum rc compare_tenants(struct ingest *g, struct err *err)
{
    struct tenants t = {.n_kept = 0};
    struct err problem = ERR_INIT;
    size_t at = 0;
    void *copy;
    if (!g->job.active || g->job.tenant_column < 0)
        return RC_OK;
    enum rc rc = each_tenant(g->job.active, remember_tenant, &t, &problem);
    if (rc == RC_NO_MEMORY) {
        err_copy(err, &problem);
    } else if (rc != RC_OK) {
        g->active_is_unreadable = true;
        rc = RC_OK;
    } else {
        rc = each_tenant(g->job.target, count_kept, &t, err);
        g->n_tenants_active = t.set.n;
        g->n_tenants_kept = t.n_kept;
    }
    while (map_next(&t.set, &at, NULL, &copy))
        mem_free(copy);
    map_done(&t.set);
    return rc;
}

static void say_result(const struct ingest *g, const struct store_figures *f,
                       const uint64_t *duplicates)
{
    struct buf b;
    struct json_writer w;
    char hex[SHA256_HEX_BYTES];
    buf_init(&b, SIZE_MAX);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "result");
    jw_open(&w, '{');
    jw_key(&w, "rows");
    jw_uint(&w, f->n_rows);
    jw_key(&w, "store_bytes");
    jw_uint(&w, f->file_bytes);
    jw_key(&w, "crc32c");
    jw_uint(&w, f->file_crc32c);
    jw_key(&w, "tenants");
    jw_uint(&w, f->n_tenants);
    jw_key(&w, "tenants_active");
    jw_uint(&w, g->n_tenants_active);
    jw_key(&w, "tenants_kept");
    jw_uint(&w, g->n_tenants_kept);
    jw_key(&w, "active_unreadable");
    jw_uint(&w, g->active_is_unreadable);
    jw_key(&w, "decimals_rounded");
    jw_uint(&w, g->n_decimals_rounded);
    jw_key(&w, "nanoseconds_cut");
    jw_uint(&w, g->n_nanoseconds_cut);
    jw_key(&w, "nulls");
    jw_open(&w, '[');
    for (size_t i = 0; i < g->job.contract.n_columns; i++)
        jw_uint(&w, f->columns[i].n_nulls);
    jw_close(&w, ']');
    jw_key(&w, "duplicates");
    jw_open(&w, '[');
    for (size_t i = 0; i < g->job.n_unique; i++)
        jw_uint(&w, duplicates[i]);
    jw_close(&w, ']');
    jw_key(&w, "files");
    jw_open(&w, '[');
    for (size_t i = 0; i < g->job.n_files; i++) {
        jw_open(&w, '{');
        jw_key(&w, "size");
        jw_uint(&w, g->file_sizes[i]);
        jw_key(&w, "sha256");
        hex_encode(g->file_hashes[i], 32, hex);
        jw_cstr(&w, hex);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
    jw_close(&w, '}');
    child_say(&b);
    buf_done(&b);
}

/* ---- all of it ---- */

static enum rc write_store(struct ingest *g, const char *source, struct store_figures *ret,
                           struct err *err)
{
    struct store_writer_options options = {
        .directory = g->job.target,
        .schema = &g->job.contract,
        .sort_columns = g->job.sort_columns,
        .n_sort_columns = g->job.n_sort_columns,
        .tenant_column = g->job.tenant_column,
        .equality_columns = g->job.equality_columns,
    };
    struct store_writer *writer = NULL;
    struct buf sql;
    buf_init(&sql, SIZE_MAX);
    put_sorted_select(g, source, &sql);
    enum rc rc = store_writer_new(&options, &writer, err);
    if (rc == RC_OK)
        rc = stream_rows(g, buf_cstr(&sql), writer, err);
    if (rc == RC_NO_MEMORY && g->rows_done == 0) { /* each thread sorts in memory of its own */
        rc = sql_run(g->connection, err, "SET threads=1");
        if (rc == RC_OK)
            rc = stream_rows(g, buf_cstr(&sql), writer, err);
    }
    if (rc == RC_OK)
        rc = store_writer_finish(writer, ret, err);
    store_writer_free(writer);
    buf_done(&sql);
    return rc;
}

/* Threads that the memory suffices for. */
static int fitting_threads(const struct ingest *g)
{
    uint64_t fit = g->job.memory_bytes / THREAD_MEMORY_BYTES;
    if (g->job.memory_bytes == 0 || fit >= (uint64_t)g->job.threads)
        return g->job.threads;
    return fit ? (int)fit : 1;
}

enum rc ingest_run(struct ingest *g, struct err *err)
{
    size_t n = g->job.n_files;
    AUTO(mem_free_auto) char *database = path_join(g->job.temp, "ingest.duckdb");
    AUTO(mem_free_auto) uint64_t *duplicates = x_array0(g->job.n_unique + 1, sizeof *duplicates);
    struct store_figures figures = {0};
    struct buf source;
    buf_init(&source, SIZE_MAX);
    g->file_rows = x_array0(n, sizeof *g->file_rows);
    g->file_sizes = x_array0(n, sizeof *g->file_sizes);
    g->file_hashes = x_array0(n, sizeof *g->file_hashes);
    enum rc rc = check_files(g, err);
    if (rc == RC_OK)
        rc = sql_open(has_csv(g) ? database : ":memory:", fitting_threads(g), g->job.memory_bytes,
                      g->job.temp, &g->database, &g->connection, err);
    if (rc == RC_OK)
        rc = gather(g, &source, err);
    if (rc == RC_OK)
        rc = check_total(g, err);
    if (rc == RC_OK)
        rc = write_store(g, buf_cstr(&source), &figures, err);
    for (size_t i = 0; rc == RC_OK && i < g->job.n_unique; i++)
        rc = count_duplicates(g, buf_cstr(&source), &g->job.unique[i], &duplicates[i], err);
    if (rc == RC_OK)
        rc = compare_tenants(g, err);
    if (rc == RC_OK)
        say_result(g, &figures, duplicates);
    store_figures_done(&figures);
    buf_done(&source);
    return rc;
}
