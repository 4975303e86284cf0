/* SPDX-License-Identifier: Apache-2.0 */
/* The entry points of reading: set up a scratch, guard it, run. */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "store/store_int.h"

static void begin(struct store_scratch *x, struct store *s, const struct query *q)
{
    size_t n = s->n_columns + 1;
    x->store = s;
    x->query = q;
    x->stats = (struct query_stats){.executor = "store", .grouping = "none"};
    x->escape_rc = 0;
    x->rows_since_poll = 0;
    x->views = scratch_array(x, &x->views_memory, n, sizeof *x->views);
    x->view_blocks = scratch_array(x, &x->view_blocks_memory, n, sizeof *x->view_blocks);
    memset(x->view_blocks, 0, n * sizeof *x->view_blocks);
}

static enum rc escaped(struct store_scratch *x, struct err *err)
{
    enum rc rc = (enum rc)x->escape_rc;
    switch (rc) {
    case RC_CORRUPT:
        return err_set(err, rc, "%s: a block does not verify", x->store->path);
    case RC_TIMEOUT:
        return err_set(err, rc, "the query passed its deadline");
    case RC_CANCELLED:
        return err_set(err, rc, "the caller went away");
    case RC_NO_MEMORY:
        return err_set(err, rc, "the query needs more memory than there is");
    case RC_LIMIT:
        return err_set(err, rc, "the answer is larger than is allowed");
    case RC_OK:
    case RC_INVALID:
    case RC_NOT_FOUND:
    case RC_DENIED:
    case RC_IO:
    case RC_BUSY:
    case RC_CONFLICT:
    case RC_UNAVAILABLE:
    case RC_INTERNAL:
        return err_set(err, rc, "the sink stopped the query: %s", rc_name(rc));
    }
    return RC_INTERNAL;
}

void emit_row(struct store_scratch *x, struct query_result *ret, const struct value *values)
{
    enum rc rc = x->sink.on_row(x->sink.arg, values);
    if (UNLIKELY(rc != RC_OK))
        store_escape(x, rc);
    ret->n_rows++;
}

uint64_t store_estimate(struct store *s, const struct query *q, struct store_scratch *x)
{
    volatile uint64_t n = 0;
    if (store_is_broken(s))
        return 0;
    x->control = NULL;
    if (sigsetjmp(x->escape, 0) == 0) {
        guard_enter(x);
        begin(x, s, q);
        prefix_resolve(x);
        n = x->candidates ? x->n_candidates : x->high - x->low;
    }
    guard_leave();
    return n; /* 0 after an escape: the execution will say what is wrong */
}

enum rc store_execute(struct store *s, const struct query *q, const struct query_control *control,
                      struct row_sink sink, struct store_scratch *x, struct query_result *ret,
                      struct query_stats *stats, struct err *err)
{
    volatile enum rc rc = RC_OK;
    ret->n_rows = ret->total = 0;
    ret->has_more = false;
    ret->n_last = 0;
    if (store_is_broken(s))
        return err_set(err, RC_CORRUPT, "%s: a block does not verify", s->path);
    x->control = control;
    x->sink = sink;
    if (sigsetjmp(x->escape, 0) == 0) {
        guard_enter(x);
        begin(x, s, q);
        prefix_resolve(x);
        rc = q->grouped ? run_grouped(x, ret) : run_plain(x, ret);
    } else {
        if (q->grouped)
            group_release(x);
        rc = escaped(x, err);
    }
    guard_leave();
    if (stats)
        *stats = x->stats;
    return rc;
}

