/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin port (admin.md): health, metrics, diagnostics, events, and the program's only writes.
 * The loop answers what is at hand; an action runs on a thread of its own and its answer comes back
 * as a message, so that nothing here waits on the loop.
 */
#ifndef OFFLOADER_ADMIN_ADMIN_H
#define OFFLOADER_ADMIN_ADMIN_H

#include <stdatomic.h>

#include "refresh/refresh.h"
#include "serve/serve.h"

struct admin_options {
    struct serve *serve;
    struct refresh *refresh;
    struct pool *pool;
    struct cache *cache;
    struct engine *engine;
    struct http_server *const *api_server; /* set before the admin port opens */
    const _Atomic bool *draining;
    const char *token;   /* NULL: guarded routes refuse. Borrowed for good. */
    const char *release; /* NULL: none. Borrowed for good. */
    const char *cache_dir;
    int64_t idempotency_ttl_hours;
};

struct admin;
MUST_CHECK enum rc admin_new(const struct admin_options *options, struct admin **ret,
                             struct err *err);
/* No more actions; waits for those that run, whose answers the loops still send. refresh_stop()
 * first. */
void admin_stop(struct admin *a);
void admin_free(struct admin *a); /* after its port is closed */
void admin_on_request(struct http_exchange *x, const struct http_request *r, void *arg);
void admin_on_refuse(const struct http_refusal *refusal, struct buf *headers, struct buf *body,
                     void *arg);
/* The diagnostics document, for SIGUSR1. */
void admin_write_diagnostics(struct admin *a, struct buf *b);

#endif
