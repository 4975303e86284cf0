/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S3, and GCS by HMAC: the same protocol at another endpoint. Paths and queries are RFC
 * 3986-encoded and queries sorted, since curl signs them as they stand.
 */
#include <string.h>

#include "base/mem.h"
#include "objectstore/objectstore_int.h"

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* A bucket with dots matches no wildcard certificate, one with capitals or '_' is no host name. */
static bool fits_host_name(const char *bucket)
{
    for (const char *p = bucket; *p; p++)
        if (*p == '.' || *p == '_' || (*p >= 'A' && *p <= 'Z'))
            return false;
    return true;
}

static void begin(const struct objectstore *o, const struct location *l, struct prepared *p,
                  struct buf *url)
{
    bool is_gs = l->kind == LOCATION_GS;
    const struct store_settings *s = &o->settings;
    const char *endpoint = is_gs && !s->s3_endpoint_is_named ? s->gcs_endpoint : s->s3_endpoint;
    bool named = s->s3_endpoint_is_named || (is_gs && s->gcs_endpoint_is_named);
    bool path_style = is_gs || s->s3_path_style || !fits_host_name(l->bucket);
    const char *after_scheme = strstr(endpoint, "://");
    assert(after_scheme);
    buf_init(url, 16384);
    buf_put(url, endpoint, (size_t)(after_scheme + 3 - endpoint));
    if (!path_style) {
        buf_put_cstr(url, l->bucket);
        buf_putc(url, '.');
    }
    buf_put_cstr(url, after_scheme + 3);
    if (path_style) {
        buf_putc(url, '/');
        net_url_encode(url, str_from(l->bucket), false);
    }
    *p = (struct prepared){
        .method = "GET",
        .store = is_gs ? MSTORE_GS : MSTORE_S3,
        .reach = named ? NET_REACH_NAMED : NET_REACH_PUBLIC,
    };
    prepared_add(p, "x-amz-content-sha256", x_strdup(EMPTY_SHA256));
}

void s3_prepare(const struct objectstore *o, const struct location *l, const struct ask *a,
                struct prepared *ret)
{
    struct buf url;
    begin(o, l, ret, &url);
    if (a->is_stat)
        ret->method = "HEAD";
    buf_putc(&url, '/');
    net_url_encode(&url, str_from(l->key), true);
    prepare_etags(a, ret);
    prepare_range(a, ret);
    if (!a->has_range && l->kind == LOCATION_S3)
        prepared_add(ret, "x-amz-checksum-mode", x_strdup("ENABLED"));
    prepared_url(ret, &url);
}

void s3_prepare_list(const struct objectstore *o, const struct location *l, const char *page_token,
                     struct prepared *ret)
{
    struct buf url;
    begin(o, l, ret, &url);
    const char *host = strstr(buf_cstr(&url), "://"); /* NULL: there was no memory for it */
    if (host && !strchr(host + 3, '/'))
        buf_putc(&url, '/'); /* the path that is signed is never empty */
    buf_putc(&url, '?');
    if (page_token) {
        buf_put_literal(&url, "continuation-token=");
        net_url_encode(&url, str_from(page_token), false);
        buf_putc(&url, '&');
    }
    buf_put_literal(&url, "encoding-type=url&list-type=2&max-keys=1000");
    if (*l->key) {
        buf_put_literal(&url, "&prefix=");
        net_url_encode(&url, str_from(l->key), false);
    }
    prepared_url(ret, &url);
}
