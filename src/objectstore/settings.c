/* SPDX-License-Identifier: Apache-2.0 */
/* OFFLOADER_GCS_*, OFFLOADER_S3_* and their companions, checked once at the start. */
#include <string.h>

#include "base/mem.h"
#include "objectstore/objectstore_int.h"

#define GCS_ENDPOINT "https://storage.googleapis.com"

typedef const char *get_function(const char *name);

/* NULL for a variable that is empty. */
static const char *value_of(get_function *get, const char *name)
{
    const char *value = get(name);
    return value && *value ? value : NULL;
}

static char *owned(const char *s)
{
    return s ? x_strdup(s) : NULL;
}

static bool is_one_of(const char *value, const char *const *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(value, values[i]) == 0)
            return true;
    return false;
}

static bool is_on(const char *value, bool otherwise)
{
    static const char *const yes[] = {"1", "true", "on", "yes"};
    return value ? is_one_of(value, yes, ARRAY_LEN(yes)) : otherwise;
}

static bool is_off(const char *value)
{
    static const char *const no[] = {"0", "false", "off", "no"};
    return is_one_of(value, no, ARRAY_LEN(no));
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s <= 0x20 || *s == 0x7f)
            return true;
    return false;
}

/* "host", "host:port" or a URL, as scheme://... without a slash at the end. */
static enum rc parse_endpoint(const char *name, const char *value, bool use_ssl, char **ret,
                              struct err *err)
{
    AUTO(mem_free_auto) char *url = strstr(value, "://")
                                        ? x_strdup(value)
                                        : x_printf("%s://%s", use_ssl ? "https" : "http", value);
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/')
        url[--n] = 0;
    AUTO(mem_free_auto) char *shown = net_url_display(url);
    if (strncmp(shown, "http", 4) != 0 || strpbrk(url, "?#@") || has_control(url))
        return err_set(err, RC_INVALID,
                       "%s must be a host, host:port or an http(s) URL without user and query",
                       name);
    *ret = TAKE(url);
    return RC_OK;
}

