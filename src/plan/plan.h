/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoint contract + request -> checked plan (api.md). Pure: no snapshot, no I/O. Identifiers come
 * from the validated contract only; values are bound. The tenant predicate is always filters[0] on
 * a tenant endpoint and no parameter can reach it.
 */
#ifndef OFFLOADER_PLAN_PLAN_H
#define OFFLOADER_PLAN_PLAN_H

#include "base/arena.h"
#include "http/http.h"
#include "project/project.h"
#include "query/query.h"

#define PLAN_LIMIT_PARAMS 64
#define PLAN_MESSAGE_BYTES 256

/* Prepared once an endpoint: what the encoder copies instead of building. */
struct plan_shape {
    const struct endpoint *endpoint;
    const struct dataset *dataset;
    struct str *json_keys; /* per output: `"name":`; the writer adds braces and commas */
    struct str csv_header; /* of all outputs, CRLF included */
    struct str *csv_names;
    char *memory;
    bool *all_wanted;
};
struct plan_shape *plan_shape_new(const struct endpoint *e, const struct dataset *d);
void plan_shape_free(struct plan_shape *s);

/* A checked request. Everything lives in the arena given to plan_request. */
struct plan {
    const struct plan_shape *shape;
    struct query query;
    struct str
        canonical; /* params, columns, limit, offset: one spelling for one meaning (cache key) */
    struct str filter_key; /* the part that decides which rows match (for count=exact) */
    int *columns;          /* outputs to write, in select order */
    int n_columns;
    bool count_exact;
    struct str cursor; /* as sent; n = 0: none */
    uint64_t position; /* absolute offset of the first row */
    uint64_t limit;
    /* What the client sent, for cursor_open(): a cursor fills in what is missing. */
    bool sent_params, sent_columns, sent_limit;
    struct str tenant;
    struct param_value *values; /* per param of the endpoint */
    bool *present;
};

struct plan_input {
    const struct plan_shape *shape;
    struct str tenant; /* of the key; p NULL on an endpoint without tenant */
    struct str query_string;
    bool count_exact; /* Prefer: count=exact */
};

/*
 * RC_INVALID: 422, and @ret_message says which param and why, never a value. RC_NO_MEMORY: the
 * arena is full. With a cursor the plan is not complete before cursor_open().
 */
MUST_CHECK enum rc plan_request(const struct plan_input *in, struct arena *arena, struct plan *ret,
                                char ret_message[PLAN_MESSAGE_BYTES]);

/* ---- cursors: HMAC-SHA256 over everything they are bound to ---- */

/* Binds to endpoint contract, canonical params, columns, limit, tenant and snapshot fingerprint. */
struct cursor_binding {
    const struct endpoint *endpoint;
    const struct dataset *dataset;
    struct str tenant;
    const uint8_t *snapshot_fingerprint; /* 32 bytes; checked by the caller after opening */
};
#define CURSOR_LIMIT_BYTES 6000
/* The secret is derived once: HMAC key for cursors. */
void cursor_set_secret(const void *secret, size_t n);
/* Appends the base64url token for the position after @result's last row. */
MUST_CHECK bool cursor_write(const struct cursor_binding *b, const struct plan *plan,
                             const struct query_result *result, uint64_t next_position,
                             struct buf *out);
/*
 * Verifies plan->cursor and puts its params, columns, limit, position and seek into @plan (all in
 * @arena). @ret_fingerprint: of the snapshot it began in. RC_INVALID: forged, foreign, or other
 * params than it was made for (422). RC_CONFLICT: of an earlier contract (410).
 */
MUST_CHECK enum rc cursor_open(const struct cursor_binding *b, struct arena *arena,
                               struct plan *plan, uint8_t ret_fingerprint[32],
                               char ret_message[PLAN_MESSAGE_BYTES]);

#endif
