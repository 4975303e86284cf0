/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Google access tokens. Sources in order: OFFLOADER_GCS_TOKEN, the metadata server, a key file, the
 * gcloud program; the one that worked last is asked first.
 */
#include <string.h>

#include "base/arena.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "markup/markup.h"
#include "net/credentials_int.h"

#define METADATA_HOST "http://metadata.google.internal"
#define METADATA_PATH "/computeMetadata/v1/instance/service-accounts/default/token"
#define METADATA_TIMEOUT_MS                                                                        \
    3000 /* where there is no such server the others get their turn soon                           \
          */
#define GCLOUD_TIMEOUT_MS 30000
#define GCLOUD_TOKEN_US                                                                            \
    INT64_C(600000000) /* it does not say how long its tokens last; surely this long */
#define TOKEN_RETRIES 3

enum source { SOURCE_VARIABLE, SOURCE_METADATA, SOURCE_KEY_FILE, SOURCE_GCLOUD, N_SOURCES };

struct gcs_tokens {
    struct net *net;
    char *token, *metadata_url, *key_file;
    struct credential_cache cache;
    int last_good; /* the fetching caller's: one at a time */
};

enum rc gcs_parse_token(struct str json, int64_t now_us, struct aws_credentials *ret,
                        struct err *err)
{
    struct arena arena;
    struct err syntax = ERR_INIT;
    enum rc rc = RC_OK;
    arena_init(&arena, 1u << 20);
    const struct node *root = json_parse(json, &arena, &syntax);
    const struct node *token = node_get(root, "access_token");
    const struct node *seconds = node_get(root, "expires_in");
    bool lasts = seconds && seconds->kind == NODE_INT && seconds->integer > 0 &&
                 seconds->integer < 1000000000;
    if (!root || !token || token->kind != NODE_STRING || !credential_is_plain(token->text.p))
        rc = err_set(err, RC_DENIED, "the answer holds no access_token");
    else
        *ret = (struct aws_credentials){
            .session_token = x_strndup(token->text.p, token->text.n),
            /* Without a word on its life it is fetched again soon. */
            .expires_us = now_us + (lasts ? seconds->integer * 1000000 : CREDENTIALS_AHEAD_US * 2),
        };
    arena_done(&arena);
    return rc;
}

/* Sends @q and reads a token from its answer. */
static enum rc ask(struct gcs_tokens *t, const struct net_request *q, const char *what,
                   struct aws_credentials *ret, struct err *err)
{
    struct net_response r = {0};
    enum rc rc = net_fetch(t->net, q, &r, err);
    if (rc != RC_OK)
        return rc;
    rc = net_check_status(&r, what, err);
    if (rc == RC_OK)
        rc = gcs_parse_token((struct str){r.body.p, r.body.n}, wall_us(), ret, err);
    net_response_done(&r);
    return rc;
}

static enum rc from_metadata(struct gcs_tokens *t, const _Atomic bool *cancelled,
                             struct aws_credentials *ret, struct err *err)
{
    const struct net_header flavor = {"metadata-flavor", "Google"};
    const char *base = t->metadata_url ? t->metadata_url : METADATA_HOST;
    bool has_path = strchr(strstr(base, "://") ? strstr(base, "://") + 3 : base, '/') != NULL;
    AUTO(mem_free_auto) char *url = x_printf("%s%s", base, has_path ? "" : METADATA_PATH);
    const struct net_request q = {
        .url = url,
        .headers = &flavor,
        .n_headers = 1,
        .reach = NET_REACH_NAMED,
        .no_redirects = true,
        .n_retries = t->metadata_url || t->last_good == SOURCE_METADATA ? TOKEN_RETRIES : 0,
        .timeout_ms = METADATA_TIMEOUT_MS,
        .limit_body_bytes = CREDENTIALS_LIMIT_BYTES,
        .cancelled = cancelled,
    };
    return ask(t, &q, "the metadata server", ret, err);
}

static enum rc trade(struct gcs_tokens *t, const struct gcs_key *k, const _Atomic bool *cancelled,
                     struct aws_credentials *ret, struct err *err)
{
    struct buf form;
    AUTO(mem_free_auto) char *jwt = NULL;
    if (k->client_email) {
        enum rc rc = gcs_sign_jwt(k, wall_us() / 1000000, &jwt, err);
        if (rc != RC_OK)
            return rc;
    }
    buf_init(&form, CREDENTIALS_LIMIT_BYTES * 8);
    form_put(&form, "grant_type",
             str_from(jwt ? "urn:ietf:params:oauth:grant-type:jwt-bearer" : "refresh_token"));
    if (jwt) {
        form_put(&form, "assertion", str_from(jwt));
    } else {
        form_put(&form, "client_id", str_from(k->client_id));
        form_put(&form, "client_secret", str_from(k->client_secret));
        form_put(&form, "refresh_token", str_from(k->refresh_token));
    }
    const struct net_header type = {"content-type", "application/x-www-form-urlencoded"};
    const struct net_request q = {
        .method = "POST",
        .url = k->token_uri,
        .headers = &type,
        .n_headers = 1,
        .body = {form.p, form.n},
        .reach = NET_REACH_NAMED,
        .n_retries = TOKEN_RETRIES,
        .limit_body_bytes = CREDENTIALS_LIMIT_BYTES,
        .cancelled = cancelled,
    };
    enum rc rc = ask(t, &q, "the token service", ret, err);
    buf_done(&form);
    return rc;
}

