/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts credentials on a prepared request and sends it. A token or temporary key that the store
 * refuses as expired is fetched anew once; everything else that is refused is reported as it is.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "objectstore/objectstore_int.h"

static struct net_request request_from(const struct prepared *p, const struct net_sink *sink,
                                       size_t limit_body_bytes, const _Atomic bool *cancelled)
{
    return (struct net_request){
        .method = p->method,
        .url = p->url,
        .headers = p->headers,
        .n_headers = p->n_headers,
        .limit_body_bytes = limit_body_bytes,
        .sink = sink,
        .reach = p->reach,
        .n_retries = STORE_RETRIES,
        .counted = true,
        .store = p->store,
        .cancelled = cancelled,
    };
}

static enum rc send_bearer(struct objectstore *o, struct net_request *q, struct net_response *ret,
                           struct err *err)
{
    AUTO(mem_free_auto) char *refused = NULL;
    for (int nth = 0;; nth++) {
        AUTO(mem_free_auto) char *token = NULL;
        enum rc rc = gcs_tokens_get(o->tokens, refused, q->cancelled, &token, err);
        if (rc != RC_OK)
            return rc;
        AUTO(mem_free_auto) char *authorization = x_printf("Bearer %s", token);
        q->authorization = authorization;
        rc = net_fetch(o->net, q, ret, err);
        q->authorization = NULL;
        if (rc != RC_OK || ret->status != 401 || nth > 0)
            return rc;
        net_response_done(ret);
        *ret = (struct net_response){0};
        refused = TAKE(token);
    }
}

/* S3 answers 400 to an expired key; the code is in the body. */
static bool says_expired(const struct net_response *r)
{
    return r->status >= 400 && r->status <= 403 && r->body.n &&
           (memmem(r->body.p, r->body.n, "ExpiredToken", 12) ||
            memmem(r->body.p, r->body.n, "TokenRefreshRequired", 20));
}

static void signer_from(const struct objectstore *o, const struct aws_credentials *c,
                        struct net_signer *s)
{
    *s = (struct net_signer){
        .key_id = c->key_id,
        .secret = c->secret,
        .session_token = c->session_token,
        .region = o->settings.s3_region,
        .service = "s3",
    };
}

static enum rc send_chain(struct objectstore *o, struct net_request *q, struct net_response *ret,
                          struct err *err)
{
    AUTO(mem_free_auto) char *refused = NULL;
    for (int nth = 0;; nth++) {
        struct aws_credentials c = {0};
        struct net_signer signer;
        enum rc rc = aws_chain_get(o->chain, refused, q->cancelled, &c, err);
        if (rc != RC_OK)
            return rc;
        signer_from(o, &c, &signer);
        q->signer = c.key_id ? &signer : NULL;
        rc = net_fetch(o->net, q, ret, err);
        q->signer = NULL;
        bool again = rc == RC_OK && nth == 0 && c.key_id && says_expired(ret);
        if (again) {
            net_response_done(ret);
            *ret = (struct net_response){0};
            refused = TAKE(c.key_id);
        }
        aws_credentials_done(&c);
        if (!again)
            return rc;
    }
}

static enum rc send_keys(struct objectstore *o, struct net_request *q, struct net_response *ret,
                         struct err *err)
{
    const struct aws_credentials c = {
        .key_id = o->settings.s3_key_id,
        .secret = o->settings.s3_secret,
        .session_token = o->settings.s3_session_token,
    };
    struct net_signer signer;
    signer_from(o, &c, &signer);
    q->signer = &signer;
    enum rc rc = net_fetch(o->net, q, ret, err);
    q->signer = NULL;
    return rc;
}

bool keys_apply(const struct objectstore *o, const struct location *l)
{
    const struct store_settings *s = &o->settings;
    bool are_googles = s->gcs_auth == GCS_AUTH_HMAC;
    if (l->kind == LOCATION_GS)
        return are_googles;
    return l->kind == LOCATION_S3 && s->s3_key_id && (!are_googles || s->s3_endpoint_is_named);
}

