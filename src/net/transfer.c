/* SPDX-License-Identifier: Apache-2.0 */
/* One attempt of one request as a curl handle, and what curl calls back while it runs. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/timeutil.h"
#include "net/net_int.h"

static bool is_http(const struct net_transfer *t)
{
    return strncmp(t->url, "http:", 5) == 0;
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct net_transfer *t = arg;
    (void)purpose;
    if (!address_is_allowed(&address->addr, t->reach, t->net->allow_loopback, is_http(t))) {
        t->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* A connection that another request opened may be taken over: it is judged again, for this one. */
static int on_connected(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
    struct net_transfer *t = arg;
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    const struct sockaddr *address = NULL;
    (void)local_ip, (void)remote_port, (void)local_port;
    if (t->reach == NET_REACH_NAMED)
        return CURL_PREREQFUNC_OK;
    if (inet_pton(AF_INET, remote_ip, &in.sin_addr) == 1)
        address = (const struct sockaddr *)&in;
    else if (inet_pton(AF_INET6, remote_ip, &in6.sin6_addr) == 1)
        address = (const struct sockaddr *)&in6;
    if (!address || !address_is_allowed(address, t->reach, t->net->allow_loopback, is_http(t))) {
        t->refused = true;
        return CURL_PREREQFUNC_ABORT;
    }
    return CURL_PREREQFUNC_OK;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    struct net_transfer *t = arg;
    (void)down_total, (void)up_total;
    if (down + up != t->n_bytes_seen) {
        t->n_bytes_seen = down + up;
        t->active_us = monotonic_us();
    }
    return 0;
}

/* "Name: value\r\n" into lower-case "name: value\n"; a status line begins a new head. */
static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct net_transfer *t = arg;
    struct buf *head = &t->response->head;
    struct str line = {p, size * n};
    t->active_us = monotonic_us();
    while (line.n && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == '\n'))
        line.n--;
    const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
    if (str_starts(line, "HTTP/")) {
        buf_reset(head);
        return size * n;
    }
    if (!colon)
        return size * n;
    for (const char *c = line.p; c < colon; c++)
        buf_putc(head, *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c);
    struct str value = str_trim((struct str){colon + 1, (size_t)(line.p + line.n - colon - 1)});
    buf_put_literal(head, ": ");
    buf_put_str(head, value);
    buf_putc(head, '\n');
    if (head->failed) {
        t->rc = err_set(&t->why, buf_rc(head),
                        "the response head cannot be held, or has more than %u bytes",
                        NET_LIMIT_HEAD_BYTES);
        return 0;
    }
    return size * n;
}

static enum rc start_sink(struct net_transfer *t)
{
    const struct net_sink *sink = t->request->sink;
    t->sink_started = true;
    return sink->on_start ? sink->on_start(sink->arg, t->response, &t->why) : RC_OK;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct net_transfer *t = arg;
    struct net_response *r = t->response;
    const struct net_sink *sink = t->request->sink;
    long status = 0;
    size_t bytes = size * n;
    t->active_us = monotonic_us();
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    r->status = (int)status;
    r->body_bytes += bytes;
    if (status < 200 || status > 299) {
        size_t room = NET_LIMIT_ERROR_BODY_BYTES - r->body.n;
        buf_put(&r->body, p, bytes < room ? bytes : room); /* the rest is of no interest */
        return bytes;
    }
    if (!sink) {
        buf_put(&r->body, p, bytes);
        t->rc = buf_rc(&r->body);
        if (t->rc == RC_NO_MEMORY)
            (void)err_set(&t->why, t->rc, "out of memory for an answer");
        else if (t->rc != RC_OK)
            (void)err_set(&t->why, t->rc, "the answer has more than %zu bytes",
                          r->body.limit_bytes);
        return t->rc == RC_OK ? bytes : 0;
    }
    if (!t->sink_started)
        t->rc = start_sink(t);
    if (t->rc == RC_OK)
        t->rc = sink->on_body(sink->arg, p, bytes, &t->why);
    return t->rc == RC_OK ? bytes : 0;
}

