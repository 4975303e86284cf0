/* SPDX-License-Identifier: Apache-2.0 */
/* From checked values to a query and to the one spelling that cache and cursors use. */
#include "plan/plan_int.h"

/* Appends to a run of bytes whose size was computed before. */
static char *put(char *to, const void *p, size_t n)
{
    if (n)
        memcpy(to, p, n);
    return to + n;
}

/*
 * Params (a byte for presence, a length, the text), then columns, limit and offset: no two requests
 * that mean different things have the same bytes.
 */
static bool build_canonical(struct arena *arena, struct plan *plan)
{
    const struct endpoint *e = plan->shape->endpoint;
    size_t n = 2 * sizeof(uint64_t) + (size_t)plan->n_columns * sizeof(uint16_t) + sizeof(uint16_t);
    for (size_t i = 0; i < e->n_params; i++)
        n += 1 + (plan->present[i] ? sizeof(uint32_t) + plan->values[i].text.n : 0);
    char *from = arena_try(arena, n);
    char *to = from;
    if (!from)
        return false;
    for (size_t i = 0; i < e->n_params; i++) {
        uint8_t present = plan->present[i];
        uint32_t length = (uint32_t)plan->values[i].text.n;
        to = put(to, &present, 1);
        if (present) {
            to = put(to, &length, sizeof length);
            to = put(to, plan->values[i].text.p, length);
        }
    }
    plan->filter_key = (struct str){from, (size_t)(to - from)};
    uint16_t n_columns = (uint16_t)plan->n_columns;
    to = put(to, &n_columns, sizeof n_columns);
    for (int i = 0; i < plan->n_columns; i++) {
        uint16_t column = (uint16_t)plan->columns[i];
        to = put(to, &column, sizeof column);
    }
    to = put(to, &plan->limit, sizeof plan->limit);
    to = put(to, &plan->position, sizeof plan->position);
    plan->canonical = (struct str){from, (size_t)(to - from)};
    return true;
}

static bool build_filters(struct arena *arena, struct plan *plan)
{
    const struct endpoint *e = plan->shape->endpoint;
    const struct dataset *d = plan->shape->dataset;
    struct query_filter *filters = arena_try_array(arena, e->n_filters + 1, sizeof *filters);
    int n = 0;
    if (!filters)
        return false;
    if (d->tenant_column >= 0) {
        assert(e->tenant_scoped && plan->tenant.p);
        filters[n].column = d->tenant_column;
        plan_tenant_filter(&filters[n], d->schema.columns[d->tenant_column].type, plan->tenant);
        n++;
    }
    for (size_t i = 0; i < e->n_filters; i++) {
        const struct endpoint_filter *f = &e->filters[i];
        if (!plan->present[f->param])
            continue;
        filters[n].column = f->column;
        filters[n].op = f->op;
        plan_filter(&filters[n], d->schema.columns[f->column].type, e->params[f->param].type,
                    &plan->values[f->param]);
        n++;
    }
    plan->query.filters = filters;
    plan->query.n_filters = n;
    plan->query.has_tenant = d->tenant_column >= 0;
    return true;
}

enum rc plan_build(struct arena *arena, struct plan *plan)
{
    const struct endpoint *e = plan->shape->endpoint;
    struct query *q = &plan->query;
    struct query_output *outputs = arena_try_array(arena, e->n_outputs, sizeof *outputs);
    if (!outputs || !build_filters(arena, plan) || !build_canonical(arena, plan))
        return RC_NO_MEMORY;
    for (size_t i = 0; i < e->n_outputs; i++)
        outputs[i] = e->outputs[i].query;
    q->schema = &plan->shape->dataset->schema;
    q->outputs = outputs;
    q->n_outputs = (int)e->n_outputs;
    q->groups = e->group_by;
    q->n_groups = (int)e->n_group_by;
    q->grouped = e->grouped;
    q->order = e->order_by;
    q->n_order = (int)e->n_order_by;
    q->limit = plan->limit;
    q->offset = q->has_seek ? 0 : plan->position;
    q->count_total = plan->count_exact;
    return RC_OK;
}
