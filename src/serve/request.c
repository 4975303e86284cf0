/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a head to a plan, in the order that api.md gives its errors: authentication, rate limit,
 * endpoint and grant, Accept, params, readiness, cursor, pins.
 */
#include <stdio.h>

#include "auth/rate.h"
#include "base/timeutil.h"
#include "serve/serve_int.h"

/* One text for a wrong key and for none: what was wrong is nobody's business. */
#define MESSAGE_UNAUTHORIZED "a valid API key is required"
#define MESSAGE_NOT_FOUND "there is nothing here for this key"

static bool authenticate(struct job *j, const struct http_request *r)
{
    const struct view *v = j->view;
    int64_t retry_after_s = 0;
    if (!v->auth_required) {
        j->is_public = true;
        return true;
    }
    struct token_memo *memo = http_connection_space(j->x);
    _Static_assert(sizeof *memo <= HTTP_CONNECTION_SPACE_BYTES, "the memo lives in the connection");
    j->key = token_authenticate(v->keys, r->authorization, memo, wall_coarse_us());
    j->authenticated_us = monotonic_us();
    if (!j->key) {
        answer_error(j, 401, MESSAGE_UNAUTHORIZED);
        return false;
    }
    struct rate_bucket *bucket = v->rate_buckets[j->key - v->keys->keys];
    if (bucket && !rate_bucket_take(bucket, j->authenticated_us, &retry_after_s)) {
        buf_put_literal(&j->headers, "Retry-After: ");
        buf_put_int64(&j->headers, retry_after_s);
        buf_put_literal(&j->headers, "\r\n");
        answer_error(j, 429, "this key's rate limit is used up; wait and try again");
        return false;
    }
    return true;
}

/* The tenant that binds this request; false when the key has none and needs one. */
static bool find_tenant(const struct job *j, struct str *ret)
{
    *ret = (struct str){NULL, 0};
    if (!j->endpoint->endpoint->tenant_scoped)
        return true;
    if (!j->key)
        return false;
    const char *tenant = j->key->tenant;
    if (!tenant && j->endpoint->held_keys) {
        const struct key *held = project_key(j->endpoint->held_keys, j->key->digest);
        tenant = held ? held->tenant : NULL;
    }
    *ret = str_from(tenant);
    return tenant != NULL;
}

static bool is_granted(const struct job *j)
{
    int ordinal = j->endpoint->grant_ordinal;
    if (!j->view->auth_required)
        return true;
    return ordinal >= 0 && (j->key->endpoint_bits[ordinal / 64] >> (ordinal % 64) & 1);
}

static bool make_plan(struct job *j, const struct http_request *r, struct str tenant)
{
    char message[PLAN_MESSAGE_BYTES] = "";
    struct plan_input in = {
        .shape = j->endpoint->shape,
        .tenant = tenant,
        .query_string = r->query,
        .count_exact = http_prefers(j->prefer, STR("count=exact")),
    };
    enum rc rc = plan_request(&in, &j->arena, &j->plan, message);
    if (rc == RC_OK)
        return true;
    answer_error(j, rc == RC_INVALID ? 422 : 500,
                 rc == RC_INVALID ? message : "the request needs more memory than is allowed");
    return false;
}

static bool same_fingerprint(const struct snapshot *s, const uint8_t fingerprint[32])
{
    return s && memcmp(s->fingerprint, fingerprint, 16) == 0; /* cursors carry 16 bytes */
}

