/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of the admin port, and the guard in front of the guarded ones. */
#include "admin/admin.h"

#include "admin/admin_int.h"
#include "auth/token.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "metrics/metrics.h"

#define LIMIT_PAGE_BYTES (64u << 20)
#define ENDPOINT_PREFIX "/v1/endpoints/"

enum rc admin_new(const struct admin_options *options, struct admin **ret, struct err *err)
{
    struct admin *a = x_alloc0(sizeof *a);
    a->options = *options;
    a->started_us = monotonic_us();
    mutex_init(&a->lock);
    cond_init(&a->changed);
    enum rc rc =
        idempotency_new(options->cache_dir, options->idempotency_ttl_hours, &a->idempotency, err);
    if (rc != RC_OK) {
        admin_free(a);
        return rc;
    }
    *ret = a;
    return RC_OK;
}

void admin_stop(struct admin *a)
{
    LOCKED(&a->lock);
    a->stopping = true;
    while (a->n_actions > 0)
        cond_wait(&a->changed, &a->lock);
}

void admin_free(struct admin *a)
{
    if (!a)
        return;
    idempotency_free(a->idempotency);
    cond_done(&a->changed);
    mutex_done(&a->lock);
    mem_free(a);
}

/* ---- answers ---- */

void admin_answer(struct admin *a, struct http_exchange *x, int status, const char *content_type,
                  struct str extra_headers, const struct buf *body, const char *request_id)
{
    struct buf h;
    buf_init(&h, 65536);
    buf_printf(&h, "Content-Type: %s\r\nCache-Control: no-store\r\n", content_type);
    buf_put_str(&h, extra_headers);
    headers_admin(a->options.serve, &h, request_id);
    struct http_answer answer = {
        .status = status, .headers = {h.p, h.n}, .body = {body->p, body->n}};
    answer.not_whole = h.failed || body->failed;
    http_answer(x, &answer);
    buf_done(&h);
}

static void answer_error(struct admin *a, struct http_exchange *x, int status, const char *family,
                         const char *message, struct str extra, const char *request_id)
{
    struct buf body;
    if (status == 401)
        extra = STR("WWW-Authenticate: Bearer\r\n");
    else if (status == 503)
        extra = STR("Retry-After: 1\r\n");
    buf_init(&body, 65536);
    error_body(&body, family, message, request_id);
    admin_answer(a, x, status, "application/json", extra, &body, request_id);
    buf_done(&body);
}

void admin_error(struct admin *a, struct http_exchange *x, int status, const char *family,
                 const char *message, const char *request_id)
{
    answer_error(a, x, status, family, message, (struct str){"", 0}, request_id);
}

static void answer_page(struct admin *a, struct http_exchange *x, int status,
                        const char *content_type, struct buf *body, const char *request_id)
{
    if (body->failed)
        admin_error(a, x, 500, "internal", "the page needs more memory than is allowed",
                    request_id);
    else
        admin_answer(a, x, status, content_type, (struct str){"", 0}, body, request_id);
}

/* False after an answer: the token is missing, wrong, or not configured. */
static bool pass_guard(struct admin *a, struct http_exchange *x, const struct http_request *r,
                       const char *request_id)
{
    if (!a->options.token) {
        admin_error(a, x, 503, "not_ready",
                    "no admin token is configured: set OFFLOADER_ADMIN_TOKEN", request_id);
        return false;
    }
    if (!token_equals(r->authorization, a->options.token)) {
        admin_error(a, x, 401, "unauthorized", "the admin token is required", request_id);
        return false;
    }
    return true;
}

/* ---- routes ---- */

enum page {
    PAGE_LIVE,
    PAGE_READY,
    PAGE_STATUS,
    PAGE_METRICS,
    PAGE_DIAGNOSTICS,
    PAGE_EVENTS,
    N_PAGES
};

static const struct {
    const char *path;
    bool is_guarded;
} pages[N_PAGES] = {
    [PAGE_LIVE] = {"/live", false},
    [PAGE_READY] = {"/ready", false},
    [PAGE_STATUS] = {"/status", false},
    [PAGE_METRICS] = {"/metrics", false},
    [PAGE_DIAGNOSTICS] = {"/diagnostics", true},
    [PAGE_EVENTS] = {"/events", true},
};

static enum page find_page(struct str path)
{
    enum page p = PAGE_LIVE;
    while (p < N_PAGES && !str_is(path, pages[p].path))
        p++;
    return p;
}

