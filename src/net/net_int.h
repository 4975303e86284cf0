/* SPDX-License-Identifier: Apache-2.0 */
/* Inside net/: a transfer is one attempt of one request, between a caller and the client's thread.
 */
#ifndef OFFLOADER_NET_NET_INT_H
#define OFFLOADER_NET_NET_INT_H

#include <curl/curl.h>
#include <sys/socket.h>

#include "base/thread.h"
#include "net/net.h"

#define NET_CONNECT_TIMEOUT_MS 10000
#define NET_STALL_TIMEOUT_MS 30000
#define NET_BACKOFF_MS 250
#define NET_LIMIT_BACKOFF_MS 30000 /* also the longest Retry-After that is waited for */
#define NET_LIMIT_PER_HOST 16
#define NET_LIMIT_IN_FLIGHT 256
#define NET_LIMIT_REDIRECTS 5
#define NET_LIMIT_HEAD_BYTES (64u << 10)
#define NET_LIMIT_BODY_BYTES (1u << 20)
#define NET_LIMIT_ERROR_BODY_BYTES (16u << 10)
#define NET_LIMIT_URL_BYTES 16384

struct net_host { /* the client's thread; in flight to one origin */
    char *origin;
    int n_in_flight;
    struct net_host *next;
};

enum transfer_state { TRANSFER_QUEUED, TRANSFER_ACTIVE, TRANSFER_DONE };

/*
 *   QUEUED -> ACTIVE   start_queued()   the host has room
 *   ACTIVE -> DONE     finish()         curl is through, or a stall, or the caller gave up
 *   QUEUED -> DONE     finish()         the caller gave up, or it could not be set up
 */
struct net_transfer {
    struct net *net;
    const struct net_request *request;
    const char *url;        /* of this hop */
    bool credentials_apply; /* same origin as the first URL */
    enum net_reach reach;   /* of this hop */
    int64_t stall_timeout_ms;
    struct net_response *response;

    /* the client's thread */
    CURL *easy;
    struct curl_slist *headers;
    struct net_host *host;
    int64_t started_us, active_us; /* monotonic; active: the last byte either way */
    int64_t n_bytes_seen;
    bool sink_started;
    bool refused; /* an address was */
    bool stalled, timed_out;
    enum rc rc;     /* of the sink or a limit */
    struct err why; /* with rc */
    CURLcode result;
    char curl_error[CURL_ERROR_SIZE];

    /* shared: net->mutex */
    enum transfer_state state;
    bool abandoned; /* the caller wants it back */
    pthread_cond_t done;
    struct net_transfer *next;
};

struct net {
    int64_t connect_timeout_ms, stall_timeout_ms, backoff_ms;
    bool allow_loopback;
    const char *ca_file; /* borrowed from the environment; NULL: the system's */
    pthread_t thread;
    CURLM *multi;

    /* the client's thread */
    struct net_transfer *queue, *active;
    struct net_host *hosts;
    int n_active;

    /* shared: mutex */
    pthread_mutex_t mutex;
    struct net_transfer *incoming;
    bool stopping;
};

/* Runs one transfer to its end; the caller's thread. */
void client_run(struct net *n, struct net_transfer *t);

/* Makes t->easy from the request. */
MUST_CHECK enum rc transfer_setup(struct net_transfer *t, struct err *err);
void transfer_teardown(struct net_transfer *t);

/* True when @address may be connected to. */
bool address_is_allowed(const struct sockaddr *address, enum net_reach reach, bool allow_loopback,
                        bool is_http);

/* Milliseconds that a Retry-After value asks for, bounded; -1 when it says nothing usable. A time
 * in it is of the server's clock: it counts from @date, the answer's Date, and from @now_wall_us
 * where that is none. */
int64_t retry_after_ms(struct str value, struct str date, int64_t now_wall_us);
/* Milliseconds before the @nth retry (1 = the first), jittered by @random. */
int64_t retry_backoff_ms(int64_t base_ms, int nth, uint32_t random);

/* Scheme, host and literal addresses of @url are fine for @reach; nothing is sent. @is_first: a
 * redirect must be https. */
MUST_CHECK enum rc url_check(const char *url, enum net_reach reach, bool allow_loopback,
                             bool is_redirect, struct err *err);
/* @location against @base; owned, NULL when it is no URL. */
char *url_resolve(const char *base, const char *location);
char *url_origin(const char *url); /* "https://host:443", owned; NULL when it is no URL */

#endif
