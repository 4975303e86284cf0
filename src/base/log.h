/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line an event on stderr, JSON or text: time, level, event, then key=value pairs.
 * Drivers log, libraries return. Never a secret, never row data. Thread-safe: one write(2) a line.
 */
#ifndef OFFLOADER_BASE_LOG_H
#define OFFLOADER_BASE_LOG_H

#include "base/compiler.h"
#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_BUG };
enum log_format { LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

/* Set before threads start. */
void log_configure(enum log_level least, enum log_format format);
/* Adds {"release": ...} to every line when @release is not NULL (copied). */
void log_set_release(const char *release);
/* Every string written by the log passes through @redact (may be NULL): in place, may only shrink
 * or keep the length. */
void log_set_redactor(size_t (*redact)(char *text, size_t n));
bool log_enabled(enum log_level level);

struct log_field {
    const char *key;
    enum { LOG_F_STR, LOG_F_INT, LOG_F_DOUBLE, LOG_F_BOOL } kind;
    struct str s;
    int64_t i;
    double d;
};
#define LF_STR(k, cstr) ((struct log_field){.key = (k), .kind = LOG_F_STR, .s = str_from(cstr)})
#define LF_STRN(k, str_value) ((struct log_field){.key = (k), .kind = LOG_F_STR, .s = (str_value)})
#define LF_INT(k, v) ((struct log_field){.key = (k), .kind = LOG_F_INT, .i = (int64_t)(v)})
#define LF_DBL(k, v) ((struct log_field){.key = (k), .kind = LOG_F_DOUBLE, .d = (v)})
#define LF_BOOL(k, v) ((struct log_field){.key = (k), .kind = LOG_F_BOOL, .i = (v)})

/* log_event(LOG_INFO, "swap", "published", LF_STR("dataset", id), LF_INT("rows", n)); */
#define log_event(level, event, message, ...)                                                      \
    log_write((level), (event), (message),                                                         \
              (const struct log_field[]){{.key = NULL}, ##__VA_ARGS__},                            \
              ARRAY_LEN(((const struct log_field[]){{.key = NULL}, ##__VA_ARGS__})))
void log_write(enum log_level level, const char *event, const char *message,
               const struct log_field *fields, size_t n_fields);

#endif
