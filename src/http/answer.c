/* SPDX-License-Identifier: Apache-2.0 */
/* Answers on their way out: gathered while requests are worked through, tried at once, queued only
 * when the socket is full. */
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "base/timeutil.h"
#include "http/server_int.h"

#define KEEP_OUT_BYTES (1u << 20)

struct write {
    uv_write_t uv;
    struct http_exchange *x;
    char *copy; /* owned */
    size_t n_bytes;
    void (*release)(void *arg);
    void *release_arg;
};

static void refresh_date(struct listener *l)
{
    int64_t now_s = wall_coarse_us() / 1000000;
    struct tm tm;
    time_t t = (time_t)now_s;
    if (now_s == l->date_s && l->n_date)
        return;
    l->date_s = now_s;
    l->n_date =
        strftime(l->date, sizeof l->date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&t, &tm));
}

static void put_status_line(struct buf *out, int status)
{
    buf_put_literal(out, "HTTP/1.1 ");
    buf_put_int64(out, status);
    buf_putc(out, ' ');
    buf_put_cstr(out, http_status_text(status));
    buf_put_literal(out, "\r\n");
}

static void put_head(struct http_exchange *x, const struct http_answer *a, bool close)
{
    struct buf *out = &x->listener->out;
    refresh_date(x->listener);
    if (a->status == 200)
        buf_put_literal(out, "HTTP/1.1 200 OK\r\n");
    else
        put_status_line(out, a->status);
    buf_put(out, x->listener->date, x->listener->n_date);
    buf_put_str(out, a->headers);
    if (a->status != 204 && a->status != 304) {
        buf_put_literal(out, "Content-Length: ");
        buf_put_uint64(out, a->body.n);
        buf_put_literal(out, "\r\n");
    }
    if (close)
        buf_put_literal(out, "Connection: close\r\n");
    buf_put_literal(out, "\r\n");
}

void answer_put(struct http_exchange *x, const struct http_answer *a)
{
    static const struct http_answer bare = {.status = 500, .close = true};
    if (a->not_whole) {
        if (a->release)
            a->release(a->release_arg);
        a = &bare;
    }
    bool draining = atomic_load_explicit(&x->listener->server->draining, memory_order_relaxed);
    bool has_body = !x->is_head_method && a->status != 204 && a->status != 304 && a->body.n;
    x->close_after |= a->close || draining;
    assert(!x->release);
    put_head(x, a, x->close_after);
    x->is_head_method = false;
    if (has_body && a->release && a->body.n > COPY_BODY_BYTES) {
        x->release = a->release;
        x->release_arg = a->release_arg;
        x->release_body = a->body;
        return;
    }
    if (has_body)
        buf_put_str(&x->listener->out, a->body);
    if (a->release)
        a->release(a->release_arg);
}

void http_answer(struct http_exchange *x, const struct http_answer *a)
{
    assert(x->is_pending);
    x->is_pending = false;
    x->on_hangup = NULL;
    if (x->is_closing) { /* it hung up: nobody reads this */
        if (a->release)
            a->release(a->release_arg);
        x->is_closing = false;
        connection_close(x);
        return;
    }
    answer_put(x, a);
    if (x->in_handler)
        return;            /* connection_process() goes on */
    connection_consume(x); /* a late answer: what was pipelined behind it is next */
    answer_flush(x);
    connection_after_answer(x);
}

/* ---- the socket ---- */

static void on_shutdown(uv_shutdown_t *uv, int status)
{
    (void)uv;
    (void)status; /* the other side has gone: the tick closes what lingers */
}

/*
 * The last answer is out. Closing at once with bytes unread would reset the connection and could
 * take the answer with it; so: shut down our side, read and drop the rest for a moment, then close.
 */
static void finish(struct http_exchange *x)
{
    if (x->saw_eof || uv_shutdown(&x->shutdown, (uv_stream_t *)&x->tcp, on_shutdown) != 0) {
        connection_close(x);
        return;
    }
    struct list *lingering = &x->listener->lists[LIST_LINGER];
    if (lingering->n >= LIMIT_LINGERING && connection_first_open(lingering))
        connection_close(connection_first_open(lingering));
    connection_move(x, LIST_LINGER);
    (void)atomic_fetch_add(&x->listener->server->n_lingering, 1);
    connection_read_on(x); /* one that was refused at once, or whose buffer was full, did not */
}

