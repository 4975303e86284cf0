/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parent asks of an ingest child, as JSON on its stdin; what it answers is a JSON
 * document a line on its stdout: {"progress":{…}}, {"works":true}, {"result":{…}} or {"error":{…}}.
 */
#ifndef OFFLOADER_ENGINE_JOB_H
#define OFFLOADER_ENGINE_JOB_H

#include "base/arena.h"
#include "engine/engine.h"
#include "markup/markup.h"

#define LIMIT_JOB_BYTES (256u << 20)

struct job_file {
    const char *path;     /* local, or the bridge's */
    const char *shown_as; /* as the manifest writes it */
    enum file_format format;
    bool has_row_count, has_size_bytes, has_sha256;
    uint64_t row_count, size_bytes;
    uint8_t sha256[32];
    bool is_bridged; /* a query's: read from the server, as this file of @source */
    uint64_t source;
};

struct child_job {
    struct schema contract, declared;
    int tenant_column;
    int sort_columns[STORE_LIMIT_SORT_COLUMNS];
    int n_sort_columns;
    bool *equality_columns;
    struct column_set *unique;
    size_t n_unique;
    bool is_exact; /* compatibility policy */
    struct job_file *files;
    size_t n_files;
    bool has_row_count;
    uint64_t row_count;
    const char *target, *temp, *active;
    int threads;
    uint64_t memory_bytes;
    bool is_query; /* values are checked as they are read, not before */
};

/* Parent: writes the job. */
void job_write(struct buf *b, const struct ingest_job *job);
/* Child: everything in @arena, schemas included. RC_INTERNAL for a job that is not one. */
MUST_CHECK enum rc job_read(struct str text, struct arena *arena, struct child_job *ret,
                            struct err *err);

#endif
