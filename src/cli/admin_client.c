/* SPDX-License-Identifier: Apache-2.0 */
/* One call to the admin port. The operator names the address, so any is fine. */
#include "cli/admin_client.h"

#include <stdio.h>

#include "base/mem.h"
#include "cli/secret.h"

#define LIMIT_REPLY_BYTES (64u << 20)
#define CALL_TIMEOUT_MS 3600000 /* a refresh answers when it is done */

int admin_client_open(const struct command *c, bool needs_token, struct admin_client *ret)
{
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *token = NULL;
    const char *url = flag_text("admin-url");
    *ret = (struct admin_client){0};
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return usage_error(c, "--admin-url must begin with http:// or https://");
    if (secret_read("admin-token", "OFFLOADER_ADMIN_TOKEN", &token, &err) != RC_OK)
        return usage_error(c, "--admin-token: %s", err.message);
    if (!token && needs_token)
        return usage_error(c,
                           "give the admin token: --admin-token @FILE, or OFFLOADER_ADMIN_TOKEN");
    if (token && !secret_is_token(token))
        return usage_error(c,
                           "the admin token has a byte that no token has (a space or a line end?)");
    if (net_new(&(struct net_options){0}, &ret->net, &err) != RC_OK) {
        fprintf(stderr, "offloader %s: %s\n", c->name, err.message);
        return EXIT_FINDINGS;
    }
    size_t n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    ret->url = x_strndup(url, n);
    ret->authorization = token ? x_printf("Bearer %s", token) : NULL;
    return -1;
}

void admin_client_close(struct admin_client *a)
{
    net_free(a->net);
    mem_free(a->url);
    mem_free(a->authorization);
    *a = (struct admin_client){0};
}

enum rc admin_client_call(struct admin_client *a, const char *method, const char *path,
                          const char *idempotency_key, const char *body, struct admin_reply *ret,
                          struct err *err)
{
    AUTO(mem_free_auto) char *url = x_printf("%s%s", a->url, path);
    struct net_header headers[2];
    struct net_request request = {.method = method,
                                  .url = url,
                                  .headers = headers,
                                  .authorization = a->authorization,
                                  .body = body ? str_from(body) : (struct str){NULL, 0},
                                  .limit_body_bytes = LIMIT_REPLY_BYTES,
                                  .reach = NET_REACH_NAMED,
                                  .timeout_ms = CALL_TIMEOUT_MS,
                                  .no_redirects = true};
    /* Until an action is done no byte comes. What is only read comes at once, or never will. */
    if (strcmp(method, "GET") != 0)
        request.stall_timeout_ms = CALL_TIMEOUT_MS;
    struct net_response response = {0};
    struct err unparsed = ERR_INIT;
    if (idempotency_key)
        headers[request.n_headers++] = (struct net_header){"idempotency-key", idempotency_key};
    if (body)
        headers[request.n_headers++] = (struct net_header){"content-type", "application/json"};
    enum rc rc = net_fetch(a->net, &request, &response, err);
    if (rc != RC_OK)
        return rc;
    *ret = (struct admin_reply){.status = response.status};
    ret->is_replay = net_response_header(&response, "idempotent-replay").p != NULL;
    buf_init(&ret->body, LIMIT_REPLY_BYTES);
    buf_put(&ret->body, response.body.p, response.body.n);
    arena_init(&ret->arena, UINT64_C(8) * LIMIT_REPLY_BYTES);
    ret->root = json_parse((struct str){ret->body.p, ret->body.n}, &ret->arena, &unparsed);
    net_response_done(&response);
    return RC_OK;
}

void admin_reply_done(struct admin_reply *r)
{
    buf_done(&r->body);
    arena_done(&r->arena);
    r->root = NULL;
}

const char *admin_reply_message(const struct admin_reply *r)
{
    const struct node *message = node_get(node_get(r->root, "error"), "message");
    if (message && message->kind == NODE_STRING)
        return message->text.p;
    return r->root ? "the server gave no reason" : "this is no answer of an offloader's admin port";
}
