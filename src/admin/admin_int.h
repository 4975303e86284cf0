/* SPDX-License-Identifier: Apache-2.0 */
/* For src/admin: what its files share. */
#ifndef OFFLOADER_ADMIN_ADMIN_INT_H
#define OFFLOADER_ADMIN_ADMIN_INT_H

#include "admin/admin.h"
#include "admin/idempotency.h"
#include "base/thread.h"

#define LIMIT_ACTIONS 32   /* running at once */
#define LIMIT_REFRESHES 24 /* of them: each waits for a build, and an operator must get through */

struct admin {
    struct admin_options options;
    struct idempotency *idempotency;
    int64_t started_us; /* monotonic */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_actions, n_refreshes; /* running; refreshes among the actions */
    bool stopping;
};

/* pages.c: bodies */
void page_ready(struct admin *a, struct buf *b, int *ret_status);
void page_status(struct admin *a, struct buf *b);
void page_metrics(struct admin *a, struct buf *b);
void page_diagnostics(struct admin *a, struct buf *b);

/* admin.c */
/* A body that memory was short for is not sent: then the answer is a bare 500. */
void admin_answer(struct admin *a, struct http_exchange *x, int status, const char *content_type,
                  struct str extra_headers, const struct buf *body, const char *request_id);
void admin_error(struct admin *a, struct http_exchange *x, int status, const char *family,
                 const char *message, const char *request_id);

/* actions.c: POST; @path is decoded */
void action_begin(struct admin *a, struct http_exchange *x, const struct http_request *r,
                  struct str path, const char *request_id);
bool action_exists(struct str path);

#endif
