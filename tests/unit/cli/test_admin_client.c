/* SPDX-License-Identifier: Apache-2.0 */
/* How long a call to the admin port may be silent: an action until it is done, a question not. */
#include "base/mem.h"
#include "cli/admin_client.h"
#include "cli/secret.h"
#include "unit.h"

#define MINUTE_MS 60000

/* ---- in the place of the command line and the network ---- */

const char *flag_text(const char *name)
{
    return strcmp(name, "admin-url") == 0 ? ADMIN_URL_DEFAULT : NULL;
}

int usage_error(const struct command *c, const char *format, ...)
{
    (void)c;
    fail_msg("a usage error: %s", format);
    return EXIT_USAGE;
}

enum rc secret_read(const char *flag, const char *variable, char **ret, struct err *err)
{
    (void)flag, (void)variable, (void)err;
    *ret = x_strdup("token");
    return RC_OK;
}

bool secret_is_token(const char *s)
{
    return *s != 0;
}

static struct net_request sent;

enum rc __wrap_net_fetch(struct net *n, const struct net_request *request, struct net_response *ret,
                         struct err *err);
enum rc __wrap_net_fetch(struct net *n, const struct net_request *request, struct net_response *ret,
                         struct err *err)
{
    (void)n, (void)ret;
    sent = *request;
    return err_set(err, RC_UNAVAILABLE, "nobody there");
}

/* ---- the test ---- */

static void test_patience(void **state)
{
    (void)state;
    static const struct {
        const char *why, *method;
        bool waits;
    } rows[] = {
        {"a refresh or rollback answers when it is done", "POST", true},
        {"a question is answered at once or not at all", "GET", false},
    };
    const struct command command = {.name = "snapshot"};
    struct admin_client client;
    assert_int_equal(admin_client_open(&command, true, &client), -1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct admin_reply reply;
        struct err err = ERR_INIT;
        CHECK_INT(rows[i].why,
                  admin_client_call(&client, rows[i].method, "/x", NULL, NULL, &reply, &err),
                  RC_UNAVAILABLE);
        CHECK(rows[i].why, sent.timeout_ms >= 60 * MINUTE_MS);
        CHECK(rows[i].why,
              rows[i].waits ? sent.stall_timeout_ms >= 60 * MINUTE_MS : sent.stall_timeout_ms == 0);
    }
    admin_client_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_patience)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
