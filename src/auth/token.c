/* SPDX-License-Identifier: Apache-2.0 */
/* Bearer tokens: parsing, digest, lookup. */
#include "auth/token.h"

#include <pthread.h>

#include "base/hash.h"

static uint8_t memo_key[16];
static pthread_once_t memo_key_once = PTHREAD_ONCE_INIT;

static void make_memo_key(void)
{
    random_bytes(memo_key, sizeof memo_key);
}

bool token_is_sendable(struct str token)
{
    unsigned refused = 0; /* no way out of the loop: it runs sixteen bytes a step */
    for (size_t i = 0; i < token.n; i++) {
        unsigned char c = (unsigned char)token.p[i];
        refused |= (unsigned)(c <= ' ') | (unsigned)(c == ',') | (unsigned)(c >= 0x7f);
    }
    return token.n > 0 && token.n <= LIMIT_TOKEN_BYTES && !refused;
}

/* `Bearer <token>`: the scheme without regard to case, one space, a token without white space. */
static bool parse_bearer(struct str authorization, struct str *ret)
{
    if (authorization.n < 8 || authorization.n > LIMIT_TOKEN_BYTES + 7 ||
        !str_eq_nocase((struct str){authorization.p, 6}, STR("Bearer")) ||
        authorization.p[6] != ' ')
        return false;
    struct str token = {authorization.p + 7, authorization.n - 7};
    while (token.n && token.p[0] == ' ')
        token = (struct str){token.p + 1, token.n - 1};
    *ret = token;
    return token_is_sendable(token);
}

static void digest_of(struct str token, struct token_memo *memo, uint8_t ret[32])
{
    uint8_t tag[16];
    if (!memo) {
        sha256(token.p, token.n, ret);
        return;
    }
    (void)pthread_once(&memo_key_once, make_memo_key);
    siphash128(memo_key, token.p, token.n, tag);
    if (!memo->is_set || !equal_constant_time(tag, memo->siphash, sizeof tag)) {
        sha256(token.p, token.n, memo->digest);
        memcpy(memo->siphash, tag, sizeof tag);
        memo->is_set = true;
    }
    memcpy(ret, memo->digest, 32);
}

const struct key *token_authenticate(const struct project *keys, struct str authorization,
                                     struct token_memo *memo, int64_t now_us)
{
    struct str token;
    uint8_t digest[32];
    if (!parse_bearer(authorization, &token))
        return NULL;
    digest_of(token, memo, digest);
    const struct key *k = project_key(keys, digest);
    if (!k || k->status != KEY_ACTIVE || (k->has_expiry && k->expires_at_us <= now_us))
        return NULL;
    return k;
}

bool token_equals(struct str authorization, const char *secret)
{
    struct str token;
    uint8_t given[32], wanted[32];
    if (!parse_bearer(authorization, &token))
        return false;
    /* Digests have one length, so that the comparison tells nothing about the secret's. */
    sha256(token.p, token.n, given);
    sha256(secret, strlen(secret), wanted);
    return equal_constant_time(given, wanted, sizeof given);
}
