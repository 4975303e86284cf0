/* SPDX-License-Identifier: Apache-2.0 */
/* Collects every finding of a validation, each with where it came from. Not thread-safe. */
#ifndef OFFLOADER_BASE_ERRLIST_H
#define OFFLOADER_BASE_ERRLIST_H

#include "base/compiler.h"

enum finding_severity { FINDING_ERROR, FINDING_WARNING };

struct finding {
    enum finding_severity severity;
    char *file;       /* owned; as a person would name it, relative to the project */
    char *path;       /* owned; "query.select[0].agg", "" for the whole file */
    const char *code; /* literal */
    char *message;    /* owned */
    char *hint;       /* owned, NULL when there is none */
    int line, column; /* 1-based, 0 when unknown */
};

struct errlist {
    struct finding *items;
    size_t n_items, capacity;
    size_t n_errors, n_warnings; /* of all that was added, whether it is in @items or not */
    bool truncated;              /* LIMIT_FINDINGS was passed */
};

#define LIMIT_FINDINGS 10000
#define ERRLIST_INIT                                                                               \
    {                                                                                              \
        0                                                                                          \
    }

/* @hint may be NULL. Strings are copied. Past LIMIT_FINDINGS they are only counted, and truncated
 * is set. */
void errlist_add(struct errlist *list, enum finding_severity severity, const char *file, int line,
                 int column, const char *path, const char *code, const char *hint,
                 const char *format, ...) PRINTF_LIKE(9, 10);
/* By file, line, column, then order of arrival. */
void errlist_sort(struct errlist *list);
void errlist_done(struct errlist *list);

#endif
