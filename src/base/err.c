/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the error sentences that functions hand back. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

PRINTF_LIKE(2, 0)
static void put_message(struct err *err, const char *format, va_list args)
{
    /* Through a copy: an argument may point into the message that is replaced. */
    char text[ERR_MESSAGE_BYTES];
    vsnprintf(text, sizeof(text), format, args);
    memcpy(err->message, text, strlen(text) + 1);
}

enum rc err_set(struct err *err, enum rc rc, const char *format, ...)
{
    assert(rc != RC_OK);
    if (!err)
        return rc;
    va_list args;
    va_start(args, format);
    put_message(err, format, args);
    va_end(args);
    err->rc = rc;
    err->code[0] = '\0';
    return rc;
}

enum rc err_set_code(struct err *err, enum rc rc, const char *code, const char *format, ...)
{
    assert(rc != RC_OK);
    assert(strlen(code) < ERR_CODE_BYTES);
    if (!err)
        return rc;
    va_list args;
    va_start(args, format);
    put_message(err, format, args);
    va_end(args);
    err->rc = rc;
    memcpy(err->code, code, strlen(code) + 1);
    return rc;
}

enum rc err_set_errno(struct err *err, enum rc rc, int saved_errno, const char *format, ...)
{
    assert(rc != RC_OK);
    if (!err)
        return rc;
    va_list args;
    va_start(args, format);
    put_message(err, format, args);
    va_end(args);
    err->rc = rc;
    err->code[0] = '\0';

    char reason[128];
    size_t n = strlen(err->message);
    snprintf(err->message + n, sizeof(err->message) - n, ": %s",
             strerror_r(saved_errno, reason, sizeof(reason)));
    return rc;
}

enum rc err_prefix(struct err *err, const char *format, ...)
{
    if (!err)
        return RC_INTERNAL;
    char prefix[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof(prefix), format, args);
    va_end(args);

    char text[2 * ERR_MESSAGE_BYTES + 2];
    snprintf(text, sizeof(text), "%s: %s", prefix, err->message);
    size_t n = strnlen(text, ERR_MESSAGE_BYTES - 1);
    memcpy(err->message, text, n);
    err->message[n] = '\0';
    return err->rc;
}

void err_copy(struct err *to, const struct err *from)
{
    if (to && from)
        *to = *from;
}

const char *rc_name(enum rc rc)
{
    switch (rc) {
    case RC_OK:
        return "ok";
    case RC_INVALID:
        return "invalid";
    case RC_NOT_FOUND:
        return "not_found";
    case RC_DENIED:
        return "denied";
    case RC_IO:
        return "io";
    case RC_CORRUPT:
        return "corrupt";
    case RC_LIMIT:
        return "limit";
    case RC_NO_MEMORY:
        return "no_memory";
    case RC_TIMEOUT:
        return "timeout";
    case RC_CANCELLED:
        return "cancelled";
    case RC_BUSY:
        return "busy";
    case RC_CONFLICT:
        return "conflict";
    case RC_UNAVAILABLE:
        return "unavailable";
    case RC_INTERNAL:
        return "internal";
    }
    return "unknown";
}
