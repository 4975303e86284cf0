/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A load client that reads every answer (R-07, R-08, and the long runs of tests/long). Nothing is
 * sampled: each row of each answer is compared with what its snapshot must hold.
 *
 * The dataset is tests/long/stamped.py's. Its snapshot is named g<stamp>-c<contract>; every row
 * carries the stamp; contract k has a column `extra` when k is odd, and its tenant column is
 * `tenant` when k % 4 is 0 or 1, else `account`. So a mixture of snapshots, of contracts, or a row
 * of another tenant shows.
 *
 *   load --port N --path /v1/endpoints/kv [--as TOKEN:TENANT]... [--rows N] [--connections N]
 *        [--rate N] [--requests N] [--reconnect 1]
 *
 * With a rate, a request's latency counts from when it was due, whether or not a connection was
 * free then: what a stall delays is not left out. Without one, each connection asks as soon as it
 * has its answer.
 *
 * With --reconnect the server may be killed and started again: connecting is tried until it
 * succeeds, a request that a kill cut counts as `cut`, a 503 of a server that starts as
 * `not_ready`. A walk then goes on over restarts.
 *
 * It ends after --requests, or when standard input ends. A line "phase N" there says which
 * histogram latencies go to (0 to 3), "phase N R" changes the rate too (0: none). One JSON object
 * is printed at the end. `walks` has, for each connection, the stamps it saw, repeats left out: the
 * test knows the order of publication and walks along it. A conditional request is sent now and
 * then, also with an ETag of long ago; a 304 counts as its stamp.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/timeutil.h"

#define LIMIT_IDENTITIES 16
#define LIMIT_CONNECTIONS 256
#define LIMIT_ANSWER_BYTES (1u << 20)
#define LIMIT_COMPLAINTS 10
#define N_PHASES 4
#define SLOTS_AN_OCTAVE 32 /* a slot is at most 1/32 of its value wide */
#define N_SLOTS (21 * SLOTS_AN_OCTAVE)
#define ORDERS_EVERY_US 1000
#define N_ETAGS 8

struct walk {
    long *stamps;
    size_t n, room;
};

struct connection {
    int fd; /* -1: there is no server */
    bool is_busy, has_walk;
    const char *token, *tenant;
    char *in;
    size_t n_in;
    int64_t sent_us;
    unsigned long n_sent;
    char etags[N_ETAGS][80]; /* the latest first */
    long etag_stamps[N_ETAGS];
    int asked_with; /* index in etags of this request's If-None-Match; -1: none */
    size_t walk;    /* index in walks */
    int identity;
};

/* The rows of an answer that was checked. Another answer to the same caller from the same snapshot
 * and contract with the same bytes is as good. */
struct checked {
    char *bytes;
    size_t n;
    long stamp, contract;
};

static struct {
    int port;
    const char *path;
    const char *tokens[LIMIT_IDENTITIES], *tenants[LIMIT_IDENTITIES];
    int n_identities;
    long rows, rate, n_connections;
    unsigned long requests;
    bool reconnects;
} options = {.path = "/", .n_connections = 16};

static struct connection connections[LIMIT_CONNECTIONS];
static struct walk *walks;
static size_t n_walks;
static struct checked checked[LIMIT_IDENTITIES];
static unsigned long n_answered, n_not_modified, n_reconnects, n_bad, n_cut, n_not_ready,
    histogram[N_PHASES][N_SLOTS];
static int64_t slowest_us[N_PHASES];
static char complaints[LIMIT_COMPLAINTS][400];
static int phase, poller;
static struct {
    int64_t from_us;
    unsigned long n_sent;
} paced; /* since the rate is what it is */

/* ---- complaints ---- */

static void complain(const char *what, const char *p, size_t n)
{
    if (n_bad < LIMIT_COMPLAINTS) {
        char *to = complaints[n_bad];
        int at = snprintf(to, sizeof complaints[0], "%s: ", what);
        for (size_t i = 0; i < n && at < (int)sizeof complaints[0] - 1; i++)
            to[at++] = p[i] < ' ' || p[i] == '"' || p[i] == '\\' ? '\'' : p[i];
        to[at] = 0;
    }
    n_bad++;
}

