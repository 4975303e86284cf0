/* SPDX-License-Identifier: Apache-2.0 */
/* Set-up, routes, and the layer's own refusals. */
#include "serve/serve.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "serve/serve_int.h"

static void on_refresh_view(struct loop_message *m)
{
    struct serve_loop *l =
        (struct serve_loop *)((char *)m - offsetof(struct serve_loop, refresh_view));
    atomic_store(&l->refresh_is_posted, false);
    (void)live_peek(l->reader);
}

struct serve *serve_new(const struct serve_options *options)
{
    struct serve *s = x_alloc0(sizeof *s);
    s->options = *options;
    s->loops = x_array0((size_t)options->n_loops, sizeof *s->loops);
    for (int i = 0; i < options->n_loops; i++) {
        s->loops[i].serve = s;
        s->loops[i].loop = options->loops[i];
        s->loops[i].reader = live_reader_new(options->live);
        s->loops[i].scratch = store_scratch_new();
        s->loops[i].refresh_view.run = on_refresh_view;
    }
    s->worker_scratch = x_array0((size_t)options->n_workers + 1, sizeof(struct store_scratch *));
    for (int i = 0; i < options->n_workers; i++)
        s->worker_scratch[i] = store_scratch_new();
    return s;
}

static void free_jobs(struct serve_loop *l)
{
    while (l->free_jobs) {
        struct job *j = l->free_jobs;
        l->free_jobs = j->next_free;
        arena_done(&j->arena);
        buf_done(&j->data);
        buf_done(&j->headers);
        buf_done(&j->body);
        buf_done(&j->packed);
        buf_done(&j->next_cursor);
        mem_free(j);
    }
}

void serve_free(struct serve *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->options.n_loops; i++) {
        free_jobs(&s->loops[i]);
        live_reader_free(s->loops[i].reader);
        store_scratch_free(s->loops[i].scratch);
    }
    for (int i = 0; i < s->options.n_workers; i++)
        store_scratch_free(s->worker_scratch[i]);
    mem_free(s->worker_scratch);
    mem_free(s->loops);
    mem_free(s);
}

void serve_refresh_views(struct serve *s)
{
    for (int i = 0; i < s->options.n_loops; i++)
        if (!atomic_exchange(&s->loops[i].refresh_is_posted, true))
            loop_post(s->loops[i].loop, &s->loops[i].refresh_view);
}

static struct serve_loop *home_of(struct serve *s, struct http_exchange *x)
{
    struct loop *loop = http_exchange_loop(x);
    for (int i = 0; i < s->options.n_loops; i++)
        if (s->loops[i].loop == loop)
            return &s->loops[i];
    return NULL;
}

/* ---- routes ---- */

#define ENDPOINT_PREFIX "/v1/endpoints/"

/* @path is decoded. False: it asks for no endpoint. */
static bool is_endpoint_path(struct str path, struct str *ret_name)
{
    size_t prefix = sizeof ENDPOINT_PREFIX - 1;
    if (!str_starts(path, ENDPOINT_PREFIX) || path.n == prefix)
        return false;
    *ret_name = (struct str){path.p + prefix, path.n - prefix};
    return !memchr(ret_name->p, '/', ret_name->n);
}

static void answer_options(struct job *j)
{
    const char *origins = j->home->serve->options.cors_origins;
    size_t before = 0;
    buf_put_literal(&j->headers, "Allow: GET, HEAD, OPTIONS\r\nCache-Control: no-store\r\n");
    before = j->headers.n;
    headers_common(j->home->serve, &j->headers, j->request_id, j->origin);
    bool is_allowed =
        origins && strstr(buf_cstr(&j->headers) + before, "Access-Control-Allow-Origin") != NULL;
    if (is_allowed)
        buf_put_literal(
            &j->headers,
            "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"
            "Access-Control-Allow-Headers: authorization, content-type, if-none-match, "
            "prefer, traceparent, x-request-id, x-schema-rev, x-index-hash, x-model-tag\r\n"
            "Access-Control-Max-Age: 600\r\n");
    struct http_answer a = {.status = 204,
                            .headers = {j->headers.p, j->headers.n},
                            .not_whole = j->headers.failed != BUF_FINE};
    http_answer(j->x, &a);
    job_done(j);
}

