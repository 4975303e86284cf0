/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What credential files and services say; the first byte chooses whose. Whatever is accepted can
 * stand in a header, and no message repeats what was read.
 */
#include <assert.h>
#include <string.h>

#include "fuzz.h"
#include "net/credentials_int.h"

static void check(enum rc rc, struct aws_credentials *c, const struct err *err)
{
    assert(rc == RC_OK || (rc == err->rc && err->message[0] && !c->key_id && !c->session_token));
    assert(!c->key_id || (credential_is_plain(c->key_id) && credential_is_plain(c->secret)));
    assert(!c->session_token || credential_is_plain(c->session_token));
    aws_credentials_done(c);
}

static void check_key(struct str text)
{
    struct gcs_key k = {0};
    struct err err = ERR_INIT;
    if (gcs_parse_key(text, &k, &err) == RC_OK)
        assert(k.token_uri &&
               ((k.client_email && k.private_key) || (k.client_id && k.refresh_token)));
    gcs_key_done(&k);
}

static void check_profile(struct str text, bool is_config)
{
    struct aws_profile p = {0};
    aws_profile_parse(text, "p", is_config, &p);
    assert(p.found || !p.key_id);
    assert(!p.secret || p.secret[0]);
    aws_profile_done(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct aws_credentials c = {0};
    struct err err = ERR_INIT;
    if (n == 0)
        return 0;
    struct str text = {(const char *)data + 1, n - 1};
    switch (data[0] % 6) {
    case 0:
        check_key(text);
        break;
    case 1:
        check(gcs_parse_token(text, 0, &c, &err), &c, &err);
        break;
    case 2:
        check(aws_parse_json(text, &c, &err), &c, &err);
        break;
    case 3:
        check(aws_parse_sts(text, &c, &err), &c, &err);
        break;
    default:
        check_profile(text, data[0] % 6 == 4);
        break;
    }
    return 0;
}