enum rc store_send(struct objectstore *o, const struct location *l, const struct prepared *p,
                   const struct net_sink *sink, size_t limit_body_bytes,
                   const _Atomic bool *cancelled, struct net_response *ret, struct err *err)
{
    struct net_request q = request_from(p, sink, limit_body_bytes, cancelled);
    if (!p->url)
        return err_set(err, RC_NO_MEMORY, "out of memory for a request to an object store");
    if (l->kind == LOCATION_GS && gs_is_json(o) && o->tokens)
        return send_bearer(o, &q, ret, err);
    bool signs = l->kind == LOCATION_S3 || (l->kind == LOCATION_GS && !gs_is_json(o));
    if (signs && o->chain)
        return send_chain(o, &q, ret, err);
    if (keys_apply(o, l))
        return send_keys(o, &q, ret, err);
    return net_fetch(o->net, &q, ret, err);
}

/* The store's own word for an error: letters and digits of <Code>, "" when there is none. */
static void error_code(const struct net_response *r, char ret[64])
{
    const char *at = r->body.n ? memmem(r->body.p, r->body.n, "<Code>", 6) : NULL;
    size_t n = 0;
    for (at = at ? at + 6 : NULL; at && at < r->body.p + r->body.n && n < 63; at++) {
        bool plain =
            (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        if (!plain)
            break;
        ret[n++] = *at;
    }
    ret[n] = 0;
}

static const char *advice(const struct objectstore *o, const struct location *l,
                          const struct net_response *r)
{
    if (r->status == 301 || r->status == 307)
        return l->kind == LOCATION_S3
                   ? "; the bucket is in another region: check OFFLOADER_S3_REGION and "
                     "OFFLOADER_S3_ENDPOINT"
                   : "";
    if (r->status != 401 && r->status != 403)
        return "";
    if (r->is_elsewhere && l->kind == LOCATION_S3)
        return "; it came from another host, to which no credentials go: check OFFLOADER_S3_REGION "
               "and OFFLOADER_S3_ENDPOINT";
    if (l->kind == LOCATION_GS && o->settings.gcs_auth == GCS_AUTH_NONE)
        return "; no credentials were sent: set OFFLOADER_GCS_AUTH=bearer";
    if (l->kind == LOCATION_S3 && o->chain)
        return "; the credentials are those of OFFLOADER_S3_AUTH=chain: `offloader doctor` names "
               "their source";
    if (l->kind == LOCATION_S3 && o->settings.s3_key_id && !keys_apply(o, l))
        return "; no credentials were sent: with OFFLOADER_S3_TYPE=gcs the keys are Google's";
    if (l->kind == LOCATION_S3 && !o->settings.s3_key_id)
        return "; no credentials were sent: set OFFLOADER_S3_KEY_ID and OFFLOADER_S3_SECRET, or "
               "OFFLOADER_S3_AUTH=chain";
    return "";
}

enum rc store_check_status(const struct objectstore *o, const struct location *l,
                           const struct net_response *r, struct err *err)
{
    char code[64];
    char what[512];
    struct err plain = ERR_INIT;
    error_code(r, code);
    (void)snprintf(what, sizeof what, "'%.440s'", l->text);
    enum rc rc = net_check_status(r, what, &plain);
    if (rc == RC_OK)
        return RC_OK;
    return err_set(err, rc, "%s%s%s%s", plain.message, *code ? ", " : "", code, advice(o, l, r));
}

enum rc store_ask(struct objectstore *o, const struct location *l, const struct ask *a,
                  const struct net_sink *sink, const _Atomic bool *cancelled,
                  struct net_response *ret, struct err *err)
{
    struct prepared p;
    struct net_response r = {0};
    switch (l->kind) {
    case LOCATION_GS:
        if (gs_is_json(o))
            gs_prepare(o, l, a, &p);
        else
            s3_prepare(o, l, a, &p);
        break;
    case LOCATION_S3:
        s3_prepare(o, l, a, &p);
        break;
    case LOCATION_HTTPS:
        https_prepare(o, l, a, &p);
        break;
    case LOCATION_LOCAL:
        return err_set(err, RC_INTERNAL, "a local path is not asked for over the network");
    }
    enum rc rc = store_send(o, l, &p, sink, 0, cancelled, &r, err);
    prepared_done(&p);
    if (rc != RC_OK)
        return rc;
    rc = r.status == 304 && !a->unless_tag
             ? err_set(err, RC_INVALID, "'%s': status 304 to an unconditional request", l->text)
             : store_check_status(o, l, &r, err);
    if (rc == RC_OK)
        *ret = r;
    else
        net_response_done(&r);
    return rc;
}
