/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DuckDB, in child processes of this same binary only. The serving process uses the first half of
 * this header (spawn a child, talk to it); the child half loads offloader-engine.so, the only place
 * that is linked with DuckDB.
 */
#ifndef OFFLOADER_ENGINE_ENGINE_H
#define OFFLOADER_ENGINE_ENGINE_H

#include "base/err.h"
#include "base/errlist.h"
#include "manifest/manifest.h"
#include "project/project.h"
#include "query/query.h"
#include "store/store.h"

/* ---- ingest: one child a materialization, sandboxed, killed with its parent ---- */

struct ingest_limits {
    int threads;
    uint64_t memory_bytes;
    int stall_seconds; /* without progress: ended, RC_TIMEOUT */
};

struct ingest_progress {
    uint64_t files_done, files_total, rows_done, rows_total, bytes_done, bytes_total;
};

struct ingest_job {
    const struct dataset *dataset;
    const struct manifest *manifest;
    const char *const *local_paths; /* per file: where its bytes are on this disk */
    const char *target_directory;   /* exists, empty; data.store (or data.duckdb) is written into it */
    const char *temp_directory;     /* exists; spill space */
    bool for_duckdb;                /* OFFLOADER_ENGINE=duckdb: write data.duckdb besides */
    bool verify_sha256;             /* always hash; compare where the manifest gives one */
    const char *active_directory;   /* directory of the active snapshot for min_tenant_ratio, or NULL */
    struct ingest_limits limits;
    /* On the calling thread, a few times a second. NULL: none. */
    void (*on_progress)(void *arg, const struct ingest_progress *progress);
    void *arg;
    const _Atomic bool *cancelled;
};

struct ingest_report { /* owned; ingest_report_done */
    uint64_t n_rows, store_bytes;
    uint64_t n_tenants, n_tenants_kept; /* kept: of the active snapshot's that are present */
    uint64_t n_tenants_active;
    uint64_t *column_nulls;     /* per contract column */
    uint64_t *unique_duplicates; /* per checks.unique: rows beyond the first of each key */
    uint64_t n_decimals_rounded, n_nanoseconds_cut;
    uint8_t (*file_hashes)[32]; /* per file */
    uint64_t *file_sizes;
    uint32_t file_crc32c;
};

/*
 * Blocks until the child is done. Data at fault: RC_INVALID with a contract code (cast_failed,
 * row_count_mismatch, size_mismatch, checksum_mismatch, schema_data_mismatch, unreadable_file) naming
 * file, column and data row. Child crashed, killed, stalled, disk full: RC_IO / RC_TIMEOUT.
 */
MUST_CHECK enum rc engine_ingest(const struct ingest_job *job, struct ingest_report *ret,
                                 struct err *err);
void ingest_report_done(struct ingest_report *r);

/* Checks each local Parquet file's columns and types (and row_count) against the manifest's schema in
 * a child; findings carry "files[i].path". Used by validate and before a remote_scan snapshot serves.
 * @paths as in ingest_job. */
MUST_CHECK enum rc engine_inspect(const struct manifest *m, const char *const *local_paths,
                                  const char *shown_as, struct errlist *findings, struct err *err);
/* Columns of one Parquet or CSV file for scaffolding. */
MUST_CHECK enum rc engine_describe(const char *local_path, enum file_format format,
                                   struct schema *ret, uint64_t *ret_rows, struct err *err);

/* ---- query processes: DuckDB plans for remote_scan and for OFFLOADER_ENGINE=duckdb ---- */

/* Ranged reads for a query child: answered on a thread of the engine room by this callback. */
struct engine_source {
    size_t n_files;
    const enum file_format *formats;
    /* Size of file @i; reads of [at, at+n). Thread-safe, may block; the deadline is the callee's. */
    enum rc (*read)(void *arg, size_t i, uint64_t at, void *p, size_t n, struct err *err);
    const uint64_t *sizes;
    void *arg;
    const struct schema *file_schema;  /* the manifest's */
    const char *duckdb_path;           /* not NULL: a local data.duckdb instead of files */
    uint64_t generation;               /* identity for prepared statements and open handles */
};

struct engine_options {
    int n_processes, threads;
    uint64_t memory_bytes;
    const char *temp_directory;
};
struct engine; /* thread-safe */
MUST_CHECK enum rc engine_new(const struct engine_options *options, struct engine **ret,
                              struct err *err); /* starts no process yet */
void engine_free(struct engine *e);
/* Runs on the calling worker thread. A broken process is replaced and the query tried once more. */
MUST_CHECK enum rc engine_execute(struct engine *e, const struct engine_source *source,
                                  const struct query *q, const struct query_control *control,
                                  struct row_sink sink, struct query_result *ret,
                                  struct query_stats *stats, struct err *err);
/* True when a trivial query is answered, or nothing has needed DuckDB yet. */
bool engine_is_up(struct engine *e);
int engine_processes(struct engine *e);
/* "1.4.4", from the library file, without loading it in this process. */
const char *engine_duckdb_version(void);

/* ---- the child's side: called by main() for `offloader __ingest`, `__inspect`, `__query` ---- */
int engine_child_main(int argc, char **argv);

#endif
