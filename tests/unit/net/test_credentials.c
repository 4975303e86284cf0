/* SPDX-License-Identifier: Apache-2.0 */
/* What credential files and services say: profiles, key files, token and key answers, cut anywhere.
 */
#include "base/mem.h"
#include "base/timeutil.h"
#include "net/credentials_int.h"
#include "unit.h"

/* ---- profiles ---- */

static void test_profiles(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text, *name;
        bool is_config, found;
        const char *key_id, *secret, *session;
    } rows[] = {
        {"plain", "[default]\naws_access_key_id=A\naws_secret_access_key=S\n", "default", false,
         true, "A", "S", ""},
        {"no last line end", "[p]\naws_access_key_id=A\naws_session_token = T", "p", false, true,
         "A", "", "T"},
        {"carriage returns", "[p]\r\naws_access_key_id = A\r\n", "p", false, true, "A", "", ""},
        {"another profile", "[q]\naws_access_key_id=A\n", "p", false, false, "", "", ""},
        {"before any section", "aws_access_key_id=A\n[p]\n", "p", false, true, "", "", ""},
        {"the first value stays", "[p]\naws_access_key_id=A\naws_access_key_id=B\n", "p", false,
         true, "A", "", ""},
        {"comments", "# [p]\n;[p]\n[p]\n#aws_access_key_id=A\n", "p", false, true, "", "", ""},
        {"nested settings", "[p]\ns3 =\n  aws_access_key_id = A\n", "p", false, true, "", "", ""},
        {"an equals sign in the value", "[p]\naws_secret_access_key=a=b==\n", "p", false, true, "",
         "a=b==", ""},
        {"case of the key", "[p]\nAWS_Access_Key_ID=A\n", "p", false, true, "A", "", ""},
        {"a config file says profile", "[profile p]\naws_access_key_id=A\n", "p", true, true, "A",
         "", ""},
        {"a config file's plain section", "[p]\naws_access_key_id=A\n", "p", true, false, "", "",
         ""},
        {"a config file's default", "[default]\naws_access_key_id=A\n", "default", true, true, "A",
         "", ""},
        {"spaces in a section", "[ profile   p ]\naws_access_key_id=A\n", "p", true, true, "A", "",
         ""},
        {"a prefix of the name", "[pp]\naws_access_key_id=A\n", "p", false, false, "", "", ""},
        {"an unclosed section", "[p\naws_access_key_id=A\n", "p", false, false, "", "", ""},
        {"no value", "[p]\naws_access_key_id=\n=A\n=\n", "p", false, true, "", "", ""},
        {"empty", "", "p", false, false, "", "", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct aws_profile p = {0};
        aws_profile_parse(str_from(rows[i].text), rows[i].name, rows[i].is_config, &p);
        CHECK_INT(rows[i].why, p.found, rows[i].found);
        CHECK_STR(rows[i].why, p.key_id ? p.key_id : "", rows[i].key_id);
        CHECK_STR(rows[i].why, p.secret ? p.secret : "", rows[i].secret);
        CHECK_STR(rows[i].why, p.session_token ? p.session_token : "", rows[i].session);
        aws_profile_done(&p);
    }
}

/* ---- answers ---- */

#define EXPIRES "2026-11-25T13:00:00Z"
#define JSON_KEYS "\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\""

