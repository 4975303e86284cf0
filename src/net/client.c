/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's thread: takes transfers from callers, starts them as hosts have room, drives curl,
 * and gives them back. A caller owns its transfer; between client_run()'s start and TRANSFER_DONE
 * the client's thread alone touches the fields that are its own.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/timeutil.h"
#include "net/net_int.h"

#define POLL_MS 1000         /* with nothing to watch */
#define CANCEL_POLL_US 50000 /* how often a waiting caller looks at its flag */

/* ---- the client's thread ---- */

static void finish(struct net *n, struct net_transfer *t)
{
    if (t->host)
        t->host->n_in_flight--;
    t->host = NULL;
    if (t->easy) {
        long status = 0;
        (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        t->response->status = (int)status;
        (void)curl_multi_remove_handle(n->multi,
                                       t->easy); /* fails only for one that is not in it */
        transfer_teardown(t);
    }
    mutex_lock(&n->mutex);
    t->state = TRANSFER_DONE;
    cond_signal(&t->done);
    mutex_unlock(&n->mutex);
}

static struct net_host *host_for(struct net *n, const char *url)
{
    AUTO(mem_free_auto) char *origin = url_origin(url);
    for (struct net_host *h = n->hosts; h; h = h->next)
        if (origin && strcmp(h->origin, origin) == 0)
            return h;
    struct net_host *h = x_alloc0(sizeof *h);
    h->origin = origin ? TAKE(origin) : x_strdup("");
    h->next = n->hosts;
    n->hosts = h;
    return h;
}

static void drop_idle_hosts(struct net *n)
{
    for (struct net_host **at = &n->hosts; *at;) {
        struct net_host *h = *at;
        if (h->n_in_flight > 0) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        mem_free(h->origin);
        mem_free(h);
    }
}

static void start_one(struct net *n, struct net_transfer *t, struct net_host *host)
{
    t->rc = transfer_setup(t, &t->why);
    if (t->rc == RC_OK && curl_multi_add_handle(n->multi, t->easy) != CURLM_OK)
        t->rc = err_set(&t->why, RC_NO_MEMORY, "a request cannot be started");
    if (t->rc != RC_OK) {
        finish(n, t);
        return;
    }
    t->host = host;
    host->n_in_flight++;
    t->started_us = t->active_us = monotonic_us();
    mutex_lock(&n->mutex);
    t->state = TRANSFER_ACTIVE;
    mutex_unlock(&n->mutex);
    t->next = n->active;
    n->active = t;
    n->n_active++;
}

static bool is_abandoned(struct net *n, struct net_transfer *t)
{
    LOCKED(&n->mutex);
    return t->abandoned;
}

/* In order of arrival, but a full host holds up nobody else. */
static void start_queued(struct net *n)
{
    for (struct net_transfer **at = &n->queue; *at;) {
        struct net_transfer *t = *at;
        struct net_host *host = host_for(n, t->url);
        bool abandoned = is_abandoned(n, t);
        if (!abandoned &&
            (host->n_in_flight >= NET_LIMIT_PER_HOST || n->n_active >= NET_LIMIT_IN_FLIGHT)) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        t->next = NULL;
        if (abandoned) {
            t->result = CURLE_ABORTED_BY_CALLBACK;
            finish(n, t);
            continue;
        }
        start_one(n, t, host);
    }
    drop_idle_hosts(n);
}

static void leave_active(struct net *n, struct net_transfer *t)
{
    for (struct net_transfer **at = &n->active; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            n->n_active--;
            t->next = NULL;
            return;
        }
}

static void collect_done(struct net *n)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(n->multi, &left));) {
        struct net_transfer *t = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode result = m->data.result;
        if (curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t) != CURLE_OK || !t)
            continue;
        t->result = result;
        leave_active(n, t);
        finish(n, t);
    }
}

/* Ends what stalls, what is past its time and what nobody waits for. Returns ms to the next look.
 */
static int end_late(struct net *n)
{
    int64_t now = monotonic_us();
    int64_t wait_us = POLL_MS * 1000;
    for (struct net_transfer *t = n->active, *next; t; t = next) {
        next = t->next;
        int64_t stall_us = t->active_us + t->stall_timeout_ms * 1000 - now;
        int64_t left_us = t->request->timeout_ms
                              ? t->started_us + t->request->timeout_ms * 1000 - now
                              : INT64_MAX;
        bool abandoned = is_abandoned(n, t);
        t->stalled = stall_us <= 0;
        t->timed_out = left_us <= 0;
        if (t->stalled || t->timed_out || abandoned) {
            t->result = CURLE_OPERATION_TIMEDOUT;
            leave_active(n, t);
            finish(n, t);
            continue;
        }
        wait_us = stall_us < wait_us ? stall_us : wait_us;
        wait_us = left_us < wait_us ? left_us : wait_us;
    }
    return (int)(wait_us / 1000) + 1;
}

