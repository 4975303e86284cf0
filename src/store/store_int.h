/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the reading half of src/store.
 *
 * Failure deep inside an execution (a block that does not verify, a truncated map, no memory)
 * leaves by siglongjmp to store_execute() or store_estimate(), which is safe because everything an
 * execution owns hangs on its scratch. See guard.c.
 */
#ifndef OFFLOADER_STORE_STORE_INT_H
#define OFFLOADER_STORE_STORE_INT_H

#include <setjmp.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "query/exact_sum.h"
#include "store/codes.h"
#include "store/format.h"
#include "store/key.h"
#include "store/store.h"

#define BATCH_ROWS 1024
#define LIMIT_PASS_BYTES (8u << 20)   /* of the rows that one pass over them keeps for a page */
#define SCRATCH_KEPT_BYTES (1u << 20) /* of each array, from query to query */
#define POLL_EVERY_ROWS 16384

struct store_column {
    const struct column_entry *entry;
    const struct chunk_entry *chunks; /* n_blocks */
    enum column_type type;
    bool is_plain_text, needs_no_escape;
    const uint32_t *dictionary_offsets; /* NULL without */
    const char *dictionary_bytes;
    const uint32_t *posting_starts, *posting_rows; /* NULL without */
    _Atomic uint8_t *verified;                     /* a byte a block */
    _Atomic uint8_t dictionary_verified, posting_verified;
};

struct store {
    const uint8_t *map;
    size_t n_map;
    int fd;
    char *path;
    /* Copies, so that a file which shrinks under its map is only ever met inside an execution. */
    struct store_header *header;
    void *directory;
    struct schema schema;
    struct store_column *columns; /* n_columns + 1 */
    size_t n_columns, n_blocks;
    uint64_t n_rows;
    _Atomic bool broken;
};

/* A filter as a range of keys; plain text: compared by bytes. */
struct key_range {
    int column;
    int64_t low, high; /* inclusive */
    bool is_text;      /* plain text: by @op and @text */
    enum filter_op op;
    struct str text;
};

struct array { /* scratch memory that only grows while a query runs */
    void *p;
    size_t n_bytes;
};

struct store_scratch {
    sigjmp_buf escape;
    volatile int escape_rc; /* enum rc to leave with */
    bool is_over_groups;    /* RC_LIMIT is that of groups, not the sink's */
    struct store *store;    /* being read */
    const struct query *query;
    const struct query_control *control;
    struct row_sink sink;
    struct query_stats stats;

    struct key_range ranges[QUERY_LIMIT_FILTERS];
    int n_ranges;               /* that still have to be checked row by row */
    bool only_in_memory;        /* control's, or an estimate's */
    bool empty;                 /* no row can match */
    uint64_t low, high;         /* rows left by the sort prefix */
    int n_bound;                /* leading sort columns bound by equality */
    bool all_bound;             /* every sort column is: rows are in ordinal order */
    const uint32_t *candidates; /* posting list cut to [low, high); NULL: all of it */
    size_t n_candidates;

    /* views of the block at hand, by column */
    struct chunk_view *views;
    uint64_t *view_blocks; /* block + 1 */
    size_t n_views;

    uint32_t rows[BATCH_ROWS]; /* the batch: absolute row numbers */
    size_t n_batch;
    uint64_t rows_since_poll;

    struct array views_memory, view_blocks_memory, entries, groups, table, dense, states, order,
        values, position;
    bool is_large; /* one of them has grown past what is kept */
    struct value row_values[QUERY_LIMIT_OUTPUTS];
};

/* ---- guard.c ---- */
_Noreturn void store_escape(struct store_scratch *x, enum rc rc);
_Noreturn void store_mark_broken(struct store_scratch *x);
/* Before bytes of the file are read for the first time: escapes with RC_BUSY when they are not in
 * memory and @x may not wait for a disk. */
void scratch_expect(struct store_scratch *x, uint64_t at, uint64_t n_bytes);
/* Grown scratch memory; escapes with RC_NO_MEMORY. */
void *scratch_array(struct store_scratch *x, struct array *a, size_t n, size_t item_bytes);
void scratch_drop_large(struct array *a);
void scratch_trim(struct store_scratch *x); /* when a query is over: drops what is large */
void scratch_poll(struct store_scratch *x, size_t n_rows); /* deadline and cancellation */
/* The same for work that touches no rows, a comparison of a sort at a time. */
static inline void scratch_tick(struct store_scratch *x)
{
    if (UNLIKELY(++x->rows_since_poll >= POLL_EVERY_ROWS))
        scratch_poll(x, 0);
}
void guard_enter(struct store_scratch *x);
void guard_leave(void);

/* ---- residence.c ---- */
bool store_is_in_memory(const struct store *s, uint64_t at, uint64_t n_bytes);

/* ---- chunk.c: access, verifying on first touch ---- */
const struct chunk_view *chunk_view(struct store_scratch *x, int column, size_t block);
struct str chunk_text(const struct chunk_view *v, size_t row);
bool store_key_at(struct store_scratch *x, int column, uint64_t row,
                  int64_t *ret); /* false: NULL */
/* Text of a row of a text column, dictionary or plain; the row is not NULL. */
struct str store_text_at(struct store_scratch *x, int column, uint64_t row);
struct str dictionary_text(struct store_scratch *x, int column, int64_t code);
/* First code whose text is >= @s; n_dictionary when there is none. */
int64_t dictionary_lower(struct store_scratch *x, int column, struct str s, bool *ret_equal);
void value_at(struct store_scratch *x, int column, uint64_t row, struct value *ret);
void value_from_key(struct store_scratch *x, int column, int64_t key, struct value *ret);
bool chunk_verify(struct store *s, int column, size_t block, const uint8_t *p);
/* The keys that values of @c can have, where others would lead astray: past a dictionary, to a date
 * that has no text. */
void key_limits(const struct store_column *c, int64_t *ret_low, int64_t *ret_high);

/* ---- prefix.c: filters to ranges, sort prefix to rows ---- */
void prefix_resolve(struct store_scratch *x);

/* ---- scan.c: matching rows, batch by batch, in physical order ---- */
typedef void on_batch(struct store_scratch *x); /* x->rows[0..n_batch) */
void scan_rows(struct store_scratch *x, on_batch *f);
bool row_matches(struct store_scratch *x, uint64_t row);
void scan_stop(struct store_scratch *x); /* from within on_batch: no more batches */

/* ---- plain.c and group.c ---- */
enum rc run_plain(struct store_scratch *x, struct query_result *ret);
enum rc run_grouped(struct store_scratch *x, struct query_result *ret);
void group_release(struct store_scratch *x); /* after run_grouped or an escape from it */
/* The sink, with the bookkeeping of result and escape. */
void emit_row(struct store_scratch *x, struct query_result *ret, const struct value *values);

#endif