static void test_aws_json(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        enum rc rc;
        bool expires, has_token;
    } rows[] = {
        {"whole", "{" JSON_KEYS ",\"Token\":\"T\",\"Expiration\":\"" EXPIRES "\"}", RC_OK, true,
         true},
        {"no expiration: never", "{" JSON_KEYS "}", RC_OK, false, false},
        {"no secret", "{\"AccessKeyId\":\"A\"}", RC_DENIED, false, false},
        {"an empty key", "{\"AccessKeyId\":\"\",\"SecretAccessKey\":\"S\"}", RC_DENIED, false,
         false},
        {"a line break in the key", "{\"AccessKeyId\":\"A\\nB\",\"SecretAccessKey\":\"S\"}",
         RC_DENIED, false, false},
        {"a number as key", "{\"AccessKeyId\":1,\"SecretAccessKey\":\"S\"}", RC_DENIED, false,
         false},
        {"no time", "{" JSON_KEYS ",\"Expiration\":\"soon\"}", RC_DENIED, false, false},
        {"an error document", "{\"Code\":\"Failed\"}", RC_DENIED, false, false},
        {"no JSON", "<html>", RC_DENIED, false, false},
        {"empty", "", RC_DENIED, false, false},
        {"cut", "{" JSON_KEYS, RC_DENIED, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct aws_credentials c = {0};
        struct err err = ERR_INIT;
        CHECK_INT(rows[i].why, aws_parse_json(str_from(rows[i].text), &c, &err), rows[i].rc);
        CHECK_INT(rows[i].why, c.expires_us != 0, rows[i].expires);
        CHECK_INT(rows[i].why, c.session_token != NULL, rows[i].has_token);
        CHECK_INT(rows[i].why, rows[i].rc == RC_OK, c.key_id != NULL);
        aws_credentials_done(&c);
    }
}

#define STS(inside)                                                                                \
    "<R><AssumeRoleWithWebIdentityResult>" inside "</AssumeRoleWithWebIdentityResult></R>"

static void test_aws_sts(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        enum rc rc;
    } rows[] = {
        {"whole",
         STS("<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S</"
             "SecretAccessKey><SessionToken>T"
             "</SessionToken><Expiration>" EXPIRES "</Expiration></Credentials>"),
         RC_OK},
        {"keys elsewhere do not count",
         STS("<AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey>"), RC_DENIED},
        {"no time", STS("<Credentials><Expiration>x</Expiration></Credentials>"), RC_DENIED},
        {"an error", "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
         RC_DENIED},
        {"cut", "<R><Credentials><AccessKeyId>A", RC_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct aws_credentials c = {0};
        struct err err = ERR_INIT;
        CHECK_INT(rows[i].why, aws_parse_sts(str_from(rows[i].text), &c, &err), rows[i].rc);
        aws_credentials_done(&c);
    }
}

static void test_gcs_token(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        enum rc rc;
        int64_t seconds;
    } rows[] = {
        {"whole", "{\"access_token\":\"t.1\",\"expires_in\":3599,\"token_type\":\"Bearer\"}", RC_OK,
         3599},
        {"no life stated", "{\"access_token\":\"t\"}", RC_OK, 600},
        {"a life of zero", "{\"access_token\":\"t\",\"expires_in\":0}", RC_OK, 600},
        {"an absurd life", "{\"access_token\":\"t\",\"expires_in\":99999999999999}", RC_OK, 600},
        {"an empty token", "{\"access_token\":\"\"}", RC_DENIED, 0},
        {"a header injected", "{\"access_token\":\"t\\r\\nx: y\"}", RC_DENIED, 0},
        {"a number", "{\"access_token\":7}", RC_DENIED, 0},
        {"an error", "{\"error\":\"invalid_grant\"}", RC_DENIED, 0},
        {"empty", "", RC_DENIED, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct aws_credentials c = {0};
        struct err err = ERR_INIT;
        CHECK_INT(rows[i].why, gcs_parse_token(str_from(rows[i].text), 5000000, &c, &err),
                  rows[i].rc);
        if (rows[i].rc == RC_OK)
            CHECK_INT(rows[i].why, c.expires_us, 5000000 + rows[i].seconds * 1000000);
        aws_credentials_done(&c);
    }
}

/* ---- the cache ---- */

struct source {
    int n_fetches;
    enum rc rc;
    int64_t lasts_us;
    bool has_none;
    struct credential_cache *used_meanwhile; /* NULL: nobody asks while it fetches */
    char used[8];
};