/* https, or http that stays on this machine. */
static bool is_private_way(const char *url)
{
    static const char *const hosts[] = {"http://127.", "http://localhost:", "http://localhost/",
                                        "http://[::1]"};
    if (strncmp(url, "https:", 6) == 0 || strcmp(url, "http://localhost") == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        if (strncmp(url, hosts[i], strlen(hosts[i])) == 0)
            return true;
    return false;
}

static enum rc read_gcs(get_function *get, bool anonymous_by_default, struct store_settings *s,
                        struct err *err)
{
    static const char *const none[] = {"none", "anonymous", "public"};
    const char *endpoint = value_of(get, "OFFLOADER_GCS_ENDPOINT");
    const char *auth = value_of(get, "OFFLOADER_GCS_AUTH");
    const char *token = value_of(get, "OFFLOADER_GCS_TOKEN");
    const char *metadata_url = value_of(get, "OFFLOADER_GCS_METADATA_URL");
    enum rc rc = parse_endpoint("OFFLOADER_GCS_ENDPOINT", endpoint ? endpoint : GCS_ENDPOINT, true,
                                &s->gcs_endpoint, err);
    if (rc != RC_OK)
        return rc;
    s->gcs_endpoint_is_named = endpoint != NULL;
    if (auth && is_one_of(auth, none, ARRAY_LEN(none)))
        s->gcs_auth = GCS_AUTH_NONE;
    else if (auth && strcmp(auth, "bearer") == 0)
        s->gcs_auth = GCS_AUTH_BEARER;
    else if (auth)
        return err_set(err, RC_INVALID,
                       "OFFLOADER_GCS_AUTH must be bearer, none, anonymous or public");
    else
        s->gcs_auth = anonymous_by_default && !token ? GCS_AUTH_NONE : GCS_AUTH_BEARER;
    if (token && has_control(token))
        return err_set(err, RC_INVALID,
                       "OFFLOADER_GCS_TOKEN has a space or a control character in it");
    if (s->gcs_auth == GCS_AUTH_BEARER && !is_private_way(s->gcs_endpoint))
        return err_set(
            err, RC_INVALID,
            "OFFLOADER_GCS_ENDPOINT must be https: over http the token could be read on its way "
            "(OFFLOADER_GCS_AUTH=none sends none)");
    s->gcs_token = owned(token);
    if (metadata_url) {
        rc = parse_endpoint("OFFLOADER_GCS_METADATA_URL", metadata_url, false, &s->gcs_metadata_url,
                            err);
        if (rc != RC_OK)
            return rc;
    }
    s->gcs_key_file = owned(value_of(get, "GOOGLE_APPLICATION_CREDENTIALS"));
    return RC_OK;
}

static enum rc read_s3_keys(get_function *get, struct store_settings *s, struct err *err)
{
    const char *auth = value_of(get, "OFFLOADER_S3_AUTH");
    const char *key_id = value_of(get, "OFFLOADER_S3_KEY_ID");
    const char *secret = value_of(get, "OFFLOADER_S3_SECRET");
    const char *session = value_of(get, "OFFLOADER_S3_SESSION_TOKEN");
    if (auth && strcmp(auth, "chain") != 0)
        return err_set(err, RC_INVALID, "OFFLOADER_S3_AUTH must be chain, or not set");
    if (!key_id != !secret)
        return err_set(
            err, RC_INVALID,
            "OFFLOADER_S3_KEY_ID and OFFLOADER_S3_SECRET are set together or not at all");
    if ((key_id && has_control(key_id)) || (secret && has_control(secret)) ||
        (session && has_control(session)))
        return err_set(err, RC_INVALID,
                       "OFFLOADER_S3_KEY_ID, _SECRET or _SESSION_TOKEN has a space or a control "
                       "character in it");
    s->s3_chain = auth != NULL && !key_id; /* keys that are spelled out are what was meant */
    s->s3_key_id = owned(key_id);
    s->s3_secret = owned(secret);
    s->s3_session_token = owned(session);
    return RC_OK;
}

static enum rc read_s3(get_function *get, struct store_settings *s, struct err *err)
{
    const char *type = value_of(get, "OFFLOADER_S3_TYPE");
    const char *region = value_of(get, "OFFLOADER_S3_REGION");
    const char *endpoint = value_of(get, "OFFLOADER_S3_ENDPOINT");
    const char *style = value_of(get, "OFFLOADER_S3_URL_STYLE");
    const char *ssl = value_of(get, "OFFLOADER_S3_USE_SSL");
    if (type && strcmp(type, "s3") != 0 && strcmp(type, "gcs") != 0)
        return err_set(err, RC_INVALID, "OFFLOADER_S3_TYPE must be s3 or gcs");
    if (style && strcmp(style, "vhost") != 0 && strcmp(style, "path") != 0)
        return err_set(err, RC_INVALID, "OFFLOADER_S3_URL_STYLE must be vhost or path");
    if (ssl && !is_on(ssl, false) && !is_off(ssl))
        return err_set(err, RC_INVALID, "OFFLOADER_S3_USE_SSL must be true or false");
    if (!region && value_of(get, "OFFLOADER_S3_AUTH"))
        region = value_of(get, "AWS_REGION") ? value_of(get, "AWS_REGION")
                                             : value_of(get, "AWS_DEFAULT_REGION");
    s->s3_region = x_strdup(region ? region : "us-east-1");
    for (const char *p = s->s3_region; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              *p == '-'))
            return err_set(err, RC_INVALID,
                           "OFFLOADER_S3_REGION must be a region's name such as eu-west-1");
    enum rc rc = read_s3_keys(get, s, err);
    if (rc != RC_OK)
        return rc;
    AUTO(mem_free_auto) char *of_aws = x_printf("s3.%s.amazonaws.com%s", s->s3_region,
                                                strncmp(s->s3_region, "cn-", 3) == 0 ? ".cn" : "");
    s->s3_endpoint_is_named = endpoint != NULL;
    s->s3_path_style = style ? strcmp(style, "path") == 0 : endpoint != NULL;
    if (type && strcmp(type, "gcs") == 0 && s->s3_key_id)
        s->gcs_auth = GCS_AUTH_HMAC;
    return parse_endpoint("OFFLOADER_S3_ENDPOINT", endpoint ? endpoint : of_aws, is_on(ssl, true),
                          &s->s3_endpoint, err);
}

enum rc settings_from(get_function *get, bool anonymous_by_default, struct store_settings *ret,
                      struct err *err)
{
    struct store_settings s = {.allow_loopback =
                                   is_on(value_of(get, "OFFLOADER_ALLOW_LOOPBACK"), false)};
    enum rc rc = read_gcs(get, anonymous_by_default, &s, err);
    if (rc == RC_OK)
        rc = read_s3(get, &s, err);
    if (rc == RC_OK)
        *ret = s;
    else
        store_settings_done(&s);
    return rc;
}

void store_settings_done(struct store_settings *s)
{
    char *all[] = {s->gcs_endpoint, s->gcs_token,   s->gcs_metadata_url,
                   s->gcs_key_file, s->s3_endpoint, s->s3_region,
                   s->s3_key_id,    s->s3_secret,   s->s3_session_token};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        mem_free(all[i]);
    *s = (struct store_settings){0};
}