/* Opens the cursor and goes back to the snapshot it began in. */
static bool follow_cursor(struct job *j, struct str tenant)
{
    uint8_t fingerprint[32];
    char message[PLAN_MESSAGE_BYTES] = "";
    struct cursor_binding binding = {
        .endpoint = j->endpoint->endpoint, .dataset = j->endpoint->dataset, .tenant = tenant};
    enum rc rc = cursor_open(&binding, &j->arena, &j->plan, fingerprint, message);
    if (rc == RC_OK && same_fingerprint(j->endpoint->active, fingerprint))
        return true;
    if (rc == RC_OK && same_fingerprint(j->endpoint->previous, fingerprint)) {
        j->snapshot = j->endpoint->previous;
        return true;
    }
    if (rc == RC_OK || rc == RC_CONFLICT)
        answer_error(j, 410, "the snapshot this cursor began in is gone; start again without it");
    else
        answer_error(j, rc == RC_INVALID ? 422 : 500,
                     rc == RC_INVALID ? message : "the request needs more memory than is allowed");
    return false;
}

static bool check_pins(struct job *j)
{
    char revision[24];
    if (!j->has_pin_conflict && !j->pins[0].p && !j->pins[1].p && !j->pins[2].p)
        return true;
    (void)snprintf(revision, sizeof revision, "%lld", (long long)j->endpoint->endpoint->version);
    const char *served[] = {revision, j->snapshot->index_hash,
                            j->snapshot->model_tag ? j->snapshot->model_tag : ""};
    for (size_t i = 0; i < ARRAY_LEN(served); i++) {
        if (j->has_pin_conflict || (j->pins[i].p && !str_is(j->pins[i], served[i]))) {
            answer_error(j, 409, "a revision this request is pinned to is not the one served");
            return false;
        }
    }
    return true;
}

/* Both tags that this answer could have: whether it is compressed depends on its size. */
static bool answer_if_unmodified(struct job *j)
{
    char etag[ETAG_BYTES];
    if (!j->is_public || j->if_none_match.n == 0)
        return false;
    for (int i = 0; i < 2; i++) {
        etag_make(j, i == 0 ? j->coding : HTTP_IDENTITY, etag);
        if (http_etag_matches(j->if_none_match, str_from(etag))) {
            j->planned_us = monotonic_us();
            answer_not_modified(j, etag);
            return true;
        }
    }
    return false;
}

static bool find_endpoint(struct job *j, const struct view_endpoint *named, struct str *ret_tenant)
{
    j->endpoint = named;
    if (j->endpoint && is_granted(j) && find_tenant(j, ret_tenant)) {
        j->metrics_slot = j->endpoint->metrics_slot;
        return true;
    }
    /* The same bytes whether it does not exist or is not this key's. */
    j->metrics_slot = j->endpoint ? j->endpoint->metrics_slot : METRICS_UNKNOWN;
    j->endpoint = NULL;
    answer_error(j, 404, MESSAGE_NOT_FOUND);
    return false;
}

void endpoint_begin(struct job *j, const struct http_request *r, struct str name)
{
    struct str tenant;
    j->view = live_peek(j->home->reader);
    if (!j->view) {
        answer_error(j, 503, "starting up; try again soon");
        return;
    }
    const struct view_endpoint *named = view_endpoint(j->view, name);
    j->metrics_slot = named ? named->metrics_slot : METRICS_UNKNOWN;
    j->authenticated_us = j->arrived_us;
    if (!authenticate(j, r) || !find_endpoint(j, named, &tenant))
        return;
    j->form = http_choose_form(j->accept);
    if (j->form == FORM_NONE) {
        j->form = FORM_JSON;
        answer_error(j, 406, "answers are application/json, application/x-ndjson or text/csv");
        return;
    }
    j->coding = j->accept_encoding.n ? http_choose_coding(j->accept_encoding) : HTTP_IDENTITY;
    if (!make_plan(j, r, tenant))
        return;
    j->snapshot = j->endpoint->active;
    if (!j->snapshot) {
        answer_error(j, 503, "no snapshot is loaded yet; try again soon");
        return;
    }
    if (j->plan.cursor.n && !follow_cursor(j, tenant))
        return;
    if (!check_pins(j) || answer_if_unmodified(j))
        return;
    j->planned_us = monotonic_us();
    job_run(j);
}
