/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checker every JSON value passes on its way into a snapshot: RFC 8259 and nothing else, white
 * space removed, spelling kept. Recursion is bounded by LIMIT_JSON_DEPTH.
 */
#include "markup/markup.h"

struct scan {
    const char *p, *end;
    struct buf *out;
};

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The escape whose backslash is at s->p; moves past it. */
static bool scan_escape(struct scan *s)
{
    if (s->end - s->p < 2)
        return false;
    char c = s->p[1];
    if (c == 'u') {
        if (s->end - s->p < 6)
            return false;
        for (int i = 2; i < 6; i++)
            if (!is_hex(s->p[i]))
                return false;
        s->p += 6;
        return true;
    }
    if (!memchr("\"\\/bfnrt", c, 8))
        return false;
    s->p += 2;
    return true;
}

static bool scan_string(struct scan *s)
{
    const char *from = s->p++;
    while (s->p < s->end && *s->p != '"') {
        if ((unsigned char)*s->p < 0x20)
            return false;
        if (*s->p != '\\')
            s->p++;
        else if (!scan_escape(s))
            return false;
    }
    if (s->p == s->end)
        return false;
    s->p++;
    buf_put(s->out, from, (size_t)(s->p - from));
    return true;
}

static size_t scan_digits(struct scan *s)
{
    const char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - from);
}

static bool scan_number(struct scan *s)
{
    const char *from = s->p;
    if (*s->p == '-')
        s->p++;
    const char *digits = s->p;
    size_t n = scan_digits(s);
    if (n == 0 || (n > 1 && *digits == '0'))
        return false;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (scan_digits(s) == 0)
            return false;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (scan_digits(s) == 0)
            return false;
    }
    buf_put(s->out, from, (size_t)(s->p - from));
    return true;
}

static bool scan_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return false;
    s->p += n;
    return true;
}

static bool scan_constant(struct scan *s)
{
    static const char *const constants[] = {"true", "false", "null"};
    for (size_t i = 0; i < ARRAY_LEN(constants); i++) {
        if (scan_word(s, constants[i])) {
            buf_put_cstr(s->out, constants[i]);
            return true;
        }
    }
    return false;
}

static bool scan_value(struct scan *s, int depth);

static bool scan_member(struct scan *s, bool is_object, int depth)
{
    if (is_object) {
        if (s->p == s->end || *s->p != '"' || !scan_string(s))
            return false;
        skip_space(s);
        if (s->p == s->end || *s->p++ != ':')
            return false;
        buf_putc(s->out, ':');
    }
    return scan_value(s, depth + 1);
}

static bool scan_collection(struct scan *s, int depth)
{
    bool is_object = *s->p == '{';
    char close = is_object ? '}' : ']';
    if (depth > LIMIT_JSON_DEPTH)
        return false;
    buf_putc(s->out, *s->p++);
    skip_space(s);
    if (s->p < s->end && *s->p == close) {
        buf_putc(s->out, *s->p++);
        return true;
    }
    for (;;) {
        skip_space(s);
        if (!scan_member(s, is_object, depth))
            return false;
        skip_space(s);
        if (s->p == s->end || (*s->p != ',' && *s->p != close))
            return false;
        buf_putc(s->out, *s->p);
        if (*s->p++ == close)
            return true;
    }
}

static bool scan_value(struct scan *s, int depth)
{
    skip_space(s);
    if (s->p == s->end)
        return false;
    char c = *s->p;
    if (c == '{' || c == '[')
        return scan_collection(s, depth);
    if (c == '"')
        return scan_string(s);
    if (c == '-' || (c >= '0' && c <= '9'))
        return scan_number(s);
    return scan_constant(s);
}

bool json_minify(struct str text, struct buf *b)
{
    struct scan s = {text.p, text.p + text.n, b};
    size_t before = b->n;
    if (utf8_valid(text) && scan_value(&s, 1)) {
        skip_space(&s);
        if (s.p == s.end && !b->failed)
            return true;
    }
    b->n = before;
    return false;
}
