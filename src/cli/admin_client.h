/* SPDX-License-Identifier: Apache-2.0 */
/* What commands share that speak to a running server's admin port. */
#ifndef OFFLOADER_CLI_ADMIN_CLIENT_H
#define OFFLOADER_CLI_ADMIN_CLIENT_H

#include "cli/cli.h"
#include "markup/markup.h"
#include "net/net.h"

#define ADMIN_URL_DEFAULT "http://127.0.0.1:4001"

struct admin_client {
    struct net *net;
    char *url;           /* owned, without a slash at its end */
    char *authorization; /* owned; NULL: no token. Never printed. */
};

/*
 * From --admin-url and --admin-token (text, @FILE, or OFFLOADER_ADMIN_TOKEN). An exit status after
 * a message, or -1 to go on. @needs_token: a missing one is a usage error.
 */
int admin_client_open(const struct command *c, bool needs_token, struct admin_client *ret);
void admin_client_close(struct admin_client *a);

struct admin_reply {
    int status;
    bool is_replay;
    struct buf body;
    struct arena arena;
    const struct node *root; /* of a JSON body; NULL: it is none */
};
/* @idempotency_key NULL: none; @body NULL: none. */
MUST_CHECK enum rc admin_client_call(struct admin_client *a, const char *method, const char *path,
                                     const char *idempotency_key, const char *body,
                                     struct admin_reply *ret, struct err *err);
void admin_reply_done(struct admin_reply *r);
/* The error's message of a reply that is none of 2xx; borrowed from it. */
const char *admin_reply_message(const struct admin_reply *r);

#endif
