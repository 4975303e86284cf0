/* SPDX-License-Identifier: Apache-2.0 */
/* The serving process's side of ingest and describe: start, feed, listen, end. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "engine/engine_int.h"
#include "engine/job.h"
#include "engine/query_wire.h"

#define LISTEN_US 200000 /* how often a cancellation is looked at */
#define INSPECT_WAIT_US INT64_C(120000000)
#define LIMIT_LINE_MEMORY (UINT64_C(256) << 20)

/* ---- what a child says ---- */

static uint64_t number_of(const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    return n && n->kind == NODE_INT && n->integer > 0 ? (uint64_t)n->integer : 0;
}

static const char *text_of(const struct node *map, const char *key)
{
    const struct node *n = node_get(map, key);
    return n && n->kind == NODE_STRING ? n->text.p : "";
}

static enum rc take_error(const struct node *error, struct err *err)
{
    enum rc rc = (enum rc)number_of(error, "rc");
    if (rc == RC_OK || rc > RC_INTERNAL)
        rc = RC_INTERNAL;
    return err_set_code(err, rc, wire_known_code(str_from(text_of(error, "code"))), "%s",
                        text_of(error, "message"));
}

static void take_numbers(const struct node *list, uint64_t *ret, size_t n)
{
    size_t i = 0;
    for (const struct node *item = list ? list->first : NULL; item && i < n; item = item->next)
        ret[i++] = (uint64_t)item->integer;
}

static void take_result(const struct node *r, const struct ingest_job *job,
                        struct ingest_report *ret)
{
    size_t n_columns = job->dataset->schema.n_columns, i = 0;
    *ret = (struct ingest_report){
        .n_rows = number_of(r, "rows"),
        .store_bytes = number_of(r, "store_bytes"),
        .file_crc32c = (uint32_t)number_of(r, "crc32c"),
        .n_tenants = number_of(r, "tenants"),
        .n_tenants_active = number_of(r, "tenants_active"),
        .n_tenants_kept = number_of(r, "tenants_kept"),
        .active_is_unreadable = number_of(r, "active_unreadable") != 0,
        .n_decimals_rounded = number_of(r, "decimals_rounded"),
        .n_nanoseconds_cut = number_of(r, "nanoseconds_cut"),
        .column_nulls = x_array0(n_columns, sizeof *ret->column_nulls),
        .unique_duplicates =
            x_array0(job->dataset->checks.n_unique + 1, sizeof *ret->unique_duplicates),
        .file_hashes = x_array0(job->manifest->n_files, sizeof *ret->file_hashes),
        .file_sizes = x_array0(job->manifest->n_files, sizeof *ret->file_sizes),
    };
    take_numbers(node_get(r, "nulls"), ret->column_nulls, n_columns);
    take_numbers(node_get(r, "duplicates"), ret->unique_duplicates, job->dataset->checks.n_unique);
    const struct node *files = node_get(r, "files");
    for (const struct node *f = files ? files->first : NULL; f && i < job->manifest->n_files;
         f = f->next, i++) {
        ret->file_sizes[i] = number_of(f, "size");
        if (!hex_decode(str_from(text_of(f, "sha256")), ret->file_hashes[i], 32))
            memset(ret->file_hashes[i], 0, 32);
    }
}

static void tell_progress(const struct node *p, const struct ingest_job *job)
{
    struct ingest_progress progress = {
        .files_done = number_of(p, "files"),
        .files_total = job->manifest->n_files,
        .rows_done = number_of(p, "rows"),
        .rows_total = job->manifest->row_count,
        .bytes_done = number_of(p, "bytes"),
        .bytes_total = job->manifest->size_bytes,
    };
    if (job->on_progress)
        job->on_progress(job->arg, &progress);
}

/* ---- ingest ---- */

struct listening {
    const struct ingest_job *job;
    struct ingest_report *report;
    bool has_result, has_error;
    int64_t heard_us;
};

static enum rc on_line(struct listening *l, struct str line, struct err *err)
{
    struct arena arena;
    enum rc rc = RC_OK;
    arena_init(&arena, LIMIT_LINE_MEMORY);
    const struct node *root = json_parse(line, &arena, err);
    l->heard_us = monotonic_us(); /* by {"works":true}, too */
    if (!root && err->rc == RC_NO_MEMORY) {
        rc = err->rc;
    } else if (!root) {
        rc = err_set(err, RC_INTERNAL, "the ingest process said something that is no JSON");
    } else if (node_get(root, "progress")) {
        tell_progress(node_get(root, "progress"), l->job);
    } else if (node_get(root, "error")) {
        l->has_error = true;
        rc = take_error(node_get(root, "error"), err);
    } else if (node_get(root, "result") && l->has_result) {
        rc = err_set(err, RC_INTERNAL, "the ingest process gave two results");
    } else if (node_get(root, "result")) {
        take_result(node_get(root, "result"), l->job, l->report);
        l->has_result = true;
    }
    arena_done(&arena);
    return rc;
}

/* Why to stop listening: a stop, or no progress. */
static enum rc check_stop(const struct listening *l, struct err *err)
{
    const struct ingest_job *job = l->job;
    int stall_seconds = job->limits.stall_seconds;
    if (job->cancelled && atomic_load_explicit(job->cancelled, memory_order_relaxed))
        return err_set(err, RC_CANCELLED, "stopped");
    if (stall_seconds > 0 && monotonic_us() - l->heard_us > (int64_t)stall_seconds * 1000000)
        return err_set(err, RC_TIMEOUT, "the ingest made no progress for %d s and was ended",
                       stall_seconds);
    return RC_OK;
}

