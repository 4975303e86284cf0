/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run: connections on one epoll.
 *
 *   CLOSED ─ connect ─▶ IDLE ─ send ─▶ BUSY ─ whole answer ─▶ IDLE (or CLOSED, when the server says
 *                                                              so or the connection breaks)
 *
 * Open loop: request i is due at start + i / rate. It goes out when it is due and a connection is
 * idle; its latency runs from when it was due.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "bench/bench.h"

#define READ_BYTES 65536
#define LIMIT_EVENTS 256
#define RETRY_NS INT64_C(10000000)
#define GRACE_NS INT64_C(2000000000) /* for answers under way when the time is up */

struct link {
    int fd;
    bool is_busy;
    int64_t due_ns;
    const struct bench_target *target;
    struct buf in;
    size_t n_head, n_body; /* n_head 0: not whole yet */
    int status;
    bool closes;
    int next_idle;
};

struct run {
    const struct bench_options *o;
    struct bench_result *result;
    struct addrinfo *address;
    struct link *links;
    int first_idle; /* -1: none */
    int epoll_fd;
    size_t next_target;
    uint64_t n_due; /* open loop: sent so far */
    int n_busy;
    int64_t start_ns, end_ns;
    struct buf head;
};

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail */
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void complain(struct run *r, const char *what, struct str shown)
{
    if (r->result->complaint[0] == 0)
        (void)snprintf(r->result->complaint, sizeof r->result->complaint, "%s: %.*s", what,
                       (int)(shown.n < 160 ? shown.n : 160), shown.p);
}

/* ---- connections ---- */

static enum rc connect_link(struct run *r, struct link *l, struct err *err)
{
    int one = 1;
    l->fd = socket(r->address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return err_set_errno(err, RC_IO, errno, "cannot open a socket");
    if (connect(l->fd, r->address->ai_addr, r->address->ai_addrlen) != 0) {
        int saved = errno;
        (void)close(l->fd); /* nothing was written to it */
        l->fd = -1;
        return err_set_errno(err, RC_UNAVAILABLE, saved, "cannot connect to %s port %d", r->o->host,
                             r->o->port);
    }
    /* Without it requests are only slower. */
    (void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)(l - r->links)};
    if (epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, l->fd, &e) != 0) {
        int saved = errno;
        (void)close(l->fd); /* nothing was written to it */
        l->fd = -1;
        return err_set_errno(err, RC_IO, saved, "cannot watch a socket");
    }
    return RC_OK;
}

static void close_link(struct link *l)
{
    if (l->fd >= 0)
        (void)close(l->fd); /* its answers have been read */
    l->fd = -1;
}

static void idle_push(struct run *r, struct link *l)
{
    l->next_idle = r->first_idle;
    r->first_idle = (int)(l - r->links);
}

static struct link *idle_pop(struct run *r)
{
    struct link *l = &r->links[r->first_idle];
    r->first_idle = l->next_idle;
    return l;
}

static void fail_link(struct run *r, struct link *l, const char *why)
{
    r->result->n_failed++;
    complain(r, why, l->target ? l->target->path : STR(""));
    close_link(l);
    if (l->is_busy) {
        l->is_busy = false;
        r->n_busy--;
    }
    idle_push(r, l);
}

/* ---- requests ---- */

static bool send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

static void send_request(struct run *r, struct link *l, int64_t due_ns)
{
    struct err err = ERR_INIT;
    l->target = &r->o->targets[r->next_target++ % r->o->n_targets];
    l->due_ns = due_ns;
    l->n_head = l->n_body = 0;
    buf_reset(&l->in);
    if (l->fd < 0 && connect_link(r, l, &err) != RC_OK) {
        fail_link(r, l, err.message);
        return;
    }
    buf_reset(&r->head);
    buf_put_literal(&r->head, "GET ");
    buf_put_str(&r->head, l->target->path);
    buf_put_literal(&r->head, " HTTP/1.1\r\nHost: ");
    buf_put_cstr(&r->head, r->o->host);
    buf_put_literal(&r->head, "\r\n");
    if (r->o->headers)
        buf_put_cstr(&r->head, r->o->headers);
    buf_put_literal(&r->head, "\r\n");
    if (r->head.failed || !send_all(l->fd, r->head.p, r->head.n)) {
        fail_link(r, l, "a request could not be sent");
        return;
    }
    l->is_busy = true;
    r->n_busy++;
}

