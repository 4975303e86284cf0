/* SPDX-License-Identifier: Apache-2.0 */
/* A connection's life: accept, read, hand over, time out, close. */
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "base/mem.h"
#include "base/timeutil.h"
#include "http/server_int.h"

/* ---- lists ---- */

/* What other loops may know of who waits here. */
static void tell_waiting(struct listener *l)
{
    const struct http_exchange *idle = l->lists[LIST_IDLE].first;
    const struct http_exchange *head = l->lists[LIST_HEAD].first;
    int64_t oldest_us = idle ? idle->since_us : INT64_MAX;
    if (head && head->since_us < oldest_us)
        oldest_us = head->since_us;
    atomic_store_explicit(&l->oldest_us, oldest_us, memory_order_relaxed);
    atomic_store_explicit(&l->n_waiting, l->lists[LIST_IDLE].n + l->lists[LIST_HEAD].n,
                          memory_order_relaxed);
}

static void list_remove(struct listener *l, struct http_exchange *x)
{
    struct list *list = &l->lists[x->list];
    if (x->previous)
        x->previous->next = x->next;
    else
        list->first = x->next;
    if (x->next)
        x->next->previous = x->previous;
    else
        list->last = x->previous;
    list->n--;
    tell_waiting(l);
}

static void list_append(struct listener *l, struct http_exchange *x, enum list_id to)
{
    struct list *list = &l->lists[to];
    x->list = to;
    x->next = NULL;
    x->previous = list->last;
    if (list->last)
        list->last->next = x;
    else
        list->first = x;
    list->last = x;
    list->n++;
    x->since_us = loop_now_us(l->loop);
    tell_waiting(l);
}

/* To the end of @to, also from @to itself: its time starts anew. */
static void restart(struct http_exchange *x, enum list_id to)
{
    list_remove(x->listener, x);
    list_append(x->listener, x, to);
}

void connection_move(struct http_exchange *x, enum list_id to)
{
    if (x->list != to)
        restart(x, to);
}

/* ---- head buffers: taken while bytes are there, given back while a connection idles ---- */

static char *head_take(struct listener *l)
{
    if (l->n_free_heads)
        return l->free_heads[--l->n_free_heads];
    return try_alloc(HTTP_LIMIT_HEAD_BYTES);
}

static void head_give(struct listener *l, char *head)
{
    if (head && l->n_free_heads < LIMIT_FREE_HEADS)
        l->free_heads[l->n_free_heads++] = head;
    else
        mem_free(head);
}

/* ---- closing ---- */

static void on_closed(uv_handle_t *handle)
{
    struct http_exchange *x = handle->data;
    struct listener *l = x->listener;
    if (x->list == LIST_LINGER)
        (void)atomic_fetch_sub(&l->server->n_lingering, 1);
    list_remove(l, x);
    head_give(l, x->head);
    mem_free(x->body);
    if (x->release)
        x->release(x->release_arg);
    (void)atomic_fetch_sub(&l->server->n_connections, 1);
    mem_free(x);
}

void connection_close(struct http_exchange *x)
{
    if (x->is_closing)
        return;
    x->is_closing = true;
    if (x->is_pending) {
        /* The handler has not answered: its answer will be dropped and the memory goes then. */
        x->hung_up = true;
        if (x->on_hangup)
            x->on_hangup(x->on_hangup_arg);
        (void)uv_read_stop((uv_stream_t *)&x->tcp); /* cannot fail */
        return;
    }
    uv_close((uv_handle_t *)&x->tcp, on_closed);
}

/* At once, whatever the kernel still holds for a reader that takes nothing. */
static void abort_connection(struct http_exchange *x)
{
    if (x->is_closing || x->is_pending) {
        connection_close(x);
        return;
    }
    x->is_closing = true;
    if (uv_tcp_close_reset(&x->tcp, on_closed) != 0) /* refused while it shuts down */
        uv_close((uv_handle_t *)&x->tcp, on_closed);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct http_exchange *x = handle->data;
    static _Thread_local char waste[4096];
    (void)suggested;
    if (x->list == LIST_LINGER) {
        *ret = uv_buf_init(waste, sizeof waste);
        return;
    }
    if (x->body_wanted > x->n_body) {
        *ret = uv_buf_init(x->body + x->n_body, (unsigned)(x->body_wanted - x->n_body));
        return;
    }
    if (!x->head)
        x->head = head_take(x->listener);
    *ret = x->head ? uv_buf_init(x->head + x->n_head, (unsigned)(HTTP_LIMIT_HEAD_BYTES - x->n_head))
                   : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
    struct http_exchange *x = stream->data;
    (void)data;
    if (n == 0 || x->is_closing)
        return;
    if (n == UV_ENOBUFS && !x->head) { /* out of memory: this connection goes */
        connection_close(x);
        return;
    }
    if (n == UV_ENOBUFS) { /* a full buffer behind a request in flight: read on after its answer */
        (void)uv_read_stop(stream); /* cannot fail */
        x->is_reading = false;
        return;
    }
    if (n < 0) {
        x->saw_eof = true;
        if (x->n_writes && !x->is_pending && n == UV_EOF) {
            (void)uv_read_stop(stream); /* cannot fail; what was sent before the end is answered */
            x->is_reading = false;
            return;
        }
        connection_close(x);
        return;
    }
    if (x->list == LIST_LINGER)
        return;
    if (x->body_wanted > x->n_body) {
        x->n_body += (size_t)n;
    } else {
        if (x->n_head == 0)
            x->first_byte_us = monotonic_us();
        x->n_head += (size_t)n;
    }
    if (!x->is_pending && !x->n_writes)
        connection_process(x);
}

