/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A query string against an endpoint's contract, in the order that api.md gives: unknown names,
 * combinations, each param as declared, columns, limit, offset. A message names a param, never a
 * value.
 */
#include <stdarg.h>
#include <stdio.h>

#include "plan/plan_int.h"

struct request {
    const struct endpoint *e;
    struct arena *arena;
    char *message;
    struct http_param sent[PLAN_LIMIT_PARAMS];
    int n_sent;
    const struct http_param *limit, *offset, *columns, *cursor;
    const struct http_param *by_param[PLAN_LIMIT_PARAMS]; /* sent value of each declared param */
    uint64_t sent_set;
};

static enum rc refuse(struct request *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static enum rc refuse(struct request *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(r->message, PLAN_MESSAGE_BYTES, format, args); /* names are at most 63 bytes */
    va_end(args);
    return RC_INVALID;
}

static bool same_name_before(const struct request *r, int at)
{
    for (int i = 0; i < at; i++)
        if (str_eq(r->sent[i].name, r->sent[at].name))
            return true;
    return false;
}

static enum rc refuse_name(struct request *r, struct str name, const char *why)
{
    if (str_is_name(name))
        return refuse(r, "param `%.*s` %s", (int)name.n, name.p, why);
    return refuse(r, "a param %s", why);
}

static enum rc sort_one(struct request *r, const struct http_param *p)
{
    static const char *const reserved[] = {"limit", "offset", "columns", "cursor"};
    const struct http_param **const into[] = {&r->limit, &r->offset, &r->columns, &r->cursor};
    for (size_t i = 0; i < r->e->n_params; i++) {
        if (str_is(p->name, r->e->params[i].name)) {
            r->by_param[i] = p;
            r->sent_set |= UINT64_C(1) << i;
            return RC_OK;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (str_is(p->name, reserved[i])) {
            *into[i] = p;
            return RC_OK;
        }
    }
    return refuse_name(r, p->name, "is not one of this endpoint's");
}

static enum rc decode(struct request *r, struct str query)
{
    bool too_many = false;
    char *scratch = arena_try(r->arena, query.n ? query.n : 1);
    if (!scratch)
        return RC_NO_MEMORY;
    r->n_sent = http_decode_query(query, scratch, r->sent, PLAN_LIMIT_PARAMS, &too_many);
    if (too_many)
        return refuse(r, "more than %d params were sent", PLAN_LIMIT_PARAMS);
    if (r->n_sent < 0)
        return refuse(r,
                      "the query string is not well-formed: check its percent-encoding and UTF-8");
    for (int i = 0; i < r->n_sent; i++)
        if (same_name_before(r, i))
            return refuse_name(r, r->sent[i].name, "was sent twice");
    for (int i = 0; i < r->n_sent; i++) {
        enum rc rc = sort_one(r, &r->sent[i]);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc check_combination(struct request *r)
{
    if (r->e->n_combinations == 0)
        return RC_OK;
    for (size_t i = 0; i < r->e->n_combinations; i++)
        if (r->e->combinations[i] == r->sent_set)
            return RC_OK;
    return refuse(r, "this set of params is not one of the combinations this endpoint allows");
}

static enum rc check_one(struct request *r, size_t i, struct plan *plan)
{
    const struct param *p = &r->e->params[i];
    struct str text = {NULL, 0};
    if (r->by_param[i])
        text = r->by_param[i]->value;
    else if (p->has_default)
        text = str_from(p->default_text);
    else if (p->required)
        return refuse(r, "param `%s` is required", p->name);
    else
        return RC_OK;
    plan->present[i] = true;
    switch (param_check(p, text, r->arena, &plan->values[i])) {
    case PARAM_FINE:
        return plan->values[i].text.p || text.n == 0 ? RC_OK : RC_NO_MEMORY;
    case PARAM_BAD_TYPE:
        return refuse(r, "param `%s` is not a valid value of its type", p->name);
    case PARAM_BAD_ENUM:
        return refuse(r, "param `%s` is not one of the allowed values", p->name);
    case PARAM_BELOW_MIN:
        return refuse(r, "param `%s` is below its minimum", p->name);
    case PARAM_ABOVE_MAX:
        return refuse(r, "param `%s` is above its maximum", p->name);
    }
    return RC_INVALID;
}

static enum rc check_columns(struct request *r, struct plan *plan)
{
    const struct endpoint *e = r->e;
    struct str list = r->columns->value;
    bool *wanted = arena_try_array(r->arena, e->n_outputs, sizeof *wanted);
    if (!wanted)
        return RC_NO_MEMORY;
    for (size_t at = 0; at <= list.n;) {
        size_t n = 0;
        while (at + n < list.n && list.p[at + n] != ',')
            n++;
        struct str item = str_trim((struct str){list.p + at, n});
        size_t i = 0;
        while (i < e->n_outputs && !str_is(item, e->outputs[i].as))
            i++;
        if (item.n == 0)
            return refuse(r, "param `columns` has an empty item");
        if (i == e->n_outputs)
            return refuse(r, "param `columns` names a column that this endpoint does not have");
        wanted[i] = true;
        at += n + 1;
    }
    plan->n_columns = 0;
    for (size_t i = 0; i < e->n_outputs; i++)
        if (wanted[i])
            plan->columns[plan->n_columns++] = (int)i;
    plan->query.wanted = wanted;
    return RC_OK;
}

static enum rc check_paging(struct request *r, struct plan *plan)
{
    int64_t v = 0;
    plan->limit = (uint64_t)r->e->default_limit;
    if (r->limit) {
        if (!parse_int64(r->limit->value, &v) || v < 1 || v > r->e->max_limit)
            return refuse(r, "param `limit` must be between 1 and %lld",
                          (long long)r->e->max_limit);
        plan->limit = (uint64_t)v;
    }
    if (r->offset) {
        if (!parse_int64(r->offset->value, &v) || v < 0)
            return refuse(r, "param `offset` must be an integer of 0 or more");
        plan->position = (uint64_t)v;
    }
    return RC_OK;
}

static enum rc check_all(struct request *r, struct plan *plan)
{
    enum rc rc = RC_OK;
    bool continues = r->cursor && r->sent_set == 0;
    if (r->cursor && r->offset)
        return refuse(r, "params `cursor` and `offset` do not go together");
    if (!continues)
        rc = check_combination(r);
    for (size_t i = 0; rc == RC_OK && !continues && i < r->e->n_params; i++)
        rc = check_one(r, i, plan);
    for (size_t i = 0; i < r->e->n_outputs; i++)
        plan->columns[i] = (int)i;
    plan->n_columns = (int)r->e->n_outputs;
    plan->query.wanted = plan->shape->all_wanted;
    if (rc == RC_OK && r->columns)
        rc = check_columns(r, plan);
    if (rc == RC_OK)
        rc = check_paging(r, plan);
    return rc;
}

enum rc plan_request(const struct plan_input *in, struct arena *arena, struct plan *ret,
                     char ret_message[PLAN_MESSAGE_BYTES])
{
    UNINITIALIZED struct request r; /* sent[] alone is 2 KiB */
    memset(&r, 0, offsetof(struct request, sent));
    memset((char *)&r + offsetof(struct request, n_sent), 0,
           sizeof r - offsetof(struct request, n_sent));
    r.e = in->shape->endpoint;
    r.arena = arena;
    r.message = ret_message;
    size_t n_params = r.e->n_params;
    *ret = (struct plan){.shape = in->shape, .count_exact = in->count_exact, .tenant = in->tenant};
    ret->values = arena_try_array(arena, n_params + 1, sizeof *ret->values);
    ret->present = arena_try_array(arena, n_params + 1, sizeof *ret->present);
    ret->columns = arena_try_array(arena, r.e->n_outputs, sizeof *ret->columns);
    if (!ret->values || !ret->present || !ret->columns)
        return RC_NO_MEMORY;
    enum rc rc = decode(&r, in->query_string);
    if (rc == RC_OK)
        rc = check_all(&r, ret);
    if (rc != RC_OK)
        return rc;
    ret->sent_params = r.sent_set != 0;
    ret->sent_columns = r.columns != NULL;
    ret->sent_limit = r.limit != NULL;
    if (r.cursor) {
        if (r.cursor->value.n == 0 || r.cursor->value.n > CURSOR_LIMIT_BYTES)
            return refuse(&r, "param `cursor` is not a cursor of this endpoint");
        ret->cursor = r.cursor->value;
    }
    return plan_build(arena, ret);
}
