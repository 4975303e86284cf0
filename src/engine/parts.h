/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the child's half of src/engine: the Parquet files of a snapshot as few SELECTs.
 *
 * Files that follow each other in the manifest and have the same columns are one part: one
 * read_parquet() of a list. A snapshot has up to 100,000 files; a UNION ALL of as many SELECTs is
 * more than DuckDB parses, and each of them keeps a file open for as long as the query runs.
 */
#ifndef OFFLOADER_ENGINE_PARTS_H
#define OFFLOADER_ENGINE_PARTS_H

#include <duckdb.h>

#include "base/buf.h"

struct ingest;

struct parts {
    struct buf text; /* the SELECTs of all complete parts, one after the other */
    size_t *ends;    /* where each ends in it */
    size_t n;
    struct buf select, columns, paths; /* of the part that files are added to */
    size_t first, n_files;
    bool is_closed;                     /* takes no more files */
    struct buf its_select, its_columns; /* of the file at hand */
};

void parts_init(struct parts *p, size_t limit_files, size_t limit_bytes);
void parts_done(struct parts *p);

/* What has to be equal for two files to be read as one: the names and types of their columns. */
void parts_put_columns(struct buf *b, duckdb_result *of_file);
/* parquet_check() of the file, which is then one of the last part. In the order of the manifest. */
MUST_CHECK enum rc parts_add(struct parts *p, struct ingest *g, size_t file, struct err *err);
/* After the last file. RC_NO_MEMORY when any of it did not fit. */
MUST_CHECK enum rc parts_finish(struct parts *p, struct err *err);

/* SELECT …, … AS ord FROM read_parquet(…) of part @i; borrowed until parts_done(). */
struct str parts_get(const struct parts *p, size_t i);
/* All of them with UNION ALL between; nothing when there are none. */
void parts_put_all(const struct parts *p, struct buf *to);

#endif
