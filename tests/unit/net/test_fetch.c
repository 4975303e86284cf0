/* SPDX-License-Identifier: Apache-2.0 */
/* The client against a server of one connection, for what whole-program tests cannot see: sinks,
 * bodies, limits. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/thread.h"
#include "net/net.h"
#include "unit.h"

struct server {
    int listener;
    char url[64];
    pthread_t thread;
    const char *first, *second; /* what it sends, with a pause between */
    int64_t pause_ms;
    char request[4096];
};

static void *serve(void *arg)
{
    struct server *s = arg;
    AUTO(fd_auto) int fd = accept(s->listener, NULL, NULL);
    size_t n = 0;
    /* Requests here end with their head, or with the body "ping". */
    while (n < sizeof s->request - 1 && !strstr(s->request, "\r\n\r\nping")) {
        ssize_t more = recv(fd, s->request + n, sizeof s->request - 1 - n, 0);
        if (more <= 0)
            return NULL;
        n += (size_t)more;
        s->request[n] = 0;
        if (strncmp(s->request, "GET", 3) == 0 && strstr(s->request, "\r\n\r\n"))
            break;
    }
    (void)send(fd, s->first, strlen(s->first), MSG_NOSIGNAL);
    (void)usleep((useconds_t)s->pause_ms * 1000);
    (void)send(fd, s->second, strlen(s->second), MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    while (recv(fd, s->request + n, sizeof s->request - 1 - n, 0) > 0)
        ;
    return NULL;
}

static void server_start(struct server *s)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof in;
    struct err err = ERR_INIT;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(s->listener, 4), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&in, &size), 0);
    (void)snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d/path?query=hidden",
                   ntohs(in.sin_port));
    CHECK_OK("the server starts", thread_start(&s->thread, "server", serve, s, &err), &err);
}

static void server_stop(struct server *s)
{
    thread_join(s->thread);
    (void)close(s->listener);
}

struct patient { /* a transfer that waits for its server while another one's sink is busy */
    struct net *net;
    const char *url;
    _Atomic bool has_begun;
    enum rc rc;
    struct err err;
};

static enum rc note_begin(void *arg, const void *p, size_t n, struct err *err)
{
    struct patient *t = arg;
    (void)p, (void)n, (void)err;
    atomic_store(&t->has_begun, true);
    return RC_OK;
}

static void *fetch_patiently(void *arg)
{
    struct patient *t = arg;
    struct net_response r = {0};
    const struct net_sink sink = {.on_body = note_begin, .arg = t};
    const struct net_request q = {.url = t->url, .sink = &sink, .reach = NET_REACH_NAMED};
    t->rc = net_fetch(t->net, &q, &r, &t->err);
    net_response_done(&r);
    return NULL;
}

static enum rc slow_body(void *arg, const void *p, size_t n, struct err *err)
{
    (void)arg, (void)p, (void)n, (void)err;
    (void)usleep(2000000);
    return RC_OK;
}

#define HALF_OF_8 "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"

/* The disk that a sink writes to may be slower than the stall time-out: no server's fault, its own
 * or another's. */
static void test_slow_sink_is_no_stall(void **state)
{
    (void)state;
    struct server waited_for = {.first = HALF_OF_8, .second = "half", .pause_ms = 300};
    struct server other = {.first = HALF_OF_8, .second = "half"};
    struct patient patient = {0};
    struct net_response r = {0};
    struct err err = ERR_INIT;
    pthread_t thread;
    server_start(&waited_for);
    server_start(&other);
    patient.url = waited_for.url;
    CHECK_OK("a client",
             net_new(&(struct net_options){.stall_timeout_ms = 1500}, &patient.net, &err), &err);
    CHECK_OK("a thread", thread_start(&thread, "patient", fetch_patiently, &patient, &err), &err);
    while (!atomic_load(&patient.has_begun))
        (void)usleep(1000);
    const struct net_sink sink = {.on_body = slow_body};
    const struct net_request q = {.url = other.url, .sink = &sink, .reach = NET_REACH_NAMED};
    CHECK_OK("a slow sink", net_fetch(patient.net, &q, &r, &err), &err);
    net_response_done(&r);
    thread_join(thread);
    CHECK_OK("the transfer beside it", patient.rc, &patient.err);
    net_free(patient.net);
    server_stop(&waited_for);
    server_stop(&other);
}

static enum rc refuse(void *arg, const void *p, size_t n, struct err *err)
{
    (void)arg, (void)p, (void)n;
    return err_set(err, RC_IO, "the disk is full");
}

#define OK_4 "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"