static void add_header(struct net_transfer *t, const char *name, const char *value)
{
    /* "name;" is curl's spelling of a header with an empty value. */
    AUTO(mem_free_auto) char *line =
        *value ? x_printf("%s: %s", name, value) : x_printf("%s;", name);
    struct curl_slist *longer = curl_slist_append(t->headers, line);
    if (longer)
        t->headers = longer;
    else
        t->rc = RC_NO_MEMORY;
}

static void set_headers(struct net_transfer *t)
{
    const struct net_request *q = t->request;
    for (size_t i = 0; i < q->n_headers; i++)
        add_header(t, q->headers[i].name, q->headers[i].value);
    if (!t->credentials_apply)
        return;
    if (q->authorization)
        add_header(t, "authorization", q->authorization);
    if (q->signer && q->signer->session_token)
        add_header(t, "x-amz-security-token", q->signer->session_token);
}

static CURLcode set_signer(CURL *e, const struct net_signer *s)
{
    AUTO(mem_free_auto) char *how = x_printf("aws:amz:%s:%s", s->region, s->service);
    CURLcode c = curl_easy_setopt(e, CURLOPT_AWS_SIGV4, how);
    if (c == CURLE_OK)
        c = curl_easy_setopt(e, CURLOPT_USERNAME, s->key_id);
    return c == CURLE_OK ? curl_easy_setopt(e, CURLOPT_PASSWORD, s->secret) : c;
}

static CURLcode set_method(CURL *e, const struct net_request *q)
{
    const char *method = q->method ? q->method : "GET";
    if (strcmp(method, "HEAD") == 0)
        return curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    if (q->body.n || strcmp(method, "POST") == 0) {
        CURLcode c = curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.n);
        if (c == CURLE_OK)
            c = curl_easy_setopt(e, CURLOPT_POSTFIELDS, q->body.n ? q->body.p : "");
        if (c != CURLE_OK)
            return c;
    }
    return strcmp(method, "GET") == 0 ? CURLE_OK
                                      : curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method);
}

/* The options every transfer has. */
static CURLcode set_common(CURL *e, struct net_transfer *t)
{
    const struct net *n = t->net;
    CURLcode c = CURLE_OK;
#define SET(option, value)                                                                         \
    if (c == CURLE_OK)                                                                             \
    c = curl_easy_setopt(e, option, value)
    SET(CURLOPT_URL, t->url);
    SET(CURLOPT_PATH_AS_IS,
        1L); /* keys may hold "..": the server's business, and part of the signature */
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, ""); /* proxy variables would see credentials and dodge the address guard */
    SET(CURLOPT_NOSIGNAL, 1L);
    /* Names are looked up by curl's own threads. Without this curl joins one whose transfer ends
     * before it does, and every other transfer of this thread waits for that name too. Let go, it
     * ends by itself when the resolver gives up, and frees what it holds. */
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)n->connect_timeout_ms);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_BUFFERSIZE, 256L * 1024);
    SET(CURLOPT_USERAGENT, "offloader/" OFFLOADER_VERSION);
    SET(CURLOPT_ERRORBUFFER, t->curl_error);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    SET(CURLOPT_OPENSOCKETDATA, t);
    SET(CURLOPT_PREREQFUNCTION, on_connected);
    SET(CURLOPT_PREREQDATA, t);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, t);
    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_HTTPHEADER, t->headers);
    if (n->ca_file)
        SET(CURLOPT_CAINFO, n->ca_file);
#undef SET
    return c;
}

enum rc transfer_setup(struct net_transfer *t, struct err *err)
{
    const struct net_request *q = t->request;
    t->easy = curl_easy_init();
    set_headers(t);
    if (!t->easy || t->rc != RC_OK)
        return err_set(err, RC_NO_MEMORY, "out of memory for a request");
    CURLcode c = set_common(t->easy, t);
    if (c == CURLE_OK)
        c = set_method(t->easy, q);
    if (c == CURLE_OK && q->signer && t->credentials_apply)
        c = set_signer(t->easy, q->signer);
    return c == CURLE_OK
               ? RC_OK
               : err_set(err, RC_INTERNAL, "a request cannot be set up: %s", curl_easy_strerror(c));
}

void transfer_teardown(struct net_transfer *t)
{
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    t->easy = NULL;
    t->headers = NULL;
}
