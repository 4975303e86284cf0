/* SPDX-License-Identifier: Apache-2.0 */
/* What is due together is not ended together: the loop answers others in between. */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"
#include "base/timeutil.h"
#include "http/server_int.h"
#include "unit.h"

#define CLIENTS (LIMIT_TICK + 8)
#define TIMEOUT_US (INT64_C(3600) * 1000000) /* no tick of its own finds anything due */

struct look { /* at a list, on the loop's thread */
    struct loop_message message;
    struct http_server *server;
    enum list_id list;
    bool is_later, more; /* one tick, when all of them are due */
    size_t n_open;
    bool done;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void on_request(struct http_exchange *x, const struct http_request *r, void *arg)
{
    (void)x, (void)r, (void)arg;
    abort(); /* nobody sends a whole one */
}

static void on_refuse(const struct http_refusal *refusal, struct buf *headers, struct buf *body,
                      void *arg)
{
    (void)refusal, (void)headers, (void)arg;
    buf_put_literal(body, "late\n");
}

static void on_look(struct loop_message *m)
{
    struct look *look = (struct look *)m;
    struct listener *l = &look->server->listeners[0];
    look->more = look->is_later && connection_on_tick(l, monotonic_us() + 2 * TIMEOUT_US);
    look->n_open = 0;
    for (struct http_exchange *x = l->lists[look->list].first; x; x = x->next)
        look->n_open += !x->is_closing;
    LOCKED(&look->lock);
    look->done = true;
    cond_broadcast(&look->changed);
}

static void take(struct look *look, bool is_later)
{
    look->is_later = is_later;
    look->done = false;
    loop_post(look->server->listeners[0].loop, &look->message);
    LOCKED(&look->lock);
    while (!look->done)
        cond_wait(&look->changed, &look->lock);
}

static int connect_to(int port, const char *sends)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(write(fd, sends, strlen(sends)), strlen(sends));
    return fd;
}

static void check_list(struct loop *loop, enum list_id list, const char *sends)
{
    struct http_server_options options = {.bind_address = "127.0.0.1",
                                          .max_connections = 2 * CLIENTS,
                                          .head_timeout_us = TIMEOUT_US,
                                          .idle_timeout_us = TIMEOUT_US,
                                          .write_stall_us = TIMEOUT_US,
                                          .send_buffer_bytes = 1u << 20,
                                          .on_request = on_request,
                                          .on_refuse = on_refuse};
    struct look look = {.message.run = on_look, .list = list};
    struct err err = ERR_INIT;
    int fds[CLIENTS];
    mutex_init(&look.lock);
    cond_init(&look.changed);
    assert_int_equal(http_server_open(&options, &loop, 1, &look.server, &err), RC_OK);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = connect_to(http_server_port(look.server), sends);
    do
        take(&look, false);
    while (look.n_open < CLIENTS);
    take(&look, true);
    assert_int_equal(look.n_open, CLIENTS - LIMIT_TICK);
    assert_true(look.more);
    take(&look, true);
    assert_int_equal(look.n_open, 0);
    for (int i = 0; i < CLIENTS; i++)
        (void)close(fds[i]);
    http_server_free(look.server);
    mutex_done(&look.lock);
    cond_done(&look.changed);
}

static void test_a_tick_ends_so_many(void **state)
{
    (void)state;
    struct loop *loop = NULL;
    struct err err = ERR_INIT;
    assert_int_equal(loop_new("test", &loop, &err), RC_OK);
    assert_int_equal(loop_start(loop, &err), RC_OK);
    check_list(loop, LIST_IDLE, "");
    check_list(loop, LIST_HEAD, "GET / HTTP/1.1\r\n");
    loop_stop(loop);
    loop_join_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_tick_ends_so_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
