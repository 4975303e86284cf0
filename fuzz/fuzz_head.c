/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP heads. What is taken keeps the promises of design 2 whatever the bytes; a head that comes in
 * two parts ends as it does in one; nothing of an earlier request shows in a refusal; the
 * negotiation and the decoding of what was taken read only their own bytes.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fuzz.h"
#include "http/http.h"

static bool is_inside(struct str s, const char *p, size_t n)
{
    return s.n == 0 || (s.p >= p && s.p + s.n <= p + n);
}

static void check_taken(const struct http_request *r, const char *p, size_t n,
                        const struct http_parse_result *result, bool bodies)
{
    assert(result->head_bytes <= n && memcmp(p + result->head_bytes - 4, "\r\n\r\n", 4) == 0);
    assert(!memchr(p, 0, result->head_bytes) && r->n_headers <= HTTP_LIMIT_HEADERS);
    assert(result->body_bytes == 0 || (bodies && r->method == HTTP_POST));
    assert(result->body_bytes <= HTTP_LIMIT_BODY_BYTES);
    for (size_t i = 0; i < result->head_bytes; i++) /* no line ends but CRLF */
        assert(p[i] != '\n' || (i > 0 && p[i - 1] == '\r'));
    int n_hosts = 0, n_lengths = 0, n_codings = 0;
    (void)http_header_get(r, "host", &n_hosts);
    (void)http_header_get(r, "content-length", &n_lengths);
    (void)http_header_get(r, "transfer-encoding", &n_codings);
    assert(n_hosts == 1 || (n_hosts == 0 && r->http_1_0));
    assert(n_lengths <= 1 && n_codings == 0);
    const struct str fields[] = {r->authorization, r->accept, r->accept_encoding, r->if_none_match,
                                 r->origin,        r->prefer, r->request_id,      r->traceparent};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        assert(is_inside(fields[i], p, n));
}

static void use_taken(const struct http_request *r)
{
    static char room[HTTP_LIMIT_HEAD_BYTES];
    struct http_param params[8];
    bool too_many;
    size_t n = 0;
    assert(r->path.n <= HTTP_LIMIT_TARGET_BYTES && r->query.n <= HTTP_LIMIT_TARGET_BYTES);
    if (http_decode_path(r->path, room, &n))
        assert(n <= r->path.n && utf8_valid((struct str){room, n}) && !memchr(room, 0, n));
    int count = http_decode_query(r->query, room, params, 8, &too_many);
    for (int i = 0; i < count; i++)
        assert(utf8_valid(params[i].name) && utf8_valid(params[i].value));
    assert(http_choose_form(r->accept) <= FORM_NONE);
    assert(http_choose_coding(r->accept_encoding) <= HTTP_BROTLI);
    (void)http_etag_matches(r->if_none_match, STR("W/\"0123\"")); /* reads within bounds */
    struct str joined = http_header_join(r, "accept", room, sizeof room);
    assert(joined.n <= sizeof room);
}

static int outcome(const struct http_parse_result *r)
{
    return r->state == HTTP_PARSE_DONE ? 200 : r->state == HTTP_PARSE_MORE ? 0 : 400;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3)
        return 0;
    bool bodies = data[0] & 1;
    size_t split = (size_t)data[1] << 8 | data[2], length = n - 3;
    if (length > HTTP_LIMIT_HEAD_BYTES)
        length = HTTP_LIMIT_HEAD_BYTES;
    char *p =
        try_alloc(length + 1); /* of the exact size, so that a sanitizer sees a byte too far */
    if (!p)
        return 0;
    memcpy(p, data + 3, length);
    struct http_request r = {.request_id = STR("another's"), .origin = STR("another's")};
    size_t scan_at = 0;
    struct http_parse_result whole = http_parse_head(p, length, &scan_at, bodies, &r);
    if (whole.state == HTTP_PARSE_DONE) {
        check_taken(&r, p, length, &whole, bodies);
        use_taken(&r);
    }
    assert(is_inside(r.request_id, p, length) && is_inside(r.origin, p, length));
    if (length > 0) {
        scan_at = 0;
        struct http_parse_result part = http_parse_head(p, split % length, &scan_at, bodies, &r);
        if (part.state == HTTP_PARSE_MORE)
            part = http_parse_head(p, length, &scan_at, bodies, &r);
        assert(outcome(&part) == outcome(&whole));
    }
    mem_free(p);
    return 0;
}
