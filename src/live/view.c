/* SPDX-License-Identifier: Apache-2.0 */
/* Building and releasing views. A view is filled here and never written again. */
#include <stdlib.h>

#include "auth/rate.h"
#include "base/mem.h"
#include "live/live.h"
#include "metrics/metrics.h"

static const struct view_input *input_for(const struct view_input *inputs, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(str_from(inputs[i].project->project->datasets[inputs[i].dataset].id), id))
            return &inputs[i];
    return NULL;
}

static int grant_ordinal(const struct project *keys, const char *name)
{
    const struct endpoint *e = project_endpoint(keys, str_from(name));
    return e ? e->ordinal : -1;
}

static void add_endpoint(struct view *v, const struct project *from, const struct endpoint *e,
                         const struct view_dataset *d)
{
    struct view_endpoint *ve = &v->endpoints[v->n_endpoints];
    *ve = (struct view_endpoint){
        .endpoint = e,
        .dataset = &from->datasets[e->dataset],
        .active = d ? d->active : NULL,
        .previous = d ? d->previous : NULL,
        .shape = plan_shape_new(e, &from->datasets[e->dataset]),
        .grant_ordinal = grant_ordinal(v->keys, e->name),
        .metrics_slot = metrics_endpoint_register(e->name, e->version),
        .held_keys = from == v->project->project ? NULL : from,
    };
    v->by_name[v->n_endpoints++] = ve;
}

static const struct view_dataset *find_dataset(const struct view *v, const struct dataset *d)
{
    for (size_t i = 0; i < v->n_datasets; i++)
        if (v->datasets[i].dataset == d)
            return &v->datasets[i];
    return NULL;
}

static void hold_project(struct view *v, struct project_ref *p)
{
    if (p == v->project)
        return;
    for (size_t i = 0; i < v->n_held; i++)
        if (v->held[i] == p)
            return;
    v->held[v->n_held++] = project_ref_get(p);
}

static void fill_datasets(struct view *v, const struct view_input *inputs, size_t n)
{
    v->datasets = x_array0(n ? n : 1, sizeof *v->datasets);
    v->held = x_array0(n ? n : 1, sizeof(struct project_ref *));
    for (size_t i = 0; i < n; i++) {
        const struct dataset *d = &inputs[i].project->project->datasets[inputs[i].dataset];
        /* I3 */
        assert(!inputs[i].active ||
               memcmp(inputs[i].active->contract_fingerprint, d->contract_fingerprint, 32) == 0);
        v->datasets[v->n_datasets++] = (struct view_dataset){
            .dataset = d,
            .active = snapshot_ref(inputs[i].active),
            .previous = snapshot_ref(inputs[i].previous),
        };
        hold_project(v, inputs[i].project);
    }
}

static int compare_names(const void *a, const void *b)
{
    const struct view_endpoint *const *left = a, *const *right = b;
    return strcmp((*left)->endpoint->name, (*right)->endpoint->name);
}

/* As @from has it, from what serves the dataset it had there: one of the same contract. */
static void add_held(struct view *v, const struct view_input *inputs, size_t n,
                     const struct project *from, const struct endpoint *e)
{
    const struct dataset *d = &from->datasets[e->dataset];
    const struct view_input *in = input_for(inputs, n, d->id);
    if (!in)
        return;
    const struct dataset *served = &in->project->project->datasets[in->dataset];
    if (memcmp(served->contract_fingerprint, d->contract_fingerprint, 32) == 0)
        add_endpoint(v, from, e, find_dataset(v, served));
}

/* Each endpoint the current project names: from where its dataset is served. */
static void fill_endpoints(struct view *v, const struct view_input *inputs, size_t n)
{
    const struct project *current = v->project->project;
    v->endpoints = x_array0(current->n_endpoints, sizeof *v->endpoints);
    v->by_name = x_array0(current->n_endpoints, sizeof(struct view_endpoint *));
    for (size_t i = 0; i < current->n_endpoints; i++) {
        const struct endpoint *e = &current->endpoints[i];
        const struct view_input *in = input_for(inputs, n, current->datasets[e->dataset].id);
        const struct project *from = in ? in->project->project : current;
        if (in && from != current) {
            const struct endpoint *held = project_endpoint(from, str_from(e->name));
            if (held)
                add_held(v, inputs, n, from, held);
            continue; /* what only the new contract has stays away until the cutover */
        }
        add_endpoint(v, current, e, find_dataset(v, &current->datasets[e->dataset]));
    }
    if (v->n_endpoints > 0)
        qsort(v->by_name, v->n_endpoints, sizeof(struct view_endpoint *), compare_names);
}

static bool serves_tenants(const struct view *v)
{
    for (size_t i = 0; i < v->n_endpoints; i++)
        if (v->endpoints[i].endpoint->tenant_scoped)
            return true;
    return false;
}

struct view *view_new(struct project_ref *current, struct project_ref *keys_from,
                      const struct view_input *inputs, size_t n_inputs)
{
    struct view *v = x_alloc0(sizeof *v);
    atomic_init(&v->refs, 1);
    v->project = project_ref_get(current);
    v->keys_from = project_ref_get(keys_from);
    v->keys = keys_from->project;
    fill_datasets(v, inputs, n_inputs);
    fill_endpoints(v, inputs, n_inputs);
    v->auth_required = current->project->auth_required || serves_tenants(v);
    v->rate_buckets = x_array0(v->keys->n_keys ? v->keys->n_keys : 1, sizeof(struct rate_bucket *));
    for (size_t i = 0; i < v->keys->n_keys; i++)
        v->rate_buckets[i] = rate_bucket_get(&v->keys->keys[i]);
    return v;
}

struct view *view_ref(struct view *v)
{
    (void)atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void view_unref(struct view *v)
{
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < v->n_endpoints; i++) {
        plan_shape_free(v->endpoints[i].shape);
        metrics_endpoint_unregister(v->endpoints[i].metrics_slot);
    }
    for (size_t i = 0; i < v->n_datasets; i++) {
        snapshot_unref(v->datasets[i].active);
        snapshot_unref(v->datasets[i].previous);
    }
    for (size_t i = 0; i < v->keys->n_keys; i++)
        rate_bucket_put(v->rate_buckets[i]);
    for (size_t i = 0; i < v->n_held; i++)
        project_ref_put(v->held[i]);
    mem_free(v->by_name);
    mem_free(v->endpoints);
    mem_free(v->datasets);
    mem_free(v->rate_buckets);
    mem_free(v->held);
    project_ref_put(v->keys_from);
    project_ref_put(v->project);
    mem_free(v);
}

const struct view_endpoint *view_endpoint(const struct view *v, struct str name)
{
    size_t from = 0, to = v->n_endpoints;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = str_cmp(name, str_from(v->by_name[middle]->endpoint->name));
        if (order == 0)
            return v->by_name[middle];
        if (order < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return NULL;
}