/* ---- connecting and sending ---- */

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %m\n", what);
    exit(2);
}

static void connect_one(struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)options.port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    c->n_in = 0;
    c->is_busy = false;
    if (c->fd < 0)
        die("socket");
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        if (!options.reconnects)
            die("connect");
        (void)close(c->fd);
        c->fd = -1;
        return;
    }
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e) != 0)
        die("epoll");
    if (options.reconnects && c->has_walk)
        return;
    c->has_walk = true;
    walks = x_realloc(walks, (n_walks + 1) * sizeof *walks);
    walks[n_walks] = (struct walk){0};
    c->walk = n_walks++;
}

static void reconnect(struct connection *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    n_reconnects++;
    connect_one(c);
}

static void send_one(struct connection *c, int64_t due_us)
{
    char head[1024], condition[120] = "", credentials[200] = "";
    c->asked_with = -1;
    if (c->n_sent % 3 == 2 && *c->etags[0]) {
        int i = c->n_sent % 2 ? 0 : (int)(c->n_sent / 6 % N_ETAGS);
        if (*c->etags[i]) {
            c->asked_with = i;
            (void)snprintf(condition, sizeof condition, "If-None-Match: %s\r\n", c->etags[i]);
        }
    }
    if (c->token)
        (void)snprintf(credentials, sizeof credentials, "Authorization: Bearer %s\r\n", c->token);
    int n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: load\r\n%s%s\r\n", options.path,
                     credentials, condition);
    c->sent_us = due_us;
    c->is_busy = true;
    c->n_sent++;
    if (send(c->fd, head, (size_t)n, MSG_NOSIGNAL) == n)
        return;
    if (!options.reconnects) {
        complain("the request could not be sent", "", 0);
        return;
    }
    n_cut++;
    reconnect(c);
}

/* ---- checking ---- */

static void saw(struct connection *c, long stamp)
{
    struct walk *w = &walks[c->walk];
    if (w->n && w->stamps[w->n - 1] == stamp)
        return;
    if (w->n == w->room) {
        w->room = w->room ? 2 * w->room : 64;
        w->stamps = x_realloc(w->stamps, w->room * sizeof *w->stamps);
    }
    w->stamps[w->n++] = stamp;
}

/* How often @key stands in the text, and whether @want follows each time. */
static long count(const char *p, size_t n, const char *key, const char *want, bool *ret_all)
{
    const char *end = p + n;
    size_t n_key = strlen(key), n_want = strlen(want);
    long found = 0;
    while ((p = memmem(p, (size_t)(end - p), key, n_key)) != NULL) {
        p += n_key;
        found++;
        if ((size_t)(end - p) < n_want || memcmp(p, want, n_want) != 0)
            *ret_all = false;
    }
    return found;
}

/* The rows of an answer, every one. */
static void check_rows(struct connection *c, const char *p, size_t n, long stamp, long contract)
{
    char want[100];
    bool all = true;
    (void)snprintf(want, sizeof want, "%ld", stamp);
    char next = 0;
    long rows = count(p, n, "\"stamp\":", want, &all);
    const char *first = memmem(p, n, "\"stamp\":", 8);
    if (first)
        next = first[8 + strlen(want)];
    if (!all || (rows && next != ',' && next != '}'))
        complain("a row of another snapshot", p, n);
    if (options.rows && rows != options.rows)
        complain("the number of rows", p, n);
    if (count(p, n, "\"extra\":", "", &all) != (contract % 2 ? rows : 0))
        complain("a column of another contract", p, n);
    if (c->tenant) {
        all = true;
        (void)snprintf(want, sizeof want, "\"%s\"", c->tenant);
        if (count(p, n, contract % 4 < 2 ? "\"tenant\":" : "\"account\":", want, &all) != rows ||
            !all)
            complain("a row of another tenant", p, n);
    }
}

