/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The strict head parser. One grammar, no repairs: RFC 9112 without obs-fold, bare CR or LF, white
 * space before a colon, or a second way to say how long a message is. Any doubt is a refusal.
 *
 * Pure: it looks at bytes and fills a request; nothing is copied.
 */
#include <limits.h>

#include "http/http.h"

#define LIMIT_METHOD_BYTES 32
#define LIMIT_LINE_BYTES                                                                           \
    (LIMIT_METHOD_BYTES + HTTP_LIMIT_TARGET_BYTES + 10) /* " " and " HTTP/1.1" */

/* ---- byte classes ---- */

enum { IN_TOKEN = 1, IN_VALUE = 2, IN_TARGET = 4, IN_HOST = 8 };

static uint8_t class_of(unsigned char c)
{
    bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    uint8_t class = 0;
    if (alphanumeric || (c && strchr("!#$%&'*+-.^_`|~", c)))
        class |= IN_TOKEN;
    if (c == '\t' || (c >= ' ' && c != 0x7f))
        class |= IN_VALUE;
    if (alphanumeric || (c && strchr("-._~:/?[]@!$&'()*+,;=%", c)))
        class |= IN_TARGET;
    if (alphanumeric || (c && strchr("-._~:[]%!$&'()*+;=", c)))
        class |= IN_HOST;
    return class;
}

static uint8_t classes[256];

__attribute__((constructor)) static void fill_classes(void)
{
    for (int c = 0; c < 256; c++)
        classes[c] = class_of((unsigned char)c);
}

static bool all_in(struct str s, uint8_t class)
{
    uint8_t common = class;
    for (size_t i = 0; i < s.n; i++) /* no way out of the loop: most text is fine to its end */
        common &= classes[(unsigned char)s.p[i]];
    return common == class;
}

/* ---- results ---- */

static struct http_parse_result refuse(int status, const char *message)
{
    return (struct http_parse_result){
        .state = HTTP_PARSE_REFUSED, .status = status, .message = message};
}

static struct http_parse_result more(void)
{
    return (struct http_parse_result){.state = HTTP_PARSE_MORE};
}

static struct http_parse_result fine(void)
{
    return (struct http_parse_result){.state = HTTP_PARSE_DONE};
}

/* ---- request line ---- */

static enum http_method method_of(struct str s)
{
    if (str_is(s, "GET"))
        return HTTP_GET;
    if (str_is(s, "HEAD"))
        return HTTP_HEAD;
    if (str_is(s, "POST"))
        return HTTP_POST;
    return str_is(s, "OPTIONS") ? HTTP_OPTIONS : HTTP_OTHER;
}

static void split_query(struct http_request *r, struct str target)
{
    const char *mark = memchr(target.p, '?', target.n);
    r->path = target;
    r->has_query = mark != NULL;
    r->query = (struct str){NULL, 0};
    if (mark) {
        r->path.n = (size_t)(mark - target.p);
        r->query = (struct str){mark + 1, target.n - r->path.n - 1};
    }
}

/* http://authority[/path]: the authority is checked and dropped. */
static bool take_absolute_form(struct http_request *r, struct str target)
{
    static const char root[] = "/";
    if (target.n < 8 || !str_eq_nocase((struct str){target.p, 7}, STR("http://")))
        return false;
    struct str rest = {target.p + 7, target.n - 7};
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    if (n == 0 || !all_in((struct str){rest.p, n}, IN_HOST))
        return false;
    rest = (struct str){rest.p + n, rest.n - n};
    if (rest.n == 0)
        rest = (struct str){root, 1};
    if (rest.p[0] == '?') {
        split_query(r, rest);
        r->path = (struct str){root, 1};
        return true;
    }
    split_query(r, rest);
    return true;
}

