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
    const char
        *target_directory;      /* exists, empty; data.store (or data.duckdb) is written into it */
    const char *temp_directory; /* exists; spill space */
    const char
        *active_directory; /* directory of the active snapshot for min_tenant_ratio, or NULL */
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
    bool active_is_unreadable;   /* no tenants to compare with: what serves does not verify */
    uint64_t *column_nulls;      /* per contract column */
    uint64_t *unique_duplicates; /* per checks.unique: rows beyond the first of each key */
    uint64_t n_decimals_rounded, n_nanoseconds_cut;
    uint8_t (*file_hashes)[32]; /* per file */
    uint64_t *file_sizes;
    uint32_t file_crc32c;
};

/*
 * Blocks until the child is done. Data at fault: RC_INVALID with a contract code (cast_failed,
 * row_count_mismatch, size_mismatch, checksum_mismatch, schema_data_mismatch, unreadable_file)
 * naming file, column and data row. Child crashed, killed, stalled, disk full: RC_IO / RC_TIMEOUT.
 */
MUST_CHECK enum rc engine_ingest(const struct ingest_job *job, struct ingest_report *ret,
                                 struct err *err);
void ingest_report_done(struct ingest_report *r);

/* One file of a snapshot, where it is. Strings are owned by the source that holds it. */
struct engine_file {
    char *location;      /* absolute local path, or a URL when is_remote */
    char *etag;          /* pins a remote object's version; NULL: none is known */
    uint64_t size_bytes; /* remote: of that version; local: 0, looked up when it is opened */
    enum file_format format;
    bool is_remote;
};

/* How ranges of remote files are read: the daemon plugs the object store in. */
struct engine_reader {
    /* Exactly @n bytes from @offset. Any thread; errors as objectstore_read(). */
    enum rc (*read)(void *arg, const struct engine_file *file, uint64_t offset, void *to, size_t n,
                    const _Atomic bool *cancelled, struct err *err);
    void *arg;
};

/*
 * Checks each Parquet file's columns and types (and row_count) against the manifest's schema in a
 * child; findings carry "files[i].path". Where all files are Parquet their rows together must be
 * the manifest's row_count, too. Used by validate and before a remote_scan snapshot serves.
 * @local_paths as in engine_source_new(). @reader may be NULL when every file is local. @ret_rows
 * (may be NULL): the rows of the Parquet files, by their footers.
 */
MUST_CHECK enum rc engine_inspect(const struct manifest *m, const char *const *local_paths,
                                  const struct engine_reader *reader, const char *shown_as,
                                  struct errlist *findings, uint64_t *ret_rows, struct err *err);
/* Columns of one Parquet or CSV file for scaffolding. */
MUST_CHECK enum rc engine_describe(const char *local_path, enum file_format format,
                                   struct schema *ret, uint64_t *ret_rows, struct err *err);

/* ---- queries that DuckDB reads for: remote_scan, and OFFLOADER_ENGINE=duckdb ---- */

/* The files of a snapshot as they are. Everything owned; engine_source_free. */
struct engine_source {
    uint64_t id; /* unique in this process: query processes know a source by it */
    size_t n_files;
    struct engine_file *files;
    struct schema declared; /* the manifest's */
    bool is_exact;
};
/* @local_paths[i] NULL: the file is read where it is, at m->files[i].location, pinned by its etag
 * and with its size_bytes. */
struct engine_source *engine_source_new(const struct manifest *m, const char *const *local_paths);
/* Empty files for the caller to fill in: a source read back from disk. */
struct engine_source *engine_source_alloc(size_t n_files);
void engine_source_free(struct engine_source *s);

/*
 * A few query processes, sandboxed, started when first needed and replaced when they break. They
 * open no file and no connection: ranges of the snapshot's files are read here, for remote files
 * through @reader and a block cache on disk.
 */
struct engine_options {
    int n_connections;           /* queries at a time; 0: 1 */
    uint64_t memory_bytes;       /* of all query processes together; 0: DuckDB's own limit */
    const char *temp_directory;  /* spill space; NULL: none; borrowed */
    const char *cache_directory; /* of the block cache; NULL: none; borrowed */
    uint64_t cache_bytes;
    struct engine_reader reader;
};
struct engine; /* thread-safe */
struct engine *engine_new(const struct engine_options *options);
void engine_free(struct engine *e); /* no query runs; ends the processes */
/*
 * Runs on the calling worker thread, which also reads the ranges its query asks for. Texts of
 * ret->last are kept in @keep (empty; owned by the caller). The process is asked to stop when
 * @control says so, and killed when it does not. A process that breaks is replaced and the query
 * run once more: rows that the sink has are not given again, for the order is total. Errors:
 * RC_TIMEOUT, RC_CANCELLED, RC_UNAVAILABLE (a remote file cannot be read), RC_INVALID (data that
 * does not fit the contract), RC_IO, or what the sink returned.
 */
MUST_CHECK enum rc engine_execute(struct engine *e, const struct engine_source *source,
                                  const struct query *q, const struct query_control *control,
                                  struct row_sink sink, struct buf *keep, struct query_result *ret,
                                  struct query_stats *stats, struct err *err);
/* True when a trivial query is answered, or nothing needs DuckDB: no query did yet, and the last
 * ingest did not fail for want of it. Returns at once what was found last, and has it asked again
 * on a thread of its own, at most once a second. Else @ret_why (may be NULL) is the reason in
 * words, literal. */
bool engine_is_up(struct engine *e, const char **ret_why);

/* ---- the child's side: called by main() for `offloader __ingest`, `__query`, `__describe` ---- */
int engine_child_main(int argc, char **argv);

#endif