void connection_read_on(struct http_exchange *x)
{
    if (x->is_reading || x->is_closing || x->saw_eof)
        return;
    x->is_reading = uv_read_start((uv_stream_t *)&x->tcp, on_alloc, on_read) == 0;
    if (!x->is_reading)
        connection_close(x);
}

/* ---- handing requests over ---- */

/* By its bytes: also of a head that is not whole, or not well-formed further on. */
static bool asks_by_head(const struct http_exchange *x)
{
    static const char method[] = "HEAD ";
    size_t n = sizeof method - 1;
    return x->head && x->n_head >= n && memcmp(x->head, method, n) == 0;
}

void connection_refuse(struct http_exchange *x, int status, const char *message,
                       const struct http_request *r)
{
    struct listener *l = x->listener;
    struct http_refusal refusal = {x, status, message, r, x->first_byte_us};
    buf_reset(&l->refuse_headers);
    buf_reset(&l->refuse_body);
    l->server->options.on_refuse(&refusal, &l->refuse_headers, &l->refuse_body,
                                 l->server->options.arg);
    struct http_answer a = {
        .status = status,
        .headers = {l->refuse_headers.p, l->refuse_headers.n},
        .not_whole = l->refuse_headers.failed || l->refuse_body.failed,
        .body = {l->refuse_body.p, l->refuse_body.n},
        .close = true,
    };
    x->is_head_method = asks_by_head(x);
    x->n_consumed = x->n_head; /* nothing after it is read */
    answer_put(x, &a);
}

/* Room for a body, with what of it came along with the head. False: refused. */
static bool body_begin(struct http_exchange *x, uint64_t body_bytes)
{
    size_t n = (size_t)body_bytes, here = x->n_head - x->n_consumed;
    if (here > n)
        here = n;
    mem_free(x->body);
    x->body = try_alloc(n + 1);
    if (!x->body)
        return false;
    memcpy(x->body, x->head + x->n_consumed, here);
    x->body_wanted = n;
    x->n_body = here;
    x->n_consumed += here;
    return true;
}

static void hand_over(struct http_exchange *x)
{
    struct listener *l = x->listener;
    struct http_server *s = l->server;
    struct http_request *r = &l->request;
    r->body = (struct str){x->body_wanted ? x->body : NULL, x->body_wanted};
    r->arrived_us = x->first_byte_us;
    uint64_t unsent = atomic_load_explicit(&s->unsent_bytes, memory_order_relaxed);
    if (unsent > s->options.send_buffer_bytes) {
        connection_refuse(x, 503, "answers are leaving too slowly; try again soon", r);
        return;
    }
    x->n_requests++;
    x->is_head_method = r->method == HTTP_HEAD;
    x->http_1_0 = r->http_1_0;
    /* Under pressure keep-alive ends before requests are refused. */
    x->close_after = r->close || x->n_requests >= HTTP_LIMIT_REQUESTS_PER_CONNECTION ||
                     unsent > s->options.send_buffer_bytes / 2;
    x->on_hangup = NULL;
    x->is_pending = true;
    x->in_handler = true;
    s->options.on_request(x, r, s->options.arg);
    x->in_handler = false;
}

void connection_consume(struct http_exchange *x)
{
    size_t left = x->n_head - x->n_consumed;
    if (left && x->n_consumed)
        memmove(x->head, x->head + x->n_consumed, left);
    x->n_head = left;
    x->n_consumed = 0;
    x->scan_at = 0;
    x->body_wanted = x->n_body = 0;
    if (x->body) {
        mem_free(x->body);
        x->body = NULL;
    }
    if (left) {
        x->first_byte_us = monotonic_us();
    } else {
        head_give(x->listener, x->head);
        x->head = NULL;
    }
}

