/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One query over a connection of a query process: the plan goes out, rows come back, and the ranges
 * that the process asks for on the way are read here. Nothing that comes from the process is
 * trusted.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "engine/engine_int.h"
#include "engine/health.h"
#include "engine/query_wire.h"

#define LOOK_US 50000    /* how often a deadline and a caller are looked at */
#define GRACE_US 2000000 /* for a process to stop a query; then it is killed */
#define PING_US 1000000
#define INSPECT_US INT64_C(120000000)

struct engine {
    struct query_pool *pool;
    struct ranges *ranges;
    _Atomic uint64_t n_queries;
    struct health *health;
    _Atomic bool is_down;
};

struct call { /* one attempt */
    struct engine *engine;
    struct query_lease lease;
    const struct engine_source *source;
    const struct query *query;
    const struct query_control *control;
    uint64_t number;
    struct buf in, out;
    struct row_sink sink;
    uint64_t *delivered;         /* rows the sink has, of this and the attempt before */
    uint64_t n_rows;             /* rows seen in this attempt */
    enum rc stopping;            /* why it is being stopped; RC_OK: it is not */
    int64_t give_up_us, look_us; /* when to look again */
    struct err problem;          /* of a range that could not be read, or why it is stopping */
    bool has_ended;              /* the process said so: its connection may be used again */
    bool is_broken;              /* it broke off, or said what it may not */
};

static void ask_health(void *arg, const _Atomic bool *cancelled);

struct engine *engine_new(const struct engine_options *options)
{
    struct engine *e = x_alloc0(sizeof *e);
    e->pool =
        query_pool_new(options->n_connections, options->memory_bytes, options->temp_directory);
    e->ranges = ranges_new(&options->reader, options->cache_directory, options->cache_bytes);
    e->health = health_new(ask_health, e);
    return e;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    health_free(e->health);
    query_pool_free(e->pool);
    ranges_free(e->ranges);
    mem_free(e);
}

/* ---- messages ---- */

static enum rc broken(struct call *c, struct err *err)
{
    c->is_broken = true;
    return err_set(err, RC_IO, "a query process broke off");
}

static enum rc send_out(struct call *c, struct err *err)
{
    if (c->out.failed)
        return err_set(err, RC_NO_MEMORY, "out of memory for a query");
    if (!wire_write(c->lease.fd, c->out.p, c->out.n))
        return broken(c, err);
    buf_reset(&c->out);
    return RC_OK;
}

static void stop(struct call *c, enum rc why, const char *message)
{
    if (c->stopping == RC_OK) {
        c->stopping = why;
        c->problem.rc = RC_OK;
        (void)err_set(&c->problem, why, "%s", message); /* returned when the process has stopped */
        c->give_up_us = monotonic_us() + GRACE_US;
    }
    query_pool_stop(&c->lease, c->number);
}

/* Is there a reason to stop it? */
static void look(struct call *c, int64_t now_us)
{
    const struct query_control *control = c->control;
    c->look_us = now_us + LOOK_US;
    if (c->stopping != RC_OK)
        query_pool_stop(&c->lease, c->number); /* it may have been between two statements */
    else if (control->cancelled && atomic_load_explicit(control->cancelled, memory_order_relaxed))
        stop(c, RC_CANCELLED, "the caller went away");
    else if (control->deadline_us && now_us > control->deadline_us)
        stop(c, RC_TIMEOUT, "the query passed its deadline");
}

/* While the process works, whether it says something or not. False: it was told to stop, and has
 * had its time. */
static bool may_go_on(struct call *c)
{
    int64_t now_us = monotonic_us();
    if (now_us >= c->look_us)
        look(c, now_us);
    return c->stopping == RC_OK || now_us <= c->give_up_us;
}

