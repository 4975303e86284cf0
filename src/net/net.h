/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program's HTTP client, on libcurl's multi interface: one thread drives every transfer,
 * callers block until theirs is done. Retries, redirects, time-outs, request signing and the guard
 * against request forgery live here.
 *
 * Limits: connect 10 s, no byte for 30 s is a stall, 16 requests in flight a host, 5 redirects
 * (https only, no credentials to another host), 64 KiB of response head. TLS certificates are
 * always verified, against CURL_CA_BUNDLE or SSL_CERT_FILE when set. Proxy variables are not
 * obeyed.
 *
 * Threads: net_fetch from any thread, never a loop's.
 */
#ifndef OFFLOADER_NET_NET_H
#define OFFLOADER_NET_NET_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "metrics/metrics.h"

struct net;

struct net_options { /* 0 means the default */
    int64_t connect_timeout_ms, stall_timeout_ms;
    int64_t backoff_ms;  /* first pause before a retry; doubles, jittered */
    bool allow_loopback; /* OFFLOADER_ALLOW_LOOPBACK: lifts the guard for loopback (see below) */
};
MUST_CHECK enum rc net_new(const struct net_options *options, struct net **ret, struct err *err);
void net_free(struct net *n); /* no call may be under way; NULL is fine */

/* Where a request may go. Checked on the address that is really connected to. */
enum net_reach {
    NET_REACH_PUBLIC, /* https only; loopback, link-local and cloud metadata addresses are refused;
                         with allow_loopback loopback is fine, and http:// when it leads there */
    NET_REACH_NAMED,  /* the operator's own variable or flag names this host: any address, http://
                         too */
};

struct net_header {
    const char *name, *value; /* the name in lower case */
};

struct net_signer { /* AWS Signature Version 4; everything borrowed for the call */
    const char *key_id, *secret, *session_token; /* session_token may be NULL */
    const char *region, *service;
};

struct net_response { /* owned; net_response_done */
    int status;
    struct buf head; /* "name: value\n" lines of the last response */
    struct buf body; /* of a 2xx answer without a sink, else the first 16 KiB */
    char *url;       /* the one that answered, after redirects */
    uint64_t body_bytes;
    bool is_elsewhere; /* another origin answered than was asked: no credentials went there */
};
void net_response_done(struct net_response *r);
/* Borrowed; p is NULL when the header is absent. @name in lower case. */
struct str net_response_header(const struct net_response *r, const char *name);

/*
 * Takes the body of a 2xx answer, on the client's thread. on_start comes before each attempt's body
 * (a retry starts over). What they return other than RC_OK ends the request with that error, no
 * retry.
 */
struct net_sink {
    enum rc (*on_start)(void *arg, const struct net_response *head,
                        struct err *err); /* may be NULL */
    enum rc (*on_body)(void *arg, const void *p, size_t n, struct err *err);
    void *arg;
};

struct net_request {    /* everything borrowed for the call; zero is a sensible default */
    const char *method; /* NULL: GET */
    const char *url; /* http(s)://host[:port]/path?query, percent-encoded; no user, no fragment */
    const struct net_header *headers;
    size_t n_headers;
    const char *authorization;       /* NULL or the header's value; never leaves the first host */
    const struct net_signer *signer; /* NULL: unsigned; never signs for another host */
    struct str body;
    size_t limit_body_bytes; /* without a sink; 0: 1 MiB; RC_LIMIT past it */
    const struct net_sink *sink;
    enum net_reach reach;
    int n_retries;            /* after transport errors, 429 and 5xx */
    int64_t timeout_ms;       /* of one attempt, 0: none (the stall time-out always holds) */
    int64_t stall_timeout_ms; /* 0: the client's; for an answer that comes when work is done */
    bool no_redirects;        /* a redirect is an answer like any other */
    bool counted;             /* in the object store metrics, as @store */
    enum metrics_store store;
    const _Atomic bool *cancelled; /* NULL: cannot be */
};

/*
 * RC_OK whatever the status: net_check_status() turns it into an error. Else RC_UNAVAILABLE (no
 * answer after the retries: DNS, connect, TLS, stall, short body), RC_INVALID (a URL that is none
 * or leads to a refused place: nothing was sent), RC_LIMIT, RC_CANCELLED, RC_NO_MEMORY, or what the
 * sink said. Messages name scheme, host and path, never the query, a header or a credential. Fill
 * @ret with {0}; on failure it holds nothing.
 */
MUST_CHECK enum rc net_fetch(struct net *n, const struct net_request *request,
                             struct net_response *ret, struct err *err);
/* RC_OK for 2xx and 304; 404 and 410 RC_NOT_FOUND, 401 and 403 RC_DENIED, 412 RC_CONFLICT, 416
 * RC_CORRUPT, 429 and 5xx RC_UNAVAILABLE, the rest RC_INVALID. @what begins the message: "cannot
 * read 'gs://b/o'". */
MUST_CHECK enum rc net_check_status(const struct net_response *r, const char *what,
                                    struct err *err);

/* For callers with retries of their own: waits as net_fetch does before the @nth (1 = the first).
 * False when @cancelled turned true meanwhile. */
MUST_CHECK bool net_pause_before_retry(struct net *n, int nth, const _Atomic bool *cancelled);

/* ---- URLs ---- */

/* Appends RFC 3986 percent-encoding: everything but unreserved bytes (and '/' with @keep_slashes).
 */
void net_url_encode(struct buf *b, struct str s, bool keep_slashes);
/* Scheme, host, path: what may be shown of @url. Owned. */
char *net_url_display(const char *url);
/* True when both have the same scheme, host and port. */
bool net_url_same_origin(const char *a, const char *b);

/* libcurl's version and those of the libraries it stands on; static. */
const char *net_library_version(void);

#endif
