/* SPDX-License-Identifier: Apache-2.0 */
/* For the child's half of src/engine, which is linked with DuckDB: shared steps. */
#ifndef OFFLOADER_ENGINE_CHILD_H
#define OFFLOADER_ENGINE_CHILD_H

#include <duckdb.h>

#include "engine/job.h"

struct ingest {
    struct arena arena;
    struct child_job job;
    duckdb_database database;
    duckdb_connection connection;
    const char *table;   /* that csv_load() appends to */
    uint64_t *file_rows; /* rows found in each file */
    uint64_t *file_sizes;
    uint8_t (*file_hashes)[32];
    uint64_t rows_done, bytes_done;
    int64_t last_progress_us;
    uint64_t n_decimals_rounded, n_nanoseconds_cut;
    uint64_t n_tenants_active, n_tenants_kept;
    bool active_is_unreadable;
};

/* An ordinal holds the file's index above its row's number (from 0). */
#define ORDINAL_FILE_SHIFT 40
#define ORDINAL_ROW_MASK ((UINT64_C(1) << ORDINAL_FILE_SHIFT) - 1)

/* ---- sql.c ---- */
MUST_CHECK enum rc sql_open(const char *path, int threads, uint64_t memory_bytes, const char *temp,
                            duckdb_database *ret_database, duckdb_connection *ret_connection,
                            struct err *err);
/* A failure in DuckDB's words, in ours: RC_NO_MEMORY, or RC_IO. */
enum rc sql_failed(const char *message, struct err *err);
MUST_CHECK enum rc sql_run(duckdb_connection c, struct err *err, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* First column of the first row as a number; *ret_any false when there is no row or it is NULL. */
MUST_CHECK enum rc sql_number(duckdb_connection c, const char *sql, bool *ret_any, int64_t *ret,
                              struct err *err);
const char *sql_type(enum column_type t);           /* JSON is VARCHAR */
void sql_put_name(struct buf *b, const char *name); /* "quoted" */
void sql_put_text(struct buf *b, const char *text); /* 'quoted' */

/* ---- parquet.c ---- */
/*
 * Checks one Parquet file against the declared schema and, where @select is not NULL, appends the
 * expressions that read each contract column in the contract's type (JSON as text to be minified),
 * and to @columns what it has in common with files that the same expressions read (parts.h).
 * Findings in @err: unreadable_file, schema_data_mismatch.
 */
MUST_CHECK enum rc parquet_check(struct ingest *g, size_t file, struct buf *select,
                                 struct buf *columns, struct err *err);
MUST_CHECK enum rc parquet_check_values(struct ingest *g, size_t file, struct err *err);
MUST_CHECK enum rc parquet_count(struct ingest *g, size_t file, uint64_t *ret, struct err *err);
void parquet_put_sources(struct buf *b, const char *quoted_paths); /* with commas between */

/* ---- csv_load.c ---- */
/* Makes the table g->table: the contract's columns and `ord`. */
MUST_CHECK enum rc csv_create_table(struct ingest *g, struct err *err);
/* Appends all rows of CSV file @file to it. */
MUST_CHECK enum rc csv_load(struct ingest *g, size_t file, struct err *err);

/* ---- say.c ---- */
/* A line on stdout, whole; @line is empty afterwards. Thread-safe. */
void child_say(struct buf *line);
/* From now on lines tell that the process works, for as long as it does. */
MUST_CHECK enum rc child_say_it_works(struct err *err);

/* ---- ingest.c, describe.c, query_host.c ---- */
MUST_CHECK enum rc ingest_run(struct ingest *g, struct err *err);
void ingest_progress(struct ingest *g); /* a line, a few times a second at most */
int query_main(int argc, char **argv);
int describe_main(const char *path, const char *format);

#endif
