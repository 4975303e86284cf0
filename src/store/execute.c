/* SPDX-License-Identifier: Apache-2.0 */
/* The entry points of reading: set up a scratch, guard it, run. */
#include "base/hash.h"
#include "base/mem.h"
#include "store/store_int.h"

static void begin(struct store_scratch *x, struct store *s, const struct query *q)
{
    size_t n = s->n_columns + 1;
    x->store = s;
    x->query = q;
    x->stats = (struct query_stats){.executor = "store", .grouping = "none"};
    x->escape_rc = 0;
    x->is_over_groups = false;
    x->rows_since_poll = 0;
    scratch_drop_large(&x->position);
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
        if (x->is_over_groups)
            return err_set_code(err, rc, STORE_TOO_MANY_GROUPS,
                                "the query makes more than %d groups, or %u MiB of them",
                                STORE_LIMIT_GROUPS, STORE_LIMIT_GROUP_BYTES >> 20);
        return err_set(err, rc, "the answer is larger than is allowed");
    case RC_BUSY:
        return err_set(err, rc, "a block has to be read first");
    case RC_OK:
    case RC_INVALID:
    case RC_NOT_FOUND:
    case RC_DENIED:
    case RC_IO:
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

/* Who reads the position after the query is not guarded: its texts leave the map. */
static void keep_position(struct store_scratch *x, struct query_result *ret)
{
    size_t n_bytes = 0;
    for (int i = 0; i < ret->n_last; i++)
        n_bytes += ret->last[i].kind == VALUE_TEXT ? ret->last[i].text.n : 0;
    if (n_bytes == 0)
        return;
    char *to = scratch_array(x, &x->position, n_bytes, 1);
    for (int i = 0; i < ret->n_last; i++) {
        struct str *text = &ret->last[i].text;
        if (ret->last[i].kind != VALUE_TEXT)
            continue;
        memcpy(to, text->p, text->n);
        text->p = to;
        to += text->n;
    }
}

uint64_t store_estimate(struct store *s, const struct query *q, bool only_in_memory,
                        struct store_scratch *x)
{
    volatile uint64_t n = 0;
    if (store_is_broken(s))
        return 0;
    x->control = NULL;
    x->only_in_memory = only_in_memory;
    if (sigsetjmp(x->escape, 0) == 0) {
        guard_enter(x);
        begin(x, s, q);
        prefix_resolve(x);
        n = x->candidates ? x->n_candidates : x->high - x->low;
    } else if (x->escape_rc == RC_BUSY) {
        n = UINT64_MAX;
    }
    guard_leave();
    return n; /* 0 after another escape: the execution will say what is wrong */
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
    x->only_in_memory = control && control->only_in_memory;
    x->sink = sink;
    if (sigsetjmp(x->escape, 0) == 0) {
        guard_enter(x);
        begin(x, s, q);
        prefix_resolve(x);
        rc = q->grouped ? run_grouped(x, ret) : run_plain(x, ret);
        keep_position(x, ret);
    } else {
        if (q->grouped)
            group_release(x);
        rc = escaped(x, err);
    }
    guard_leave();
    if (UNLIKELY(x->is_large))
        scratch_trim(x);
    if (stats)
        *stats = x->stats;
    return rc;
}

enum rc store_each_tenant(struct store *s, enum rc (*on_tenant)(void *arg, struct str tenant),
                          void *arg, struct err *err)
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
        for (uint64_t row = 0; row < s->n_rows;) {
            struct value v;
            char room[32];
            struct buf text = {.p = room, .capacity = sizeof room, .limit_bytes = sizeof room};
            struct query_filter f = {.column = column, .op = FILTER_EQ};
            value_at(x, column, row, &v);
            if (v.kind == VALUE_NULL)
                break; /* NULLs come last */
            if (v.kind == VALUE_INT)
                buf_put_int64(&text, v.integer);
            enum rc taken =
                on_tenant(arg, v.kind == VALUE_TEXT ? v.text : (struct str){text.p, text.n});
            if (taken != RC_OK)
                store_escape(x, taken);
            f.value = v;
            q.filters = &f;
            q.n_filters = 1;
            prefix_resolve(x);
            row = x->high > row ? x->high : row + 1; /* past this tenant's rows */
        }
    } else {
        rc = escaped(x, err);
    }
    guard_leave();
    store_scratch_free(x);
    return rc;
}
