/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners: one a loop on the same port, opened and closed by messages to their loops. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/timeutil.h"
#include "http/server_int.h"

#define LISTEN_BACKLOG 4096
/* Of an answer, the kernel takes no more than this ahead of what it has sent, so that readers who
 * take nothing are noticed, and cost a constant. Accepted sockets inherit it. */
#define UNSENT_IN_KERNEL_BYTES 131072

/* ---- sockets ---- */

static enum rc parse_address(const char *text, int port, struct sockaddr_storage *ret,
                             struct err *err)
{
    if (uv_ip4_addr(text, port, (struct sockaddr_in *)ret) == 0 ||
        uv_ip6_addr(text, port, (struct sockaddr_in6 *)ret) == 0)
        return RC_OK;
    return err_set(err, RC_INVALID, "\"%s\" is not an IP address to bind to", text);
}

static socklen_t address_bytes(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static enum rc open_socket(const char *bind_address, int port, bool shared, int *ret_fd,
                           struct err *err)
{
    struct sockaddr_storage address = {0};
    int one = 1, unsent = UNSENT_IN_KERNEL_BYTES;
    enum rc rc = parse_address(bind_address, port, &address, err);
    if (rc != RC_OK)
        return rc;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_errno(err, RC_IO, errno, "cannot open a socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent) != 0 ||
        bind(fd, (struct sockaddr *)&address, address_bytes(&address)) != 0) {
        int saved = errno;
        (void)close(fd); /* nothing was written to it */
        return err_set_errno(err, saved == EADDRINUSE ? RC_BUSY : RC_IO, saved,
                             "cannot listen on %s port %d", bind_address, port);
    }
    *ret_fd = fd;
    return RC_OK;
}

static int port_of(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return 0;
    return a.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)(void *)&a)->sin_port)
                                  : ntohs(((struct sockaddr_in6 *)(void *)&a)->sin6_port);
}

/* Is somebody there already? SO_REUSEPORT would share the port with them without a word. */
static enum rc check_exclusive(const struct http_server_options *o, struct err *err)
{
    int fd = -1;
    if (!o->exclusive || o->port == 0)
        return RC_OK;
    enum rc rc = open_socket(o->bind_address, o->port, false, &fd, err);
    if (rc == RC_OK && listen(fd, 1) != 0)
        rc = err_set_errno(err, errno == EADDRINUSE ? RC_BUSY : RC_IO, errno,
                           "cannot listen on %s port %d", o->bind_address, o->port);
    if (fd >= 0)
        (void)close(fd); /* nothing was written to it */
    return rc;
}

/* ---- on the loops ---- */

static void on_connection(uv_stream_t *stream, int status)
{
    struct listener *l = stream->data;
    if (status == 0)
        connection_accept(l);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    LOCKED(&l->server->lock);
    l->server->n_freed++;
    cond_broadcast(&l->server->changed);
}

static size_t n_connections(const struct listener *l)
{
    size_t n = 0;
    for (int i = 0; i < N_LISTS; i++)
        n += l->lists[i].n;
    return n;
}

/* While freeing: closes what is there; says so when nothing is left. */
static void on_free_tick(uv_timer_t *timer)
{
    struct listener *l = timer->data;
    for (int i = 0; i < N_LISTS; i++)
        for (struct http_exchange *x = l->lists[i].first, *next; x; x = next) {
            next = x->next;
            connection_close(x);
        }
    if (n_connections(l) > 0 || l->is_listening)
        return;
    if (!uv_is_closing((uv_handle_t *)&l->tick))
        uv_close((uv_handle_t *)&l->tick, on_handle_closed);
}

static void on_tick(uv_timer_t *timer)
{
    struct listener *l = timer->data;
    if (connection_on_tick(l, loop_now_us(l->loop)))
        (void)uv_timer_start(timer, on_tick, TICK_AGAIN_US / 1000, TICK_US / 1000); /* it is open */
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    l->is_listening = false;
}

static void stop_listening(struct listener *l)
{
    if (l->is_open && !uv_is_closing((uv_handle_t *)&l->tcp))
        uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
}

static void on_close_listener(struct loop_message *m)
{
    stop_listening(
        (struct listener *)((char *)m - offsetof(struct listener, close_listener_message)));
}

static void on_free(struct loop_message *m)
{
    struct listener *l = (struct listener *)((char *)m - offsetof(struct listener, free_message));
    stop_listening(l);
    (void)uv_timer_start(&l->tick, on_free_tick, 0, 1); /* fails only on a closed handle */
}

static void on_open(struct loop_message *m)
{
    struct listener *l = (struct listener *)((char *)m - offsetof(struct listener, open_message));
    uv_loop_t *uv = loop_uv(l->loop);
    (void)uv_tcp_init(uv, &l->tcp);    /* cannot fail */
    (void)uv_timer_init(uv, &l->tick); /* cannot fail */
    l->tcp.data = l->tick.data = l;
    l->is_open = l->is_listening = true;
    bool fine = uv_tcp_open(&l->tcp, l->fd) == 0 &&
                uv_listen((uv_stream_t *)&l->tcp, LISTEN_BACKLOG, on_connection) == 0 &&
                uv_timer_start(&l->tick, on_tick, TICK_US / 1000, TICK_US / 1000) == 0;
    LOCKED(&l->server->lock);
    l->open_rc = fine ? RC_OK : RC_IO;
    l->open_done = true;
    cond_broadcast(&l->server->changed);
}

