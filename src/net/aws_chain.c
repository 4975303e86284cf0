/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The AWS chain: environment, profile files, web identity, container, instance metadata. The first
 * that is set up decides: when it fails the chain fails, so that nobody works with other rights
 * than meant.
 */
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "net/credentials_int.h"

#define PROFILE_AGAIN_US INT64_C(900000000) /* files may be rewritten by others: read again */
#define NONE_AGAIN_US INT64_C(60000000)
#define LIMIT_PROFILE_BYTES (1u << 20)

struct aws_chain {
    struct net *net;
    const char *(*get)(const char *name);
    struct credential_cache cache;
    bool had_instance_keys; /* the fetching caller's: one at a time */
};

static const char *value_of(const struct aws_chain *c, const char *name)
{
    const char *value = c->get(name);
    return value && *value ? value : NULL;
}

static enum rc from_environment(const struct aws_chain *c, struct aws_credentials *ret,
                                struct err *err)
{
    const char *key_id = value_of(c, "AWS_ACCESS_KEY_ID");
    const char *secret = value_of(c, "AWS_SECRET_ACCESS_KEY");
    const char *session = value_of(c, "AWS_SESSION_TOKEN");
    if (!key_id && !secret)
        return err_set(err, RC_NOT_FOUND, "AWS_ACCESS_KEY_ID is not set");
    if (!credential_is_plain(key_id) || !credential_is_plain(secret) ||
        (session && !credential_is_plain(session)))
        return err_set(err, RC_DENIED,
                       "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_SESSION_TOKEN is "
                       "missing or has a space in it");
    *ret = (struct aws_credentials){
        .key_id = x_strdup(key_id),
        .secret = x_strdup(secret),
        .session_token = session ? x_strdup(session) : NULL,
        .source = "environment (AWS_ACCESS_KEY_ID)",
    };
    return RC_OK;
}

/* A file that is not there says nothing. */
static enum rc read_profile(const struct aws_chain *c, const char *variable, const char *in_home,
                            const char *name, bool is_config, struct aws_profile *p,
                            struct err *err)
{
    const char *named = value_of(c, variable);
    const char *home = value_of(c, "HOME");
    struct buf text;
    if (!named && !home)
        return RC_OK;
    AUTO(mem_free_auto) char *path = named ? x_strdup(named) : path_join(home, in_home);
    buf_init(&text, LIMIT_PROFILE_BYTES);
    enum rc rc = io_read_file(path, &text, err);
    if (rc == RC_OK)
        aws_profile_parse((struct str){text.p, text.n}, name, is_config, p);
    if (text.p)
        explicit_bzero(text.p, text.n);
    buf_done(&text);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static enum rc from_profile(const struct aws_chain *c, const _Atomic bool *cancelled,
                            struct aws_credentials *ret, struct err *err)
{
    const char *named = value_of(c, "AWS_PROFILE");
    const char *name = named ? named : "default";
    struct aws_profile p = {0};
    enum rc rc =
        read_profile(c, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", name, false, &p, err);
    if (rc == RC_OK)
        rc = read_profile(c, "AWS_CONFIG_FILE", ".aws/config", name, true, &p, err);
    if (rc == RC_OK && p.key_id && p.secret) {
        *ret = (struct aws_credentials){
            .key_id = TAKE(p.key_id),
            .secret = TAKE(p.secret),
            .session_token = TAKE(p.session_token),
            .expires_us = wall_us() + PROFILE_AGAIN_US,
            .source = "profile file",
        };
        if (!credential_is_plain(ret->key_id) || !credential_is_plain(ret->secret)) {
            aws_credentials_done(ret);
            rc = err_set(err, RC_DENIED, "the keys of AWS profile '%.100s' have a space in them",
                         name);
        }
    } else if (rc == RC_OK && p.role_arn && p.web_identity_token_file) {
        rc = aws_from_web_identity(c->net, c->get, p.role_arn, p.web_identity_token_file, cancelled,
                                   ret, err);
        if (rc == RC_OK)
            ret->source = "web identity (profile file)";
    } else if (rc == RC_OK && p.role_arn) {
        rc = err_set(
            err, RC_DENIED,
            "AWS profile '%.100s' assumes a role from another profile, which is not supported: use "
            "keys, web_identity_token_file, or the role of the instance or container",
            name);
    } else if (rc == RC_OK) {
        rc = named ? err_set(err, RC_DENIED, "AWS profile '%.100s' %s", name,
                             p.found ? "has no keys"
                                     : "is in neither the credentials nor the config file")
                   : err_set(err, RC_NOT_FOUND, "there is no default AWS profile");
    }
    aws_profile_done(&p);
    return rc;
}

static enum rc fetch(void *arg, const _Atomic bool *cancelled, struct aws_credentials *ret,
                     struct err *err)
{
    struct aws_chain *c = arg;
    const char *role = value_of(c, "AWS_ROLE_ARN");
    const char *token_file = value_of(c, "AWS_WEB_IDENTITY_TOKEN_FILE");
    enum rc rc = from_environment(c, ret, err);
    if (rc == RC_NOT_FOUND)
        rc = from_profile(c, cancelled, ret, err);
    if (rc == RC_NOT_FOUND) {
        rc = aws_from_web_identity(c->net, c->get, role, token_file, cancelled, ret, err);
        if (rc == RC_OK)
            ret->source = "web identity (AWS_WEB_IDENTITY_TOKEN_FILE)";
    }
    if (rc == RC_NOT_FOUND) {
        rc = aws_from_container(c->net, c->get, cancelled, ret, err);
        if (rc == RC_OK)
            ret->source = "container credentials";
    }
    if (rc == RC_NOT_FOUND) {
        rc = aws_from_instance(c->net, c->get, c->had_instance_keys, cancelled, ret, err);
        if (rc == RC_OK) {
            ret->source = "instance metadata";
            c->had_instance_keys = true;
        }
    }
    if (rc != RC_NOT_FOUND)
        return rc;
    /* An answer too: kept for a minute, lest every request waits for an instance service that is
     * not there. */
    *ret = (struct aws_credentials){
        .expires_us = wall_us() + NONE_AGAIN_US,
        .source = "anonymous: the AWS chain found no credentials",
    };
    return RC_OK;
}

struct aws_chain *aws_chain_new(struct net *net, const char *(*get)(const char *name))
{
    struct aws_chain *c = x_alloc0(sizeof *c);
    c->net = net;
    c->get = get;
    credential_cache_init(&c->cache, fetch, c);
    return c;
}

void aws_chain_free(struct aws_chain *c)
{
    if (!c)
        return;
    credential_cache_done(&c->cache);
    mem_free(c);
}

enum rc aws_chain_get(struct aws_chain *c, const char *refused_key_id,
                      const _Atomic bool *cancelled, struct aws_credentials *ret, struct err *err)
{
    return credential_cache_get(&c->cache, refused_key_id, cancelled, ret, err);
}