/* One whole request at the front of the buffer, if there is one. False: wait for more bytes. */
static bool process_one(struct http_exchange *x)
{
    struct listener *l = x->listener;
    const struct http_server_options *o = &l->server->options;
    if (x->body_wanted == 0) {
        struct http_parse_result p =
            http_parse_head(x->head, x->n_head, &x->scan_at, o->allow_bodies, &l->request);
        if (p.state == HTTP_PARSE_MORE)
            return false;
        if (p.state == HTTP_PARSE_REFUSED) {
            connection_refuse(x, p.status, p.message, &l->request);
            return true;
        }
        x->n_consumed = p.head_bytes;
        if (p.body_bytes && !body_begin(x, p.body_bytes)) {
            connection_refuse(x, 503, "out of memory; try again soon", &l->request);
            return true;
        }
    }
    if (x->n_body < x->body_wanted)
        return false;
    if (x->body_wanted) { /* other requests may have used the listener's: parse once more */
        size_t scan_at = 0;
        (void)http_parse_head(x->head, x->n_head, &scan_at, o->allow_bodies, &l->request);
    }
    hand_over(x);
    return true;
}

/* Nothing whole is left in the buffer, and everything is written. */
static void wait_for_more(struct http_exchange *x, bool has_answered)
{
    enum list_id list = x->n_head > 0 ? LIST_HEAD : LIST_IDLE;
    if (x->saw_eof) {
        connection_close(x);
        return;
    }
    if (has_answered)
        restart(x, list);
    else
        connection_move(x, list); /* a head that dribbles in keeps its deadline */
    connection_read_on(x);
}

static bool may_go_on(const struct http_exchange *x)
{
    return !x->is_closing && !x->is_pending && !x->n_writes && x->list != LIST_LINGER;
}

/*
 * Works through what is in the buffer and writes the answers gathered: after HTTP_LIMIT_PIPELINED
 * of them or FLUSH_BYTES, and at the end. Stops at a request that is answered later and at a full
 * socket.
 */
void connection_process(struct http_exchange *x)
{
    int n = 0, n_gathered = 0;
    while (may_go_on(x) && x->n_head > 0 && process_one(x)) {
        n++;
        if (x->is_pending) {
            connection_move(x, LIST_BUSY);
            answer_flush(x);
            return;
        }
        connection_consume(x);
        if (++n_gathered >= HTTP_LIMIT_PIPELINED || x->listener->out.n >= FLUSH_BYTES ||
            x->release || x->close_after) {
            answer_flush(x);
            n_gathered = 0;
        }
    }
    answer_flush(x);
    if (may_go_on(x))
        wait_for_more(x, n > 0);
}

/* The socket has taken everything, or an answer that was pending was given. */
void connection_after_answer(struct http_exchange *x)
{
    if (!may_go_on(x))
        return;
    if (x->n_head > 0)
        connection_process(x);
    else
        wait_for_more(x, true);
}

/* ---- accepting ---- */

struct http_exchange *connection_first_open(const struct list *list)
{
    struct http_exchange *x = list->first;
    while (x && x->is_closing)
        x = x->next;
    return x;
}

/* Of the connections of this loop, the one that has gone longest without a whole head. */
static struct http_exchange *longest_waiting(struct listener *l)
{
    struct http_exchange *head = connection_first_open(&l->lists[LIST_HEAD]);
    struct http_exchange *idle = connection_first_open(&l->lists[LIST_IDLE]);
    if (!head || !idle)
        return head ? head : idle;
    return head->since_us < idle->since_us ? head : idle;
}

void connection_on_make_room(struct loop_message *m)
{
    struct listener *l =
        (struct listener *)((char *)m - offsetof(struct listener, make_room_message));
    unsigned wanted = atomic_exchange(&l->room_wanted, 0);
    struct http_exchange *victim;
    /* Who was in line may have sent its request in the meantime: then nobody goes. */
    while (wanted-- > 0 && (victim = longest_waiting(l)) != NULL)
        connection_close(victim);
}

/* Makes room by closing the one that waits longest, on whatever loop. False: all are at work. */
static bool make_room(struct listener *l)
{
    struct http_server *s = l->server;
    struct http_exchange *own = longest_waiting(l);
    int64_t oldest_us = own ? own->since_us : INT64_MAX;
    struct listener *of = NULL;
    for (int i = 0; i < s->n_listeners; i++) {
        struct listener *other = &s->listeners[i];
        int64_t since_us = atomic_load(&other->oldest_us);
        if (other == l || atomic_load(&other->n_waiting) <= atomic_load(&other->room_wanted) ||
            since_us >= oldest_us)
            continue;
        of = other;
        oldest_us = since_us;
    }
    if (of && atomic_fetch_add(&of->room_wanted, 1) == 0)
        loop_post(of->loop, &of->make_room_message);
    if (!of && own)
        connection_close(own);
    return of || own;
}

