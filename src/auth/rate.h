/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rate limits of keys, as a generic cell rate algorithm: one 64-bit time a key, moved by
 * compare-and-swap, so that loops share a limit without a lock. Buckets outlive reloads: a registry
 * hands the same bucket to the next view when digest, rate and burst are the same.
 */
#ifndef OFFLOADER_AUTH_RATE_H
#define OFFLOADER_AUTH_RATE_H

#include "base/compiler.h"
#include "project/project.h"

struct rate_bucket;

/* A reference to the bucket of @k; NULL when it has no limit. Takes a lock: when a view is built.
 */
struct rate_bucket *rate_bucket_get(const struct key *k);
void rate_bucket_put(struct rate_bucket *b); /* NULL is fine */
/* True: the request may go on. False: @ret_retry_after_s is at least 1. Any thread; @now_us
 * monotonic. */
bool rate_bucket_take(struct rate_bucket *b, int64_t now_us, int64_t *ret_retry_after_s);

#endif
