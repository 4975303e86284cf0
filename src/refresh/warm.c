/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event loop that waited for a disk would keep all its callers waiting. So loops leave what is
 * not in memory to the pool (query_control.only_in_memory), and after a start this thread reads
 * what leads to rows before they ask. A snapshot that is built is warmed up before it is swapped
 * in. From time to time the thread looks what the kernel has dropped.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "refresh/refresh_int.h"

#define LOOK_EVERY_US 5000000

enum rc snapshot_warm_up(struct snapshot *s, const _Atomic bool *cancelled, struct err *err)
{
    enum rc rc = s->store ? store_warm_up(s->store, cancelled, err) : RC_OK;
    if (rc == RC_OK)
        atomic_store(&s->warm, true);
    return rc;
}

static void warm_up_one(struct refresh *r, struct snapshot *s)
{
    struct err err = ERR_INIT;
    enum rc rc = snapshot_warm_up(s, &r->scrub_cancelled, &err);
    if (rc == RC_OK || rc == RC_CANCELLED)
        return;
    if (rc == RC_CORRUPT)
        refresh_report_broken(r, s->dataset_id, s->generation);
    else
        log_event(LOG_WARN, "warm_up", "a snapshot was not read ahead; its first requests read it",
                  LF_STR("dataset", s->dataset_id), LF_STR("error", err.message));
    atomic_store(&s->warm, true); /* as warm as it gets: it is not tried in a loop */
}

static bool is_cold(const struct snapshot *s)
{
    return s && !atomic_load_explicit(&s->warm, memory_order_relaxed);
}

bool refresh_any_cold_locked(const struct refresh *r)
{
    for (size_t i = 0; i < r->n_states; i++)
        if (is_cold(r->states[i]->active) || is_cold(r->states[i]->previous))
            return true;
    return false;
}

/* True: something was cold. */
static bool look_at_all(struct refresh *r)
{
    size_t n = 0;
    bool any = false;
    struct snapshot **all = refresh_list_stores(r, &n);
    for (size_t i = 0; i < n; i++) {
        if (is_cold(all[i]) || store_forget_dropped(all[i]->store) > 0) {
            warm_up_one(r, all[i]);
            any = true;
        }
        snapshot_unref(all[i]);
    }
    mem_free(all);
    return any;
}

void *warm_main(void *arg)
{
    struct refresh *r = arg;
    mutex_lock(&r->lock);
    while (!r->stopping) {
        mutex_unlock(&r->lock);
        bool any = look_at_all(r);
        mutex_lock(&r->lock);
        if (any)
            cond_broadcast(&r->changed); /* the scrub may begin */
        int64_t next_us = monotonic_us() + LOOK_EVERY_US;
        while (!r->stopping && !refresh_any_cold_locked(r) &&
               cond_wait_until(&r->changed, &r->lock, next_us))
            continue;
    }
    mutex_unlock(&r->lock);
    return NULL;
}
