/* SPDX-License-Identifier: Apache-2.0 */
/* Google key files and the signed JWT (RFC 7519, RS256) that is traded for a token. */
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/mem.h"
#include "markup/markup.h"
#include "net/credentials_int.h"

#define SCOPE "https://www.googleapis.com/auth/devstorage.read_only"
#define TOKEN_URI "https://oauth2.googleapis.com/token"
#define JWT_SECONDS 3600
#define LIMIT_JSON_MEMORY (4u << 20)

static char *text_of(const struct node *root, const char *name)
{
    const struct node *n = node_get(root, name);
    return n && n->kind == NODE_STRING && n->text.n ? x_strndup(n->text.p, n->text.n) : NULL;
}

void gcs_key_done(struct gcs_key *k)
{
    char *all[] = {k->client_email, k->private_key,   k->private_key_id, k->token_uri,
                   k->client_id,    k->client_secret, k->refresh_token};
    if (k->private_key)
        explicit_bzero(k->private_key, strlen(k->private_key));
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        mem_free(all[i]);
    *k = (struct gcs_key){0};
}

enum rc gcs_parse_key(struct str json, struct gcs_key *ret, struct err *err)
{
    struct arena arena;
    struct gcs_key k = {0};
    struct err syntax = ERR_INIT;
    enum rc rc = RC_OK;
    arena_init(&arena, LIMIT_JSON_MEMORY);
    const struct node *root = json_parse(json, &arena, &syntax);
    if (!root || root->kind != NODE_MAP) {
        rc = err_set(err, RC_INVALID, "the key file is not a JSON object");
    } else {
        const struct node *type = node_get(root, "type");
        k.token_uri = text_of(root, "token_uri");
        if (!k.token_uri)
            k.token_uri = x_strdup(TOKEN_URI);
        if (type && str_is(type->text, "service_account")) {
            k.client_email = text_of(root, "client_email");
            k.private_key = text_of(root, "private_key");
            k.private_key_id = text_of(root, "private_key_id");
            if (!k.client_email || !k.private_key)
                rc = err_set(err, RC_INVALID, "the key file has no client_email or private_key");
        } else if (type && str_is(type->text, "authorized_user")) {
            k.client_id = text_of(root, "client_id");
            k.client_secret = text_of(root, "client_secret");
            k.refresh_token = text_of(root, "refresh_token");
            if (!k.client_id || !k.client_secret || !k.refresh_token)
                rc = err_set(err, RC_INVALID,
                             "the key file has no client_id, client_secret or refresh_token");
        } else {
            rc = err_set(err, RC_INVALID,
                         "the key file's type is neither service_account nor authorized_user");
        }
    }
    arena_done(&arena);
    if (rc == RC_OK)
        *ret = k;
    else
        gcs_key_done(&k);
    return rc;
}

static void put_base64url(struct buf *b, const void *p, size_t n)
{
    AUTO(mem_free_auto) char *text = x_alloc(4 * ((n + 2) / 3) + 1);
    size_t text_n = base64url_encode(p, n, text);
    buf_put(b, text, text_n);
}

static void put_head(const struct gcs_key *k, struct buf *b)
{
    struct json_writer w;
    jw_init(&w, b);
    jw_open(&w, '{');
    jw_key(&w, "alg");
    jw_cstr(&w, "RS256");
    jw_key(&w, "typ");
    jw_cstr(&w, "JWT");
    if (k->private_key_id) {
        jw_key(&w, "kid");
        jw_cstr(&w, k->private_key_id);
    }
    jw_close(&w, '}');
}

static void put_claims(const struct gcs_key *k, int64_t now_s, struct buf *b)
{
    struct json_writer w;
    jw_init(&w, b);
    jw_open(&w, '{');
    jw_key(&w, "iss");
    jw_cstr(&w, k->client_email);
    jw_key(&w, "scope");
    jw_cstr(&w, SCOPE);
    jw_key(&w, "aud");
    jw_cstr(&w, k->token_uri);
    jw_key(&w, "iat");
    jw_int(&w, now_s);
    jw_key(&w, "exp");
    jw_int(&w, now_s + JWT_SECONDS);
    jw_close(&w, '}');
}

/* Appends "." and the signature of what is in @b. */
static enum rc sign(const struct gcs_key *k, struct buf *b, struct err *err)
{
    enum rc rc = RC_INVALID;
    size_t n = 0;
    BIO *bio = BIO_new_mem_buf(k->private_key, -1);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool fits = key && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
    if (fits && md && EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestSign(md, NULL, &n, (const unsigned char *)b->p, b->n) == 1) {
        AUTO(mem_free_auto) unsigned char *signature = x_alloc(n);
        if (EVP_DigestSign(md, signature, &n, (const unsigned char *)b->p, b->n) == 1) {
            buf_putc(b, '.');
            put_base64url(b, signature, n);
            rc = RC_OK;
        }
    }
    EVP_MD_CTX_free(md);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return rc == RC_OK ? RC_OK
                       : err_set(err, rc, "the key file's private_key is no RSA key in PEM");
}

enum rc gcs_sign_jwt(const struct gcs_key *k, int64_t now_s, char **ret, struct err *err)
{
    struct buf json, jwt;
    buf_init(&json, CREDENTIALS_LIMIT_BYTES);
    buf_init(&jwt, CREDENTIALS_LIMIT_BYTES * 4);
    put_head(k, &json);
    put_base64url(&jwt, json.p, json.n);
    buf_reset(&json);
    put_claims(k, now_s, &json);
    buf_putc(&jwt, '.');
    put_base64url(&jwt, json.p, json.n);
    enum rc rc = json.failed ? err_set(err, buf_rc(&json), "the key file's values cannot be held")
                             : sign(k, &jwt, err);
    if (rc == RC_OK)
        *ret = buf_take_cstr(&jwt, NULL);
    buf_done(&json);
    buf_done(&jwt);
    return rc;
}