enum rc store_each_tenant(struct store *s, enum rc (*on_tenant)(void *arg, struct str tenant),
                          void *arg)
{
    struct store_scratch *volatile x = NULL;
    volatile enum rc rc = RC_OK;
    int column = s->header->tenant_column;
    struct query q = {.schema = &s->schema};
    if (column < 0)
        return RC_OK;
    x = store_scratch_new();
    if (sigsetjmp(x->escape, 0) == 0) {
        guard_enter(x);
        begin(x, s, &q);
        for (uint64_t row = 0; row < s->n_rows && rc == RC_OK;) {
            struct value v;
            char room[32];
            struct buf text = {.p = room, .capacity = sizeof room, .limit_bytes = sizeof room};
            struct query_filter f = {.column = column, .op = FILTER_EQ};
            value_at(x, column, row, &v);
            if (v.kind == VALUE_NULL)
                break; /* NULLs come last */
            if (v.kind == VALUE_INT)
                buf_put_int64(&text, v.integer);
            rc = on_tenant(arg, v.kind == VALUE_TEXT ? v.text : (struct str){text.p, text.n});
            f.value = v;
            q.filters = &f;
            q.n_filters = 1;
            prefix_resolve(x);
            row = x->high > row ? x->high : row + 1; /* past this tenant's rows */
        }
    } else {
        rc = (enum rc)x->escape_rc;
    }
    guard_leave();
    store_scratch_free(x);
    return rc;
}

/* ---- scrub ---- */

static void pace(uint64_t n_bytes, uint64_t bytes_per_second)
{
    uint64_t ns = bytes_per_second ? n_bytes * 1000000000 / bytes_per_second : 0;
    struct timespec pause = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    if (ns)
        (void)nanosleep(&pause, NULL); /* waking early only scrubs faster */
}

struct scrubbing {
    struct store *store;
    uint64_t bytes_per_second;
    const _Atomic bool *cancelled;
    struct buf block;
};

/* A piece of the file into x->block. */
static enum rc read_piece(struct scrubbing *x, uint64_t at, uint64_t n_bytes, struct err *err)
{
    const struct store *s = x->store;
    if (x->cancelled && atomic_load_explicit(x->cancelled, memory_order_relaxed))
        return err_set(err, RC_CANCELLED, "scrubbing was stopped");
    buf_reset(&x->block);
    if (!buf_reserve(&x->block, (size_t)n_bytes + 8))
        return err_set(err, RC_NO_MEMORY, "out of memory while scrubbing");
    pace(n_bytes, x->bytes_per_second);
    return io_pread_all(s->fd, x->block.p, (size_t)n_bytes, at, s->path, err);
}

static enum rc scrub_whole(struct scrubbing *x, uint64_t at, uint64_t n_bytes, uint32_t crc,
                           struct err *err)
{
    enum rc rc = read_piece(x, at, n_bytes, err);
    if (rc == RC_OK && crc32c(0, x->block.p, (size_t)n_bytes) != crc)
        rc = err_set(err, RC_CORRUPT, "%s: a dictionary or posting list does not verify",
                     x->store->path);
    return rc;
}

static enum rc scrub_column(struct scrubbing *x, int column, struct err *err)
{
    struct store *s = x->store;
    const struct store_column *c = &s->columns[column];
    enum rc rc = RC_OK;
    if (c->entry->flags & COLUMN_HAS_DICTIONARY)
        rc = scrub_whole(x, c->entry->dictionary_at, c->entry->dictionary_bytes,
                         c->entry->dictionary_crc, err);
    if (rc == RC_OK && (c->entry->flags & COLUMN_HAS_POSTING))
        rc = scrub_whole(x, c->entry->posting_at, c->entry->posting_bytes, c->entry->posting_crc,
                         err);
    for (size_t i = 0; rc == RC_OK && i < s->n_blocks; i++) {
        rc = read_piece(x, c->chunks[i].at, c->chunks[i].n_bytes, err);
        if (rc == RC_OK && !chunk_verify(s, column, i, (const uint8_t *)x->block.p))
            rc = err_set(err, RC_CORRUPT, "%s: a block does not verify", s->path);
    }
    return rc;
}

enum rc store_scrub(struct store *s, uint64_t bytes_per_second, const _Atomic bool *cancelled,
                    struct err *err)
{
    struct scrubbing x = {.store = s, .bytes_per_second = bytes_per_second, .cancelled = cancelled};
    enum rc rc = RC_OK;
    buf_init(&x.block, SIZE_MAX);
    for (size_t i = 0; rc == RC_OK && i <= s->n_columns; i++)
        rc = scrub_column(&x, (int)i, err);
    if (rc == RC_CORRUPT)
        atomic_store(&s->broken, true);
    buf_done(&x.block);
    return rc;
}