static const struct net_sink refusing = {.on_body = refuse};
static const struct {
    const char *why, *first, *second;
    struct net_request q;
    enum rc rc;
    const char *words;
} outcomes[] = {
    {"a body", OK_4, "body", {0}, RC_OK, "body"},
    {"no length: the end of the connection", "HTTP/1.1 200 OK\r\n\r\n", "body", {0}, RC_OK, "body"},
    {"chunks",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
     "0\r\n\r\n",
     {0},
     RC_OK,
     "body"},
    {"the last chunk is missing",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
     "",
     {0},
     RC_UNAVAILABLE,
     "127.0.0.1"},
    {"short of its length", OK_4, "bod", {0}, RC_UNAVAILABLE, "before its announced length"},
    {"at the limit", OK_4, "body", {.limit_body_bytes = 4}, RC_OK, "body"},
    {"over the limit",
     "HTTP/1.1 200 OK\r\nContent-Length: 16385\r\n\r\n",
     NULL,
     {.limit_body_bytes = 16384},
     RC_LIMIT,
     "more than 16384 bytes"},
    {"a sink that fails", OK_4, "body", {.sink = &refusing}, RC_IO, "the disk is full"},
    {"past its time", OK_4, "body", {.timeout_ms = 50}, RC_UNAVAILABLE, "not done within 50 ms"},
    {"a redirect that is not wanted",
     "HTTP/1.1 302 Found\r\nLocation: https://h/\r\nContent-Length: 4\r\n\r\n",
     "body",
     {.no_redirects = true},
     RC_OK,
     "body"},
    {"no HTTP", "SSH-2.0-OpenSSH\r\n", "", {0}, RC_UNAVAILABLE, "127.0.0.1"},
    {"nothing", "", "", {0}, RC_UNAVAILABLE, "127.0.0.1"},
};

static void test_outcomes(void **state)
{
    (void)state;
    AUTO(mem_free_auto) char *large = x_alloc(16386);
    memset(large, 'x', 16385);
    large[16385] = 0;
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        struct server s = {.first = outcomes[i].first,
                           .second = outcomes[i].second ? outcomes[i].second : large,
                           .pause_ms = outcomes[i].q.timeout_ms ? 1000 : 20};
        struct net *net = NULL;
        struct net_response r = {0};
        struct err err = ERR_INIT;
        struct net_request q = outcomes[i].q;
        server_start(&s);
        CHECK_OK(outcomes[i].why, net_new(&(struct net_options){0}, &net, &err), &err);
        q.url = s.url;
        q.reach = NET_REACH_NAMED;
        CHECK_INT(outcomes[i].why, net_fetch(net, &q, &r, &err), outcomes[i].rc);
        CHECK(outcomes[i].why,
              strstr(outcomes[i].rc == RC_OK ? buf_cstr(&r.body) : err.message, outcomes[i].words));
        CHECK("the query is not shown", !strstr(err.message, "hidden"));
        net_response_done(&r);
        net_free(net);
        server_stop(&s);
    }
}

/* An answer that comes when its work is done is waited for longer than another. */
static void test_patience(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        int64_t stall_timeout_ms;
        enum rc rc;
        const char *words;
    } rows[] = {
        {"the client's own", 0, RC_UNAVAILABLE, "no byte came for 150 ms"},
        {"the request's is longer", 60000, RC_OK, "body"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct server s = {.first = "", .second = OK_4 "body", .pause_ms = 600};
        struct net *net = NULL;
        struct net_response r = {0};
        struct err err = ERR_INIT;
        server_start(&s);
        CHECK_OK("a client", net_new(&(struct net_options){.stall_timeout_ms = 150}, &net, &err),
                 &err);
        const struct net_request q = {
            .url = s.url, .reach = NET_REACH_NAMED, .stall_timeout_ms = rows[i].stall_timeout_ms};
        CHECK_INT(rows[i].why, net_fetch(net, &q, &r, &err), rows[i].rc);
        CHECK(rows[i].why,
              strstr(rows[i].rc == RC_OK ? buf_cstr(&r.body) : err.message, rows[i].words));
        net_response_done(&r);
        net_free(net);
        server_stop(&s);
    }
}

static void test_post(void **state)
{
    (void)state;
    struct server s = {.first = OK_4, .second = "pong"};
    struct net *net = NULL;
    struct net_response r = {0};
    struct err err = ERR_INIT;
    const struct net_header header = {"x-empty", ""};
    server_start(&s);
    CHECK_OK("a client", net_new(&(struct net_options){0}, &net, &err), &err);
    const struct net_request q = {.method = "POST",
                                  .url = s.url,
                                  .headers = &header,
                                  .n_headers = 1,
                                  .authorization = "Bearer t",
                                  .body = STR("ping"),
                                  .reach = NET_REACH_NAMED};
    CHECK_OK("a POST", net_fetch(net, &q, &r, &err), &err);
    CHECK_STR("its answer", buf_cstr(&r.body), "pong");
    CHECK("its request line", strncmp(s.request, "POST /path?query=hidden HTTP/1.1\r\n", 34) == 0);
    CHECK("its authorization", strstr(s.request, "\r\nauthorization: Bearer t\r\n"));
    CHECK("a header without value", strstr(s.request, "\r\nx-empty:\r\n"));
    CHECK("its length", strstr(s.request, "\r\nContent-Length: 4\r\n"));
    struct str length = net_response_header(&r, "content-length");
    CHECK("a header of the answer", str_is(length, "4"));
    CHECK("one that is not there", !net_response_header(&r, "content").p);
    net_response_done(&r);
    net_free(net);
    server_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_sink_is_no_stall),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_post),
    };
    metrics_init(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