static enum rc fetch(void *arg, const _Atomic bool *cancelled, struct aws_credentials *ret,
                     struct err *err)
{
    struct source *s = arg;
    (void)cancelled;
    s->n_fetches++;
    if (s->used_meanwhile) {
        struct aws_credentials other = {0};
        static const _Atomic bool does_not_wait = true;
        if (credential_cache_get(s->used_meanwhile, NULL, &does_not_wait, &other, NULL) == RC_OK)
            (void)snprintf(s->used, sizeof s->used, "%s", other.session_token);
        aws_credentials_done(&other);
    }
    if (s->rc != RC_OK)
        return err_set(err, s->rc, "the source is down");
    *ret = (struct aws_credentials){
        .session_token = s->has_none ? NULL : x_printf("t%d", s->n_fetches),
        .expires_us = wall_us() + s->lasts_us,
        .source = "test",
    };
    return RC_OK;
}

static void get(struct credential_cache *c, const char *why, const char *refused, enum rc rc,
                const char *token)
{
    struct aws_credentials got = {0};
    struct err err = ERR_INIT;
    CHECK_INT(why, credential_cache_get(c, refused, NULL, &got, &err), rc);
    CHECK_STR(why, got.session_token ? got.session_token : "", token);
    aws_credentials_done(&got);
}

static void test_cache(void **state)
{
    (void)state;
    struct source s = {.lasts_us = CREDENTIALS_AHEAD_US + 60000000};
    struct credential_cache c;
    credential_cache_init(&c, fetch, &s);
    get(&c, "the first", NULL, RC_OK, "t1");
    get(&c, "kept", NULL, RC_OK, "t1");
    get(&c, "another one was refused", "t0", RC_OK, "t1");
    get(&c, "this one was refused", "t1", RC_OK, "t2");
    get(&c, "kept again", NULL, RC_OK, "t2");
    s.rc = RC_UNAVAILABLE;
    get(&c, "refused and nothing better", "t2", RC_UNAVAILABLE, "");
    get(&c, "still valid for others", NULL, RC_OK, "t2");
    CHECK_INT("fetches", s.n_fetches, 3);
    credential_cache_done(&c);
}

static void test_cache_near_the_end(void **state)
{
    (void)state;
    struct source s = {.lasts_us = CREDENTIALS_AHEAD_US - 60000000};
    struct credential_cache c;
    credential_cache_init(&c, fetch, &s);
    get(&c, "the first", NULL, RC_OK, "t1");
    get(&c, "five minutes ahead", NULL, RC_OK, "t2");
    s.rc = RC_UNAVAILABLE;
    s.used_meanwhile = &c;
    get(&c, "the old one does while it lasts", NULL, RC_OK, "t2");
    CHECK_STR("for others while a new one is fetched", s.used, "t2");
    CHECK_INT("fetches", s.n_fetches, 3);
    get(&c, "and is not renewed again at once", NULL, RC_OK, "t2");
    CHECK_INT("fetches", s.n_fetches, 3);
    s = (struct source){.n_fetches = 8, .lasts_us = -1};
    get(&c, "over as it comes, says our clock", "t2", RC_OK, "t9");
    get(&c, "a clock is wrong: not fetched again at once", NULL, RC_OK, "t9");
    s.rc = RC_DENIED;
    get(&c, "refused, and none to be had", "t9", RC_DENIED, "");
    credential_cache_done(&c);
}

static void test_cache_of_none(void **state)
{
    (void)state;
    struct source s = {.has_none = true, .lasts_us = 60000000};
    struct credential_cache c;
    credential_cache_init(&c, fetch, &s);
    get(&c, "there are none", NULL, RC_OK, "");
    get(&c, "that is known for as long as it is said to be", NULL, RC_OK, "");
    CHECK_INT("fetches", s.n_fetches, 1);
    credential_cache_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profiles),      cmocka_unit_test(test_aws_json),
        cmocka_unit_test(test_aws_sts),       cmocka_unit_test(test_gcs_token),
        cmocka_unit_test(test_cache),         cmocka_unit_test(test_cache_near_the_end),
        cmocka_unit_test(test_cache_of_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
