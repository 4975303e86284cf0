/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that are given again: by Idempotency-Key, and by a producer's event. A record is a file
 * of its own under <cache_dir>/idempotency/, written when the answer is there, so that a crash in
 * between leaves none. In flight it is in memory only.
 */
#ifndef OFFLOADER_ADMIN_IDEMPOTENCY_H
#define OFFLOADER_ADMIN_IDEMPOTENCY_H

#include "base/err.h"
#include "base/str.h"

#define LIMIT_RECORDS 10000

struct idempotency;
MUST_CHECK enum rc idempotency_new(const char *cache_dir, int64_t ttl_hours,
                                   struct idempotency **ret, struct err *err);
void idempotency_free(struct idempotency *i);

enum idempotency_outcome {
    IDEMPOTENCY_FRESH,    /* ours: act, then finish or forget */
    IDEMPOTENCY_STORED,   /* *ret_status and *ret_body (owned) are the first answer */
    IDEMPOTENCY_RUNNING,  /* the first is in flight */
    IDEMPOTENCY_MISMATCH, /* the key belongs to another request */
};
/* @key names it; @request is what must be the same. @waits: wait for one in flight instead. */
enum idempotency_outcome idempotency_begin(struct idempotency *i, struct str key,
                                           struct str request, bool waits, int *ret_status,
                                           char **ret_body);
void idempotency_finish(struct idempotency *i, struct str key, int status, struct str body);
void idempotency_forget(struct idempotency *i, struct str key);

#endif
