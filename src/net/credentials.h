/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where credentials come from: Google access tokens and the AWS chain. Both cache what they got
 * until shortly before it expires, fetch it once for all waiting callers, and say in words where it
 * came from. No error names a secret.
 *
 * Threads: any. A caller that has to fetch blocks on the network with no lock held.
 */
#ifndef OFFLOADER_NET_CREDENTIALS_H
#define OFFLOADER_NET_CREDENTIALS_H

#include "net/net.h"

#define CREDENTIALS_AHEAD_US INT64_C(300000000) /* replaced 5 minutes before they expire */

/* ---- Google: OFFLOADER_GCS_TOKEN, metadata server, service-account key, gcloud ---- */

struct gcs_tokens;
struct gcs_token_options {    /* copied; NULL: not set */
    const char *token;        /* as it is */
    const char *metadata_url; /* NULL: the default one */
    const char *key_file;     /* path of a service-account or authorized-user JSON file */
};
/* @net is borrowed and must outlive it. */
struct gcs_tokens *gcs_tokens_new(struct net *net, const struct gcs_token_options *options);
void gcs_tokens_free(struct gcs_tokens *t);
/*
 * A valid token, owned, in @ret. @refused: a token that a server answered 401 to (NULL: none); it
 * is dropped and another one fetched. RC_DENIED when no source has one: the message lists them all.
 */
MUST_CHECK enum rc gcs_tokens_get(struct gcs_tokens *t, const char *refused,
                                  const _Atomic bool *cancelled, char **ret, struct err *err);
/* Where the present token came from, in words; "none yet" before the first. Literal. */
const char *gcs_tokens_source(struct gcs_tokens *t);

/* ---- AWS: environment, profile files, web identity, container, instance metadata v2 ---- */

struct aws_credentials {                   /* owned; aws_credentials_done */
    char *key_id, *secret, *session_token; /* session_token may be NULL */
    int64_t expires_us;                    /* wall clock, as the source said; 0: never */
    const char *source;                    /* literal, in words */
};
void aws_credentials_done(struct aws_credentials *c);

struct aws_chain;
/* @get reads the environment; it is asked at every fetch. @net is borrowed and must outlive it. */
struct aws_chain *aws_chain_new(struct net *net, const char *(*get)(const char *name));
void aws_chain_free(struct aws_chain *c);
/* A copy in @ret; without key_id when no source is set up. @refused_key_id: credentials that a
 * server called expired (NULL: none). */
MUST_CHECK enum rc aws_chain_get(struct aws_chain *c, const char *refused_key_id,
                                 const _Atomic bool *cancelled, struct aws_credentials *ret,
                                 struct err *err);

#endif
