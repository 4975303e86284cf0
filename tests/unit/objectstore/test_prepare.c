/* SPDX-License-Identifier: Apache-2.0 */
/* What each store is asked: URLs, queries in signing order, conditions, ranges. */
#include "base/mem.h"
#include "objectstore/objectstore_int.h"
#include "unit.h"

static struct objectstore store(bool path_style, const char *gcs, const char *s3)
{
    struct objectstore o = {0};
    o.settings.gcs_endpoint = x_strdup(gcs);
    o.settings.s3_endpoint = x_strdup(s3);
    o.settings.s3_path_style = path_style;
    return o;
}

static char *text_of(struct prepared *p)
{
    struct buf b;
    buf_init(&b, 8192);
    buf_printf(&b, "%s %s", p->method, p->url);
    for (size_t i = 0; i < p->n_headers; i++)
        if (strncmp(p->headers[i].name, "x-amz-", 6) != 0)
            buf_printf(&b, " %s=%s", p->headers[i].name, p->headers[i].value);
    prepared_done(p);
    return buf_take_cstr(&b, NULL);
}

static const struct {
    const char *why, *url;
    bool path_style;
    struct ask ask;
    const char *wanted;
} asks[] = {
    {"gs", "gs://b/a/b c+d", false, {0}, "GET https://g/storage/v1/b/b/o/a%2Fb%20c%2Bd?alt=media"},
    {"gs stat",
     "gs://b/k",
     false,
     {.is_stat = true},
     "GET https://g/storage/v1/b/b/o/k?projection=noAcl"},
    {"gs pinned",
     "gs://b/k",
     false,
     {.tag = "17"},
     "GET https://g/storage/v1/b/b/o/k?alt=media&ifGenerationMatch=17"},
    {"gs unless",
     "gs://b/k",
     false,
     {.unless_tag = "17"},
     "GET https://g/storage/v1/b/b/o/k?alt=media&ifGenerationNotMatch=17"},
    {"gs by ETag",
     "gs://b/k",
     false,
     {.tag = "\"e\""},
     "GET https://g/storage/v1/b/b/o/k?alt=media if-match=\"e\""},
    {"gs range",
     "gs://b/k",
     false,
     {.has_range = true, .from = 5, .to = 9},
     "GET https://g/storage/v1/b/b/o/k?alt=media range=bytes=5-9"},
    {"s3 by host", "s3://b/a/b c+d", false, {0}, "GET https://b.s/a/b%20c%2Bd"},
    {"s3 by path", "s3://b/a//../k", true, {0}, "GET https://s/b/a//../k"},
    {"s3 dots in the bucket", "s3://b.c/k", false, {0}, "GET https://s/b.c/k"},
    {"s3 stat", "s3://b/k", false, {.is_stat = true}, "HEAD https://b.s/k"},
    {"s3 pinned", "s3://b/k", false, {.tag = "\"e\""}, "GET https://b.s/k if-match=\"e\""},
    {"s3 unless",
     "s3://b/k",
     false,
     {.unless_tag = "\"e\""},
     "GET https://b.s/k if-none-match=\"e\""},
    {"https",
     "https://h/p?q=1",
     false,
     {.has_range = true, .from = 0, .to = 0},
     "GET https://h/p?q=1 range=bytes=0-0"},
    {"https stat", "https://h/p", false, {.is_stat = true}, "HEAD https://h/p"},
    {"https by time",
     "https://h/p",
     false,
     {.tag = "Wed", .unless_tag = "Thu"},
     "GET https://h/p if-unmodified-since=Wed if-modified-since=Thu"},
    {"https by a weak ETag",
     "https://h/p",
     false,
     {.tag = "W/\"e\"", .unless_tag = "W/\"e\""},
     "GET https://h/p if-none-match=W/\"e\""},
};

static void test_asks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct objectstore o = store(asks[i].path_style, "https://g", "https://s");
        struct location l;
        struct prepared p = {0};
        struct err err = ERR_INIT;
        CHECK_OK(asks[i].why, location_parse(asks[i].url, &l, &err), &err);
        if (l.kind == LOCATION_GS)
            gs_prepare(&o, &l, &asks[i].ask, &p);
        else if (l.kind == LOCATION_S3)
            s3_prepare(&o, &l, &asks[i].ask, &p);
        else
            https_prepare(&o, &l, &asks[i].ask, &p);
        AUTO(mem_free_auto) char *text = text_of(&p);
        CHECK_STR(asks[i].why, text, asks[i].wanted);
        location_done(&l);
        store_settings_done(&o.settings);
    }
}

static void test_lists(void **state)
{
    (void)state;
    static const struct {
        const char *why, *url;
        bool path_style;
        const char *token, *wanted;
    } rows[] = {
        {"gs", "gs://b/p q/", false, NULL,
         "GET "
         "https://g/storage/v1/b/b/"
         "o?fields=items%28name%2Csize%2Cupdated%2Cgeneration%29%2CnextPageToken&maxResults=1000&"
         "prefix=p%20q%2F"},
        {"gs goes on", "gs://b/", false, "t+/=",
         "GET "
         "https://g/storage/v1/b/b/"
         "o?fields=items%28name%2Csize%2Cupdated%2Cgeneration%29%2CnextPageToken&maxResults=1000&"
         "pageToken=t%2B%2F%3D"},
        {"s3 by host", "s3://b/p/", false, NULL,
         "GET https://b.s/?encoding-type=url&list-type=2&max-keys=1000&prefix=p%2F"},
        {"s3 by path, goes on", "s3://b/", true, "t+/=",
         "GET "
         "https://s/b?continuation-token=t%2B%2F%3D&encoding-type=url&list-type=2&max-keys=1000"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct objectstore o = store(rows[i].path_style, "https://g", "https://s");
        struct location l;
        struct prepared p = {0};
        struct err err = ERR_INIT;
        CHECK_OK(rows[i].why, location_parse(rows[i].url, &l, &err), &err);
        if (l.kind == LOCATION_GS)
            gs_prepare_list(&o, &l, rows[i].token, &p);
        else
            s3_prepare_list(&o, &l, rows[i].token, &p);
        AUTO(mem_free_auto) char *text = text_of(&p);
        CHECK_STR(rows[i].why, text, rows[i].wanted);
        location_done(&l);
        store_settings_done(&o.settings);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asks),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
