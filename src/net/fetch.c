/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request as its caller sees it: attempts with pauses between them, redirects, and one clear
 * error.
 *
 * Retried: transport errors, 429 and 5xx. Not retried: other statuses, certificates that do not
 * verify, refused places, and what the sink or a limit ended.
 */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "net/net_int.h"

void net_response_done(struct net_response *r)
{
    buf_done(&r->head);
    buf_done(&r->body);
    mem_free(r->url);
    r->url = NULL;
}

struct str net_response_header(const struct net_response *r, const char *name)
{
    size_t name_n = strlen(name);
    for (size_t at = 0; at < r->head.n;) {
        const char *line = r->head.p + at;
        const char *end = memchr(line, '\n', r->head.n - at);
        size_t n = (size_t)(end - line);
        if (n >= name_n + 2 && memcmp(line, name, name_n) == 0 && line[name_n] == ':')
            return (struct str){line + name_n + 2, n - name_n - 2};
        at += n + 1;
    }
    return (struct str){0};
}

static bool is_redirect(const struct net_request *q, const struct net_response *r)
{
    int s = r->status;
    bool reads = !q->method || strcmp(q->method, "GET") == 0 || strcmp(q->method, "HEAD") == 0;
    return !q->no_redirects && reads &&
           (s == 301 || s == 302 || s == 303 || s == 307 || s == 308) &&
           net_response_header(r, "location").n > 0;
}

static void reset_response(struct net_response *r, const struct net_request *q, const char *url)
{
    size_t limit = q->limit_body_bytes ? q->limit_body_bytes : NET_LIMIT_BODY_BYTES;
    net_response_done(r);
    buf_init(&r->head, NET_LIMIT_HEAD_BYTES);
    buf_init(&r->body, limit > NET_LIMIT_ERROR_BODY_BYTES ? limit : NET_LIMIT_ERROR_BODY_BYTES);
    r->url = x_strdup(url);
    r->status = 0;
    r->body_bytes = 0;
}

/* What went wrong with a transfer that curl gave up, and whether asking again may help. */
static enum rc transport_error(const struct net_transfer *t, bool *ret_again, struct err *err)
{
    AUTO(mem_free_auto) char *shown = net_url_display(t->url);
    *ret_again = false;
    if (t->refused)
        return err_set(
            err, RC_INVALID,
            "'%s' leads to a loopback, link-local or metadata address%s, which is refused", shown,
            strncmp(t->url, "http:", 5) == 0 ? ", or over http to a public one" : "");
    if (t->result == CURLE_PEER_FAILED_VERIFICATION || t->result == CURLE_SSL_CACERT_BADFILE)
        return err_set(err, RC_UNAVAILABLE,
                       "'%s': the server's certificate does not verify (%s); a private authority's "
                       "certificate goes into SSL_CERT_FILE",
                       shown, *t->curl_error ? t->curl_error : curl_easy_strerror(t->result));
    *ret_again = true;
    if (t->stalled)
        return err_set(err, RC_UNAVAILABLE, "'%s': no byte came for %lld ms", shown,
                       (long long)t->stall_timeout_ms);
    if (t->timed_out)
        return err_set(err, RC_UNAVAILABLE, "'%s': not done within %lld ms", shown,
                       (long long)t->request->timeout_ms);
    if (t->result == CURLE_PARTIAL_FILE)
        return err_set(err, RC_UNAVAILABLE, "'%s': the body ended before its announced length",
                       shown);
    return err_set(err, RC_UNAVAILABLE, "'%s': %s", shown,
                   *t->curl_error ? t->curl_error : curl_easy_strerror(t->result));
}

/* One attempt, one hop. */
static enum rc attempt(struct net *n, const struct net_request *q, const char *url,
                       bool is_first_origin, struct net_response *r, bool *ret_again,
                       struct err *err)
{
    struct net_transfer t = {
        .net = n,
        .request = q,
        .url = url,
        .credentials_apply = is_first_origin,
        .reach = is_first_origin ? q->reach : NET_REACH_PUBLIC,
        .stall_timeout_ms = q->stall_timeout_ms ? q->stall_timeout_ms : n->stall_timeout_ms,
        .response = r,
    };
    *ret_again = false;
    client_run(n, &t);
    if (q->counted)
        metrics_object_store_request(q->store,
                                     t.result == CURLE_OK && t.rc == RC_OK ? r->status : 0);
    if (t.abandoned && t.result != CURLE_OK)
        return err_set(err, RC_CANCELLED, "cancelled");
    if (t.rc != RC_OK) {
        err_copy(err, &t.why);
        return t.rc;
    }
    if (t.result != CURLE_OK)
        return transport_error(&t, ret_again, err);
    *ret_again = r->status == 429 || r->status >= 500;
    /* An empty body never reached the sink. */
    if (q->sink && q->sink->on_start && !t.sink_started && r->status >= 200 && r->status <= 299)
        return q->sink->on_start(q->sink->arg, r, err);
    return RC_OK;
}