/* Time that went into sinks is no stall of anybody's server: a slow disk holds up this whole
 * thread. */
static void forgive(struct net *n, int64_t busy_us)
{
    int64_t now = monotonic_us();
    for (struct net_transfer *t = n->active; t; t = t->next)
        t->active_us = t->active_us + busy_us < now ? t->active_us + busy_us : now;
}

static bool take_incoming(struct net *n)
{
    LOCKED(&n->mutex);
    struct net_transfer **end = &n->queue;
    while (*end)
        end = &(*end)->next;
    /* Callers push at the front: reversed, they stand in order of arrival. */
    struct net_transfer *reversed = NULL;
    while (n->incoming) {
        struct net_transfer *t = n->incoming;
        n->incoming = t->next;
        t->next = reversed;
        reversed = t;
    }
    *end = reversed;
    return !n->stopping;
}

static void *run_client(void *arg)
{
    struct net *n = arg;
    while (take_incoming(n)) {
        int n_running;
        start_queued(n);
        int64_t before_us = monotonic_us();
        (void)curl_multi_perform(n->multi, &n_running); /* failures are the transfers' results */
        forgive(n, monotonic_us() - before_us);
        collect_done(n);
        int wait_ms = end_late(n);
        if (n->queue && n->n_active == 0)
            continue;
        (void)curl_multi_poll(n->multi, NULL, 0, wait_ms, NULL); /* woken early is fine */
    }
    assert(!n->active && !n->queue);
    return NULL;
}

/* ---- callers ---- */

void client_run(struct net *n, struct net_transfer *t)
{
    const _Atomic bool *cancelled = t->request->cancelled;
    cond_init(&t->done);
    mutex_lock(&n->mutex);
    assert(!n->stopping);
    t->next = n->incoming;
    n->incoming = t;
    (void)curl_multi_wakeup(n->multi); /* at worst it is noticed at the next turn */
    while (t->state != TRANSFER_DONE) {
        if (!cancelled || t->abandoned) {
            cond_wait(&t->done, &n->mutex);
            continue;
        }
        if (cond_wait_until(&t->done, &n->mutex, monotonic_us() + CANCEL_POLL_US))
            continue;
        if (atomic_load_explicit(cancelled, memory_order_relaxed)) {
            t->abandoned = true;
            (void)curl_multi_wakeup(n->multi);
        }
    }
    mutex_unlock(&n->mutex);
    cond_done(&t->done);
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static bool curl_is_ready;

static void init_curl(void)
{
    curl_is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static const char *ca_file(void)
{
    const char *path = getenv("CURL_CA_BUNDLE");
    if (!path || !*path)
        path = getenv("SSL_CERT_FILE");
    return path && *path ? path : NULL;
}

enum rc net_new(const struct net_options *options, struct net **ret, struct err *err)
{
    (void)pthread_once(&curl_once, init_curl); /* fails only for a bad control word */
    if (!curl_is_ready)
        return err_set(err, RC_INTERNAL, "libcurl cannot be initialized");
    struct net *n = x_alloc0(sizeof *n);
    n->connect_timeout_ms =
        options->connect_timeout_ms ? options->connect_timeout_ms : NET_CONNECT_TIMEOUT_MS;
    n->stall_timeout_ms =
        options->stall_timeout_ms ? options->stall_timeout_ms : NET_STALL_TIMEOUT_MS;
    n->backoff_ms = options->backoff_ms ? options->backoff_ms : NET_BACKOFF_MS;
    n->allow_loopback = options->allow_loopback;
    n->ca_file = ca_file();
    mutex_init(&n->mutex);
    n->multi = curl_multi_init();
    if (!n->multi ||
        curl_multi_setopt(n->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)NET_LIMIT_PER_HOST) !=
            CURLM_OK ||
        curl_multi_setopt(n->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX) != CURLM_OK) {
        curl_multi_cleanup(n->multi);
        mutex_done(&n->mutex);
        mem_free(n);
        return err_set(err, RC_NO_MEMORY, "the HTTP client cannot be set up");
    }
    enum rc rc = thread_start(&n->thread, "net", run_client, n, err);
    if (rc != RC_OK) {
        curl_multi_cleanup(n->multi);
        mutex_done(&n->mutex);
        mem_free(n);
        return rc;
    }
    *ret = n;
    return RC_OK;
}

void net_free(struct net *n)
{
    if (!n)
        return;
    mutex_lock(&n->mutex);
    n->stopping = true;
    mutex_unlock(&n->mutex);
    (void)curl_multi_wakeup(n->multi);
    thread_join(n->thread);
    curl_multi_cleanup(n->multi);
    drop_idle_hosts(n);
    mutex_done(&n->mutex);
    mem_free(n);
}

const char *net_library_version(void)
{
    return curl_version();
}
