/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict HTTP/1.1 server on libuv: one listener a loop (SO_REUSEPORT), one head parser, pipelined
 * answers in order. See assurance.md, design 2 and Limits, for what is refused and how.
 *
 * Threads: an exchange belongs to its loop's thread from on_request to its end. Work elsewhere
 * comes back by loop_post(). The handler answers exactly once with http_answer().
 */
#ifndef OFFLOADER_HTTP_HTTP_H
#define OFFLOADER_HTTP_HTTP_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "loop/loop.h"

#define HTTP_LIMIT_HEAD_BYTES 16384
#define HTTP_LIMIT_TARGET_BYTES 8192
#define HTTP_LIMIT_HEADERS 64
#define HTTP_LIMIT_BODY_BYTES 65536
#define HTTP_LIMIT_REQUESTS_PER_CONNECTION 10000
#define HTTP_LIMIT_PIPELINED 32

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_OPTIONS, HTTP_POST, HTTP_OTHER };

struct http_header {
    struct str name, value; /* name as sent; value trimmed */
};

/* Borrowed from the connection's buffer until http_answer() returns. */
struct http_request {
    enum http_method method;
    struct str method_text;
    struct str path;  /* raw, before percent-decoding, without query */
    struct str query; /* raw, without '?'; n = 0 when absent */
    bool has_query;
    bool http_1_0;
    bool close; /* the caller wants the connection closed after this answer */
    struct http_header headers[HTTP_LIMIT_HEADERS];
    int n_headers;
    bool has_repeated; /* a field below came in several lines: http_header_join() has them all */
    /* Found on the way, n = 0 and p = NULL when absent. A second authorization, origin or
     * content_type is a 400; with a second request_id or traceparent neither counts (n = 0). */
    struct str authorization, accept, accept_encoding, if_none_match, origin, prefer, request_id,
        traceparent, content_type;
    struct str body;    /* admin port only; whole before on_request is called */
    int64_t arrived_us; /* monotonic: first byte of the head */
};

/* A further header by name without regard to case. n_found tells how many there were. */
struct str http_header_get(const struct http_request *r, const char *name, int *ret_n_found);
/* Whether @preference stands among those of a Prefer header, without regard to case. */
bool http_prefers(struct str prefer, struct str preference);

/* All lines of a list-valued field as one list in @room (HTTP_LIMIT_HEAD_BYTES are always enough).
 */
struct str http_header_join(const struct http_request *r, const char *name, char *room,
                            size_t n_room);

struct http_exchange; /* one request and its answer */

struct http_answer {
    int status;
    /* Complete header lines ("Name: value\r\n"...), without Content-Length, Connection and Date,
     * which the layer writes. Borrowed until http_answer() returns. */
    struct str headers;
    /* The body is copied (or written at once) before http_answer() returns, unless @body_ref is
     * set: then the bytes must stay until release(release_arg), called on the loop's thread. */
    struct str body;
    void (*release)(void *release_arg);
    void *release_arg;
    /* Memory ran out while the headers or the body were written: a bare 500 goes out instead. */
    bool not_whole;
    bool close;            /* Connection: close after this answer */
    bool no_body_for_head; /* set by the layer for HEAD; Content-Length still tells body.n */
};

/* Writes the answer. Own loop thread, once an exchange. After it, @x is gone. */
void http_answer(struct http_exchange *x, const struct http_answer *a);
struct loop *http_exchange_loop(struct http_exchange *x);
/* Memory kept for a connection between requests: token memory of auth (SipHash and digest). */
void *http_connection_space(
    struct http_exchange *x); /* HTTP_CONNECTION_SPACE_BYTES, zeroed at accept */
#define HTTP_CONNECTION_SPACE_BYTES 128
/* Called once on the loop's thread when the caller hangs up before the answer; the handler must
 * still call http_answer() in the end (which then writes nothing). */
void http_on_hangup(struct http_exchange *x, void (*on_hangup)(void *arg), void *arg);
bool http_hung_up(const struct http_exchange *x);

