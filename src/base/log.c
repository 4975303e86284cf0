/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines on stderr. The configuration is set before threads start and only read afterwards, so
 * writers need no lock: a line is built on the stack and leaves in one write(2).
 */
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/timeutil.h"

#define LIMIT_LOG_LINE_BYTES 16384

static enum log_level least_level = LOG_INFO;
static enum log_format line_format = LOG_FORMAT_TEXT;
static char *release_label;
static size_t (*redact_line)(char *text, size_t n);

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn",
    [LOG_ERROR] = "error", [LOG_BUG] = "bug",
};

void log_configure(enum log_level least, enum log_format format)
{
    least_level = least;
    line_format = format;
}

void log_set_release(const char *release)
{
    mem_free(release_label);
    release_label = release ? x_strdup(release) : NULL;
}

void log_set_redactor(size_t (*redact)(char *text, size_t n))
{
    redact_line = redact;
}

bool log_enabled(enum log_level level)
{
    return level >= least_level;
}

/* Between quotes; whatever is no printable ASCII or UTF-8 tail byte is escaped, so that no value
 * can end a line or move a terminal's cursor. */
static void put_quoted(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    bool utf8 = utf8_valid(s);
    buf_putc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') {
            buf_putc(b, '\\');
            buf_putc(b, (char)c);
        } else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8)) {
            buf_put_literal(b, "\\u00");
            buf_putc(b, hex[c >> 4]);
            buf_putc(b, hex[c & 15]);
        } else {
            buf_putc(b, (char)c);
        }
    }
    buf_putc(b, '"');
}

static void put_field(struct buf *b, const struct log_field *f)
{
    bool json = line_format == LOG_FORMAT_JSON;
    if (json) {
        buf_putc(b, ',');
        put_quoted(b, str_from(f->key));
        buf_putc(b, ':');
    } else {
        buf_putc(b, ' ');
        buf_put_cstr(b, f->key);
        buf_putc(b, '=');
    }
    switch (f->kind) {
    case LOG_F_STR:
        put_quoted(b, f->s);
        break;
    case LOG_F_INT:
        buf_put_int64(b, f->i);
        break;
    case LOG_F_DOUBLE:
        if (isfinite(f->d))
            buf_put_double(b, f->d);
        else
            buf_put_literal(b, "null");
        break;
    case LOG_F_BOOL:
        buf_put_cstr(b, f->i ? "true" : "false");
        break;
    }
}

static void put_line(struct buf *b, enum log_level level, const char *event, const char *message,
                     const struct log_field *fields, size_t n_fields)
{
    char at[RFC3339_TEXT_BYTES];
    struct str time_text = {at, format_rfc3339(at, wall_us())};
    const struct log_field head[] = {LF_STR("level", level_names[level]), LF_STR("event", event),
                                     LF_STR("message", message)};
    if (line_format == LOG_FORMAT_JSON) {
        buf_put_literal(b, "{\"time\":");
        put_quoted(b, time_text);
    } else {
        buf_put_str(b, time_text);
    }
    for (size_t i = 0; i < ARRAY_LEN(head); i++)
        put_field(b, &head[i]);
    if (release_label) {
        const struct log_field release = LF_STR("release", release_label);
        put_field(b, &release);
    }
    for (size_t i = 0; i < n_fields; i++)
        if (fields[i].key)
            put_field(b, &fields[i]);
    if (line_format == LOG_FORMAT_JSON)
        buf_putc(b, '}');
    buf_putc(b, '\n');
}

void log_write(enum log_level level, const char *event, const char *message,
               const struct log_field *fields, size_t n_fields)
{
    if (!log_enabled(level))
        return;
    struct buf line;
    buf_init(&line, LIMIT_LOG_LINE_BYTES);
    put_line(&line, level, event, message, fields, n_fields);
    if (line.failed) { /* half a line would break whoever reads it */
        buf_reset(&line);
        put_line(&line, level, event, "(the rest of this line is too long to log)", NULL, 0);
    }
    if (redact_line && line.n > 0)
        line.n = redact_line(line.p, line.n);
    ssize_t done;
    do
        done = write(STDERR_FILENO, line.p, line.n);
    while (done < 0 && errno == EINTR);
    buf_done(&line); /* a log that can't be written has nowhere to say so */
}