/* ---- answers ---- */

static bool parse_header(struct link *l, struct str line)
{
    const char *colon = memchr(line.p, ':', line.n);
    uint64_t n = 0;
    if (!colon)
        return false;
    struct str name = {line.p, (size_t)(colon - line.p)};
    struct str value = str_trim((struct str){colon + 1, line.n - name.n - 1});
    if (str_eq_nocase(name, STR("content-length"))) {
        if (!parse_uint64(value, &n) || n > BENCH_LIMIT_ANSWER_BYTES)
            return false;
        l->n_body = (size_t)n;
    }
    if (str_eq_nocase(name, STR("connection")) && str_eq_nocase(value, STR("close")))
        l->closes = true;
    return !str_eq_nocase(name, STR("transfer-encoding"));
}

/* False: this is no answer we understand. With n_head still 0 afterwards more is to come. */
static bool parse_head(struct link *l)
{
    const char *end = memmem(l->in.p, l->in.n, "\r\n\r\n", 4);
    uint64_t status;
    if (!end)
        return l->in.n < 65536;
    if (l->in.n < 12 || memcmp(l->in.p, "HTTP/1.1 ", 9) != 0 ||
        !parse_uint64((struct str){l->in.p + 9, 3}, &status))
        return false;
    l->status = (int)status;
    l->closes = false;
    const char *line = (const char *)memchr(l->in.p, '\n', l->in.n) + 1;
    while (line < end) {
        const char *cr = memchr(line, '\r', (size_t)(end + 2 - line));
        if (!parse_header(l, (struct str){line, (size_t)(cr - line)}))
            return false;
        line = cr + 2;
    }
    l->n_head = (size_t)(end + 4 - l->in.p);
    return true;
}

static void finish_answer(struct run *r, struct link *l)
{
    struct str body = {l->in.p + l->n_head, l->n_body}, expect = l->target->expect;
    int64_t now = now_ns();
    r->result->n_answers++;
    r->result->n_bytes += l->n_head + l->n_body;
    histogram_add(&r->result->latency, now > l->due_ns ? (uint64_t)(now - l->due_ns) : 0);
    if (r->o->expect_status && l->status != r->o->expect_status) {
        r->result->n_wrong_status++;
        complain(r, "unexpected status", (struct str){l->in.p, 12});
    } else if (body.n < expect.n || memcmp(body.p, expect.p, expect.n) != 0) {
        r->result->n_wrong_body++;
        complain(r, "unexpected body", body);
    }
    l->is_busy = false;
    r->n_busy--;
    if (l->closes)
        close_link(l);
    /* Closed loop: the same connection goes on at once. */
    if (r->o->rate == 0 && now < r->end_ns)
        send_request(r, l, now);
    else
        idle_push(r, l);
}

static void on_readable(struct run *r, struct link *l)
{
    if (!buf_reserve(&l->in, READ_BYTES)) {
        fail_link(r, l, "an answer is too large");
        return;
    }
    ssize_t n = recv(l->fd, l->in.p + l->in.n, l->in.capacity - l->in.n, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0 && !l->is_busy) { /* an idle connection was closed: opened again when needed */
        close_link(l);
        return;
    }
    if (n <= 0) {
        fail_link(r, l, "the connection was cut");
        return;
    }
    l->in.n += (size_t)n;
    if (!l->is_busy || (l->n_head == 0 && !parse_head(l))) {
        fail_link(r, l, "an answer was not understood");
        return;
    }
    if (l->n_head && l->in.n >= l->n_head + l->n_body)
        finish_answer(r, l);
}

/* ---- the loop ---- */

static int64_t due_at(const struct run *r, uint64_t i)
{
    return r->start_ns + (int64_t)((double)i / r->o->rate * 1e9);
}

