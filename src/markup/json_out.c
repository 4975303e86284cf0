/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text out: strings for the hot path, and a small writer that minds commas and nesting. */
#include "markup/markup.h"

#include <math.h>

#include "base/timeutil.h"

static bool needs_escape(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

bool json_is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (needs_escape((unsigned char)s.p[i]))
            return false;
    return true;
}

static void put_escape(struct buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char short_form[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    buf_putc(b, '\\');
    if (c >= 0x20) {
        buf_putc(b, (char)c);
    } else if (short_form[c]) {
        buf_putc(b, short_form[c]);
    } else {
        buf_put_literal(b, "u00");
        buf_putc(b, hex[c >> 4]);
        buf_putc(b, hex[c & 15]);
    }
}

void json_put_string(struct buf *b, struct str s)
{
    size_t from = 0;
    buf_putc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (!needs_escape(c))
            continue;
        buf_put(b, s.p + from, i - from);
        put_escape(b, c);
        from = i + 1;
    }
    buf_put(b, s.p + from, s.n - from);
    buf_putc(b, '"');
}

void json_put_cstr(struct buf *b, const char *s)
{
    json_put_string(b, str_from(s));
}

void jw_init(struct json_writer *w, struct buf *b)
{
    *w = (struct json_writer){.b = b};
}

/* A comma where one belongs; a value after its key needs none. */
static void before_value(struct json_writer *w)
{
    uint64_t bit = UINT64_C(1) << w->depth;
    if (w->after_key)
        w->after_key = false;
    else if (w->has_item & bit)
        buf_putc(w->b, ',');
    w->has_item |= bit;
}

void jw_open(struct json_writer *w, char bracket)
{
    before_value(w);
    buf_putc(w->b, bracket);
    w->depth++;
    assert(w->depth < LIMIT_JSON_DEPTH);
    w->has_item &= ~(UINT64_C(1) << w->depth);
}

void jw_close(struct json_writer *w, char bracket)
{
    assert(w->depth > 0);
    w->depth--;
    buf_putc(w->b, bracket);
}

void jw_key(struct json_writer *w, const char *key)
{
    before_value(w);
    json_put_cstr(w->b, key);
    buf_putc(w->b, ':');
    w->after_key = true;
}

void jw_str(struct json_writer *w, struct str s)
{
    before_value(w);
    json_put_string(w->b, s);
}

void jw_cstr(struct json_writer *w, const char *s)
{
    if (s)
        jw_str(w, str_from(s));
    else
        jw_null(w);
}

void jw_int(struct json_writer *w, int64_t v)
{
    before_value(w);
    buf_put_int64(w->b, v);
}

void jw_uint(struct json_writer *w, uint64_t v)
{
    before_value(w);
    buf_put_uint64(w->b, v);
}

void jw_double(struct json_writer *w, double v)
{
    if (!isfinite(v)) {
        jw_null(w);
        return;
    }
    before_value(w);
    buf_put_double(w->b, v);
}

void jw_bool(struct json_writer *w, bool v)
{
    before_value(w);
    buf_put_cstr(w->b, v ? "true" : "false");
}

void jw_null(struct json_writer *w)
{
    before_value(w);
    buf_put_literal(w->b, "null");
}

void jw_raw(struct json_writer *w, struct str json)
{
    before_value(w);
    buf_put_str(w->b, json);
}

void jw_time(struct json_writer *w, int64_t at_us)
{
    char text[RFC3339_TEXT_BYTES];
    jw_str(w, (struct str){text, format_rfc3339(text, at_us)});
}
