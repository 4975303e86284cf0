/* SPDX-License-Identifier: Apache-2.0 */
/* Percent-decoding of paths and of application/x-www-form-urlencoded query strings. */
#include "http/http.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Bytes that decoding leaves as they are: all but NUL, '%' and '+'. */
static size_t plain_run(struct str s, size_t from)
{
    size_t i = from;
    while (i < s.n && s.p[i] != '%' && s.p[i] != '+' && s.p[i] != 0)
        i++;
    return i - from;
}

/* Decodes @s to @to; -1 when malformed or holding NUL, else the number of bytes. */
static long decode(struct str s, bool plus_is_space, char *to)
{
    char *from = to;
    for (size_t i = 0; i < s.n; i++) {
        size_t n = plain_run(s, i);
        if (n)
            memcpy(to, s.p + i, n);
        to += n;
        i += n;
        if (i == s.n)
            break;
        char c = s.p[i];
        if (c == '%') {
            int high = i + 2 < s.n ? hex_value(s.p[i + 1]) : -1;
            int low = i + 2 < s.n ? hex_value(s.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == 0)
            return -1;
        *to++ = c;
    }
    return to - from;
}

bool http_decode_path(struct str path, char *ret, size_t *ret_n)
{
    long n = decode(path, false, ret);
    if (n < 0 || !utf8_valid((struct str){ret, (size_t)n}))
        return false;
    *ret_n = (size_t)n;
    return true;
}

static bool decode_pair(struct str pair, char **scratch, struct http_param *ret)
{
    const char *equals = memchr(pair.p, '=', pair.n);
    struct str name = {pair.p, equals ? (size_t)(equals - pair.p) : pair.n};
    struct str value = {equals ? equals + 1 : NULL, equals ? pair.n - name.n - 1 : 0};
    struct str *const parts[] = {&ret->name, &ret->value};
    const struct str raw[] = {name, value};
    for (int i = 0; i < 2; i++) {
        long n = decode(raw[i], true, *scratch);
        if (n < 0 || !utf8_valid((struct str){*scratch, (size_t)n}))
            return false;
        *parts[i] = (struct str){*scratch, (size_t)n};
        *scratch += n;
    }
    return true;
}

int http_decode_query(struct str query, char *scratch, struct http_param *ret, int limit,
                      bool *ret_too_many)
{
    int count = 0;
    *ret_too_many = false;
    for (size_t at = 0; at < query.n;) {
        const char *end = memchr(query.p + at, '&', query.n - at);
        size_t n = end ? (size_t)(end - query.p) - at : query.n - at;
        if (n > 0) { /* "a=1&" and "a=1&&b=2": nothing between is nothing */
            if (count == limit) {
                *ret_too_many = true;
                return count;
            }
            if (!decode_pair((struct str){query.p + at, n}, &scratch, &ret[count++]))
                return -1;
        }
        at += n + 1;
    }
    return count;
}
