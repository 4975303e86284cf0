/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Google Cloud Storage. JSON API with bearer tokens or without credentials; with HMAC keys the XML
 * API, which speaks S3's language (s3.c). A tag is a generation; the XML API, and an endpoint that
 * states none, give ETags.
 */
#include <string.h>

#include "base/mem.h"
#include "objectstore/objectstore_int.h"

bool gs_is_json(const struct objectstore *o)
{
    return o->settings.gcs_auth != GCS_AUTH_HMAC;
}

static void begin(const struct objectstore *o, const struct location *l, struct prepared *p,
                  struct buf *url)
{
    buf_init(url, 16384);
    buf_put_cstr(url, o->settings.gcs_endpoint);
    buf_put_literal(url, "/storage/v1/b/");
    net_url_encode(url, str_from(l->bucket), false);
    buf_put_literal(url, "/o");
    *p = (struct prepared){
        .method = "GET",
        .store = MSTORE_GS,
        .reach = o->settings.gcs_endpoint_is_named ? NET_REACH_NAMED : NET_REACH_PUBLIC,
    };
}

void gs_prepare(const struct objectstore *o, const struct location *l, const struct ask *a,
                struct prepared *ret)
{
    struct buf url;
    begin(o, l, ret, &url);
    buf_putc(&url, '/');
    net_url_encode(&url, str_from(l->key), false);
    buf_put_cstr(&url, a->is_stat ? "?projection=noAcl" : "?alt=media");
    if (a->tag && !tag_is_etag(a->tag)) {
        buf_put_literal(&url, "&ifGenerationMatch=");
        net_url_encode(&url, str_from(a->tag), false);
    }
    if (a->unless_tag && !tag_is_etag(a->unless_tag)) {
        buf_put_literal(&url, "&ifGenerationNotMatch=");
        net_url_encode(&url, str_from(a->unless_tag), false);
    }
    if (!a->is_stat) /* the resource's own ETag is another one */
        prepare_etags(a, ret);
    prepare_range(a, ret);
    prepared_url(ret, &url);
}

void gs_prepare_list(const struct objectstore *o, const struct location *l, const char *page_token,
                     struct prepared *ret)
{
    struct buf url;
    begin(o, l, ret, &url);
    buf_put_literal(&url, "?fields=");
    net_url_encode(&url, STR("items(name,size,updated,generation),nextPageToken"), false);
    buf_put_literal(&url, "&maxResults=1000");
    if (page_token) {
        buf_put_literal(&url, "&pageToken=");
        net_url_encode(&url, str_from(page_token), false);
    }
    if (*l->key) {
        buf_put_literal(&url, "&prefix=");
        net_url_encode(&url, str_from(l->key), false);
    }
    prepared_url(ret, &url);
}
