/* SPDX-License-Identifier: Apache-2.0 */
/* Accept, Accept-Encoding, If-None-Match, status texts, and compression in one go. */
#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include "http/http.h"

#define LIMIT_LIST_ITEMS 64

/* An item of a comma-separated list with its q in thousandths; parameters other than q are skipped.
 */
struct item {
    struct str name;
    int q;
};

/* `q=0.5` and the like; malformed counts as absent (1000). */
static int parse_q(struct str s)
{
    if (s.n < 1 || (s.p[0] != '0' && s.p[0] != '1') || s.n > 5 || (s.n > 1 && s.p[1] != '.'))
        return 1000;
    int q = (s.p[0] - '0') * 1000, scale = 100;
    for (size_t i = 2; i < s.n; i++, scale /= 10) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return 1000;
        q += (s.p[i] - '0') * scale;
    }
    return q > 1000 ? 1000 : q;
}

/* Next item at *at; false at the end of the list. */
static bool next_item(struct str list, size_t *at, struct item *ret)
{
    while (*at < list.n) {
        const char *end = memchr(list.p + *at, ',', list.n - *at);
        size_t n = end ? (size_t)(end - list.p) - *at : list.n - *at;
        struct str rest = {list.p + *at, n};
        *at += n + 1;
        *ret = (struct item){.q = 1000};
        bool is_first = true;
        while (rest.n || is_first) {
            const char *semicolon = rest.n ? memchr(rest.p, ';', rest.n) : NULL;
            size_t m = semicolon ? (size_t)(semicolon - rest.p) : rest.n;
            struct str part = str_trim((struct str){rest.p, m});
            if (is_first)
                ret->name = part;
            else if (part.n > 2 && (part.p[0] | 0x20) == 'q' && part.p[1] == '=')
                ret->q = parse_q((struct str){part.p + 2, part.n - 2});
            is_first = false;
            rest = semicolon ? (struct str){rest.p + m + 1, rest.n - m - 1} : (struct str){NULL, 0};
        }
        if (ret->name.n)
            return true;
    }
    return false;
}

enum http_coding http_choose_coding(struct str accept_encoding)
{
    /* In order of preference at equal q. */
    static const struct {
        const char *name;
        enum http_coding coding;
    } ours[] = {{"br", HTTP_BROTLI}, {"zstd", HTTP_ZSTD}, {"gzip", HTTP_GZIP}};
    int q[ARRAY_LEN(ours)] = {-1, -1, -1}, any = -1, identity = -1;
    struct item item;
    int n = 0;
    for (size_t at = 0; n < LIMIT_LIST_ITEMS && next_item(accept_encoding, &at, &item); n++) {
        if (str_is(item.name, "*"))
            any = item.q;
        else if (str_eq_nocase(item.name, STR("identity")))
            identity = item.q;
        for (size_t i = 0; i < ARRAY_LEN(ours); i++)
            if (str_eq_nocase(item.name, str_from(ours[i].name)))
                q[i] = item.q;
        if (str_eq_nocase(item.name, STR("x-gzip"))) /* RFC 9110, 8.4.1.3: the same thing */
            q[ARRAY_LEN(ours) - 1] = item.q;
    }
    enum http_coding best = HTTP_IDENTITY;
    int best_q = 0;
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        int mine = q[i] >= 0 ? q[i] : any;
        if (mine > best_q) {
            best_q = mine;
            best = ours[i].coding;
        }
    }
    return identity > best_q ? HTTP_IDENTITY : best;
}

