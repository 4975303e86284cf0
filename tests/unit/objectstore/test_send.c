/* SPDX-License-Identifier: Apache-2.0 */
/* Whose keys sign what: never another store's request. */
#include "base/mem.h"
#include "environment.h"
#include "objectstore/objectstore_int.h"
#include "unit.h"

/* ---- in the place of the network ---- */

static char *sent_to; /* owned */
static bool was_signed;

enum rc __wrap_net_fetch(struct net *n, const struct net_request *request, struct net_response *ret,
                         struct err *err);
enum rc __wrap_net_fetch(struct net *n, const struct net_request *request, struct net_response *ret,
                         struct err *err)
{
    (void)n, (void)ret;
    sent_to = x_strdup(request->url);
    was_signed = request->signer != NULL;
    return err_set(err, RC_UNAVAILABLE, "nobody there");
}

#define HMAC "OFFLOADER_S3_TYPE=gcs", KEYS

static void test_keys(void **state)
{
    (void)state;
    const struct {
        const char *why, *const *environment, *url, *wanted;
        bool is_signed;
    } rows[] = {
        {"keys of AWS", ENV(KEYS), "s3://b/k", "https://b.s3.us-east-1.amazonaws.com/k", true},
        {"Google's keys, at Google", ENV(HMAC), "gs://b/k", "https://storage.googleapis.com/b/k",
         true},
        {"Google's keys, at AWS", ENV(HMAC), "s3://b/k", "https://b.s3.us-east-1.amazonaws.com/k",
         false},
        {"one store for both", ENV(HMAC, "OFFLOADER_S3_ENDPOINT=h"), "s3://b/k", "https://h/b/k",
         true},
        {"somebody else's server", ENV(KEYS), "https://h/k", "https://h/k", false},
        {"no keys", ENV("OFFLOADER_S3_TYPE=gcs"), "s3://b/k",
         "https://b.s3.us-east-1.amazonaws.com/k", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct objectstore *o = NULL;
        struct err err = ERR_INIT;
        struct buf body;
        environment = rows[i].environment;
        CHECK_OK(rows[i].why, objectstore_new_with(get, true, &(struct net_options){0}, &o, &err),
                 &err);
        buf_init(&body, 64);
        const struct object_request q = {.url = rows[i].url};
        CHECK_INT(rows[i].why, objectstore_get(o, &q, &body, NULL, &err), RC_UNAVAILABLE);
        CHECK_STR(rows[i].why, sent_to, rows[i].wanted);
        CHECK_INT(rows[i].why, was_signed, rows[i].is_signed);
        mem_free(sent_to);
        sent_to = NULL;
        buf_done(&body);
        objectstore_free(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