/* No memory for a job: the answer is made in room of its own. */
static void answer_overload(struct serve *s, struct http_exchange *x, const struct http_request *r)
{
    char head_room[2048 + HTTP_LIMIT_TARGET_BYTES], body_room[512];
    struct buf headers = {
        .p = head_room, .capacity = sizeof head_room, .limit_bytes = sizeof head_room};
    struct buf body = {
        .p = body_room, .capacity = sizeof body_room, .limit_bytes = sizeof body_room};
    struct http_refusal refusal = {x, 503, "out of memory; try again soon", r, r->arrived_us};
    serve_on_refuse(&refusal, &headers, &body, s);
    struct http_answer a = {
        .status = 503, .headers = {headers.p, headers.n}, .body = {body.p, body.n}};
    http_answer(x, &a);
}

void serve_on_request(struct http_exchange *x, const struct http_request *r, void *arg)
{
    UNINITIALIZED char path[HTTP_LIMIT_TARGET_BYTES];
    size_t n = 0;
    struct job *j = job_take(home_of(arg, x), x, r);
    if (!j) {
        answer_overload(arg, x, r);
        return;
    }
    if (r->method == HTTP_OPTIONS) {
        answer_options(j);
        return;
    }
    if (r->method != HTTP_GET && r->method != HTTP_HEAD) {
        answer_error(j, 405, "only GET, HEAD and OPTIONS are answered here");
        return;
    }
    if (!http_decode_path(r->path, path, &n)) {
        answer_error(j, 400, "the path is not well-formed: check its percent-encoding");
        return;
    }
    struct str decoded = {path, n}, name;
    if (str_is(decoded, "/healthz"))
        answer_health(j);
    else if (is_endpoint_path(decoded, &name))
        endpoint_begin(j, r, name);
    else
        answer_error(j, 404, "there is nothing at this path");
}

void serve_endpoint(struct serve *s, struct http_exchange *x, const struct http_request *r,
                    struct str name)
{
    struct job *j = job_take(home_of(s, x), x, r);
    if (!j) {
        answer_overload(s, x, r);
        return;
    }
    j->is_admin_port = true;
    endpoint_begin(j, r, name);
}

/* The endpoint that a refused request was for. NULL: none of the project, or its path was not
 * read. */
static const struct view_endpoint *find_refused(struct serve *s, const struct http_refusal *refusal)
{
    UNINITIALIZED char path[HTTP_LIMIT_TARGET_BYTES];
    const struct http_request *r = refusal->r;
    const struct view *v = live_peek(home_of(s, refusal->x)->reader);
    struct str name;
    size_t n = 0;
    bool is_named = v && r && r->path.n > 0 && http_decode_path(r->path, path, &n) &&
                    is_endpoint_path((struct str){path, n}, &name);
    return is_named ? view_endpoint(v, name) : NULL;
}

void serve_on_refuse(const struct http_refusal *refusal, struct buf *headers, struct buf *body,
                     void *arg)
{
    struct serve *s = arg;
    const struct http_request *r = refusal->r;
    const struct view_endpoint *e = find_refused(s, refusal);
    int status = refusal->status;
    char request_id[REQUEST_ID_BYTES];
    request_id_choose(r ? r->request_id : (struct str){NULL, 0}, request_id);
    buf_put_literal(headers, "Content-Type: application/json\r\nCache-Control: no-store\r\n");
    if (status == 503)
        buf_put_literal(headers, "Retry-After: 1\r\n");
    if (status == 405)
        buf_put_literal(headers, "Allow: GET, HEAD, OPTIONS\r\n");
    headers_common(s, headers, request_id, r ? r->origin : (struct str){NULL, 0});
    error_body(body, error_family(status), refusal->message, request_id);
    metrics_request(e ? e->metrics_slot : METRICS_UNKNOWN, metrics_status_of(status),
                    refusal->arrived_us ? monotonic_us() - refusal->arrived_us : 0);
    /* With a request: answers leave too slowly; without: there was no room for it. */
    if (status == 503)
        metrics_shed(r ? MSHED_MEMORY : MSHED_CONNECTIONS);
    if (is_access_logged(s, request_id))
        log_event(LOG_INFO, "request", refusal->message, LF_STR("request_id", request_id),
                  LF_STR("endpoint", e ? e->endpoint->name : "_unknown"), LF_INT("status", status));
}
