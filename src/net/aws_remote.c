/* SPDX-License-Identifier: Apache-2.0 */
/* AWS credentials that a service hands out: STS for web identities, the container agent, the
 * instance. */
#include <string.h>

#include "base/arena.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "markup/markup.h"
#include "net/credentials_int.h"
#include "net/xml.h"

#define CONTAINER_HOST "http://169.254.170.2"
#define INSTANCE_HOST "http://169.254.169.254"
#define SERVICE_TIMEOUT_MS 5000
#define INSTANCE_TIMEOUT_MS 2000 /* elsewhere nobody answers at that address, */
#define INSTANCE_RETRIES 1       /* so that patience is for a service that had keys */
#define SERVICE_RETRIES 3

static const char *value_of(const char *(*get)(const char *), const char *name)
{
    const char *value = get(name);
    return value && *value ? value : NULL;
}

static enum rc check(struct aws_credentials *c, enum rc rc, struct aws_credentials *ret,
                     struct err *err)
{
    if (rc == RC_OK && (!credential_is_plain(c->key_id) || !credential_is_plain(c->secret) ||
                        (c->session_token && !credential_is_plain(c->session_token))))
        rc = err_set(err, RC_DENIED, "the answer holds no access key");
    if (rc == RC_OK)
        *ret = *c;
    else
        aws_credentials_done(c);
    return rc;
}

enum rc aws_parse_json(struct str json, struct aws_credentials *ret, struct err *err)
{
    struct arena arena;
    struct err syntax = ERR_INIT;
    struct aws_credentials c = {0};
    enum rc rc = RC_OK;
    arena_init(&arena, 1u << 20);
    const struct node *root = json_parse(json, &arena, &syntax);
    const struct node *expires = node_get(root, "Expiration");
    const struct {
        const char *name;
        char **at;
    } fields[] = {
        {"AccessKeyId", &c.key_id}, {"SecretAccessKey", &c.secret}, {"Token", &c.session_token}};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct node *n = node_get(root, fields[i].name);
        if (n && n->kind == NODE_STRING)
            *fields[i].at = x_strndup(n->text.p, n->text.n);
    }
    if (expires && (expires->kind != NODE_STRING || !parse_rfc3339(expires->text, &c.expires_us)))
        rc = err_set(err, RC_DENIED, "the answer's Expiration is no time");
    arena_done(&arena);
    return check(&c, rc, ret, err);
}

static enum rc on_sts_text(void *arg, const char *parent, const char *name, struct str text,
                           struct err *err)
{
    struct aws_credentials *c = arg;
    if (strcmp(parent, "Credentials") != 0)
        return RC_OK;
    char **at = strcmp(name, "AccessKeyId") == 0       ? &c->key_id
                : strcmp(name, "SecretAccessKey") == 0 ? &c->secret
                : strcmp(name, "SessionToken") == 0    ? &c->session_token
                                                       : NULL;
    if (at) {
        mem_free(*at);
        *at = x_strndup(text.p, text.n);
    } else if (strcmp(name, "Expiration") == 0 && !parse_rfc3339(text, &c->expires_us)) {
        return err_set(err, RC_DENIED, "the answer's Expiration is no time");
    }
    return RC_OK;
}

enum rc aws_parse_sts(struct str xml, struct aws_credentials *ret, struct err *err)
{
    struct aws_credentials c = {0};
    const struct xml_events events = {.on_text = on_sts_text, .arg = &c};
    return check(&c, xml_walk(xml, &events, err), ret, err);
}

/* ---- web identity ---- */