void connection_accept(struct listener *l)
{
    struct http_server *s = l->server;
    struct http_exchange *x = try_alloc0(sizeof *x);
    l->accept_waits = x == NULL;
    if (!x)
        return; /* libuv holds the socket until the tick tries again */
    (void)uv_tcp_init(loop_uv(l->loop), &x->tcp); /* cannot fail */
    x->tcp.data = x;
    x->listener = l;
    list_append(l, x, LIST_BUSY); /* not among those that make room */
    uint64_t n = atomic_fetch_add(&s->n_connections, 1) + 1 - atomic_load(&s->n_lingering);
    if (uv_accept((uv_stream_t *)&l->tcp, (uv_stream_t *)&x->tcp) != 0) {
        connection_close(x);
        return;
    }
    (void)uv_tcp_nodelay(&x->tcp, 1); /* without it answers are only slower */
    if (n > (uint64_t)s->options.max_connections && !make_room(l)) {
        connection_refuse(x, 503, "too many connections; try again soon", NULL);
        answer_flush(x);
        return;
    }
    connection_move(x, LIST_IDLE);
    connection_read_on(x);
}

/* ---- time ---- */

size_t connection_untaken(const struct http_exchange *x)
{
    uv_os_fd_t fd;
    int n = 0;
    if (uv_fileno((const uv_handle_t *)&x->tcp, &fd) != 0 || ioctl(fd, SIOCOUTQ, &n) != 0)
        n = 0;
    return uv_stream_get_write_queue_size((const uv_stream_t *)&x->tcp) + (size_t)n;
}

static void on_stall(struct http_exchange *x, int64_t stall_us)
{
    size_t left = connection_untaken(x);
    size_t least = (size_t)(stall_us / 1000000 * WRITE_STALL_BYTES_PER_S);
    if (left + least > x->write_mark) {
        abort_connection(x);
        return;
    }
    x->write_mark = left;
    list_remove(x->listener, x);
    list_append(x->listener, x, LIST_WRITING);
}

static struct http_exchange *expired(struct listener *l, enum list_id id, int64_t now_us,
                                     int64_t after_us)
{
    struct http_exchange *x = connection_first_open(&l->lists[id]);
    return x && now_us - x->since_us >= after_us ? x : NULL;
}

/* Bytes that came since the last turn of the loop: this connection does not idle. */
static bool has_unread(const struct http_exchange *x)
{
    uv_os_fd_t fd;
    int n = 0;
    return uv_fileno((const uv_handle_t *)&x->tcp, &fd) == 0 && ioctl(fd, FIONREAD, &n) == 0 &&
           n > 0;
}

/* While draining, kept-alive connections go at once, and new ones that send nothing a little later.
 */
static void close_idle(struct listener *l, int64_t now_us, bool is_draining, int *budget)
{
    int64_t after_us = l->server->options.idle_timeout_us;
    for (struct http_exchange *x = l->lists[LIST_IDLE].first, *next; x && *budget > 0; x = next) {
        next = x->next;
        if (is_draining)
            after_us = x->n_requests > 0 ? 0 : DRAIN_NEW_US;
        bool is_due = now_us - x->since_us >= after_us;
        if (!is_due && !is_draining)
            return; /* those behind it came later */
        if (is_due && !x->is_closing && !has_unread(x)) {
            connection_close(x);
            --*budget;
        }
    }
}

bool connection_on_tick(struct listener *l, int64_t now_us)
{
    const struct http_server_options *o = &l->server->options;
    int64_t drain_us = atomic_load(&l->server->drain_from_us);
    int budget = LIMIT_TICK;
    struct http_exchange *x;
    if (l->accept_waits)
        connection_accept(l);
    for (; budget > 0 && (x = expired(l, LIST_HEAD, now_us, o->head_timeout_us)); budget--) {
        connection_refuse(x, 408, "the whole head did not arrive in time", NULL);
        answer_flush(x);
    }
    close_idle(l, now_us, drain_us && now_us >= drain_us, &budget);
    for (; budget > 0 && (x = expired(l, LIST_WRITING, now_us, o->write_stall_us)); budget--)
        on_stall(x, o->write_stall_us);
    for (; budget > 0 && (x = expired(l, LIST_LINGER, now_us, LINGER_US)); budget--)
        connection_close(x);
    return budget == 0;
}
