/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A project opened in this process for a few queries: the server's refresh, views, planner,
 * executors and encoder without its ports.
 *
 * Threads: one; the refresh inside has its own.
 */
#ifndef OFFLOADER_TRIAL_TRIAL_H
#define OFFLOADER_TRIAL_TRIAL_H

#include "base/errlist.h"
#include "http/http.h"
#include "query/query.h"

struct trial;

struct trial_options {
    const char *config; /* offloader.yml, its directory, or a bucket prefix */
    const char *endpoint;
    bool use_duckdb; /* local_table endpoints on DuckDB too */
};

/*
 * Loads the project and builds the endpoint's dataset in a temporary directory. Everything in
 * @options is borrowed for the trial's life. RC_INVALID: findings say what is wrong with the
 * project, or @err what is wrong with the snapshot. RC_NOT_FOUND: no such endpoint.
 */
MUST_CHECK enum rc trial_new(const struct trial_options *options, struct errlist *findings,
                             struct trial **ret, struct err *err);
void trial_free(struct trial *t); /* NULL is fine */

struct trial_facts { /* borrowed from the trial */
    const char *endpoint, *dataset, *snapshot_id;
    int64_t version;
    bool is_remote_scan;
    uint64_t n_rows, n_bytes;
    size_t n_sort_columns;
    const char *sort_columns[8];
};
void trial_describe(const struct trial *t, struct trial_facts *ret);

struct trial_answer {
    struct query_stats stats;
    uint64_t n_rows, limit, position;
    bool has_more;
    uint64_t estimate_rows; /* serving store: decides inline or pool */
    int64_t duration_us;    /* of execution and encoding */
};
/*
 * Answers @query_string for @tenant (NULL: none) in @form into @rows (emptied first; it carries the
 * limit). RC_INVALID: the request is at fault, as a 422 would say.
 */
MUST_CHECK enum rc trial_run(struct trial *t, const char *tenant, const char *query_string,
                             enum http_form form, struct buf *rows, struct trial_answer *ret,
                             struct err *err);

#endif
