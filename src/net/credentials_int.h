/* SPDX-License-Identifier: Apache-2.0 */
/* Inside net/: the cache both kinds of credentials share, and the sources they are fetched from. */
#ifndef OFFLOADER_NET_CREDENTIALS_INT_H
#define OFFLOADER_NET_CREDENTIALS_INT_H

#include "base/thread.h"
#include "net/credentials.h"

#define CREDENTIALS_LIMIT_BYTES (64u << 10) /* of a token's or key's answer or file */

/* ---- credential_cache.c ---- */

/* A Google token is kept in session_token, with no key. */
typedef enum rc credential_fetch(void *arg, const _Atomic bool *cancelled,
                                 struct aws_credentials *ret, struct err *err);
struct credential_cache {
    credential_fetch *fetch;
    void *arg;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* shared: mutex */
    struct aws_credentials held; /* no source: none yet */
    int64_t held_until_us;       /* monotonic_us clock; INT64_MAX: for good */
    int64_t pause_until_us;      /* what is held does until then: a renewal has just failed */
    bool fetching;
    uint64_t n_fetches;
    enum rc rc; /* of the last fetch */
    struct err why;
};
void credential_cache_init(struct credential_cache *c, credential_fetch *fetch, void *arg);
void credential_cache_done(struct credential_cache *c);
/* @refused: a key id or token that no longer works, or NULL. A copy in @ret. */
MUST_CHECK enum rc credential_cache_get(struct credential_cache *c, const char *refused,
                                        const _Atomic bool *cancelled, struct aws_credentials *ret,
                                        struct err *err);

/* ---- Google ---- */

/* {"access_token": ..., "expires_in": seconds} into session_token and expires_us. */
MUST_CHECK enum rc gcs_parse_token(struct str json, int64_t now_us, struct aws_credentials *ret,
                                   struct err *err);
struct gcs_key {                                                   /* owned; gcs_key_done */
    char *client_email, *private_key, *private_key_id, *token_uri; /* a service account */
    char *client_id, *client_secret, *refresh_token;               /* an authorized user */
};
MUST_CHECK enum rc gcs_parse_key(struct str json, struct gcs_key *ret, struct err *err);
void gcs_key_done(struct gcs_key *k);
/* A signed JWT that asks for read access, valid for an hour from @now_s. Owned. */
MUST_CHECK enum rc gcs_sign_jwt(const struct gcs_key *k, int64_t now_s, char **ret,
                                struct err *err);

/* ---- AWS ---- */

/* One profile of an ini file: what is set in it. Values owned; aws_profile_done. */
struct aws_profile {
    bool found;
    char *key_id, *secret, *session_token, *role_arn, *web_identity_token_file, *source_profile;
};
void aws_profile_done(struct aws_profile *p);
/* Adds what @text says of @name to @p (what is there stays). @is_config: sections are "profile x".
 */
void aws_profile_parse(struct str text, const char *name, bool is_config, struct aws_profile *p);
/* AccessKeyId, SecretAccessKey, Token, Expiration, as container and instance metadata answer. */
MUST_CHECK enum rc aws_parse_json(struct str json, struct aws_credentials *ret, struct err *err);
/* AssumeRoleWithWebIdentityResponse. */
MUST_CHECK enum rc aws_parse_sts(struct str xml, struct aws_credentials *ret, struct err *err);

/* Each RC_NOT_FOUND when it is not set up. @had_keys: this instance once had some, so that a
 * service that does not give any ails: RC_UNAVAILABLE. */
MUST_CHECK enum rc aws_from_web_identity(struct net *n, const char *(*get)(const char *),
                                         const char *role_arn, const char *token_file,
                                         const _Atomic bool *cancelled, struct aws_credentials *ret,
                                         struct err *err);
MUST_CHECK enum rc aws_from_container(struct net *n, const char *(*get)(const char *),
                                      const _Atomic bool *cancelled, struct aws_credentials *ret,
                                      struct err *err);
MUST_CHECK enum rc aws_from_instance(struct net *n, const char *(*get)(const char *), bool had_keys,
                                     const _Atomic bool *cancelled, struct aws_credentials *ret,
                                     struct err *err);

/* ---- program.c ---- */

/* What @argv prints, without white space at its ends; no input, its messages dropped. RC_NOT_FOUND
 * when there is no such program. */
MUST_CHECK enum rc program_output(const char *const *argv, int64_t timeout_ms, struct buf *ret,
                                  struct err *err);

/* True when @s can stand in a header: no control character, no space, not empty. */
bool credential_is_plain(const char *s);
char *credential_copy(const char *s); /* owned; NULL of NULL */
/* Appends name=value, percent-encoded, to a form. */
void form_put(struct buf *b, const char *name, struct str value);

#endif