/* A request that the layer answers itself: 400, 408, 413, 414, 417, 431, 503. */
struct http_refusal {
    struct http_exchange *x;
    int status;
    const char *message;          /* literal */
    const struct http_request *r; /* may be half-filled; NULL: none was read */
    int64_t arrived_us;           /* monotonic: first byte of the head; 0: none came */
};

struct http_server; /* listeners of one port on a set of loops */

struct http_server_options {
    const char *bind_address;
    int port;          /* 0 picks a free one */
    bool exclusive;    /* refuse (RC_BUSY) when somebody listens on the port already */
    bool allow_bodies; /* admin port: POST with Content-Length up to HTTP_LIMIT_BODY_BYTES */
    int max_connections;
    int64_t head_timeout_us, idle_timeout_us, write_stall_us; /* 5 s, 60 s, 10 s */
    uint64_t
        send_buffer_bytes; /* of all connections; past it new requests get on_overload's answer */
    /* On the loop's thread, for each whole request. */
    void (*on_request)(struct http_exchange *x, const struct http_request *r, void *arg);
    /* Fills the headers and the body of the error envelope into the given buffers. */
    void (*on_refuse)(const struct http_refusal *refusal, struct buf *headers, struct buf *body,
                      void *arg);
    void *arg;
};

/* Binds once, opens a listener on each of @loops. Call before or after loop_start. */
MUST_CHECK enum rc http_server_open(const struct http_server_options *options,
                                    struct loop *const *loops, int n_loops,
                                    struct http_server **ret, struct err *err);
int http_server_port(const struct http_server *s);
uint64_t http_server_connections(const struct http_server *s); /* any thread */
/* Any thread. From now on answers carry Connection: close; the listener goes on accepting until
 * http_server_close_listeners; idle connections are closed after @grace_us. */
void http_server_drain(struct http_server *s, int64_t grace_us);
void http_server_close_listeners(struct http_server *s); /* any thread */
/* Closes everything, waits for the loops to let go (loops must still run). */
void http_server_free(struct http_server *s);

/* Pure functions below: used by the fuzzers and by unit tests. */
struct http_parse_result {
    enum { HTTP_PARSE_MORE, HTTP_PARSE_DONE, HTTP_PARSE_REFUSED } state;
    int status;          /* when refused */
    const char *message; /* literal, when refused */
    size_t head_bytes;   /* when done */
    uint64_t body_bytes; /* announced, when done */
};
/* Looks at @p..@p+@n from the first byte; resumes cheaply with *@scan_at (0 at the start). */
struct http_parse_result http_parse_head(const char *p, size_t n, size_t *scan_at,
                                         bool allow_bodies, struct http_request *ret);

/* Percent-decodes a path into @ret (at least @path.n bytes). False: malformed, NUL, invalid UTF-8.
 */
MUST_CHECK bool http_decode_path(struct str path, char *ret, size_t *ret_n);
struct http_param {
    struct str name, value; /* decoded, in the caller's scratch space */
};
/* Decodes an urlencoded query into @ret, using @scratch (at least @query.n bytes). -1: malformed.
 */
int http_decode_query(struct str query, char *scratch, struct http_param *ret, int limit,
                      bool *ret_too_many);

enum http_coding { HTTP_IDENTITY, HTTP_GZIP, HTTP_ZSTD, HTTP_BROTLI };
/* Best coding of ours by the Accept-Encoding header (q-values; br, zstd, gzip on equal q). */
enum http_coding http_choose_coding(struct str accept_encoding);
/* Compresses @in into @out (reset first). False on memory or limit: send it plain then. */
MUST_CHECK bool http_compress(enum http_coding coding, struct str in, struct buf *out);
enum http_form { FORM_JSON, FORM_NDJSON, FORM_CSV, FORM_NONE };
/* By the Accept header (q, then specificity, then order of the enum); FORM_NONE is a 406. */
enum http_form http_choose_form(struct str accept);
bool http_etag_matches(struct str if_none_match, struct str etag); /* weak comparison, lists, '*' */
const char *http_status_text(int status);

const char *http_library_version(void); /* libuv's; static */

#endif
