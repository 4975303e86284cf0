/* SPDX-License-Identifier: Apache-2.0 */
/* offloader snapshot status | refresh | rollback: what serves, and the admin actions. */
#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/admin_client.h"

static int failed(const struct command *c, const char *message)
{
    fprintf(stderr, "offloader %s: %s\n", c->name, message);
    return EXIT_FINDINGS;
}

static const char *text_of(const struct node *n, const char *otherwise)
{
    return n && n->kind == NODE_STRING && n->text.n ? n->text.p : otherwise;
}

/* "3d", "5h", "12m", "40s": one unit is enough for a table. */
static void put_age(char ret[24], const struct node *seconds)
{
    static const struct {
        int64_t s;
        char unit;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    (void)snprintf(ret, 24, "-");
    if (!seconds || seconds->kind != NODE_INT)
        return;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (seconds->integer >= units[i].s || i + 1 == ARRAY_LEN(units)) {
            (void)snprintf(ret, 24, "%lld%c", (long long)(seconds->integer / units[i].s),
                           units[i].unit);
            return;
        }
}

static void print_row(const struct node *d)
{
    const struct node *active = node_get(d, "active_snapshot"), *rows = node_get(active, "rows");
    const struct node *error = node_get(d, "refresh_error"), *stale = node_get(d, "stale");
    char age[24], n_rows[24] = "-";
    put_age(age, node_get(active, "age_seconds"));
    if (rows && rows->kind == NODE_INT)
        (void)snprintf(n_rows, sizeof n_rows, "%lld", (long long)rows->integer);
    printf("%-20s %-28s %12s %5s%-6s %-28s %-9s", text_of(node_get(d, "dataset"), "?"),
           text_of(node_get(active, "snapshot_id"), "(none)"), n_rows, age,
           stale && stale->kind == NODE_BOOL && stale->boolean ? " stale" : "",
           text_of(node_get(node_get(d, "previous_snapshot"), "snapshot_id"), "-"),
           text_of(node_get(node_get(d, "last_attempted"), "status"), "-"));
    if (error && error->kind == NODE_MAP)
        printf(" %s: %s", text_of(node_get(error, "code"), "failed"),
               text_of(node_get(error, "message"), ""));
    if (text_of(node_get(d, "quarantined"), NULL))
        printf(" (rolled back from %s)", node_get(d, "quarantined")->text.p);
    printf("\n");
}

static int print_status(const struct command *c, const struct admin_reply *r)
{
    const char *wanted = flag_text("dataset");
    const struct node *datasets = node_get(r->root, "datasets");
    size_t n = 0;
    if (!datasets || datasets->kind != NODE_LIST)
        return failed(c, "this is no answer of an offloader's admin port");
    for (const struct node *d = datasets->first; d; d = d->next)
        n += !wanted || str_is(str_from(text_of(node_get(d, "dataset"), "")), wanted);
    if (wanted && n == 0)
        return failed(c, "there is no such dataset");
    printf("%-20s %-28s %12s %-11s %-28s %s\n", "DATASET", "ACTIVE", "ROWS", "  AGE", "PREVIOUS",
           "LAST ATTEMPT");
    for (const struct node *d = datasets->first; d; d = d->next)
        if (!wanted || str_is(str_from(text_of(node_get(d, "dataset"), "")), wanted))
            print_row(d);
    return EXIT_FINE;
}

static int run_status(const struct command *c, struct admin_client *client)
{
    struct admin_reply r;
    struct err err = ERR_INIT;
    if (admin_client_call(client, "GET", "/diagnostics", NULL, NULL, &r, &err) != RC_OK)
        return failed(c, err.message);
    int status = r.status != 200 ? failed(c, admin_reply_message(&r)) : EXIT_FINE;
    if (status == EXIT_FINE && flag_given("json"))
        printf("%s\n", buf_cstr(&r.body));
    else if (status == EXIT_FINE)
        status = print_status(c, &r);
    admin_reply_done(&r);
    return status;
}

static int run_action(const struct command *c, struct admin_client *client, const char *action)
{
    const char *dataset = flag_text("dataset"), *key = flag_text("idempotency-key");
    const char *body = flag_given("override-checks") ? "{\"override_checks\":true}" : NULL;
    struct admin_reply r;
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *path = x_printf("/datasets/%s/%s", dataset, action);
    if (admin_client_call(client, "POST", path, key, body, &r, &err) != RC_OK)
        return failed(c, err.message);
    int status = r.status == 200 ? EXIT_FINE : EXIT_FINDINGS;
    const struct node *attempt = node_get(r.root, "attempt");
    if (flag_given("json"))
        printf("%s\n", buf_cstr(&r.body));
    else if (status == EXIT_FINE)
        printf("%s: %s serves (%s%s)\n", dataset,
               text_of(node_get(r.root, "snapshot_id"), "nothing"),
               text_of(node_get(r.root, "status"), "ok"), r.is_replay ? ", answered before" : "");
    else if (attempt)
        fprintf(stderr, "offloader %s: %s: %s: %s: %s\n", c->name, dataset,
                text_of(node_get(attempt, "status"), "failed"),
                text_of(node_get(node_get(attempt, "error"), "code"), "failed"),
                admin_reply_message(&r));
    else
        fprintf(stderr, "offloader %s: %s: %s\n", c->name, dataset, admin_reply_message(&r));
    admin_reply_done(&r);
    return status;
}

static int run(const struct command *c)
{
    const char *word = positional(0), *dataset = flag_text("dataset");
    bool is_status = word && strcmp(word, "status") == 0;
    bool is_refresh = word && strcmp(word, "refresh") == 0;
    struct admin_client client;
    if (!word || (!is_status && !is_refresh && strcmp(word, "rollback") != 0))
        return usage_error(c, "say what to do: `snapshot status`, `refresh` or `rollback`");
    if (dataset && !str_is_name(str_from(dataset)))
        return usage_error(c, "--dataset must be a name (a-z, 0-9 and _)");
    if (!is_status && !dataset)
        return usage_error(c, "--dataset says which one");
    if (!is_refresh && flag_given("override-checks"))
        return usage_error(c, "--override-checks belongs to `snapshot refresh`");
    int status = admin_client_open(c, true, &client);
    if (status >= 0)
        return status;
    status = is_status ? run_status(c, &client) : run_action(c, &client, word);
    admin_client_close(&client);
    return status;
}

static const struct flag flags[] = {
    {"admin-url", "URL", ADMIN_URL_DEFAULT, "the admin port"},
    {"admin-token", "TOKEN|@FILE", NULL, "else OFFLOADER_ADMIN_TOKEN"},
    {"dataset", "ID", NULL, "this dataset (status: default all)"},
    {"idempotency-key", "KEY", NULL, "a repeat with this key gets the first answer"},
    {"override-checks", NULL, NULL, "refresh although quality checks fail"},
    {"json", NULL, NULL, "the server's own answer"},
    {NULL, NULL, NULL, NULL},
};

const struct command command_snapshot = {
    .name = "snapshot",
    .summary = "Show what serves; refresh a dataset, or roll it back.",
    .usage = "status | refresh --dataset ID | rollback --dataset ID [flags]",
    .words = "status refresh rollback",
    .example = "offloader snapshot status --admin-token @/run/secrets/admin-token",
    .flags = flags,
    .max_positional = 1,
    .run = run,
};
