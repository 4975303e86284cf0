/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serving store: one immutable, sorted, checksummed columnar file a snapshot, memory-mapped.
 * docs/store-format.md is the format. Opening verifies header and directory; blocks verify on first
 * touch. A reader is immutable after open and shared by all threads without locks.
 *
 * A block that was verified is taken to be in memory until it is seen to have left it
 * (store_forget_dropped); before that, the kernel is asked.
 */
#ifndef OFFLOADER_STORE_STORE_H
#define OFFLOADER_STORE_STORE_H

#include "base/arena.h"
#include "base/err.h"
#include "query/query.h"
#include "schema/schema.h"

#define STORE_FILE_NAME "data.store"
#define STORE_LIMIT_SORT_COLUMNS 8
#define STORE_LIMIT_GROUP_BYTES (512u << 20) /* keys, sums and order of them; wide sums aside */
#define STORE_LIMIT_GROUPS 1000000           /* of a query: past it RC_LIMIT with the code below */
#define STORE_TOO_MANY_GROUPS "too_many_groups"

/* ---- writing (ingest child) ---- */

struct store_writer;

struct store_writer_options {
    const char *directory; /* exists; data.store and its temporaries are made in it */
    const struct schema *schema;
    const int
        *sort_columns; /* the physical order rows will arrive in: these, NULLs last, then ordinal */
    int n_sort_columns;
    int tenant_column;            /* -1: none; else it is sort_columns[0] */
    const bool *equality_columns; /* per column: filtered with eq past the sort (posting lists) */
};

/* A column-wise batch. Fixed-width: @fixed holds int32 (DATE, INTEGER), int64 (TIMESTAMP, BIGINT),
 * double, or uint8 (BOOLEAN) by type. Text: @texts. @valid: one byte a row, NULL when all are. */
struct store_column_batch {
    const void *fixed;
    const struct str *texts;
    const uint8_t *valid;
};
struct store_batch {
    const struct store_column_batch *columns; /* schema order */
    const uint64_t *ordinals;                 /* hidden ordinal: manifest file order, row order */
    size_t n_rows;
};

struct store_column_figures {
    uint64_t n_nulls;
};
struct store_figures { /* for quality gates and snapshot.json */
    uint64_t n_rows, file_bytes;
    uint64_t n_tenants;                   /* distinct non-NULL */
    struct store_column_figures *columns; /* n_columns, owned */
    uint32_t file_crc32c;
};

MUST_CHECK enum rc store_writer_new(const struct store_writer_options *options,
                                    struct store_writer **ret, struct err *err);
/* Rows in physical order; out of order is a bug of the caller and RC_INTERNAL. Memory is bounded.
 */
MUST_CHECK enum rc store_writer_add(struct store_writer *w, const struct store_batch *batch,
                                    struct err *err);
/* Writes what is left, fsyncs the file (the caller fsyncs and renames the directory). */
MUST_CHECK enum rc store_writer_finish(struct store_writer *w, struct store_figures *ret,
                                       struct err *err);
void store_figures_done(struct store_figures *f);
void store_writer_free(struct store_writer *w); /* removes temporaries of an unfinished one */

/* ---- reading ---- */

struct store;

/* RC_CORRUPT for anything that does not verify, RC_INVALID for a foreign format version. */
MUST_CHECK enum rc store_open(const char *directory, struct store **ret, struct err *err);
void store_free(struct store *s); /* unmaps; nobody may use it any more */
uint64_t store_rows(const struct store *s);
uint64_t store_bytes(const struct store *s);
const struct schema *store_schema(const struct store *s);
uint64_t store_tenants(const struct store *s);
int store_tenant_column(const struct store *s); /* -1: none */
/* Of its header, which holds the checksums of all the rest: store_figures.file_crc32c. */
uint32_t store_crc32c(const struct store *s);
/* Calls back with the canonical text of each tenant, in order. Errors: RC_CORRUPT, RC_NO_MEMORY, or
 * what the callback returned. */
MUST_CHECK enum rc store_each_tenant(struct store *s,
                                     enum rc (*on_tenant)(void *arg, struct str tenant), void *arg,
                                     struct err *err);
/* True when a block failed its checksum or the file shrank under the map: answer 503, rebuild. */
bool store_is_broken(const struct store *s);
/* Verifies all blocks through pread (not the map), at most @bytes_per_second; for the scrubber. */
MUST_CHECK enum rc store_scrub(struct store *s, uint64_t bytes_per_second,
                               const _Atomic bool *cancelled, struct err *err);
/* Reads what leads to rows into memory: the columns of the sort, the ordinal, all dictionaries.
 * Through pread, so that no page counts as this process's. Any thread, beside readers. RC_CORRUPT
 * as above. */
MUST_CHECK enum rc store_warm_up(struct store *s, const _Atomic bool *cancelled, struct err *err);
/* Looks which verified blocks the kernel has dropped; how many those are. Any thread. */
size_t store_forget_dropped(struct store *s);
/* Installs the SIGBUS handler that turns a truncated map into RC_CORRUPT. Once, at start. */
void store_install_bus_handler(void);

/* Scratch memory of one thread, grown as needed and kept: no allocation in the steady state. */
struct store_scratch;
struct store_scratch *store_scratch_new(void);
void store_scratch_free(struct store_scratch *scratch);

/* An upper bound of the rows @q would look at, from binary searches and postings alone
 * (microseconds): decides inline or pool. @only_in_memory: UINT64_MAX when that needs a block that
 * is not. */
uint64_t store_estimate(struct store *s, const struct query *q, bool only_in_memory,
                        struct store_scratch *scratch);
/*
 * Runs @q. Errors: RC_CORRUPT (block failed; store_is_broken from now on), RC_TIMEOUT,
 * RC_CANCELLED, RC_NO_MEMORY, RC_LIMIT (too many groups), RC_BUSY (control->only_in_memory, and a block
 * is not; the sink may have had rows), or what the sink returned.
 * @stats may be NULL.
 */
MUST_CHECK enum rc store_execute(struct store *s, const struct query *q,
                                 const struct query_control *control, struct row_sink sink,
                                 struct store_scratch *scratch, struct query_result *ret,
                                 struct query_stats *stats, struct err *err);

#endif