static char *sts_url(const char *(*get)(const char *))
{
    const char *named = value_of(get, "AWS_ENDPOINT_URL_STS");
    const char *region = value_of(get, "AWS_REGION");
    if (!region)
        region = value_of(get, "AWS_DEFAULT_REGION");
    if (!region)
        region = value_of(get, "OFFLOADER_S3_REGION");
    if (named)
        return x_strdup(named);
    return x_printf("https://sts.%s.amazonaws.com%s/", region ? region : "us-east-1",
                    region && strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

enum rc aws_from_web_identity(struct net *n, const char *(*get)(const char *), const char *role_arn,
                              const char *token_file, const _Atomic bool *cancelled,
                              struct aws_credentials *ret, struct err *err)
{
    const char *session = value_of(get, "AWS_ROLE_SESSION_NAME");
    struct buf token, form;
    struct net_response r = {0};
    if (!role_arn || !token_file)
        return err_set(err, RC_NOT_FOUND,
                       "AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE are not set");
    buf_init(&token, CREDENTIALS_LIMIT_BYTES);
    buf_init(&form, CREDENTIALS_LIMIT_BYTES * 4);
    enum rc rc = io_read_file(token_file, &token, err);
    if (rc == RC_OK) {
        form_put(&form, "Action", STR("AssumeRoleWithWebIdentity"));
        form_put(&form, "Version", STR("2011-06-15"));
        form_put(&form, "RoleArn", str_from(role_arn));
        form_put(&form, "RoleSessionName", str_from(session ? session : "offloader"));
        while (token.n && (unsigned char)token.p[token.n - 1] <= 0x20)
            token.n--;
        form_put(&form, "WebIdentityToken", (struct str){token.p, token.n});
        AUTO(mem_free_auto) char *url = sts_url(get);
        const struct net_header type = {"content-type", "application/x-www-form-urlencoded"};
        const struct net_request q = {
            .method = "POST",
            .url = url,
            .headers = &type,
            .n_headers = 1,
            .body = {form.p, form.n},
            .reach = NET_REACH_NAMED,
            .n_retries = SERVICE_RETRIES,
            .limit_body_bytes = CREDENTIALS_LIMIT_BYTES,
            .cancelled = cancelled,
        };
        rc = net_fetch(n, &q, &r, err);
    }
    if (rc == RC_OK)
        rc = net_check_status(&r, "AWS STS", err);
    if (rc == RC_OK)
        rc = aws_parse_sts((struct str){r.body.p, r.body.n}, ret, err);
    net_response_done(&r);
    buf_done(&token);
    buf_done(&form);
    /* Set up but failing is not the same as not set up. */
    return rc == RC_NOT_FOUND
               ? err_set(err, RC_DENIED, "the web identity's token file or STS was not found")
               : rc;
}

/* ---- a service on the machine ---- */

static enum rc ask(struct net *n, const struct net_request *like, const char *what,
                   struct net_response *r, struct err *err)
{
    struct net_request q = *like;
    q.reach = NET_REACH_NAMED;
    q.no_redirects = true;
    q.limit_body_bytes = CREDENTIALS_LIMIT_BYTES;
    enum rc rc = net_fetch(n, &q, r, err);
    return rc != RC_OK ? rc : net_check_status(r, what, err);
}

/* http:// may only lead to the machine itself and to the agents' own addresses. */
static bool container_uri_is_fine(const char *uri)
{
    static const char *const prefixes[] = {"https://",
                                           "http://127.",
                                           "http://localhost",
                                           "http://[::1]",
                                           "http://169.254.170.2",
                                           "http://169.254.170.23",
                                           "http://[fd00:ec2::23]"};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(uri, prefixes[i], n) == 0 &&
            (i < 2 || uri[n] == ':' || uri[n] == '/' || uri[n] == 0))
            return strchr(uri, '@') == NULL;
    }
    return false;
}

