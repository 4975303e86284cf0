/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For src/serve: a request's job, and the steps that handle it.
 *
 *  begin ── refuse ───────────────────────────────────────────┐
 *    │ (auth, grant, accept, plan, cursor, pins, 304)         │
 *    ├─ cache hit ──────────────┐                             │
 *    ├─ wait for a flight ─ on_ready ─ loop ─┐                │
 *    └─ run ─ inline ───────────┤            │                │
 *            └ pool ─ worker ─ loop ─ finish ┴─ answer ─ done ┘
 */
#ifndef OFFLOADER_SERVE_SERVE_INT_H
#define OFFLOADER_SERVE_SERVE_INT_H

#include "auth/token.h"
#include "metrics/metrics.h"
#include "plan/plan.h"
#include "serve/encode.h"
#include "serve/serve.h"

#define JOB_ARENA_BYTES (1u << 20)
#define LIMIT_HEADERS_BYTES 32768
#define COMPRESS_FROM_BYTES 1024
#define PACK_ON_LOOP_BYTES 65536 /* more is compressed by a worker: the loop blocks on nothing */

/* What those who wait for a flight are told: its enum rc, and this where is_over_groups is set. */
#define WHY_OVER_GROUPS 0x100

enum job_cache { JOB_CACHE_OFF, JOB_CACHE_MISS, JOB_CACHE_HIT };

struct job {
    struct job *next_free;
    struct pool_job pool_job;
    struct cache_waiter waiter;
    struct loop_message message;
    struct serve_loop *home;
    struct http_exchange *x;

    /* the request; strings are borrowed from the connection until the answer */
    bool is_admin_port, is_head;
    struct str accept, accept_encoding, if_none_match, origin, prefer, traceparent;
    struct str pins[3];    /* x-schema-rev, x-index-hash, x-model-tag; p NULL: absent */
    bool has_pin_conflict; /* one of them came twice with different values */
    enum http_form form;
    enum http_coding coding;
    char request_id[REQUEST_ID_BYTES];
    int64_t arrived_us, authenticated_us, planned_us, started_us, ran_us, ended_us;

    /* what answers it */
    struct view *view; /* borrowed on the loop; a reference of the job's own while is_away */
    bool is_away;
    const struct view_endpoint *endpoint;
    struct snapshot *snapshot;
    const struct key *key;
    bool is_public;
    int metrics_slot;
    struct arena arena;
    struct plan plan;
    struct str cache_key;
    enum job_cache cache_state;
    bool is_packed;              /* packed holds the compressed rows, made by a worker */
    struct cache_flight *flight; /* to be filled or abandoned */
    struct cache_entry *entry;   /* a reference */
    _Atomic bool cancelled;

    /* the answer */
    struct buf data, headers, body, packed;
    struct query_result result;
    bool total_known;
    uint64_t total;
    struct buf next_cursor;
    enum rc rc;
    bool is_over_groups; /* the limit of RC_LIMIT is that of groups */
    struct err err;
};

struct serve_loop {
    struct serve *serve;
    struct loop *loop;
    struct live_reader *reader;
    struct job *free_jobs;
    int n_free_jobs;
    struct store_scratch *scratch;
    struct loop_message refresh_view;
    _Atomic bool refresh_is_posted;
};

struct serve {
    struct serve_options options;
    struct serve_loop *loops;
    struct store_scratch **worker_scratch;
};

/* job.c */
struct job *job_take(struct serve_loop *home, struct http_exchange *x,
                     const struct http_request *r);
void job_done(struct job *j);    /* back to the free list */
void job_go_away(struct job *j); /* before it leaves the loop: references of its own */

/* request.c */
void endpoint_begin(struct job *j, const struct http_request *r, struct str name);

/* run.c */
void job_run(struct job *j);
void job_finish(struct job *j); /* on the loop, with rc and data set */
void job_answer(
    struct job *j); /* on the loop: the rows of job_body(), compressed elsewhere if large */
void job_body(const struct job *j, struct cache_body *ret); /* of its cache entry, else its own */
void cache_key_build(struct job *j);

/* answer.c */
void answer_error(struct job *j, int status, const char *message);
void answer_rows(struct job *j, const struct cache_body *body);
/* What stands before the rows in this form. */
struct str answer_head(const struct job *j);
/* Does the cache have these rows compressed as this caller wants them? */
bool packed_is_kept(struct job *j);
void answer_health(struct job *j);
void answer_not_modified(struct job *j, const char *etag);
/* Does the access log show this request? By its id, so that every line about it agrees. */
bool is_access_logged(const struct serve *s, const char *request_id);
/* Appends what every answer carries: id, nosniff, Vary, CORS, release. */
void headers_common(const struct serve *s, struct buf *h, const char *request_id,
                    struct str origin);
/* @ret: quoted tag of this answer in @coding. */
#define ETAG_BYTES 48
void etag_make(const struct job *j, enum http_coding coding, char ret[ETAG_BYTES]);

/* encode_json.c, encode_csv.c: for encode.h */
enum rc encode_json_row(void *arg, const struct value *values);
enum rc encode_csv_row(void *arg, const struct value *values);
void encode_json_value(struct buf *b, enum query_type type, const struct value *v,
                       bool integers_as_strings);

/* splice.c: a compressed body whose end is written fresh for each request */
MUST_CHECK bool splice_pack(enum http_coding coding, struct str head, struct str data,
                            struct buf *out);
MUST_CHECK bool splice_finish(enum http_coding coding, struct str packed, struct str tail,
                              struct buf *out);

#endif
