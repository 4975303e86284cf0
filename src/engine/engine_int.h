/* SPDX-License-Identifier: Apache-2.0 */
/* For the serving process's half of queries: processes, their connections, ranges. */
#ifndef OFFLOADER_ENGINE_ENGINE_INT_H
#define OFFLOADER_ENGINE_ENGINE_INT_H

#include <pthread.h>

#include "engine/engine.h"
#include "engine/process.h"

/* ---- ranges.c: bytes of a source's files ---- */

struct ranges; /* thread-safe */
/* Blocks are cached in @directory; NULL or @cache_bytes 0: nothing is. */
struct ranges *ranges_new(const struct engine_reader *reader, const char *directory,
                          uint64_t cache_bytes);
void ranges_free(struct ranges *r);
MUST_CHECK enum rc ranges_size(const struct engine_file *file, uint64_t *ret, struct err *err);
MUST_CHECK enum rc ranges_read(struct ranges *r, const struct engine_file *file, uint64_t offset,
                               void *to, size_t n, const struct query_control *control,
                               struct err *err);

/* ---- query_pool.c: processes and their connections ---- */

#define CONNECTIONS_PER_PROCESS 4

struct query_pool; /* thread-safe */
struct query_lease {
    struct query_process *process;
    int connection, fd;
};
struct query_pool *query_pool_new(int n_connections, uint64_t memory_bytes,
                                  const char *temp_directory);
void query_pool_free(struct query_pool *p);
/* A connection to a process, started if need be. Waits while all are in use. */
MUST_CHECK enum rc query_pool_take(struct query_pool *p, const struct query_control *control,
                                   struct query_lease *ret, struct err *err);
/* @broken: the process is killed, and replaced when somebody needs one. */
void query_pool_give(struct query_pool *p, struct query_lease *lease, bool broken);
/* Asks the process to stop query @number of this connection. */
void query_pool_stop(const struct query_lease *lease, uint64_t number);
bool query_pool_was_used(struct query_pool *p);

/* ---- module.c ---- */

/* Why no child can load the engine, where that is plain to see; NULL: it is not. Literal. */
const char *module_problem(void);

/* ---- ingest_parent.c ---- */

/* True when the last ingest failed for another reason than its data: is DuckDB there at all? */
bool ingest_is_in_trouble(void);
void ingest_forget_trouble(void);

#endif