static void on_written(uv_write_t *uv, int status)
{
    struct write *w = (struct write *)uv;
    struct http_exchange *x = w->x;
    (void)atomic_fetch_sub(&x->listener->server->unsent_bytes, w->n_bytes);
    if (w->release)
        w->release(w->release_arg);
    mem_free(w->copy);
    mem_free(w);
    x->n_writes--;
    if (x->is_closing)
        return;
    if (status < 0) {
        connection_close(x);
        return;
    }
    if (x->n_writes)
        return;
    if (x->close_after && !x->is_pending) {
        finish(x);
        return;
    }
    if (x->list == LIST_WRITING)
        connection_move(x, x->is_pending ? LIST_BUSY : LIST_IDLE);
    connection_after_answer(x);
}

/* Queues what the socket did not take: @from bytes of (out, body) are gone already. */
static void queue_rest(struct http_exchange *x, size_t from)
{
    const struct buf *out = &x->listener->out;
    size_t n_out = out->n > from ? out->n - from : 0;
    size_t body_from = from > out->n ? from - out->n : 0;
    struct write *w = try_alloc0(sizeof *w);
    char *copy = w && n_out ? try_alloc(n_out) : NULL;
    uv_buf_t bufs[2];
    unsigned n_bufs = 0;
    if (!w || (n_out && !copy)) {
        mem_free(w);
        connection_close(x);
        return;
    }
    if (n_out) {
        memcpy(copy, out->p + from, n_out);
        bufs[n_bufs++] = uv_buf_init(copy, (unsigned)n_out);
    }
    if (x->release)
        bufs[n_bufs++] = uv_buf_init((char *)(uintptr_t)x->release_body.p + body_from,
                                     (unsigned)(x->release_body.n - body_from)); /* read only */
    *w = (struct write){.x = x, .copy = copy};
    w->n_bytes = n_out + (x->release ? x->release_body.n - body_from : 0);
    w->release = x->release;
    w->release_arg = x->release_arg;
    x->release = NULL;
    (void)atomic_fetch_add(&x->listener->server->unsent_bytes, w->n_bytes);
    if (uv_write(&w->uv, (uv_stream_t *)&x->tcp, bufs, n_bufs, on_written) != 0) {
        (void)atomic_fetch_sub(&x->listener->server->unsent_bytes, w->n_bytes);
        if (w->release)
            w->release(w->release_arg);
        mem_free(w->copy);
        mem_free(w);
        connection_close(x);
        return;
    }
    x->n_writes++;
    x->write_mark = connection_untaken(x);
    if (!x->is_pending)
        connection_move(x, LIST_WRITING);
}

/* Writes what it can at once; how many bytes, or -1 after closing. */
static ssize_t try_now(struct http_exchange *x)
{
    struct buf *out = &x->listener->out;
    uv_buf_t bufs[2] = {uv_buf_init(out->p, (unsigned)out->n)};
    if (x->n_writes)
        return 0;
    if (x->release) /* libuv reads only */
        bufs[1] = uv_buf_init((char *)(uintptr_t)x->release_body.p, (unsigned)x->release_body.n);
    int n = uv_try_write((uv_stream_t *)&x->tcp, bufs, x->release ? 2 : 1);
    if (n >= 0 || n == UV_EAGAIN)
        return n > 0 ? n : 0;
    connection_close(x);
    return -1;
}

void answer_flush(struct http_exchange *x)
{
    struct buf *out = &x->listener->out;
    size_t total = out->n + (x->release ? x->release_body.n : 0);
    if (x->is_closing || out->failed) {
        connection_close(x);
        buf_reset(out);
        return;
    }
    if (total == 0)
        return;
    ssize_t sent = try_now(x);
    if (sent >= 0 && (size_t)sent < total) {
        queue_rest(x, (size_t)sent);
    } else if (sent >= 0 && x->release) {
        x->release(x->release_arg);
        x->release = NULL;
    }
    if (out->capacity > KEEP_OUT_BYTES)
        buf_done(out);
    buf_reset(out);
    out->limit_bytes = SIZE_MAX;
    if ((size_t)sent == total && x->close_after && !x->is_pending && !x->is_closing)
        finish(x);
}

/* ---- what handlers ask of an exchange ---- */

struct loop *http_exchange_loop(struct http_exchange *x)
{
    return x->listener->loop;
}

void *http_connection_space(struct http_exchange *x)
{
    return x->connection_space;
}

void http_on_hangup(struct http_exchange *x, void (*on_hangup)(void *arg), void *arg)
{
    x->on_hangup = on_hangup;
    x->on_hangup_arg = arg;
}

bool http_hung_up(const struct http_exchange *x)
{
    return x->hung_up;
}