/* Sends what is due. Returns when the next one is. */
static int64_t send_due(struct run *r, int64_t now)
{
    if (r->o->rate == 0) {
        /* Each free connection once: one that can't be opened is tried again a little later. */
        for (int i = 0; i < r->o->connections && r->first_idle >= 0 && now < r->end_ns; i++)
            send_request(r, idle_pop(r), now);
        return r->first_idle < 0 ? r->end_ns : now + RETRY_NS;
    }
    while (due_at(r, r->n_due) <= now && due_at(r, r->n_due) < r->end_ns && r->first_idle >= 0) {
        send_request(r, idle_pop(r), due_at(r, r->n_due));
        r->n_due++;
    }
    int64_t next = due_at(r, r->n_due);
    if (r->first_idle < 0 || next > r->end_ns)
        return r->end_ns;
    return next;
}

static bool is_over(const struct run *r, int64_t now)
{
    bool all_sent = r->o->rate == 0 || due_at(r, r->n_due) >= r->end_ns;
    return (now >= r->end_ns && r->n_busy == 0 && all_sent) || now >= r->end_ns + GRACE_NS;
}

static void drive(struct run *r)
{
    struct epoll_event events[LIMIT_EVENTS];
    int64_t now = r->start_ns = now_ns();
    r->end_ns = now + r->o->duration_us * 1000;
    while (!is_over(r, now)) {
        int64_t wait = send_due(r, now) - now;
        if (now >= r->end_ns)
            wait = r->end_ns + GRACE_NS - now;
        struct timespec t = {(time_t)(wait / 1000000000), wait > 0 ? (long)(wait % 1000000000) : 0};
        int n = epoll_pwait2(r->epoll_fd, events, LIMIT_EVENTS,
                             wait > 0 ? &t : &(struct timespec){0}, NULL);
        for (int i = 0; i < n; i++)
            on_readable(r, &r->links[events[i].data.u32]);
        now = now_ns();
    }
    r->result->n_unanswered = (uint64_t)r->n_busy;
    while (r->o->rate > 0 && due_at(r, r->n_due) < r->end_ns) { /* due, and never sent */
        r->n_due++;
        r->result->n_unanswered++;
    }
    r->result->elapsed_us = (now < r->end_ns ? now - r->start_ns : r->end_ns - r->start_ns) / 1000;
}

static enum rc open_run(struct run *r, struct err *err)
{
    char port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    (void)snprintf(port, sizeof port, "%d", r->o->port);
    if (getaddrinfo(r->o->host, port, &hints, &r->address) != 0)
        return err_set(err, RC_INVALID, "there is no host %s", r->o->host);
    r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    r->links = try_array0((size_t)r->o->connections, sizeof *r->links);
    if (r->epoll_fd < 0 || !r->links)
        return err_set(err, RC_NO_MEMORY, "out of memory or descriptors for the load");
    for (int i = 0; i < r->o->connections; i++) {
        r->links[i].fd = -1;
        buf_init(&r->links[i].in, BENCH_LIMIT_ANSWER_BYTES + READ_BYTES);
    }
    for (int i = 0; i < r->o->connections; i++) {
        enum rc rc = connect_link(r, &r->links[i], err);
        if (rc != RC_OK)
            return rc;
        idle_push(r, &r->links[i]);
    }
    /* Requests of an open loop go out when they are due, not 50 µs later; else only less exact. */
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    return RC_OK;
}

enum rc bench_run(const struct bench_options *options, struct bench_result *ret, struct err *err)
{
    struct run r = {.o = options, .result = ret, .first_idle = -1, .epoll_fd = -1};
    assert(options->n_targets > 0 && options->connections > 0);
    *ret = (struct bench_result){0};
    buf_init(&r.head, 1u << 20);
    enum rc rc = open_run(&r, err);
    if (rc == RC_OK)
        drive(&r);
    for (int i = 0; r.links && i < options->connections; i++) {
        close_link(&r.links[i]);
        buf_done(&r.links[i].in);
    }
    mem_free(r.links);
    buf_done(&r.head);
    if (r.epoll_fd >= 0)
        (void)close(r.epoll_fd); /* nothing is watched any more */
    if (r.address)
        freeaddrinfo(r.address);
    return rc;
}