static void check_body(struct connection *c, const char *p, size_t n, const char *etag)
{
    static const char then[] = "],\"meta\":{";
    struct checked *k = &checked[c->identity];
    bool is_same = k->n && k->n + sizeof then < n && memcmp(p, k->bytes, k->n) == 0 &&
                   memcmp(p + k->n, then, sizeof then - 1) == 0;
    const char *meta = is_same ? p + k->n : memmem(p, n, then, sizeof then - 1);
    const char *id = meta ? memmem(meta, n - (size_t)(meta - p), "\"snapshot_id\":\"g", 16) : NULL;
    long stamp, contract;
    if (!id || sscanf(id + 16, "%ld-c%ld", &stamp, &contract) != 2) {
        complain("no snapshot id", p, n);
        return;
    }
    if (!is_same || stamp != k->stamp || contract != k->contract) {
        unsigned long before = n_bad;
        size_t n_rows = (size_t)(meta - p);
        check_rows(c, p, n_rows, stamp, contract);
        if (n_bad == before) {
            *k = (struct checked){x_realloc(k->bytes, n_rows), n_rows, stamp, contract};
            memcpy(k->bytes, p, n_rows);
        }
    }
    saw(c, stamp);
    if (*etag && strcmp(etag, c->etags[0]) != 0) {
        memmove(c->etags[1], c->etags[0], sizeof c->etags - sizeof c->etags[0]);
        memmove(c->etag_stamps + 1, c->etag_stamps, sizeof c->etag_stamps - sizeof *c->etag_stamps);
        (void)snprintf(c->etags[0], sizeof c->etags[0], "%s", etag);
        c->etag_stamps[0] = stamp;
    }
}

static void header(const char *p, size_t n_head, const char *name, char *ret, size_t room)
{
    const char *at = memmem(p, n_head, name, strlen(name));
    *ret = 0;
    if (!at)
        return;
    at += strlen(name);
    size_t n = (size_t)((const char *)memchr(at, '\r', (size_t)(p + n_head - at)) - at);
    (void)snprintf(ret, room, "%.*s", (int)n, at);
}

static size_t slot_of(int64_t us)
{
    if (us < SLOTS_AN_OCTAVE)
        return us < 0 ? 0 : (size_t)us;
    int shift = 63 - __builtin_clzll((unsigned long long)us) - 5;
    size_t slot = (size_t)shift * SLOTS_AN_OCTAVE + (size_t)(us >> shift);
    return slot < N_SLOTS ? slot : N_SLOTS - 1;
}

/* The largest latency of a slot. */
static double slot_ms(size_t slot)
{
    size_t shift = slot < SLOTS_AN_OCTAVE ? 0 : slot / SLOTS_AN_OCTAVE - 1;
    return (double)(((slot - shift * SLOTS_AN_OCTAVE + 1) << shift) - 1) / 1000.0;
}

/* False: more is to come. */
static bool take_answer(struct connection *c)
{
    const char *end = memmem(c->in, c->n_in, "\r\n\r\n", 4);
    char length[24], etag[80], closing[16];
    if (!end)
        return false;
    size_t n_head = (size_t)(end - c->in) + 4;
    int status = (int)strtol(c->in + 9, NULL, 10);
    header(c->in, n_head, "\r\nContent-Length: ", length, sizeof length);
    header(c->in, n_head, "\r\nETag: ", etag, sizeof etag);
    header(c->in, n_head, "\r\nConnection: ", closing, sizeof closing);
    size_t n_body = status == 304 ? 0 : strtoul(length, NULL, 10);
    if (c->n_in < n_head + n_body)
        return false;
    int64_t us = monotonic_us() - c->sent_us;
    histogram[phase][slot_of(us)]++;
    slowest_us[phase] = us > slowest_us[phase] ? us : slowest_us[phase];
    n_answered++;
    c->is_busy = false;
    if (status == 304 && c->asked_with >= 0) {
        n_not_modified++;
        saw(c, c->etag_stamps[c->asked_with]);
    } else if (status == 200) {
        check_body(c, c->in + n_head, n_body, etag);
    } else if (status == 503 && options.reconnects &&
               memmem(c->in, c->n_in, "\"not_ready\"", 11) != NULL) {
        n_not_ready++;
    } else {
        complain("the status", c->in, c->n_in);
    }
    c->n_in = 0;
    if (strcmp(closing, "close") == 0)
        reconnect(c);
    return true;
}

