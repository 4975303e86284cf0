/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For src/http: connections and listeners.
 *
 * A connection is in exactly one list of its listener, and each list has one time-out, so that its
 * order is the order of its deadlines:
 *
 *   accept ─▶ IDLE ─ bytes ─▶ HEAD ─ whole ─▶ BUSY ─ answered ─▶ IDLE (or HEAD when bytes are left)
 *                              │                 │
 *                              └─ refused ─▶ WRITING ◀─ socket full        WRITING ─ flushed ─▶ …
 *                                               └─ last answer ─▶ LINGER ─▶ closed
 *
 * One exchange at a time a connection: the next request is looked at when the answer before it has
 * been written or has found room in the socket. All of this on the listener's loop.
 */
#ifndef OFFLOADER_HTTP_SERVER_INT_H
#define OFFLOADER_HTTP_SERVER_INT_H

#include <stdatomic.h>
#include <uv.h>

#include "base/thread.h"
#include "http/http.h"

#define LIMIT_FREE_HEADS 256
#define LINGER_US 1000000
#define LIMIT_LINGERING 256 /* a listener; past it the oldest goes at once */
#define TICK_US 50000
#define TICK_AGAIN_US 1000 /* when more is due than a tick ends */
#define LIMIT_TICK 32      /* connections: answers of others wait while they are ended */
#define DRAIN_NEW_US                                                                               \
    1000000               /* a new connection's time to send its first request while draining      \
                           */
#define FLUSH_BYTES 65536 /* of answers gathered before they are written */
#define WRITE_STALL_BYTES_PER_S 4096
#define COPY_BODY_BYTES 32768 /* larger referenced bodies are written from where they are */

enum list_id { LIST_IDLE, LIST_HEAD, LIST_BUSY, LIST_WRITING, LIST_LINGER, N_LISTS };

struct http_exchange { /* a connection and its current exchange */
    uv_tcp_t tcp;
    struct listener *listener;
    struct http_exchange *next, *previous;
    enum list_id list;
    int64_t since_us; /* in its list (HEAD: first byte) */

    char *head;                         /* HTTP_LIMIT_HEAD_BYTES, NULL while idle */
    size_t n_head, scan_at, n_consumed; /* consumed: head bytes of the current request */
    char *body;
    size_t n_body, body_wanted;
    int64_t first_byte_us;
    uint32_t n_requests;

    bool is_head_method, in_handler, is_pending, is_closing, close_after, saw_eof, is_reading;
    bool http_1_0, hung_up;
    uint32_t n_writes; /* queued */
    size_t write_mark; /* connection_untaken() when the stall clock last started */
    void (*on_hangup)(void *arg);
    void *on_hangup_arg;
    void (*release)(void *arg); /* of a body that follows the listener's out */
    void *release_arg;
    struct str release_body;

    uv_shutdown_t shutdown; /* of its last answer */
    _Alignas(16) char connection_space[HTTP_CONNECTION_SPACE_BYTES];
};

struct list {
    struct http_exchange *first, *last;
    size_t n;
};

struct listener {
    struct http_server *server;
    struct loop *loop;
    uv_tcp_t tcp;
    uv_timer_t tick;
    int fd;
    struct list lists[N_LISTS];
    char *free_heads[LIMIT_FREE_HEADS];
    int n_free_heads;
    char date[64]; /* "Date: ...\r\n" */
    size_t n_date;
    int64_t date_s;
    struct http_request request; /* of the request being handed over */
    struct buf out; /* answers of the connection being worked on, not handed to its socket yet */
    struct buf refuse_headers, refuse_body;
    struct loop_message open_message, close_listener_message, free_message, make_room_message;
    _Atomic unsigned room_wanted; /* connections that other loops ask this one to give up */
    _Atomic size_t n_waiting;     /* connections without a request: HEAD and IDLE */
    _Atomic int64_t oldest_us;    /* of the longest waiting one; INT64_MAX: none */
    bool is_open, is_listening;
    bool accept_waits; /* memory was short: the tick accepts */
    enum rc open_rc;
    bool open_done; /* under server->lock */
};

struct http_server {
    struct http_server_options options;
    struct listener *listeners;
    int n_listeners;
    int port;
    _Atomic uint64_t n_connections, n_lingering, unsent_bytes;
    _Atomic int64_t drain_from_us; /* monotonic, when idle connections go; 0: not draining */
    _Atomic bool draining;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_freed;
};

/* connection.c */
void connection_accept(struct listener *l);
void connection_close(struct http_exchange *x);
/* Bytes of answers that the other side has not acknowledged: what the kernel holds is no progress. */
size_t connection_untaken(const struct http_exchange *x);
void connection_refuse(struct http_exchange *x, int status, const char *message,
                       const struct http_request *r);
/* Reads, if it did not: into the head or the body, or to drop it while it lingers. */
void connection_read_on(struct http_exchange *x);
/* Ends what is due, at most LIMIT_TICK of it. True: more may be due. */
bool connection_on_tick(struct listener *l, int64_t now_us);
void connection_move(struct http_exchange *x, enum list_id to);
/* The current request's bytes are done with: what is left moves to the front of the buffer, which
 * goes back to the listener when nothing is. */
void connection_consume(struct http_exchange *x);
struct http_exchange *connection_first_open(const struct list *list); /* NULL: none */
void connection_on_make_room(struct loop_message *m);

/* answer.c */
void answer_flush(struct http_exchange *x);
void answer_put(struct http_exchange *x, const struct http_answer *a);
void connection_after_answer(struct http_exchange *x);
void connection_process(struct http_exchange *x);

#endif