/* ---- from outside ---- */

static enum rc open_listeners(struct http_server *s, struct loop *const *loops, struct err *err)
{
    const struct http_server_options *o = &s->options;
    enum rc rc = RC_OK;
    s->port = o->port;
    for (int i = 0; i < s->n_listeners && rc == RC_OK; i++) {
        struct listener *l = &s->listeners[i];
        l->server = s;
        l->loop = loops[i];
        l->open_message.run = on_open;
        l->close_listener_message.run = on_close_listener;
        atomic_init(&l->oldest_us, INT64_MAX);
        l->make_room_message.run = connection_on_make_room;
        buf_init(&l->refuse_headers, 65536);
        buf_init(&l->refuse_body, 65536);
        buf_init(&l->out, SIZE_MAX);
        rc = open_socket(o->bind_address, s->port, true, &l->fd, err);
        if (rc == RC_OK && s->port == 0)
            s->port = port_of(l->fd);
    }
    return rc;
}

enum rc http_server_open(const struct http_server_options *options, struct loop *const *loops,
                         int n_loops, struct http_server **ret, struct err *err)
{
    enum rc rc = check_exclusive(options, err);
    if (rc != RC_OK)
        return rc;
    struct http_server *s = x_alloc0(sizeof *s);
    s->options = *options;
    s->listeners = x_array0((size_t)n_loops, sizeof *s->listeners);
    s->n_listeners = n_loops;
    mutex_init(&s->lock);
    cond_init(&s->changed);
    for (int i = 0; i < n_loops; i++)
        s->listeners[i].fd = -1;
    rc = open_listeners(s, loops, err);
    if (rc != RC_OK) {
        for (int i = 0; i < n_loops; i++)
            if (s->listeners[i].fd >= 0)
                (void)close(s->listeners[i].fd); /* nothing was written to it */
        mutex_done(&s->lock);
        cond_done(&s->changed);
        mem_free(s->listeners);
        mem_free(s);
        return rc;
    }
    for (int i = 0; i < n_loops; i++)
        loop_post(s->listeners[i].loop, &s->listeners[i].open_message);
    mutex_lock(&s->lock);
    for (int i = 0; i < n_loops; i++) {
        while (!s->listeners[i].open_done)
            cond_wait(&s->changed, &s->lock);
        if (s->listeners[i].open_rc != RC_OK)
            rc = RC_IO;
    }
    mutex_unlock(&s->lock);
    if (rc != RC_OK) {
        http_server_free(s);
        return err_set(err, RC_IO, "cannot listen on %s port %d", options->bind_address,
                       options->port);
    }
    *ret = s;
    return RC_OK;
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

uint64_t http_server_connections(const struct http_server *s)
{
    return atomic_load(&s->n_connections);
}

void http_server_drain(struct http_server *s, int64_t grace_us)
{
    atomic_store(&s->drain_from_us, monotonic_us() + grace_us);
    atomic_store(&s->draining, true);
}

void http_server_close_listeners(struct http_server *s)
{
    for (int i = 0; i < s->n_listeners; i++)
        loop_post(s->listeners[i].loop, &s->listeners[i].close_listener_message);
}

static void on_last(struct loop_message *m)
{
    struct listener *l = (struct listener *)((char *)m - offsetof(struct listener, free_message));
    LOCKED(&l->server->lock);
    l->server->n_freed++;
    cond_broadcast(&l->server->changed);
}

/* Posts each listener's free_message and waits until all have counted themselves. */
static void free_round(struct http_server *s, void (*run)(struct loop_message *m))
{
    s->n_freed = 0;
    for (int i = 0; i < s->n_listeners; i++) {
        s->listeners[i].free_message.run = run;
        loop_post(s->listeners[i].loop, &s->listeners[i].free_message);
    }
    mutex_lock(&s->lock);
    while (s->n_freed < s->n_listeners)
        cond_wait(&s->changed, &s->lock);
    mutex_unlock(&s->lock);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    free_round(s, on_free);
    /* Listeners write to each other (make_room_message): what is still under way comes before this.
     */
    free_round(s, on_last);
    for (int i = 0; i < s->n_listeners; i++) {
        struct listener *l = &s->listeners[i];
        while (l->n_free_heads)
            mem_free(l->free_heads[--l->n_free_heads]);
        buf_done(&l->refuse_headers);
        buf_done(&l->refuse_body);
        buf_done(&l->out);
    }
    mutex_done(&s->lock);
    cond_done(&s->changed);
    mem_free(s->listeners);
    mem_free(s);
}

const char *http_library_version(void)
{
    return uv_version_string();
}