static void on_readable(struct connection *c)
{
    if (c->fd < 0)
        return; /* lost in the same round */
    ssize_t n = recv(c->fd, c->in + c->n_in, LIMIT_ANSWER_BYTES - c->n_in, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        if (c->is_busy && options.reconnects)
            n_cut++;
        else if (c->is_busy)
            complain("the connection was lost before its answer", n ? "reset" : "closed", 5);
        reconnect(c);
        return;
    }
    c->n_in += (size_t)n;
    (void)take_answer(c);
}

/* ---- the loop ---- */

/* False: standard input has ended. */
static bool read_orders(int64_t now_us)
{
    char line[64];
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    while (poll(&p, 1, 0) > 0) {
        ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);
        if (n <= 0)
            return false;
        line[n] = 0;
        const char *last = strrchr(line, 'p');
        long number = 0, rate = options.rate;
        if (!last || sscanf(last, "phase %ld %ld", &number, &rate) < 1)
            continue;
        phase = (int)number & (N_PHASES - 1);
        if (rate != options.rate) {
            options.rate = rate;
            paced.from_us = now_us;
            paced.n_sent = 0;
        }
    }
    return true;
}

static int64_t due_us(int64_t now_us)
{
    return options.rate ? paced.from_us + (int64_t)paced.n_sent * 1000000 / options.rate : now_us;
}

/* Sends what is due as far as connections are free; how long until the next one is due. */
static int64_t send_due(unsigned long *n_sent, int64_t now_us)
{
    static int next;
    next++;
    for (long i = 0; i < options.n_connections; i++) {
        struct connection *c = &connections[(next + i) % options.n_connections];
        int64_t due = due_us(now_us);
        if (due > now_us)
            return due - now_us;
        if (options.requests && *n_sent == options.requests)
            break;
        if (!c->is_busy && c->fd >= 0) {
            send_one(c, due);
            ++*n_sent;
            paced.n_sent++;
        }
    }
    return ORDERS_EVERY_US;
}

static bool give_up_late(int64_t now_us)
{
    bool is_busy = false;
    for (long i = 0; i < options.n_connections; i++) {
        if (connections[i].fd < 0)
            connect_one(&connections[i]);
        if (connections[i].is_busy && now_us - connections[i].sent_us > 20000000) {
            complain("no answer in 20 s", "", 0);
            reconnect(&connections[i]);
        }
        is_busy |= connections[i].is_busy;
    }
    return is_busy;
}

static void run(void)
{
    struct epoll_event events[64];
    unsigned long n_sent = 0;
    bool goes_on = true, is_busy = true;
    int64_t looked_us = 0;
    paced.from_us = monotonic_us();
    while (goes_on || is_busy) {
        int64_t now_us = monotonic_us(), wait_us = ORDERS_EVERY_US;
        if (now_us - looked_us >= ORDERS_EVERY_US) {
            looked_us = now_us;
            goes_on = goes_on && read_orders(now_us);
            is_busy = give_up_late(now_us);
        }
        goes_on = goes_on && (!options.requests || n_sent < options.requests);
        if (goes_on)
            wait_us = send_due(&n_sent, now_us);
        else
            is_busy = give_up_late(now_us); /* the last look may be from before the last requests */
        if (wait_us > ORDERS_EVERY_US)
            wait_us = ORDERS_EVERY_US;
        struct timespec timeout = {.tv_nsec = wait_us * 1000};
        int n = epoll_pwait2(poller, events, 64, &timeout, NULL);
        for (int i = 0; i < n; i++)
            on_readable(events[i].data.ptr);
    }
}