static struct http_parse_result parse_request_line(struct str line, struct http_request *r)
{
    const char *end = line.p + line.n;
    const char *first = memchr(line.p, ' ', line.n);
    const char *last = memrchr(line.p, ' ', line.n);
    if (!first || first == last)
        return refuse(400, "the request line is not well-formed");
    r->method_text = (struct str){line.p, (size_t)(first - line.p)};
    struct str target = {first + 1, (size_t)(last - first - 1)};
    struct str version = {last + 1, (size_t)(end - last - 1)};
    if (r->method_text.n == 0 || r->method_text.n > LIMIT_METHOD_BYTES ||
        !all_in(r->method_text, IN_TOKEN))
        return refuse(400, "the method is not well-formed");
    r->http_1_0 = str_is(version, "HTTP/1.0");
    if (!r->http_1_0 && !str_is(version, "HTTP/1.1"))
        return refuse(400, "the version must be HTTP/1.1 or HTTP/1.0");
    if (target.n > HTTP_LIMIT_TARGET_BYTES)
        return refuse(414, "the URL is longer than 8 KiB");
    if (target.n == 0 || !all_in(target, IN_TARGET))
        return refuse(400, "the request target holds characters that must be percent-encoded");
    r->method = method_of(r->method_text);
    if (target.p[0] == '/') {
        split_query(r, target);
        return fine();
    }
    if (r->method == HTTP_OPTIONS && str_is(target, "*")) {
        split_query(r, target);
        return fine();
    }
    return take_absolute_form(r, target) ? fine() : refuse(400, "the request target is not a path");
}

/* ---- header fields ---- */

struct seen {
    int n_host, n_length;
    struct str host, length;
    bool expect, transfer_encoding, close, keep_alive;
};

/* What a second line of the same field means: a refusal, one list, or that neither counts. */
enum repeated { REFUSED, A_LIST, NEITHER };

struct known {
    struct str name;
    size_t at; /* of the struct str in http_request */
    enum repeated repeated;
};

static const struct known known_fields[] = {
    {{"authorization", 13}, offsetof(struct http_request, authorization), REFUSED},
    {{"accept", 6}, offsetof(struct http_request, accept), A_LIST},
    {{"accept-encoding", 15}, offsetof(struct http_request, accept_encoding), A_LIST},
    {{"if-none-match", 13}, offsetof(struct http_request, if_none_match), A_LIST},
    {{"origin", 6}, offsetof(struct http_request, origin), REFUSED},
    {{"prefer", 6}, offsetof(struct http_request, prefer), A_LIST},
    {{"x-request-id", 12}, offsetof(struct http_request, request_id), NEITHER},
    {{"traceparent", 11}, offsetof(struct http_request, traceparent), NEITHER},
    {{"content-type", 12}, offsetof(struct http_request, content_type), REFUSED},
};

static bool has_token(struct str list, struct str token)
{
    for (size_t at = 0; at < list.n;) {
        size_t n = 0;
        while (at + n < list.n && list.p[at + n] != ',')
            n++;
        if (str_eq_nocase(str_trim((struct str){list.p + at, n}), token))
            return true;
        at += n + 1;
    }
    return false;
}

/* Fields that decide how the message is framed. */
static bool note_framing(struct seen *s, struct str name, struct str value)
{
    switch (name.p[0] | 0x20) {
    case 'h':
        if (!str_eq_nocase(name, STR("host")))
            return false;
        s->n_host++;
        s->host = value;
        return true;
    case 'c':
        if (str_eq_nocase(name, STR("content-length"))) {
            s->n_length++;
            s->length = value;
            return true;
        }
        if (!str_eq_nocase(name, STR("connection")))
            return false;
        s->close |= has_token(value, STR("close"));
        s->keep_alive |= has_token(value, STR("keep-alive"));
        return true;
    case 't':
        s->transfer_encoding |= str_eq_nocase(name, STR("transfer-encoding"));
        return s->transfer_encoding;
    case 'e':
        s->expect |= str_eq_nocase(name, STR("expect"));
        return s->expect;
    default:
        return false;
    }
}

/* False: a field that must stand once stands twice. */
static bool note_known(struct http_request *r, struct str name, struct str value)
{
    for (size_t i = 0; i < ARRAY_LEN(known_fields); i++) {
        if (name.n != known_fields[i].name.n || !str_eq_nocase(name, known_fields[i].name))
            continue;
        struct str *slot = (struct str *)(void *)((char *)r + known_fields[i].at);
        if (!slot->p) {
            *slot = value;
            return true;
        }
        r->has_repeated = true;
        if (known_fields[i].repeated == NEITHER)
            slot->n = 0;
        return known_fields[i].repeated != REFUSED;
    }
    return true;
}

