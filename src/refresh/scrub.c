/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks lose bits in silence, and a block that nobody asks for is verified by nobody. So every
 * store is read through once after the start and then every hour, slowly and past the map. What
 * does not verify is reported like a block that a request stumbled on: quarantined and rebuilt.
 */
#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "refresh/refresh_int.h"

struct snapshot **refresh_list_stores(struct refresh *r, size_t *ret_n)
{
    LOCKED(&r->lock);
    struct snapshot **all = x_array0(2 * r->n_states + 1, sizeof(struct snapshot *));
    size_t n = 0;
    for (size_t i = 0; i < r->n_states; i++) {
        const struct state *s = r->states[i];
        struct snapshot *const both[] = {s->active, s->previous};
        for (size_t k = 0; k < ARRAY_LEN(both); k++)
            if (both[k] && both[k]->store)
                all[n++] = snapshot_ref(both[k]);
    }
    *ret_n = n;
    return all;
}

static void scrub_one(struct refresh *r, struct snapshot *s)
{
    struct err err = ERR_INIT;
    enum rc rc = store_scrub(s->store, SCRUB_BYTES_PER_SECOND, &r->scrub_cancelled, &err);
    if (rc == RC_CORRUPT)
        refresh_report_broken(r, s->dataset_id, s->generation);
    else if (rc != RC_OK && rc != RC_CANCELLED)
        log_event(LOG_WARN, "scrub", "a cached snapshot could not be read through",
                  LF_STR("dataset", s->dataset_id), LF_STR("error", err.message));
}

void *scrub_main(void *arg)
{
    struct refresh *r = arg;
    mutex_lock(&r->lock);
    while (!r->stopping && r->has_warm_thread && refresh_any_cold_locked(r))
        cond_wait(&r->changed, &r->lock); /* what requests wait for is read first */
    while (!r->stopping) {
        size_t n = 0;
        mutex_unlock(&r->lock);
        struct snapshot **all = refresh_list_stores(r, &n);
        for (size_t i = 0; i < n; i++) {
            scrub_one(r, all[i]);
            snapshot_unref(all[i]);
        }
        mem_free(all);
        mutex_lock(&r->lock);
        int64_t next_us = monotonic_us() + SCRUB_EVERY_US;
        while (!r->stopping && cond_wait_until(&r->changed, &r->lock, next_us))
            continue;
    }
    mutex_unlock(&r->lock);
    return NULL;
}