static enum rc feed(struct process *p, struct str text, struct listening *l, struct err *err)
{
    l->heard_us = monotonic_us();
    for (;;) {
        struct err waiting = ERR_INIT;
        size_t n_before = text.n;
        enum rc rc = process_feed(p, &text, LISTEN_US, &waiting);
        if (rc == RC_OK)
            return rc;
        if (rc != RC_TIMEOUT) {
            err_copy(err, &waiting);
            return rc;
        }
        if (text.n < n_before)
            l->heard_us = monotonic_us();
        rc = check_stop(l, err);
        if (rc != RC_OK)
            return rc;
    }
}

static enum rc listen_to(struct process *p, struct listening *l, struct err *err)
{
    struct str line;
    l->heard_us = monotonic_us();
    for (;;) {
        struct err waiting = ERR_INIT;
        enum rc rc = process_line(p, LISTEN_US, &line, &waiting);
        if (rc == RC_NOT_FOUND)
            return RC_OK;
        enum rc stop = check_stop(l, err);
        if (stop != RC_OK)
            return stop;
        if (rc == RC_TIMEOUT)
            continue;
        if (rc != RC_OK) {
            err_copy(err, &waiting);
            return rc;
        }
        rc = on_line(l, line, err);
        if (rc != RC_OK)
            return rc;
    }
}

/* One ingest child from start to end. */
static enum rc run_ingest_child(const struct buf *text, struct listening *l, struct err *err)
{
    static const char *const args[] = {"__ingest", NULL};
    struct process p;
    char how[128];
    if (text->failed)
        return err_set(err, RC_NO_MEMORY, "out of memory for a job");
    enum rc rc = process_start(&p, args, err);
    if (rc == RC_OK)
        rc = feed(&p, (struct str){text->p, text->n}, l, err);
    if (rc == RC_OK)
        rc = listen_to(&p, l, err);
    bool fine = process_end(&p, rc != RC_OK, how);
    const char *problem = fine || l->has_error ? NULL : module_problem();
    if (problem && rc != RC_CANCELLED) {
        err->rc = RC_OK; /* that the child did not take its job is no news */
        rc = err_set(err, RC_IO, "%s", problem);
    } else if (rc == RC_OK && (!fine || !l->has_result))
        rc = err_set(err, RC_IO, "the DuckDB process %s before it was done", how);
    return rc;
}

static _Atomic bool in_trouble;

bool ingest_is_in_trouble(void)
{
    return atomic_load(&in_trouble);
}

void ingest_forget_trouble(void)
{
    atomic_store(&in_trouble, false);
}

enum rc engine_ingest(const struct ingest_job *job, struct ingest_report *ret, struct err *err)
{
    struct buf text;
    struct listening l = {.job = job, .report = ret};
    buf_init(&text, LIMIT_JOB_BYTES);
    job_write(&text, job);
    enum rc rc = run_ingest_child(&text, &l, err);
    buf_done(&text);
    if (rc != RC_CANCELLED)
        atomic_store(&in_trouble, rc != RC_OK && rc != RC_INVALID);
    if (rc != RC_OK && l.has_result)
        ingest_report_done(ret);
    return rc;
}

void ingest_report_done(struct ingest_report *r)
{
    mem_free(r->column_nulls);
    mem_free(r->unique_duplicates);
    mem_free(r->file_hashes);
    mem_free(r->file_sizes);
    *r = (struct ingest_report){0};
}

/* ---- describe ---- */

/* Runs a short child to its end; @on_document gets each line. */
static enum rc run_short(const char *const *args, struct str input,
                         void (*on_document)(void *arg, const struct node *root), void *arg,
                         struct err *err)
{
    struct process p;
    struct str line;
    char how[128];
    enum rc rc = process_start(&p, args, err);
    if (rc == RC_OK)
        rc = process_feed(&p, &input, INSPECT_WAIT_US, err);
    while (rc == RC_OK && (rc = process_line(&p, INSPECT_WAIT_US, &line, err)) == RC_OK) {
        struct arena arena;
        arena_init(&arena, LIMIT_LINE_MEMORY);
        const struct node *root = json_parse(line, &arena, err);
        if (root)
            on_document(arg, root);
        arena_done(&arena);
    }
    bool fine = process_end(&p, rc != RC_NOT_FOUND, how);
    if (rc == RC_NOT_FOUND)
        rc = fine ? RC_OK : err_set(err, RC_IO, "the file is not readable (the reader %s)", how);
    return rc;
}

struct description {
    struct schema *schema;
    uint64_t n_rows;
};

static void on_described(void *arg, const struct node *root)
{
    struct description *d = arg;
    const struct node *result = node_get(root, "result"), *list = node_get(result, "columns");
    if (!list || d->schema->columns) /* the columns have room for one description */
        return;
    d->n_rows = number_of(result, "rows");
    d->schema->columns = x_array0(list->n_children + 1, sizeof *d->schema->columns);
    for (const struct node *n = list->first; n; n = n->next) {
        struct column *c = &d->schema->columns[d->schema->n_columns++];
        c->name = x_strdup(text_of(n, "name"));
        if (!column_type_parse(str_from(text_of(n, "type")), &c->type))
            c->type = TYPE_VARCHAR;
    }
}

enum rc engine_describe(const char *local_path, enum file_format format, struct schema *ret,
                        uint64_t *ret_rows, struct err *err)
{
    const char *args[] = {"__describe", local_path, format == FILE_PARQUET ? "parquet" : "csv",
                          NULL};
    struct description d = {.schema = ret};
    *ret = (struct schema){0};
    enum rc rc = run_short(args, (struct str){"", 0}, on_described, &d, err);
    if (rc == RC_OK && ret->n_columns == 0)
        rc = err_set(err, RC_INVALID, "%s: is no readable data file", local_path);
    *ret_rows = d.n_rows;
    return rc;
}