static struct http_parse_result parse_field(struct str line, struct http_request *r, struct seen *s)
{
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon)
        return refuse(400, "a header line has no colon");
    struct str name = {line.p, (size_t)(colon - line.p)};
    struct str value = str_trim((struct str){colon + 1, line.n - name.n - 1});
    if (name.n == 0 || !all_in(name, IN_TOKEN))
        return refuse(400, "a header name is not well-formed");
    if (!all_in(value, IN_VALUE))
        return refuse(400, "a header value holds control characters");
    if (r->n_headers == HTTP_LIMIT_HEADERS)
        return refuse(431, "more than 64 headers");
    r->headers[r->n_headers++] = (struct http_header){name, value};
    if (!note_framing(s, name, value) && !note_known(r, name, value))
        return refuse(400, "a header that must stand once stands twice");
    return fine();
}

/* ---- what the fields mean together ---- */

static bool parse_length(struct str s, uint64_t *ret)
{
    if (s.n == 0 || s.n > 18 || (s.n > 1 && s.p[0] == '0'))
        return false;
    return parse_uint64(s, ret);
}

static struct http_parse_result check_framing(const struct http_request *r, const struct seen *s,
                                              bool allow_bodies, uint64_t *ret_body)
{
    *ret_body = 0;
    if (s->transfer_encoding)
        return refuse(400, "Transfer-Encoding is not accepted");
    if (s->n_length > 1 || (s->n_length == 1 && !parse_length(s->length, ret_body)))
        return refuse(400, "Content-Length must stand once and be a plain number");
    if (s->n_host > 1 || (s->n_host == 0 && !r->http_1_0))
        return refuse(400, "exactly one Host header is required");
    if (s->n_host == 1 && (s->host.n == 0 || !all_in(s->host, IN_HOST)))
        return refuse(400, "the Host header is not well-formed");
    if (s->expect)
        return refuse(417, "Expect is not supported");
    if (*ret_body == 0)
        return fine();
    if (r->method == HTTP_GET || r->method == HTTP_HEAD || r->method == HTTP_OPTIONS)
        return refuse(400, "a request with this method has no body");
    if (!allow_bodies || r->method != HTTP_POST)
        return refuse(405, "requests with a body are not answered here");
    if (*ret_body > HTTP_LIMIT_BODY_BYTES)
        return refuse(413, "the body is larger than 64 KiB");
    return fine();
}

/* ---- scanning ---- */

/*
 * Looks for the empty line from *@scan_at; refuses a bare CR or LF on the way. Returns the number
 * of bytes of the head, or 0 when it is not there yet.
 */
static size_t find_end(const char *p, size_t n, size_t *scan_at, bool *ret_bare)
{
    size_t i = *scan_at;
    while (i < n) {
        const char *lf = memchr(p + i, '\n', n - i);
        if (!lf)
            break;
        size_t at = (size_t)(lf - p);
        if (at == 0 || p[at - 1] != '\r') {
            *ret_bare = true;
            return 0;
        }
        if (at >= 3 && p[at - 2] == '\n') /* "\n\r\n": the line before was checked to end in \r\n */
            return at + 1;
        i = at + 1;
    }
    *scan_at = i;
    return 0;
}

/* So that a head which a lenient parser would take as whole is refused at once, not when its time
 * is up. A CR that came last may still be followed by its LF. */
static bool has_bare_cr(const char *p, size_t n)
{
    const char *end = p + n;
    for (const char *cr = p; (cr = memchr(cr, '\r', (size_t)(end - cr))) != NULL; cr++)
        if (cr + 1 < end && cr[1] != '\n')
            return true;
    return false;
}

