/* SPDX-License-Identifier: Apache-2.0 */
/* The environment of the stores: defaults, endpoints as host or URL, styles, who wins, what is
 * malformed. */
#include "base/mem.h"
#include "environment.h"
#include "objectstore/objectstore_int.h"
#include "unit.h"

struct row {
    const char *why, *const *environment;
    bool anonymous;
    const char *gcs, *s3;
    enum gcs_auth auth;
    bool path_style, chain;
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct store_settings s = {0};
        struct err err = ERR_INIT;
        environment = rows[i].environment;
        CHECK_OK(rows[i].why, settings_from(get, rows[i].anonymous, &s, &err), &err);
        CHECK_STR(rows[i].why, s.gcs_endpoint, rows[i].gcs);
        CHECK_STR(rows[i].why, s.s3_endpoint, rows[i].s3);
        CHECK_INT(rows[i].why, s.gcs_auth, rows[i].auth);
        CHECK_INT(rows[i].why, s.s3_path_style, rows[i].path_style);
        CHECK_INT(rows[i].why, s.s3_chain, rows[i].chain);
        store_settings_done(&s);
    }
}

static void test_endpoints(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"nothing set", ENV("X=y"), false, "https://storage.googleapis.com",
         "https://s3.us-east-1.amazonaws.com", GCS_AUTH_BEARER, false, false},
        {"the local trial", ENV("X=y"), true, "https://storage.googleapis.com",
         "https://s3.us-east-1.amazonaws.com", GCS_AUTH_NONE, false, false},
        {"a trial with a token", ENV("OFFLOADER_GCS_TOKEN=t"), true,
         "https://storage.googleapis.com", "https://s3.us-east-1.amazonaws.com", GCS_AUTH_BEARER,
         false, false},
        {"a trial that asks for it", ENV("OFFLOADER_GCS_AUTH=bearer"), true,
         "https://storage.googleapis.com", "https://s3.us-east-1.amazonaws.com", GCS_AUTH_BEARER,
         false, false},
        {"empty is not set", ENV("OFFLOADER_GCS_AUTH=", "OFFLOADER_S3_ENDPOINT="), false,
         "https://storage.googleapis.com", "https://s3.us-east-1.amazonaws.com", GCS_AUTH_BEARER,
         false, false},
        {"slashes at the end go",
         ENV("OFFLOADER_GCS_ENDPOINT=https://h/p//", "OFFLOADER_GCS_AUTH=public"), false,
         "https://h/p", "https://s3.us-east-1.amazonaws.com", GCS_AUTH_NONE, false, false},
        {"a host", ENV("OFFLOADER_S3_ENDPOINT=minio:9000"), true, "https://storage.googleapis.com",
         "https://minio:9000", GCS_AUTH_NONE, true, false},
        {"a host without TLS",
         ENV("OFFLOADER_S3_ENDPOINT=minio:9000", "OFFLOADER_S3_USE_SSL=false"), true,
         "https://storage.googleapis.com", "http://minio:9000", GCS_AUTH_NONE, true, false},
        {"a URL has its own scheme",
         ENV("OFFLOADER_S3_ENDPOINT=http://minio", "OFFLOADER_S3_USE_SSL=true"), true,
         "https://storage.googleapis.com", "http://minio", GCS_AUTH_NONE, true, false},
        {"virtual hosts at an endpoint",
         ENV("OFFLOADER_S3_ENDPOINT=h", "OFFLOADER_S3_URL_STYLE=vhost"), true,
         "https://storage.googleapis.com", "https://h", GCS_AUTH_NONE, false, false},
        {"paths at AWS", ENV("OFFLOADER_S3_URL_STYLE=path"), true, "https://storage.googleapis.com",
         "https://s3.us-east-1.amazonaws.com", GCS_AUTH_NONE, true, false},
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void test_regions_and_who_wins(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"a region", ENV("OFFLOADER_S3_REGION=eu-west-3"), true, "https://storage.googleapis.com",
         "https://s3.eu-west-3.amazonaws.com", GCS_AUTH_NONE, false, false},
        {"China", ENV("OFFLOADER_S3_REGION=cn-north-1"), true, "https://storage.googleapis.com",
         "https://s3.cn-north-1.amazonaws.com.cn", GCS_AUTH_NONE, false, false},
        {"the chain's region", ENV("OFFLOADER_S3_AUTH=chain", "AWS_REGION=eu-west-1"), true,
         "https://storage.googleapis.com", "https://s3.eu-west-1.amazonaws.com", GCS_AUTH_NONE,
         false, true},
        {"AWS_REGION is the chain's only", ENV("AWS_REGION=eu-west-1"), true,
         "https://storage.googleapis.com", "https://s3.us-east-1.amazonaws.com", GCS_AUTH_NONE,
         false, false},
        {"keys that are spelled out win over the chain", ENV("OFFLOADER_S3_AUTH=chain", KEYS), true,
         "https://storage.googleapis.com", "https://s3.us-east-1.amazonaws.com", GCS_AUTH_NONE,
         false, false},
        {"HMAC wins", ENV("OFFLOADER_S3_TYPE=gcs", KEYS, "OFFLOADER_GCS_AUTH=bearer"), false,
         "https://storage.googleapis.com", "https://s3.us-east-1.amazonaws.com", GCS_AUTH_HMAC,
         false, false},
        {"HMAC needs keys", ENV("OFFLOADER_S3_TYPE=gcs", "OFFLOADER_GCS_AUTH=none"), false,
         "https://storage.googleapis.com", "https://s3.us-east-1.amazonaws.com", GCS_AUTH_NONE,
         false, false},
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void test_tokens_stay_private(void **state)
{
    (void)state;
    static const struct {
        const char *endpoint, *auth;
        enum rc rc;
    } rows[] = {
        {"OFFLOADER_GCS_ENDPOINT=https://h", "OFFLOADER_GCS_AUTH=bearer", RC_OK},
        {"OFFLOADER_GCS_ENDPOINT=http://h", "OFFLOADER_GCS_AUTH=bearer", RC_INVALID},
        {"OFFLOADER_GCS_ENDPOINT=http://h", "OFFLOADER_GCS_AUTH=none", RC_OK},
        {"OFFLOADER_GCS_ENDPOINT=http://127.0.0.1:1", "OFFLOADER_GCS_AUTH=bearer", RC_OK},
        {"OFFLOADER_GCS_ENDPOINT=http://localhost:1", "OFFLOADER_GCS_AUTH=bearer", RC_OK},
        {"OFFLOADER_GCS_ENDPOINT=http://localhost.h", "OFFLOADER_GCS_AUTH=bearer", RC_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct store_settings s = {0};
        environment = ENV(rows[i].endpoint, rows[i].auth);
        CHECK_INT(rows[i].endpoint, settings_from(get, false, &s, NULL), rows[i].rc);
        store_settings_done(&s);
    }
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "OFFLOADER_GCS_AUTH=Bearer",
        "OFFLOADER_GCS_ENDPOINT=ftp://h",
        "OFFLOADER_GCS_ENDPOINT=https://u:p@h",
        "OFFLOADER_GCS_ENDPOINT=https://h?q",
        "OFFLOADER_GCS_ENDPOINT=https://h#f",
        "OFFLOADER_GCS_ENDPOINT=https://",
        "OFFLOADER_GCS_ENDPOINT=a b",
        "OFFLOADER_GCS_TOKEN=a\nb",
        "OFFLOADER_GCS_METADATA_URL=file:///x",
        "OFFLOADER_S3_TYPE=S3",
        "OFFLOADER_S3_URL_STYLE=virtual",
        "OFFLOADER_S3_USE_SSL=2",
        "OFFLOADER_S3_AUTH=on",
        "OFFLOADER_S3_REGION=a.b",
        "OFFLOADER_S3_KEY_ID=k",
        "OFFLOADER_S3_SECRET=s",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct store_settings s = {0};
        struct err err = ERR_INIT;
        environment = ENV(rows[i]);
        CHECK_INT(rows[i], settings_from(get, false, &s, &err), RC_INVALID);
        CHECK_INT(rows[i], strncmp(err.message, "OFFLOADER_", 10), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_regions_and_who_wins),
        cmocka_unit_test(test_tokens_stay_private),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
