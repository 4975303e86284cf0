/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots and projects: reference counts. */
#include "base/mem.h"
#include "live/live.h"

static _Atomic uint64_t last_generation;

struct snapshot *snapshot_new(void)
{
    struct snapshot *s = x_alloc0(sizeof *s);
    atomic_init(&s->refs, 1);
    s->generation = atomic_fetch_add(&last_generation, 1) + 1;
    return s;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    if (s)
        (void)atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (s->on_release)
        s->on_release(s);
    else
        snapshot_destroy(s);
}

void snapshot_destroy(struct snapshot *s)
{
    store_free(s->store);
    engine_source_free(s->source);
    mem_free(s->dataset_id);
    mem_free(s->snapshot_id);
    mem_free(s->model_tag);
    mem_free(s->directory);
    mem_free(s);
}

struct project_ref *project_ref_new(struct project *taken)
{
    struct project_ref *p = x_alloc0(sizeof *p);
    atomic_init(&p->refs, 1);
    p->project = taken;
    return p;
}

struct project_ref *project_ref_get(struct project_ref *p)
{
    if (p)
        (void)atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void project_ref_put(struct project_ref *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    project_free(p->project);
    mem_free(p);
}
