/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API port (api.md): route, authenticate, plan, run, encode. Small plans run on the loop; large
 * scans and DuckDB plans go to the pool and come back as a message. A request reads one view.
 *
 * Threads: serve_on_request on the exchange's loop. Per loop there is one context (jobs, scratch,
 * view reader) that only its thread touches.
 */
#ifndef OFFLOADER_SERVE_SERVE_H
#define OFFLOADER_SERVE_SERVE_H

#include "cache/cache.h"
#include "engine/engine.h"
#include "http/http.h"
#include "live/live.h"
#include "pool/pool.h"

#define LIMIT_ANSWER_BYTES (32u << 20)
#define LIMIT_RETRY_AFTER_S 1

enum access_log { ACCESS_LOG_OFF, ACCESS_LOG_ON, ACCESS_LOG_SAMPLED };

struct serve_options {
    struct live *live;
    struct cache *cache;
    struct pool *pool;
    int n_workers;             /* of the pool: a scratch each */
    struct engine *engine;     /* NULL: nothing needs DuckDB */
    bool engine_is_duckdb;     /* OFFLOADER_ENGINE=duckdb */
    struct loop *const *loops; /* every loop that requests may come on */
    int n_loops;
    const char *cors_origins; /* NULL: none; "*"; or a comma-separated list. Borrowed for good. */
    const char *release;      /* NULL: none. Borrowed for good. */
    int64_t query_timeout_us;
    uint64_t inline_rows;
    enum access_log access_log;
    double access_log_share; /* of requests, when sampled */
    /* A snapshot's file failed its checksum: told once or more, on an event loop; borrowed. */
    void (*on_broken)(void *arg, struct snapshot *s);
    void *arg;
};

struct serve;
struct serve *serve_new(const struct serve_options *options);
void serve_free(struct serve *s); /* loops have stopped, the pool is gone */

/* For http_server_options of the API port; @arg is the struct serve. */
void serve_on_request(struct http_exchange *x, const struct http_request *r, void *arg);
void serve_on_refuse(const struct http_refusal *refusal, struct buf *headers, struct buf *body,
                     void *arg);
/* GET /v1/endpoints/<name> that came in on the admin port. @name is decoded. */
void serve_endpoint(struct serve *s, struct http_exchange *x, const struct http_request *r,
                    struct str name);
/* Makes each loop look at the newest view, so that an idle one keeps no old snapshot. Any thread.
 */
void serve_refresh_views(struct serve *s);

/* ---- shared with admin: the envelope and the headers every answer has ---- */

#define REQUEST_ID_BYTES 129
/* The caller's X-Request-Id when it is well-formed, else a fresh one; NUL-terminated. */
void request_id_choose(struct str sent, char ret[REQUEST_ID_BYTES]);
/* Appends the headers every answer of the admin port carries. */
void headers_admin(const struct serve *s, struct buf *h, const char *request_id);
/* Family of an error status: "unauthorized", "not_found", ... */
const char *error_family(int status);
/* {"error":{"family","message"},"meta":{"request_id"}} */
void error_body(struct buf *b, const char *family, const char *message, const char *request_id);

#endif