/* Exactly @n bytes. */
static bool read_exactly(struct call *c, void *p, size_t n)
{
    char *at = p;
    while (n > 0) {
        struct pollfd fd = {c->lease.fd, POLLIN, 0};
        int ready = poll(&fd, 1, LOOK_US / 1000);
        if ((ready < 0 && errno != EINTR) || !may_go_on(c))
            return false;
        if (ready <= 0)
            continue;
        ssize_t got = read(c->lease.fd, at, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

static enum rc receive(struct call *c, enum wire_kind *ret, struct err *err)
{
    char head[WIRE_HEAD_BYTES];
    uint32_t n;
    if (!read_exactly(c, head, sizeof head))
        return broken(c, err);
    memcpy(&n, head, sizeof n);
    buf_reset(&c->in);
    if (n > WIRE_LIMIT_BYTES || !buf_reserve(&c->in, n) || !read_exactly(c, c->in.p, n))
        return broken(c, err);
    c->in.n = n;
    *ret = (enum wire_kind)(uint8_t)head[4];
    return RC_OK;
}

/* ---- what the process asks for ---- */

static enum rc describe_source(struct call *c, struct err *err)
{
    const struct engine_source *s = c->source;
    struct wire_source w = {.id = s->id,
                            .contract = *c->query->schema,
                            .declared = s->declared,
                            .is_exact = s->is_exact,
                            .n_files = s->n_files};
    AUTO(mem_free_auto) struct wire_file *files = x_array0(s->n_files + 1, sizeof *files);
    for (size_t i = 0; i < s->n_files; i++) {
        files[i] = (struct wire_file){.shown_as = STR("a data file"), .format = s->files[i].format};
        /* A file that has gone is found missing by its first read, which says so. */
        IGNORE(ranges_size(&s->files[i], &files[i].size_bytes, &c->problem));
    }
    w.files = files;
    size_t began = wire_begin(&c->out, WIRE_SOURCE);
    wire_put_source(&c->out, &w);
    wire_finish(&c->out, began);
    return send_out(c, err);
}

static enum rc send_range(struct call *c, struct err *err)
{
    struct bytes_in in = {.p = c->in.p, .n = c->in.n};
    uint32_t file = bytes_get_u32(&in);
    uint64_t offset = bytes_get_u64(&in);
    uint32_t n = bytes_get_u32(&in);
    if (in.failed || file >= c->source->n_files || n > WIRE_RANGE_BYTES)
        return broken(c, err);
    look(c, monotonic_us()); /* nothing is read for one that is to stop */
    size_t began = wire_begin(&c->out, WIRE_BYTES);
    bytes_put_u8(&c->out, 1);
    bool fine = c->stopping == RC_OK && buf_reserve(&c->out, n) &&
                ranges_read(c->engine->ranges, &c->source->files[file], offset, c->out.p + c->out.n,
                            n, c->control, &c->problem) == RC_OK;
    /* Gone, replaced or refused: whatever the place says, the caller hears that it is not there. */
    if (c->problem.rc == RC_NOT_FOUND || c->problem.rc == RC_DENIED ||
        c->problem.rc == RC_CONFLICT || c->problem.rc == RC_IO)
        c->problem.rc = RC_UNAVAILABLE;
    look(c, monotonic_us()); /* a read that was ended by the deadline says so */
    if (fine)
        c->out.n += n;
    else if (!c->out.failed)
        c->out.p[c->out.n - 1] = 0;
    wire_finish(&c->out, began);
    return send_out(c, err);
}

static enum rc take_rows(struct call *c, struct err *err)
{
    const struct query *q = c->query;
    struct bytes_in in = {.p = c->in.p, .n = c->in.n};
    struct value values[QUERY_LIMIT_OUTPUTS];
    uint32_t n = bytes_get_u32(&in);
    for (uint32_t i = 0; i < n && c->stopping == RC_OK; i++) {
        bool fine = c->n_rows < q->limit;
        for (int j = 0; j < q->n_outputs; j++) {
            bytes_get_value(&in, &values[j]);
            fine &= value_fits(&values[j], query_type_of(q, j));
        }
        if (in.failed || !fine)
            return broken(c, err);
        if (c->n_rows++ < *c->delivered)
            continue; /* the sink has it from the attempt before */
        enum rc rc = c->sink.on_row(c->sink.arg, values);
        if (rc != RC_OK)
            stop(c, rc, "the sink stopped the query");
        else
            ++*c->delivered;
    }
    return RC_OK;
}

/* Is @end's position one of this query's? A cursor is made of it. */
static bool is_position(const struct query *q, const struct query_result *end)
{
    int n = 0;
    if (end->n_rows == 0)
        return end->n_last == 0 && !end->has_more;
    if (end->n_last != q->n_order + (q->grouped ? q->n_groups : 1))
        return false;
    for (int i = 0; i < q->n_order; i++)
        if (!value_fits(&end->last[n++], query_type_of(q, q->order[i].output)))
            return false;
    for (int i = 0; q->grouped && i < q->n_groups; i++)
        if (!value_fits(&end->last[n++], query_type_of(q, q->groups[i])))
            return false;
    return q->grouped || end->last[n].kind == VALUE_INT; /* the ordinal */
}

static enum rc take_end(struct call *c, struct buf *keep, struct query_result *ret, struct err *err)
{
    struct bytes_in in = {.p = c->in.p, .n = c->in.n};
    struct err said = ERR_INIT;
    struct query_result end = {.n_rows = c->n_rows};
    enum rc rc = wire_get_end(&in, &end, &said);
    if (c->stopping != RC_OK || (rc != RC_OK && c->problem.rc != RC_OK)) {
        err_copy(err, &c->problem);
        return c->problem.rc;
    }
    if (rc != RC_OK) {
        err_copy(err, &said);
        return rc;
    }
    if (!is_position(c->query, &end))
        return broken(c, err);
    size_t n_text = 0;
    for (int i = 0; i < end.n_last; i++)
        n_text += end.last[i].kind == VALUE_TEXT ? end.last[i].text.n : 0;
    if (!buf_reserve(keep, n_text + 1))
        return err_set(err, RC_NO_MEMORY, "out of memory for a position");
    for (int i = 0; i < end.n_last; i++) {
        struct str *text = &end.last[i].text;
        if (end.last[i].kind != VALUE_TEXT)
            continue;
        size_t at = keep->n;
        buf_put_str(keep, *text);
        text->p = keep->p + at;
    }
    *ret = end;
    return RC_OK;
}

/* ---- one attempt ---- */

static enum rc converse(struct call *c, struct buf *keep, struct query_result *ret, struct err *err)
{
    size_t began = wire_begin(&c->out, WIRE_QUERY);
    bytes_put_u64(&c->out, c->number);
    bytes_put_u64(&c->out, c->source->id);
    wire_put_query(&c->out, c->query);
    wire_finish(&c->out, began);
    enum rc rc = send_out(c, err);
    while (rc == RC_OK) {
        enum wire_kind kind = WIRE_END;
        rc = receive(c, &kind, err);
        if (rc != RC_OK)
            break;
        if (kind == WIRE_END) {
            rc = take_end(c, keep, ret, err);
            c->has_ended = !c->is_broken;
            return rc;
        }
        if (kind == WIRE_WANT)
            rc = describe_source(c, err);
        else if (kind == WIRE_RANGE)
            rc = send_range(c, err);
        else if (kind == WIRE_ROWS)
            rc = take_rows(c, err);
        else
            rc = broken(c, err);
    }
    if (c->stopping != RC_OK) { /* killed, because it did not stop */
        err_copy(err, &c->problem);
        return c->problem.rc;
    }
    return rc;
}

static enum rc attempt(struct engine *e, struct call *c, struct buf *keep, struct query_result *ret,
                       struct err *err)
{
    enum rc rc = query_pool_take(e->pool, c->control, &c->lease, err);
    if (rc != RC_OK)
        return rc;
    buf_init(&c->in, WIRE_LIMIT_BYTES);
    buf_init(&c->out, WIRE_LIMIT_BYTES);
    c->number = atomic_fetch_add(&e->n_queries, 1) + 1;
    rc = converse(c, keep, ret, err);
    query_pool_give(e->pool, &c->lease, !c->has_ended);
    buf_done(&c->in);
    buf_done(&c->out);
    return rc;
}

static bool never_matches(const struct query *q)
{
    for (int i = 0; i < q->n_filters; i++)
        if (q->filters[i].never_matches)
            return true;
    return false;
}

enum rc engine_execute(struct engine *e, const struct engine_source *source, const struct query *q,
                       const struct query_control *control, struct row_sink sink, struct buf *keep,
                       struct query_result *ret, struct query_stats *stats, struct err *err)
{
    static const struct query_control none = {0};
    uint64_t delivered = 0;
    enum rc rc = RC_OK;
    *ret = (struct query_result){.n_rows = 0};
    if (stats)
        *stats = (struct query_stats){.executor = "duckdb", .grouping = "duckdb"};
    if (never_matches(q))
        return RC_OK;
    for (int i = 0; i < 2; i++) {
        struct err problem = ERR_INIT;
        struct call c = {.engine = e,
                         .source = source,
                         .query = q,
                         .control = control ? control : &none,
                         .sink = sink,
                         .delivered = &delivered};
        buf_reset(keep);
        rc = attempt(e, &c, keep, ret, &problem);
        atomic_store(&e->is_down, c.is_broken && c.stopping == RC_OK);
        if (rc != RC_OK && (!c.is_broken || c.stopping != RC_OK || i == 1))
            err_copy(err, &problem);
        if (!c.is_broken || c.stopping != RC_OK)
            break;
    }
    if (stats)
        stats->rows_matched = ret->n_rows;
    return rc;
}

/* ---- is it there? ---- */

/* Sends what is in c->out and waits for END; findings go to @on_finding. */
static enum rc ask(struct call *c, void (*on_finding)(void *arg, struct bytes_in *in), void *arg,
                   uint64_t *ret_total, struct err *err)
{
    struct query_result end = {0};
    enum wire_kind kind = WIRE_END;
    enum rc rc = send_out(c, err);
    while (rc == RC_OK && (rc = receive(c, &kind, err)) == RC_OK) {
        struct bytes_in in = {.p = c->in.p, .n = c->in.n};
        if (kind == WIRE_END) {
            c->has_ended = true;
            rc = wire_get_end(&in, &end, err);
            *ret_total = end.total;
            return rc;
        }
        if (kind == WIRE_RANGE && c->source)
            rc = send_range(c, err);
        else if (kind == WIRE_FINDING && on_finding)
            on_finding(arg, &in);
        else
            rc = broken(c, err);
    }
    return rc;
}

static bool ping(struct engine *e, struct query_pool *pool, const _Atomic bool *cancelled)
{
    struct query_control control = {.deadline_us = monotonic_us() + PING_US,
                                    .cancelled = cancelled};
    struct call c = {.engine = e, .control = &control};
    struct err err = ERR_INIT;
    uint64_t unused;
    enum rc rc = query_pool_take(pool, &control, &c.lease, &err);
    if (rc != RC_OK)
        return rc == RC_TIMEOUT && !atomic_load(&e->is_down); /* all busy: as it was */
    buf_init(&c.in, WIRE_LIMIT_BYTES);
    buf_init(&c.out, WIRE_LIMIT_BYTES);
    wire_finish(&c.out, wire_begin(&c.out, WIRE_PING));
    rc = ask(&c, NULL, NULL, &unused, &err);
    query_pool_give(pool, &c.lease, !c.has_ended);
    buf_done(&c.in);
    buf_done(&c.out);
    return rc == RC_OK;
}

/* Where only ingests need DuckDB no process is kept for asking. */
static bool ping_once(struct engine *e, const _Atomic bool *cancelled)
{
    struct query_pool *pool = query_pool_new(1, 0, NULL);
    bool up = ping(e, pool, cancelled);
    query_pool_free(pool);
    return up;
}

static void ask_health(void *arg, const _Atomic bool *cancelled)
{
    struct engine *e = arg;
    bool up = query_pool_was_used(e->pool) ? ping(e, e->pool, cancelled) : ping_once(e, cancelled);
    atomic_store(&e->is_down, !up);
    if (up)
        ingest_forget_trouble(); /* it was that ingest's own */
}

bool engine_is_up(struct engine *e, const char **ret_why)
{
    if (!query_pool_was_used(e->pool) && !ingest_is_in_trouble()) {
        atomic_store(&e->is_down, false);
        return true;
    }
    health_want(e->health);
    if (!atomic_load(&e->is_down))
        return true;
    const char *problem = module_problem();
    if (ret_why)
        *ret_why = problem ? problem : "DuckDB's processes end as they start: the log says why";
    return false;
}

/* ---- inspection ---- */

struct inspection {
    const struct manifest *manifest;
    const char *shown_as;
    struct errlist *findings;
};

static void on_finding(void *arg, struct bytes_in *in)
{
    struct inspection *i = arg;
    char path[48];
    uint32_t file = bytes_get_u32(in);
    struct str code = bytes_get_text(in), message = bytes_get_text(in);
    (void)snprintf(path, sizeof path, "files[%u].path", file);
    errlist_add(i->findings, FINDING_ERROR, i->shown_as, 0, 0, path, wire_known_code(code), NULL,
                "%.*s", (int)message.n, message.p);
}

static void put_inspection(struct buf *b, const struct manifest *m, const struct engine_source *s)
{
    struct wire_source w = {.id = s->id,
                            .contract = m->schema,
                            .declared = m->schema,
                            .is_exact = s->is_exact,
                            .n_files = s->n_files};
    AUTO(mem_free_auto) struct wire_file *files = x_array0(s->n_files + 1, sizeof *files);
    for (size_t i = 0; i < s->n_files; i++) {
        struct err missing = ERR_INIT; /* its first read says so */
        files[i] = (struct wire_file){.shown_as = str_from(m->files[i].path),
                                      .format = m->files[i].format,
                                      .has_row_count = m->files[i].has_row_count,
                                      .row_count = m->files[i].row_count};
        IGNORE(ranges_size(&s->files[i], &files[i].size_bytes, &missing));
    }
    w.files = files;
    size_t began = wire_begin(b, WIRE_INSPECT);
    wire_put_source(b, &w);
    wire_finish(b, began);
}

/* Each file may have what is said of it, and all of them not what is said of all. */
static void check_row_count(const struct manifest *m, uint64_t n_rows, const char *shown_as,
                            struct errlist *findings)
{
    bool all_counted = m->has_row_count;
    for (size_t i = 0; i < m->n_files; i++)
        all_counted &= m->files[i].format == FILE_PARQUET;
    if (all_counted && n_rows != m->row_count)
        errlist_add(findings, FINDING_ERROR, shown_as, 0, 0, "row_count", "row_count_mismatch",
                    NULL, "the files have %llu rows, the manifest says %llu",
                    (unsigned long long)n_rows, (unsigned long long)m->row_count);
}

enum rc engine_inspect(const struct manifest *m, const char *const *local_paths,
                       const struct engine_reader *reader, const char *shown_as,
                       struct errlist *findings, uint64_t *ret_rows, struct err *err)
{
    uint64_t n_rows = 0;
    size_t n_before = findings->n_errors;
    struct query_control control = {.deadline_us = monotonic_us() + INSPECT_US};
    struct engine_options options = {.n_connections = 1};
    struct inspection inspection = {m, shown_as, findings};
    if (reader)
        options.reader = *reader;
    struct engine *e = engine_new(&options);
    struct engine_source *source = engine_source_new(m, local_paths);
    struct call c = {.engine = e, .source = source, .control = &control};
    enum rc rc = query_pool_take(e->pool, &control, &c.lease, err);
    if (rc == RC_OK) {
        buf_init(&c.in, WIRE_LIMIT_BYTES);
        buf_init(&c.out, WIRE_LIMIT_BYTES);
        put_inspection(&c.out, m, source);
        rc = ask(&c, on_finding, &inspection, &n_rows, err);
        if (rc == RC_OK && c.problem.rc != RC_OK && c.problem.rc != RC_NOT_FOUND) {
            err_copy(err, &c.problem); /* the network's fault, not the file's */
            rc = c.problem.rc;
        }
        query_pool_give(e->pool, &c.lease, !c.has_ended);
        buf_done(&c.in);
        buf_done(&c.out);
    }
    engine_source_free(source);
    engine_free(e);
    if (rc == RC_OK && findings->n_errors == n_before)
        check_row_count(m, n_rows, shown_as, findings);
    if (ret_rows)
        *ret_rows = n_rows;
    return rc;
}