static void answer_get(struct admin *a, struct http_exchange *x, enum page page,
                       const char *request_id)
{
    struct buf body;
    int status = 200;
    const char *type = "application/json";
    buf_init(&body, LIMIT_PAGE_BYTES);
    switch (page) {
    case PAGE_LIVE:
        buf_put_literal(&body, "{\"status\":\"ok\"}");
        break;
    case PAGE_READY:
        page_ready(a, &body, &status);
        break;
    case PAGE_STATUS:
        page_status(a, &body);
        break;
    case PAGE_METRICS:
        page_metrics(a, &body);
        type = "text/plain; version=0.0.4; charset=utf-8";
        break;
    case PAGE_DIAGNOSTICS:
        page_diagnostics(a, &body);
        break;
    case PAGE_EVENTS:
        events_write_json(&body);
        break;
    case N_PAGES:
        break;
    }
    answer_page(a, x, status, type, &body, request_id);
    buf_done(&body);
}

static bool is_endpoint(struct str path)
{
    return str_starts(path, ENDPOINT_PREFIX) && path.n > sizeof ENDPOINT_PREFIX - 1;
}

/* The header line of a 405: what this path answers. Nothing is there: what the port answers. */
static struct str allowed_at(struct str path)
{
    if (action_exists(path))
        return STR("Allow: POST\r\n");
    if (find_page(path) < N_PAGES || is_endpoint(path))
        return STR("Allow: GET, HEAD\r\n");
    return STR("Allow: GET, HEAD, POST\r\n");
}

static void route(struct admin *a, struct http_exchange *x, const struct http_request *r,
                  struct str path, const char *request_id)
{
    bool is_get = r->method == HTTP_GET || r->method == HTTP_HEAD;
    size_t prefix = sizeof ENDPOINT_PREFIX - 1;
    enum page page = find_page(path);
    if (page < N_PAGES && is_get) {
        if (!pages[page].is_guarded || pass_guard(a, x, r, request_id))
            answer_get(a, x, page, request_id);
    } else if (is_get && is_endpoint(path)) {
        serve_endpoint(a->options.serve, x, r, (struct str){path.p + prefix, path.n - prefix});
    } else if (action_exists(path) && r->method == HTTP_POST) {
        if (pass_guard(a, x, r, request_id))
            action_begin(a, x, r, path, request_id);
    } else if (page < N_PAGES || is_endpoint(path) || action_exists(path) ||
               (!is_get && r->method != HTTP_POST)) {
        answer_error(a, x, 405, "bad_request", "this method is not answered here", allowed_at(path),
                     request_id);
    } else {
        admin_error(a, x, 404, "not_found", "there is nothing at this path", request_id);
    }
}

void admin_on_request(struct http_exchange *x, const struct http_request *r, void *arg)
{
    struct admin *a = arg;
    char request_id[REQUEST_ID_BYTES], path[HTTP_LIMIT_TARGET_BYTES];
    size_t n = 0;
    request_id_choose(r->request_id, request_id);
    if (!http_decode_path(r->path, path, &n))
        admin_error(a, x, 400, "bad_request",
                    "the path is not well-formed: check its percent-encoding", request_id);
    else
        route(a, x, r, (struct str){path, n}, request_id);
}

/* Of a request that was refused by its head, and may be half-filled. */
static struct str allowed_to(const struct http_request *r)
{
    char decoded[HTTP_LIMIT_TARGET_BYTES];
    struct str path = {decoded, 0};
    if (!r || !http_decode_path(r->path, decoded, &path.n))
        path.n = 0;
    return allowed_at(path);
}

void admin_on_refuse(const struct http_refusal *refusal, struct buf *headers, struct buf *body,
                     void *arg)
{
    struct admin *a = arg;
    const struct http_request *r = refusal->r;
    int status = refusal->status;
    char request_id[REQUEST_ID_BYTES];
    request_id_choose(r ? r->request_id : (struct str){NULL, 0}, request_id);
    buf_put_literal(headers, "Content-Type: application/json\r\nCache-Control: no-store\r\n");
    if (status == 405)
        buf_put_str(headers, allowed_to(r));
    if (status == 503)
        buf_put_literal(headers, "Retry-After: 1\r\n");
    headers_admin(a->options.serve, headers, request_id);
    error_body(body, error_family(status), refusal->message, request_id);
}

void admin_write_diagnostics(struct admin *a, struct buf *b)
{
    page_diagnostics(a, b);
}