static enum rc container_authorization(const char *(*get)(const char *), char **ret,
                                       struct err *err)
{
    const char *file = value_of(get, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *plain = value_of(get, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
    struct buf b;
    if (!file) {
        *ret = plain ? x_strdup(plain) : NULL;
        return RC_OK;
    }
    buf_init(&b, CREDENTIALS_LIMIT_BYTES);
    enum rc rc = io_read_file(file, &b, err);
    while (b.n && (unsigned char)b.p[b.n - 1] <= 0x20)
        b.n--;
    if (rc == RC_OK)
        *ret = buf_take_cstr(&b, NULL);
    buf_done(&b);
    return rc == RC_NOT_FOUND
               ? err_set(err, RC_DENIED, "the container's authorization token file is missing")
               : rc;
}

enum rc aws_from_container(struct net *n, const char *(*get)(const char *),
                           const _Atomic bool *cancelled, struct aws_credentials *ret,
                           struct err *err)
{
    const char *relative = value_of(get, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = value_of(get, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
    struct net_response r = {0};
    AUTO(mem_free_auto) char *authorization = NULL;
    if (!relative && !full)
        return err_set(err, RC_NOT_FOUND, "AWS_CONTAINER_CREDENTIALS_* is not set");
    AUTO(mem_free_auto) char *url =
        relative ? x_printf(CONTAINER_HOST "%s", relative) : x_strdup(full);
    if (!container_uri_is_fine(url))
        return err_set(
            err, RC_INVALID,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or http to loopback or the agent");
    enum rc rc = container_authorization(get, &authorization, err);
    if (rc != RC_OK)
        return rc;
    const struct net_request q = {
        .url = url,
        .authorization = authorization,
        .timeout_ms = SERVICE_TIMEOUT_MS,
        .n_retries = SERVICE_RETRIES,
        .cancelled = cancelled,
    };
    rc = ask(n, &q, "the container's credentials", &r, err);
    if (rc == RC_OK)
        rc = aws_parse_json((struct str){r.body.p, r.body.n}, ret, err);
    net_response_done(&r);
    return rc == RC_NOT_FOUND
               ? err_set(err, RC_DENIED, "the container's credentials were not found")
               : rc;
}

/* Without a token in @ret nothing is set up, or the service ails: see aws_from_instance(). */
static enum rc instance_token(struct net *n, const char *base, bool had_keys,
                              const _Atomic bool *cancelled, struct net_response *ret,
                              struct err *err)
{
    AUTO(mem_free_auto) char *url = x_printf("%s/latest/api/token", base);
    const struct net_header ttl = {"x-aws-ec2-metadata-token-ttl-seconds", "21600"};
    const struct net_request q = {.method = "PUT",
                                  .url = url,
                                  .headers = &ttl,
                                  .n_headers = 1,
                                  .timeout_ms = INSTANCE_TIMEOUT_MS,
                                  .n_retries = had_keys ? SERVICE_RETRIES : INSTANCE_RETRIES,
                                  .cancelled = cancelled};
    struct err why = ERR_INIT;
    enum rc rc = ask(n, &q, "instance metadata", ret, &why);
    if (rc == RC_OK && !credential_is_plain(buf_cstr(&ret->body)))
        rc = err_set(&why, RC_DENIED, "instance metadata: the answer holds no token");
    if (rc == RC_OK)
        return rc;
    if (rc == RC_CANCELLED || rc == RC_NO_MEMORY)
        return err_set(err, rc, "%s", why.message);
    if (had_keys || ret->status == 429 || ret->status >= 500)
        return err_set(err, RC_UNAVAILABLE, "%s", why.message);
    return err_set(err, RC_NOT_FOUND, "no instance metadata service answers");
}

/* Metadata version 2 only: a token first, then the role, then its keys. */
enum rc aws_from_instance(struct net *n, const char *(*get)(const char *), bool had_keys,
                          const _Atomic bool *cancelled, struct aws_credentials *ret,
                          struct err *err)
{
    const char *disabled = value_of(get, "AWS_EC2_METADATA_DISABLED");
    const char *named = value_of(get, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (disabled && str_eq_nocase(str_from(disabled), STR("true")))
        return err_set(err, RC_NOT_FOUND, "AWS_EC2_METADATA_DISABLED is set");
    AUTO(mem_free_auto) char *base = x_strdup(named ? named : INSTANCE_HOST);
    size_t base_n = strlen(base);
    while (base_n && base[base_n - 1] == '/')
        base[--base_n] = 0;
    struct net_response token = {0}, role = {0}, keys = {0};
    enum rc rc = instance_token(n, base, had_keys, cancelled, &token, err);
    if (rc != RC_OK) {
        net_response_done(&token);
        return rc;
    }
    const struct net_header with = {"x-aws-ec2-metadata-token", buf_cstr(&token.body)};
    AUTO(mem_free_auto) char *role_url =
        x_printf("%s/latest/meta-data/iam/security-credentials/", base);
    struct net_request q = {.url = role_url,
                            .headers = &with,
                            .n_headers = 1,
                            .timeout_ms = SERVICE_TIMEOUT_MS,
                            .n_retries = SERVICE_RETRIES,
                            .cancelled = cancelled};
    rc = ask(n, &q, "the instance's role", &role, err);
    if (rc == RC_OK) {
        const char *name = buf_cstr(&role.body);
        struct buf url;
        buf_init(&url, 4096);
        buf_put_cstr(&url, role_url);
        net_url_encode(&url, str_trim((struct str){name, strcspn(name, "\r\n")}), false);
        q.url = buf_cstr(&url);
        rc = ask(n, &q, "the instance's credentials", &keys, err);
        buf_done(&url);
    }
    if (rc == RC_OK)
        rc = aws_parse_json((struct str){keys.body.p, keys.body.n}, ret, err);
    net_response_done(&token);
    net_response_done(&role);
    net_response_done(&keys);
    return rc == RC_NOT_FOUND && had_keys
               ? err_set(err, RC_UNAVAILABLE, "instance metadata: the role's keys are gone")
               : rc;
}