enum http_form http_choose_form(struct str accept)
{
    static const struct {
        const char *type, *range;
    } ours[] = {[FORM_JSON] = {"application/json", "application/*"},
                [FORM_NDJSON] = {"application/x-ndjson", "application/*"},
                [FORM_CSV] = {"text/csv", "text/*"}};
    int q[ARRAY_LEN(ours)], specificity[ARRAY_LEN(ours)];
    struct item item;
    int n = 0;
    if (accept.n == 0)
        return FORM_JSON;
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        q[i] = specificity[i] = -1;
    for (size_t at = 0; n < LIMIT_LIST_ITEMS && next_item(accept, &at, &item); n++) {
        for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
            int mine = str_eq_nocase(item.name, str_from(ours[i].type))    ? 2
                       : str_eq_nocase(item.name, str_from(ours[i].range)) ? 1
                       : str_is(item.name, "*/*")                          ? 0
                                                                           : -1;
            if (mine > specificity[i]) {
                specificity[i] = mine;
                q[i] = item.q;
            }
        }
    }
    enum http_form best = FORM_NONE;
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        if (q[i] <= 0)
            continue;
        if (best == FORM_NONE || q[i] > q[best] ||
            (q[i] == q[best] && specificity[i] > specificity[best]))
            best = (enum http_form)i;
    }
    return best;
}

static struct str without_weak(struct str tag)
{
    if (tag.n > 2 && tag.p[0] == 'W' && tag.p[1] == '/')
        return (struct str){tag.p + 2, tag.n - 2};
    return tag;
}

bool http_etag_matches(struct str if_none_match, struct str etag)
{
    struct str list = str_trim(if_none_match);
    if (str_is(list, "*"))
        return true;
    for (size_t at = 0; at < list.n;) {
        const char *end = memchr(list.p + at, ',', list.n - at);
        size_t n = end ? (size_t)(end - list.p) - at : list.n - at;
        if (str_eq(without_weak(str_trim((struct str){list.p + at, n})), without_weak(etag)))
            return true;
        at += n + 1;
    }
    return false;
}

const char *http_status_text(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 406:
        return "Not Acceptable";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 417:
        return "Expectation Failed";
    case 422:
        return "Unprocessable Content";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Status";
    }
}

#define GZIP_LEVEL 5
#define ZSTD_LEVEL 3
#define BROTLI_LEVEL 4

static bool gzip(struct str in, struct buf *out)
{
    z_stream z = {0};
    if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    bool fine = in.n <= UINT32_MAX && buf_reserve(out, deflateBound(&z, in.n));
    if (fine) {
        z.next_in = (Bytef *)(uintptr_t)in.p; /* zlib reads only */
        z.avail_in = (uInt)in.n;
        z.next_out = (Bytef *)out->p;
        z.avail_out = (uInt)out->capacity;
        fine = deflate(&z, Z_FINISH) == Z_STREAM_END;
        out->n = out->capacity - z.avail_out;
    }
    (void)deflateEnd(&z); /* nothing is left in it */
    return fine;
}

bool http_compress(enum http_coding coding, struct str in, struct buf *out)
{
    size_t n = 0;
    buf_reset(out);
    switch (coding) {
    case HTTP_IDENTITY:
        buf_put_str(out, in);
        return !out->failed;
    case HTTP_GZIP:
        return gzip(in, out);
    case HTTP_ZSTD:
        if (!buf_reserve(out, ZSTD_compressBound(in.n)))
            return false;
        n = ZSTD_compress(out->p, out->capacity, in.p, in.n, ZSTD_LEVEL);
        out->n = ZSTD_isError(n) ? 0 : n;
        return !ZSTD_isError(n);
    case HTTP_BROTLI:
        n = BrotliEncoderMaxCompressedSize(in.n);
        if (n == 0 || !buf_reserve(out, n))
            return false;
        n = out->capacity;
        if (!BrotliEncoderCompress(BROTLI_LEVEL, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_TEXT, in.n,
                                   (const uint8_t *)in.p, &n, (uint8_t *)out->p))
            return false;
        out->n = n;
        return true;
    }
    return false;
}

bool http_prefers(struct str prefer, struct str preference)
{
    for (size_t at = 0; at < prefer.n;) {
        size_t n = 0;
        while (at + n < prefer.n && prefer.p[at + n] != ',' && prefer.p[at + n] != ';')
            n++;
        if (str_eq_nocase(str_trim((struct str){prefer.p + at, n}), preference))
            return true;
        at += n + 1;
    }
    return false;
}