static struct http_parse_result check_start(const char *p, size_t n, struct http_request *r)
{
    if (p[0] == '\r' || p[0] == '\n')
        return refuse(400, "an empty line where a request was expected");
    const char *cr = memchr(p, '\r', n);
    if (cr && cr + 1 < p + n && cr[1] != '\n')
        return refuse(400, "a bare CR");
    if (!cr || cr + 1 == p + n) { /* not a whole line yet, but may it become one? */
        size_t n_line = cr ? (size_t)(cr - p) : n;
        if (n_line > LIMIT_LINE_BYTES)
            return refuse(414, "the URL is longer than 8 KiB");
        for (size_t i = 0; i < n_line; i++)
            if ((unsigned char)p[i] < ' ' || (unsigned char)p[i] >= 0x7f)
                return refuse(400, "the request line is not well-formed");
        return more();
    }
    struct http_parse_result line = parse_request_line((struct str){p, (size_t)(cr - p)}, r);
    return line.state == HTTP_PARSE_REFUSED ? line : more();
}

static struct http_parse_result parse_lines(const char *p, size_t n, bool allow_bodies,
                                            struct http_request *r)
{
    struct seen s = {0};
    const char *end = p + n - 2; /* at the empty line */
    const char *cr = memchr(p, '\r', n);
    if (cr[1] != '\n')
        return refuse(400, "a bare CR");
    struct http_parse_result result = parse_request_line((struct str){p, (size_t)(cr - p)}, r);
    for (p = cr + 2; result.state == HTTP_PARSE_DONE && p < end; p = cr + 2) {
        cr = memchr(p, '\r', (size_t)(end - p));
        if (!cr || cr[1] != '\n')
            return refuse(400, "a bare CR");
        if (*p == ' ' || *p == '\t')
            return refuse(400, "a folded header line");
        result = parse_field((struct str){p, (size_t)(cr - p)}, r, &s);
    }
    if (result.state != HTTP_PARSE_DONE)
        return result;
    uint64_t body = 0;
    result = check_framing(r, &s, allow_bodies, &body);
    r->close = s.close || r->http_1_0;
    result.body_bytes = body;
    result.head_bytes = n;
    return result;
}

static void clear(struct http_request *r)
{
    memset(r, 0, offsetof(struct http_request, headers));
    memset((char *)r + offsetof(struct http_request, n_headers), 0,
           sizeof *r - offsetof(struct http_request, n_headers));
}

struct http_parse_result http_parse_head(const char *p, size_t n, size_t *scan_at,
                                         bool allow_bodies, struct http_request *ret)
{
    bool bare = false;
    /* First of all: a refusal must never show the fields of the request that @ret held before. */
    clear(ret);
    if (n == 0)
        return more();
    size_t checked = *scan_at; /* whole lines before, the request line first */
    size_t head = find_end(p, n, scan_at, &bare);
    if (head)
        return parse_lines(p, head, allow_bodies, ret);
    if (checked == 0) {
        struct http_parse_result start = check_start(p, n, ret);
        if (start.state == HTTP_PARSE_REFUSED)
            return start;
    }
    if (bare)
        return refuse(400, "a bare LF");
    if (has_bare_cr(p + checked, n - checked))
        return refuse(400, "a bare CR");
    return n >= HTTP_LIMIT_HEAD_BYTES ? refuse(431, "the head is larger than 16 KiB") : more();
}

struct str http_header_join(const struct http_request *r, const char *name, char *room,
                            size_t n_room)
{
    size_t n = 0;
    for (int i = 0; i < r->n_headers; i++) {
        const struct str value = r->headers[i].value;
        if (!str_eq_nocase(r->headers[i].name, str_from(name)) || value.n + 1 > n_room - n)
            continue;
        if (n)
            room[n++] = ',';
        memcpy(room + n, value.p, value.n);
        n += value.n;
    }
    return (struct str){n ? room : NULL, n};
}

struct str http_header_get(const struct http_request *r, const char *name, int *ret_n_found)
{
    struct str found = {NULL, 0};
    int n = 0;
    for (int i = 0; i < r->n_headers; i++) {
        if (!str_eq_nocase(r->headers[i].name, str_from(name)))
            continue;
        if (n++ == 0)
            found = r->headers[i].value;
    }
    if (ret_n_found)
        *ret_n_found = n;
    return found;
}