static enum rc from_key_file(struct gcs_tokens *t, const _Atomic bool *cancelled,
                             struct aws_credentials *ret, struct err *err)
{
    struct buf json;
    struct gcs_key key = {0};
    if (!t->key_file)
        return err_set(err, RC_NOT_FOUND, "GOOGLE_APPLICATION_CREDENTIALS is not set");
    buf_init(&json, CREDENTIALS_LIMIT_BYTES);
    enum rc rc = io_read_file(t->key_file, &json, err);
    if (rc == RC_OK)
        rc = gcs_parse_key((struct str){json.p, json.n}, &key, err);
    if (json.p)
        explicit_bzero(json.p, json.n);
    buf_done(&json);
    if (rc == RC_OK)
        rc = trade(t, &key, cancelled, ret, err);
    gcs_key_done(&key);
    return rc;
}

static enum rc from_gcloud(struct aws_credentials *ret, struct err *err)
{
    static const char *const argv[] = {"gcloud", "auth", "print-access-token", "--quiet", NULL};
    struct buf out;
    buf_init(&out, CREDENTIALS_LIMIT_BYTES);
    enum rc rc = program_output(argv, GCLOUD_TIMEOUT_MS, &out, err);
    if (rc == RC_OK && !credential_is_plain(buf_cstr(&out)))
        rc = err_set(err, RC_DENIED, "gcloud printed no token");
    if (rc == RC_OK)
        *ret = (struct aws_credentials){
            .session_token = x_strdup(buf_cstr(&out)),
            .expires_us = wall_us() + GCLOUD_TOKEN_US,
        };
    buf_done(&out);
    return rc;
}

static enum rc fetch_from(struct gcs_tokens *t, int source, const _Atomic bool *cancelled,
                          struct aws_credentials *ret, struct err *err)
{
    static const char *const words[N_SOURCES] = {"OFFLOADER_GCS_TOKEN", "metadata server",
                                                 "key file", "gcloud program"};
    enum rc rc = RC_NOT_FOUND;
    switch ((enum source)source) {
    case SOURCE_VARIABLE:
        if (!t->token)
            return err_set(err, RC_NOT_FOUND, "OFFLOADER_GCS_TOKEN is not set");
        *ret = (struct aws_credentials){.session_token = x_strdup(t->token)};
        rc = RC_OK;
        break;
    case SOURCE_METADATA:
        rc = from_metadata(t, cancelled, ret, err);
        break;
    case SOURCE_KEY_FILE:
        rc = from_key_file(t, cancelled, ret, err);
        break;
    case SOURCE_GCLOUD:
        rc = from_gcloud(ret, err);
        break;
    case N_SOURCES:
        break;
    }
    if (rc == RC_OK)
        ret->source = words[source];
    return rc;
}

static enum rc fetch(void *arg, const _Atomic bool *cancelled, struct aws_credentials *ret,
                     struct err *err)
{
    struct gcs_tokens *t = arg;
    struct buf reasons;
    if (t->last_good >= 0 && fetch_from(t, t->last_good, cancelled, ret, NULL) == RC_OK)
        return RC_OK;
    buf_init(&reasons, 900);
    for (int source = 0; source < N_SOURCES; source++) {
        struct err why = ERR_INIT;
        enum rc rc = fetch_from(t, source, cancelled, ret, &why);
        if (rc == RC_OK) {
            t->last_good = source;
            buf_done(&reasons);
            return RC_OK;
        }
        if (rc == RC_CANCELLED) {
            buf_done(&reasons);
            return err_set(err, rc, "cancelled");
        }
        buf_printf(&reasons, "%s%.200s", reasons.n ? "; " : "", why.message);
    }
    enum rc rc = err_set(err, RC_DENIED, "no credentials for gs://: %s", buf_cstr(&reasons));
    buf_done(&reasons);
    return rc;
}

struct gcs_tokens *gcs_tokens_new(struct net *net, const struct gcs_token_options *options)
{
    struct gcs_tokens *t = x_alloc0(sizeof *t);
    t->net = net;
    t->token = credential_copy(options->token);
    t->metadata_url = credential_copy(options->metadata_url);
    t->key_file = credential_copy(options->key_file);
    t->last_good = -1;
    credential_cache_init(&t->cache, fetch, t);
    return t;
}

void gcs_tokens_free(struct gcs_tokens *t)
{
    if (!t)
        return;
    credential_cache_done(&t->cache);
    mem_free(t->token);
    mem_free(t->metadata_url);
    mem_free(t->key_file);
    mem_free(t);
}

enum rc gcs_tokens_get(struct gcs_tokens *t, const char *refused, const _Atomic bool *cancelled,
                       char **ret, struct err *err)
{
    struct aws_credentials c = {0};
    enum rc rc = credential_cache_get(&t->cache, refused, cancelled, &c, err);
    if (rc == RC_OK)
        *ret = TAKE(c.session_token);
    aws_credentials_done(&c);
    return rc;
}

const char *gcs_tokens_source(struct gcs_tokens *t)
{
    LOCKED(&t->cache.mutex);
    return t->cache.held.source ? t->cache.held.source : "none yet";
}