static double percentile(int which, double share)
{
    unsigned long all = 0, before = 0;
    for (int i = 0; i < N_SLOTS; i++)
        all += histogram[which][i];
    for (int i = 0; i < N_SLOTS; i++) {
        before += histogram[which][i];
        if (all && (double)before >= share * (double)all)
            return slot_ms((size_t)i);
    }
    return 0;
}

static void report(double seconds)
{
    printf("{\"requests\":%lu,\"not_modified\":%lu,\"reconnects\":%lu,\"cut\":%lu,"
           "\"not_ready\":%lu,\"bad\":%lu,\"seconds\":%.3f,\"complaints\":[",
           n_answered, n_not_modified, n_reconnects, n_cut, n_not_ready, n_bad, seconds);
    for (unsigned long i = 0; i < n_bad && i < LIMIT_COMPLAINTS; i++)
        printf("%s\"%s\"", i ? "," : "", complaints[i]);
    printf("],\"phases\":[");
    for (int i = 0; i < N_PHASES; i++) {
        unsigned long n = 0;
        for (int k = 0; k < N_SLOTS; k++)
            n += histogram[i][k];
        printf("%s{\"n\":%lu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}", i ? "," : "", n,
               percentile(i, 0.5), percentile(i, 0.99), (double)slowest_us[i] / 1000.0);
    }
    printf("],\"walks\":[");
    for (size_t i = 0; i < n_walks; i++) {
        printf("%s[", i ? "," : "");
        for (size_t k = 0; k < walks[i].n; k++)
            printf("%s%ld", k ? "," : "", walks[i].stamps[k]);
        printf("]");
    }
    printf("]}\n");
}

static long number(const char *text)
{
    int64_t n = 0;
    if (!parse_int64(str_from(text), &n) || n < 0) {
        fprintf(stderr, "load: %s is no number\n", text);
        exit(2);
    }
    return (long)n;
}

static void read_options(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        char *value = argv[i + 1], *colon = strchr(value, ':');
        if (strcmp(argv[i], "--port") == 0)
            options.port = (int)number(value);
        else if (strcmp(argv[i], "--path") == 0)
            options.path = value;
        else if (strcmp(argv[i], "--rows") == 0)
            options.rows = number(value);
        else if (strcmp(argv[i], "--rate") == 0)
            options.rate = number(value);
        else if (strcmp(argv[i], "--connections") == 0)
            options.n_connections =
                number(value) < LIMIT_CONNECTIONS ? number(value) : LIMIT_CONNECTIONS;
        else if (strcmp(argv[i], "--reconnect") == 0)
            options.reconnects = number(value) != 0;
        else if (strcmp(argv[i], "--requests") == 0)
            options.requests = (unsigned long)number(value);
        else if (strcmp(argv[i], "--as") == 0 && options.n_identities < LIMIT_IDENTITIES && colon) {
            *colon = 0;
            options.tenants[options.n_identities] = colon + 1;
            options.tokens[options.n_identities++] = value;
        } else {
            fprintf(stderr, "load: %s is not known; see the head of load.c\n", argv[i]);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    (void)setpriority(PRIO_PROCESS, 0, -10); /* its own waits for a CPU would count as answers' */
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < options.n_connections; i++) {
        struct connection *c = &connections[i];
        c->in = x_alloc(LIMIT_ANSWER_BYTES);
        c->identity = options.n_identities ? i % options.n_identities : 0;
        c->token = options.tokens[c->identity];
        c->tenant = options.tenants[c->identity];
        connect_one(c);
    }
    int64_t started_us = monotonic_us();
    run();
    report((double)(monotonic_us() - started_us) / 1e6);
    return n_bad ? 1 : 0;
}
