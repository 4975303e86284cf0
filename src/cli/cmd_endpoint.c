/* SPDX-License-Identifier: Apache-2.0 */
/* offloader endpoint test: one call of an endpoint; its status, snapshot and freshness. */
#include <stdio.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/secret.h"
#include "markup/markup.h"
#include "net/net.h"

#define LIMIT_ANSWER_BYTES (64u << 20)
#define CALL_TIMEOUT_MS 60000

struct answer {
    int status;
    struct buf body;
    struct arena arena;
    const struct node *root; /* NULL: the body is no JSON */
};

static enum rc call(const char *key, struct answer *ret, struct err *err)
{
    const char *base = flag_text("url"), *params = flag_text("params");
    struct net *net = NULL;
    struct net_response response = {0};
    struct err unparsed = ERR_INIT;
    size_t n = strlen(base);
    while (n && base[n - 1] == '/')
        n--;
    AUTO(mem_free_auto) char *authorization = key ? x_printf("Bearer %s", key) : NULL;
    AUTO(mem_free_auto) char *url =
        x_printf("%.*s/v1/endpoints/%s%s%s", (int)n, base, flag_text("endpoint"),
                 params && *params ? "?" : "", params ? params : "");
    struct net_request request = {.method = "GET",
                                  .url = url,
                                  .authorization = authorization,
                                  .limit_body_bytes = LIMIT_ANSWER_BYTES,
                                  .reach = NET_REACH_NAMED,
                                  .timeout_ms = CALL_TIMEOUT_MS,
                                  .no_redirects = true};
    enum rc rc = net_new(&(struct net_options){0}, &net, err);
    if (rc == RC_OK)
        rc = net_fetch(net, &request, &response, err);
    if (rc == RC_OK) {
        ret->status = response.status;
        buf_put(&ret->body, response.body.p, response.body.n);
        ret->root = json_parse((struct str){ret->body.p, ret->body.n}, &ret->arena, &unparsed);
        net_response_done(&response);
    }
    net_free(net);
    return rc;
}

static const char *text_at(const struct node *n, const char *key)
{
    const struct node *child = node_get(n, key);
    return child && child->kind == NODE_STRING ? child->text.p : NULL;
}

/* What a 200 must carry, or NULL. */
static const char *missing_in(const struct answer *a)
{
    const struct node *meta = node_get(a->root, "meta");
    if (!text_at(meta, "snapshot_id"))
        return "the answer has no meta.snapshot_id";
    if (!text_at(node_get(meta, "freshness"), "watermark"))
        return "the answer has no meta.freshness";
    return NULL;
}

static void print_text(const struct answer *a, const char *problem)
{
    const struct node *meta = node_get(a->root, "meta"), *freshness = node_get(meta, "freshness");
    const struct node *rows = node_get(meta, "row_count"),
                      *age = node_get(freshness, "age_seconds");
    const struct node *stale = node_get(freshness, "stale");
    printf("status     %d\n", a->status);
    if (text_at(meta, "snapshot_id"))
        printf("snapshot   %s\n", text_at(meta, "snapshot_id"));
    if (rows && rows->kind == NODE_INT)
        printf("rows       %lld\n", (long long)rows->integer);
    if (text_at(freshness, "watermark"))
        printf("watermark  %s (%lld s old%s)\n", text_at(freshness, "watermark"),
               age && age->kind == NODE_INT ? (long long)age->integer : 0,
               stale && stale->kind == NODE_BOOL && stale->boolean ? ", stale" : "");
    if (text_at(node_get(a->root, "error"), "message"))
        printf("error      %s\n", text_at(node_get(a->root, "error"), "message"));
    printf("%s\n", problem ? problem : "ok");
}

static void print_json(const struct answer *a, const char *problem)
{
    const struct node *meta = node_get(a->root, "meta");
    struct buf b;
    struct json_writer w;
    buf_init(&b, SIZE_MAX);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "ok");
    jw_bool(&w, !problem);
    jw_key(&w, "status");
    jw_int(&w, a->status);
    jw_key(&w, "snapshot_id");
    jw_cstr(&w, text_at(meta, "snapshot_id"));
    jw_key(&w, "watermark");
    jw_cstr(&w, text_at(node_get(meta, "freshness"), "watermark"));
    jw_key(&w, "problem");
    jw_cstr(&w, problem);
    jw_close(&w, '}');
    printf("%s\n", buf_cstr(&b));
    buf_done(&b);
}

static int judge(const struct answer *a, int64_t expected)
{
    AUTO(mem_free_auto) char *other =
        a->status == expected ? NULL : x_printf("the status should be %lld", (long long)expected);
    const char *problem = other ? other : a->status == 200 ? missing_in(a) : NULL;
    if (flag_given("json"))
        print_json(a, problem);
    else
        print_text(a, problem);
    return problem ? EXIT_FINDINGS : EXIT_FINE;
}

static int run(const struct command *c)
{
    const char *word = positional(0), *url = flag_text("url"), *endpoint = flag_text("endpoint");
    struct err err = ERR_INIT;
    struct answer answer = {0};
    AUTO(mem_free_auto) char *key = NULL;
    int64_t expected = 0;
    if (!word || strcmp(word, "test") != 0)
        return usage_error(c, "say what to do: `endpoint test --endpoint NAME`");
    if (!endpoint || !str_is_name(str_from(endpoint)))
        return usage_error(c, "--endpoint must be the name of an endpoint");
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return usage_error(c, "--url must begin with http:// or https://");
    if (!parse_int64(str_from(flag_text("expect-status")), &expected) || expected < 100 ||
        expected > 599)
        return usage_error(c, "--expect-status must be a status between 100 and 599");
    if (secret_read("key", "OFFLOADER_KEY", &key, &err) != RC_OK)
        return usage_error(c, "--key: %s", err.message);
    if (key && !secret_is_token(key))
        return usage_error(c, "the key has a byte that no token has (a space or a line end?)");
    buf_init(&answer.body, LIMIT_ANSWER_BYTES);
    arena_init(&answer.arena, UINT64_C(8) * LIMIT_ANSWER_BYTES);
    enum rc rc = call(key, &answer, &err);
    int status = rc == RC_OK ? judge(&answer, expected) : EXIT_FINDINGS;
    if (rc != RC_OK)
        fprintf(stderr, "offloader endpoint: %s\n", err.message);
    buf_done(&answer.body);
    arena_done(&answer.arena);
    return status;
}

static const struct flag flags[] = {
    {"url", "URL", "http://localhost:4000", "the API port of a running server"},
    {"endpoint", "NAME", NULL, "the endpoint to ask"},
    {"key", "TOKEN", NULL, "a bearer token, @FILE, or OFFLOADER_KEY"},
    {"params", "QUERY", NULL, "its params, percent-encoded: a=1&b=2"},
    {"expect-status", "N", "200", "the status that is right"},
    {"json", NULL, NULL, "print the result as one JSON document"},
    {NULL, NULL, NULL, NULL},
};

const struct command command_endpoint = {
    .name = "endpoint",
    .summary = "Call an endpoint of a running server; check status, snapshot and freshness.",
    .usage = "test --endpoint NAME [flags]",
    .words = "test",
    .example = "offloader endpoint test --endpoint usage_summary --key @token.txt "
               "--params 'from=2026-08-04&to=2026-09-04'",
    .flags = flags,
    .max_positional = 1,
    .run = run,
};
