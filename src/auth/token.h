/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an Authorization header to a key of the current view. Only digests are kept anywhere; a
 * connection may remember a SipHash-128 of its last token, under the process's random key, beside
 * the token's SHA-256, which is looked up in the current view on every request.
 */
#ifndef OFFLOADER_AUTH_TOKEN_H
#define OFFLOADER_AUTH_TOKEN_H

#include "base/str.h"
#include "project/project.h"

struct token_memo { /* in a connection's space; zeroed at first */
    uint8_t siphash[16];
    uint8_t digest[32];
    bool is_set;
};

#define LIMIT_TOKEN_BYTES 4096

/*
 * NULL for a missing or malformed header, and for an unknown, revoked or expired key: callers can't
 * tell which. @now_us: wall clock. @memo may be NULL.
 */
const struct key *token_authenticate(const struct project *keys, struct str authorization,
                                     struct token_memo *memo, int64_t now_us);
/* What a bearer token may be: visible ASCII characters without a comma, LIMIT_TOKEN_BYTES at most. */
bool token_is_sendable(struct str token);
/* Compares a bearer token with a secret in constant time (the admin token). */
bool token_equals(struct str authorization, const char *secret);

#endif