static bool pause_ms(int64_t ms, const _Atomic bool *cancelled)
{
    pthread_mutex_t mutex;
    pthread_cond_t never;
    int64_t end_us = monotonic_us() + ms * 1000;
    bool gave_up = false;
    mutex_init(&mutex);
    cond_init(&never);
    mutex_lock(&mutex);
    for (int64_t now_us; !gave_up && (now_us = monotonic_us()) < end_us;) {
        int64_t look_us = now_us + 50000;
        (void)cond_wait_until(&never, &mutex, look_us < end_us ? look_us : end_us);
        gave_up = cancelled && atomic_load_explicit(cancelled, memory_order_relaxed);
    }
    mutex_unlock(&mutex);
    cond_done(&never);
    mutex_done(&mutex);
    return !gave_up;
}

static int64_t pause_before(const struct net *n, const struct net_response *r, int nth)
{
    uint32_t random;
    random_bytes(&random, sizeof random);
    int64_t ms = retry_backoff_ms(n->backoff_ms, nth, random);
    int64_t asked_ms = r->status ? retry_after_ms(net_response_header(r, "retry-after"),
                                                  net_response_header(r, "date"), wall_us())
                                 : -1;
    return asked_ms > ms ? asked_ms : ms;
}

bool net_pause_before_retry(struct net *n, int nth, const _Atomic bool *cancelled)
{
    uint32_t random;
    random_bytes(&random, sizeof random);
    return pause_ms(retry_backoff_ms(n->backoff_ms, nth, random), cancelled);
}

/* Attempts of one hop until an answer, the last retry, or an error that stays. */
static enum rc hop(struct net *n, const struct net_request *q, const char *url,
                   bool is_first_origin, int *n_left, struct net_response *r, struct err *err)
{
    for (int nth = 1;; nth++) {
        bool again;
        struct err why = ERR_INIT;
        reset_response(r, q, url);
        enum rc rc = attempt(n, q, url, is_first_origin, r, &again, &why);
        if (!again || *n_left == 0) {
            if (rc != RC_OK)
                err_copy(err, &why);
            return rc;
        }
        --*n_left;
        if (!pause_ms(pause_before(n, r, nth), q->cancelled))
            return err_set(err, RC_CANCELLED, "cancelled");
        if (q->counted)
            metrics_object_store_retry(q->store);
    }
}

static enum rc follow(struct net *n, const struct net_request *q, char **url,
                      struct net_response *r, struct err *err)
{
    int n_left = q->n_retries;
    bool is_first_origin = true;
    for (int n_redirects = 0;; n_redirects++) {
        enum rc rc = url_check(*url, is_first_origin ? q->reach : NET_REACH_PUBLIC,
                               n->allow_loopback, n_redirects > 0, err);
        if (rc == RC_OK && q->cancelled && atomic_load_explicit(q->cancelled, memory_order_relaxed))
            rc = err_set(err, RC_CANCELLED, "cancelled");
        if (rc == RC_OK)
            rc = hop(n, q, *url, is_first_origin, &n_left, r, err);
        r->is_elsewhere = !is_first_origin;
        if (rc != RC_OK || !is_redirect(q, r))
            return rc;
        struct str location = net_response_header(r, "location");
        AUTO(mem_free_auto) char *text = x_strndup(location.p, location.n);
        AUTO(mem_free_auto) char *shown = net_url_display(*url);
        char *next = url_resolve(*url, text);
        if (!next)
            return err_set(err, RC_INVALID, "'%s' redirects to something that is no URL", shown);
        mem_free(*url);
        *url = next;
        if (n_redirects == NET_LIMIT_REDIRECTS)
            return err_set(err, RC_INVALID, "'%s': more than %d redirects", shown,
                           NET_LIMIT_REDIRECTS);
        is_first_origin = net_url_same_origin(*url, q->url);
    }
}

enum rc net_fetch(struct net *n, const struct net_request *request, struct net_response *ret,
                  struct err *err)
{
    AUTO(mem_free_auto) char *url = x_strdup(request->url);
    struct net_response r = {0};
    enum rc rc = follow(n, request, &url, &r, err);
    if (rc == RC_OK)
        *ret = r;
    else
        net_response_done(&r);
    return rc;
}

enum rc net_check_status(const struct net_response *r, const char *what, struct err *err)
{
    int s = r->status;
    if ((s >= 200 && s <= 299) || s == 304)
        return RC_OK;
    if (s == 404 || s == 410)
        return err_set(err, RC_NOT_FOUND, "%s: not found (status %d)", what, s);
    if (s == 401)
        return err_set(err, RC_DENIED,
                       "%s: the credentials are missing or were not accepted (status 401)", what);
    if (s == 403)
        return err_set(err, RC_DENIED, "%s: access is denied (status 403)", what);
    if (s == 412)
        return err_set(err, RC_CONFLICT, "%s: the object was replaced meanwhile (status 412)",
                       what);
    if (s == 416)
        return err_set(err, RC_CORRUPT, "%s: shorter than it should be (status 416)", what);
    if (s == 429 || s >= 500)
        return err_set(err, RC_UNAVAILABLE, "%s: the server answered with status %d", what, s);
    return err_set(err, RC_INVALID, "%s: the server answered with status %d", what, s);
}
