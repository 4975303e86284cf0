/* SPDX-License-Identifier: Apache-2.0 */
/* The head parser: limits on both sides, what it fills in, and that no split changes an outcome. */
#include "http/http.h"
#include "unit.h"

static struct http_parse_result parse(const char *text, size_t n, bool bodies,
                                      struct http_request *r)
{
    size_t scan_at = 0;
    return http_parse_head(text, n, &scan_at, bodies, r);
}

static int status_of(struct http_parse_result p)
{
    return p.state == HTTP_PARSE_DONE ? 200 : p.state == HTTP_PARSE_MORE ? 0 : p.status;
}

#define GET "GET / HTTP/1.1\r\nHost: x\r\n"

static void test_table(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        int api, admin; /* 0: more is needed */
    } rows[] = {
        {"nothing yet", "", 0, 0},
        {"a method begins", "GE", 0, 0},
        {"the smallest request", GET "\r\n", 200, 200},
        {"the last LF is missing", GET "\r", 0, 0},
        {"1.0 needs no Host", "GET / HTTP/1.0\r\n\r\n", 200, 200},
        {"1.1 does", "GET / HTTP/1.1\r\n\r\n", 400, 400},
        {"an empty line first", "\r\n", 400, 400},
        {"a control byte before the line ends", "GE\001", 400, 400},
        {"a byte above 126 before the line ends", "GET /\x80", 400, 400},
        {"a bare CR before the head ends", GET "X: a\rb", 400, 400},
        {"a CR that may get its LF", GET "X: a\r", 0, 0},
        {"a CR and another byte after the request line", "GET / HTTP/1.1\rXHost: x\r\n\r\n", 400,
         400},
        {"a bare LF before the head ends", GET "X: a\nb", 400, 400},
        {"a NUL in a value", GET "X: \x01\r\n\r\n", 400, 400},
        {"a folded line", GET " x\r\n\r\n", 400, 400},
        {"a space before the colon", GET "X : y\r\n\r\n", 400, 400},
        {"no name", GET ": y\r\n\r\n", 400, 400},
        {"no colon", GET "xy\r\n\r\n", 400, 400},
        {"two Hosts", GET "host: x\r\n\r\n", 400, 400},
        {"an empty Host", "GET / HTTP/1.1\r\nHost: \r\n\r\n", 400, 400},
        {"a Host that lists", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, 400},
        {"an IPv6 Host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200, 200},
        {"absolute form", "GET http://y/a?b HTTP/1.1\r\nHost: x\r\n\r\n", 200, 200},
        {"absolute form without a path", "GET http://y HTTP/1.1\r\nHost: x\r\n\r\n", 200, 200},
        {"absolute form with a user", "GET http://u@y/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, 400},
        {"https is not ours", "GET https://y/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, 400},
        {"the server as a whole", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 200, 200},
        {"only for OPTIONS", "GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400, 400},
        {"authority form", "CONNECT y:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, 400},
        {"two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, 400},
        {"version 1.2", "GET / HTTP/1.2\r\nHost: x\r\n\r\n", 400, 400},
        {"lower-case version", "GET / http/1.1\r\nHost: x\r\n\r\n", 400, 400},
        {"another method is a method", "BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 200, 200},
        {"no body is no body", GET "Content-Length: 0\r\n\r\n", 200, 200},
        {"00", GET "Content-Length: 00\r\n\r\n", 400, 400},
        {"0, 0", GET "Content-Length: 0, 0\r\n\r\n", 400, 400},
        {"twice", GET "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400, 400},
        {"a body on GET", GET "Content-Length: 1\r\n\r\n", 400, 400},
        {"a body on POST", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", 405, 200},
        {"a body on PUT", "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", 405, 405},
        {"a body of 64 KiB", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n", 405,
         200},
        {"a byte more", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 405, 413},
        {"20 digits", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000000000000\r\n\r\n",
         400, 400},
        {"chunked", GET "Transfer-Encoding: chunked\r\n\r\n", 400, 400},
        {"identity", GET "transfer-encoding: identity\r\n\r\n", 400, 400},
        {"Expect", GET "Expect: 100-continue\r\n\r\n", 417, 417},
        {"Upgrade is ignored", GET "Upgrade: h2c\r\n\r\n", 200, 200},
        {"two keys", GET "Authorization: a\r\nAuthorization: a\r\n\r\n", 400, 400},
        {"two origins", GET "Origin: a\r\nOrigin: a\r\n\r\n", 400, 400},
        {"a list in two lines", GET "Accept: a\r\nAccept: b\r\n\r\n", 200, 200},
    };
    struct http_request r;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n = strlen(rows[i].text);
        CHECK_INT(rows[i].why, status_of(parse(rows[i].text, n, false, &r)), rows[i].api);
        CHECK_INT(rows[i].why, status_of(parse(rows[i].text, n, true, &r)), rows[i].admin);
    }
}

/* @before, then @times times @part, then @after. */
static size_t build(char *room, size_t n_room, const char *before, size_t times, const char *part,
                    const char *after)
{
    char *to = room;
    size_t n = strlen(part);
    assert_true(strlen(before) + times * n + strlen(after) < n_room);
    to = stpcpy(to, before);
    for (size_t i = 0; i < times; i++)
        to = stpcpy(to, part);
    return (size_t)(stpcpy(to, after) - room);
}

static void test_limits(void **state)
{
    (void)state;
#define END " HTTP/1.1\r\nHost: x\r\n\r\n"
#define X_BYTES (HTTP_LIMIT_HEAD_BYTES - (sizeof GET "X: \r\n\r\n" - 1))
    static const struct {
        const char *why, *before;
        size_t times;
        const char *part, *after;
        int want;
    } rows[] = {
        {"a target of 8 KiB", "GET /", HTTP_LIMIT_TARGET_BYTES - 1, "a", END, 200},
        {"a byte more", "GET /", HTTP_LIMIT_TARGET_BYTES, "a", END, 414},
        {"a line that never ends", "GET /", 9000, "a", "", 414},
        {"a method of 32 bytes", "", 32, "A", " /" END, 200},
        {"a byte more", "", 33, "A", " /" END, 400},
        {"64 headers", GET, HTTP_LIMIT_HEADERS - 1, "X: y\r\n", "\r\n", 200},
        {"one more", GET, HTTP_LIMIT_HEADERS, "X: y\r\n", "\r\n", 431},
        {"a head of 16 KiB", GET "X: ", X_BYTES, "a", "\r\n\r\n", 200},
        {"a byte more", GET "X: ", X_BYTES + 1, "a", "\r\n\r\n", 431},
    };
    static char text[40000];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_request r;
        size_t n =
            build(text, sizeof text, rows[i].before, rows[i].times, rows[i].part, rows[i].after);
        if (n > HTTP_LIMIT_HEAD_BYTES)
            n = HTTP_LIMIT_HEAD_BYTES; /* the layer's buffer: the parser never sees more */
        CHECK_INT(rows[i].why, status_of(parse(text, n, false, &r)), rows[i].want);
    }
}

static bool is(struct str s, const char *want)
{
    return str_is(s, want);
}

static void test_what_it_fills_in(void **state)
{
    (void)state;
    static const char text[] =
        "HEAD http://y:80/p%41th?q=1&r HTTP/1.1\r\nHost: x\r\nauthorization:  Bearer t \r\n"
        "ACCEPT: a\r\naccept-encoding: b\r\nIf-None-Match:\tc\t\r\nOrigin: d\r\nPrefer: e\r\n"
        "X-Request-Id: f\r\ntraceparent: g\r\nContent-Type: h\r\nConnection: x, "
        "Close\r\nEmpty:\r\n\r\nREST";
    struct http_request r;
    struct http_parse_result p = parse(text, sizeof text - 1, false, &r);
    assert_int_equal(p.state, HTTP_PARSE_DONE);
    assert_int_equal(p.head_bytes, sizeof text - 1 - 4);
    assert_int_equal(r.method, HTTP_HEAD);
    assert_true(is(r.path, "/p%41th") && is(r.query, "q=1&r") && r.has_query);
    assert_true(is(r.authorization, "Bearer t") && is(r.accept, "a") && is(r.accept_encoding, "b"));
    assert_true(is(r.if_none_match, "c") && is(r.origin, "d") && is(r.prefer, "e"));
    assert_true(is(r.request_id, "f") && is(r.traceparent, "g") && is(r.content_type, "h"));
    assert_true(r.close && !r.http_1_0 && !r.has_repeated);
    int n = 0;
    assert_true(is(http_header_get(&r, "empty", &n), "") && n == 1);
    assert_true(!http_header_get(&r, "absent", &n).p && n == 0);
}

static void test_repeated_lines(void **state)
{
    (void)state;
    char room[HTTP_LIMIT_HEAD_BYTES];
    static const char text[] = GET "Prefer: a\r\nX-Request-Id: one-id-first\r\nprefer: b, c\r\n"
                                   "X-Request-Id: another-one\r\nPrefer: d\r\n\r\n";
    struct http_request r;
    assert_int_equal(parse(text, sizeof text - 1, false, &r).state, HTTP_PARSE_DONE);
    assert_true(r.has_repeated && r.request_id.n == 0);
    assert_true(is(http_header_join(&r, "prefer", room, sizeof room), "a,b, c,d"));
    assert_int_equal(http_header_join(&r, "accept", room, sizeof room).n, 0);
    assert_true(
        is(http_header_join(&r, "prefer", room, 4), "a,d")); /* what does not fit is left out */
}

/* A refusal shows no field of the request that the struct held before. */
static void test_refusals_are_clean(void **state)
{
    (void)state;
    static const char *const refused[] = {"\r\n", GET "X: \n", "GET /\x01", "G\x80", GET "X: a\rb"};
    static const char first[] = GET "X-Request-Id: somebody\r\nOrigin: else\r\n\r\n";
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct http_request r;
        assert_int_equal(parse(first, sizeof first - 1, false, &r).state, HTTP_PARSE_DONE);
        assert_int_equal(parse(refused[i], strlen(refused[i]), false, &r).state,
                         HTTP_PARSE_REFUSED);
        CHECK(refused[i], r.request_id.p == NULL && r.origin.p == NULL && r.n_headers == 0);
    }
}

/* Byte by byte: the same outcome as at once, and nothing before its time. */
static void test_every_split(void **state)
{
    (void)state;
    static const char *const texts[] = {GET "Accept: text/csv\r\nX: y\r\n\r\n",
                                        GET "X: a\r\nX y: b\r\n\r\n",
                                        "\r\nGET / HTTP/1.1\r\n\r\n",
                                        "GET / HTTP/1.1\nHost: x\n\n",
                                        GET "X: a\rb\r\n\r\n",
                                        "GET / HTTP/1.3\r\nHost: x\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t n = strlen(texts[i]), scan_at = 0;
        struct http_request r;
        int whole = status_of(parse(texts[i], n, false, &r)), got = 0;
        for (size_t k = 1; k <= n && got == 0; k++)
            got = status_of(http_parse_head(texts[i], k, &scan_at, false, &r));
        CHECK_INT(texts[i], got, whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_what_it_fills_in),
        cmocka_unit_test(test_repeated_lines),
        cmocka_unit_test(test_refusals_are_clean),
        cmocka_unit_test(test_every_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
