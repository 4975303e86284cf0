/* SPDX-License-Identifier: Apache-2.0 */
/* One failure: a class the program can branch on, a contract code, and a sentence for a person. */
#ifndef OFFLOADER_BASE_ERR_H
#define OFFLOADER_BASE_ERR_H

#include "base/compiler.h"

enum rc {
    RC_OK = 0,
    RC_INVALID,     /* input breaks a rule */
    RC_NOT_FOUND,   /* the named thing does not exist */
    RC_DENIED,      /* credentials missing or refused */
    RC_IO,          /* disk or network failed */
    RC_CORRUPT,     /* bytes do not verify */
    RC_LIMIT,       /* a stated limit was passed */
    RC_NO_MEMORY,   /* try_alloc failed */
    RC_TIMEOUT,     /* a deadline passed */
    RC_CANCELLED,   /* the caller went away or stop was asked for */
    RC_BUSY,        /* saturated or locked; trying later may work */
    RC_CONFLICT,    /* state forbids it */
    RC_UNAVAILABLE, /* not loaded, not reachable */
    RC_INTERNAL,    /* ours */
};

#define ERR_CODE_BYTES 48
#define ERR_MESSAGE_BYTES 1024

struct err {
    enum rc rc;
    char code[ERR_CODE_BYTES];       /* contract code such as "row_count_mismatch"; "" when none */
    char message[ERR_MESSAGE_BYTES]; /* complete sentence part, no trailing period or newline */
};

#define ERR_INIT                                                                                   \
    {                                                                                              \
        .rc = RC_OK                                                                                \
    }

/* Fills @err (NULL is fine) and returns @rc, so that "return err_set(err, RC_IO, ...)" reads well.
 */
enum rc err_set(struct err *err, enum rc rc, const char *format, ...) PRINTF_LIKE(3, 4);
/* The same with a contract code. @code is a literal. */
enum rc err_set_code(struct err *err, enum rc rc, const char *code, const char *format, ...)
    PRINTF_LIKE(4, 5);
/* As err_set, with ": <strerror(saved_errno)>" appended. */
enum rc err_set_errno(struct err *err, enum rc rc, int saved_errno, const char *format, ...)
    PRINTF_LIKE(4, 5);
/* Puts "<prefix>: " in front of the message that is there. Returns err->rc. */
enum rc err_prefix(struct err *err, const char *format, ...) PRINTF_LIKE(2, 3);
void err_copy(struct err *to, const struct err *from);
const char *rc_name(enum rc rc);

#endif
