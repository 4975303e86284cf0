/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reloading the project: load and validate aside, then reconcile dataset by dataset under the lock and
 * publish one view. A dataset whose contract changed keeps serving its old one until the new snapshot
 * is built; a later reload supersedes that, and one back to the served contract cancels it.
 */
#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "metrics/metrics.h"
#include "refresh/refresh_int.h"

static int dataset_index(const struct project *p, const char *id)
{
    for (size_t i = 0; i < p->n_datasets; i++)
        if (strcmp(p->datasets[i].id, id) == 0)
            return (int)i;
    return -1;
}

static void drop_pending(struct state *s)
{
    project_ref_put(TAKE(s->pending));
    if (s->is_running)
        atomic_store(&s->cancelled, true); /* its order is superseded */
}

static void serve_from(struct state *s, struct project_ref *p, int index)
{
    project_ref_put(s->project);
    s->project = project_ref_get(p);
    s->index = index;
}

/* An existing dataset in the new project. */
static void reconcile(struct state *s, struct project_ref *fresh, int index)
{
    const struct dataset *old = state_dataset(s), *d = &fresh->project->datasets[index];
    bool same_contract = memcmp(old->contract_fingerprint, d->contract_fingerprint, 32) == 0;
    bool same_origin = memcmp(old->origin_fingerprint, d->origin_fingerprint, 32) == 0;
    if (same_contract || !s->active) {
        if (s->pending)
            drop_pending(s);
        serve_from(s, fresh, index);
        if (!same_origin || !same_contract) {
            s->has_seen = false;
            s->wants_check = true;
        }
        return;
    }
    const struct dataset *pending =
        s->pending ? &s->pending->project->datasets[s->pending_index] : NULL;
    bool same_pending = pending &&
                        memcmp(pending->contract_fingerprint, d->contract_fingerprint, 32) == 0 &&
                        memcmp(pending->origin_fingerprint, d->origin_fingerprint, 32) == 0;
    /* Even the same cutover is restarted: its endpoints are the new revision's. */
    if (s->pending)
        drop_pending(s);
    s->pending = project_ref_get(fresh);
    s->pending_index = index;
    s->failures = same_pending ? s->failures : 0;
    s->wants_check = true;
    s->has_seen = false;
}

/* Threads of removed datasets end by themselves; they are joined at the stop, or here when done. */
static void remove_state(struct state *s)
{
    s->is_removed = true;
    atomic_store(&s->cancelled, true);
    struct snapshot *const gone[] = {s->active, s->previous};
    s->active = s->previous = NULL;
    for (size_t i = 0; i < ARRAY_LEN(gone); i++) {
        if (gone[i])
            atomic_store(&gone[i]->discard, true);
        snapshot_unref(gone[i]);
    }
}

static void apply_locked(struct refresh *r, struct project_ref *fresh)
{
    const struct project *p = fresh->project;
    size_t n_before = r->n_states;
    for (size_t i = 0; i < n_before; i++) {
        struct state *s = r->states[i];
        int index = s->is_removed ? -1 : dataset_index(p, s->id);
        if (index >= 0)
            reconcile(s, fresh, index);
        else if (!s->is_removed)
            remove_state(s);
    }
    for (size_t i = 0; i < p->n_datasets; i++) {
        if (state_find(r, str_from(p->datasets[i].id)))
            continue;
        struct state *s = state_new_locked(r, fresh, (int)i);
        cache_warm_start(s);
        state_start(s);
    }
    project_ref_put(r->project);
    r->project = project_ref_get(fresh);
    if (p->auth_required) {
        project_ref_put(r->last_keys);
        r->last_keys = project_ref_get(fresh);
    }
    publish_locked(r);
}

static void note_error_locked(struct refresh *r, const char *class, const char *message)
{
    r->sync_result = "error";
    (void)snprintf(r->sync_error, sizeof r->sync_error, "%s", class);
    r->sync_checked_us = wall_us();
    events_add(EVENT_RELOAD, NULL, NULL, 0, "the project was not reloaded: %s", message);
}

/* What a person needs to find the first problem. */
static void describe(const struct errlist *findings, char *ret, size_t n)
{
    for (size_t i = 0; i < findings->n_items; i++) {
        const struct finding *f = &findings->items[i];
        if (f->severity != FINDING_ERROR)
            continue;
        (void)snprintf(ret, n, "%s:%d: %s: %s: %s (%zu finding(s))", f->file, f->line, f->path, f->code,
                       f->message, findings->n_errors);
        return;
    }
}

enum rc refresh_reload(struct refresh *r, enum reload_result *ret, char ret_revision[17], struct err *err)
{
    struct errlist findings = ERRLIST_INIT;
    struct project *loaded = NULL;
    struct err problem = ERR_INIT;
    uint8_t walked[32];
    bool has_walked = project_walk_fingerprint(r->options.project_path, walked, &problem) == RC_OK;
    enum rc rc = project_load(r->options.project_path, &findings, &loaded, &problem);
    char text[ERR_MESSAGE_BYTES] = "";
    (void)snprintf(text, sizeof text, "%s", problem.message);
    if (rc == RC_INVALID)
        describe(&findings, text, sizeof text);
    errlist_done(&findings);
    LOCKED(&r->lock);
    if (rc != RC_OK) {
        note_error_locked(r, rc == RC_INVALID ? "invalid" : "unreachable", text);
        return err_set(err, rc == RC_INVALID ? RC_INVALID : rc, "%s", text);
    }
    r->has_walked = has_walked;
    memcpy(r->walked, walked, sizeof walked);
    r->sync_checked_us = wall_us();
    r->sync_error[0] = 0;
    hex_encode(loaded->fingerprint, 8, ret_revision);
    if (memcmp(loaded->fingerprint, r->project->project->fingerprint, 32) == 0) {
        project_free(loaded);
        *ret = RELOAD_UNCHANGED;
        r->sync_result = "unchanged";
        return RC_OK;
    }
    struct project_ref *fresh = project_ref_new(loaded);
    apply_locked(r, fresh);
    project_ref_put(fresh);
    r->sync_result = "applied";
    r->sync_applied_us = wall_us();
    *ret = RELOAD_APPLIED;
    const struct event_field fields[] = {{"revision", ret_revision}};
    events_add(EVENT_RELOAD, NULL, fields, ARRAY_LEN(fields), "project revision %s applied", ret_revision);
    return RC_OK;
}

/* Has anything moved since the last load? */
static bool has_changed(struct refresh *r)
{
    uint8_t walked[32];
    struct err err = ERR_INIT;
    if (project_walk_fingerprint(r->options.project_path, walked, &err) != RC_OK)
        return true; /* the load will say what is wrong */
    LOCKED(&r->lock);
    bool changed = !r->has_walked || memcmp(walked, r->walked, sizeof walked) != 0 ||
                   strcmp(r->sync_result, "error") == 0;
    if (!changed) {
        r->sync_result = "unchanged";
        r->sync_checked_us = wall_us();
    }
    return changed;
}

void *sync_main(void *arg)
{
    struct refresh *r = arg;
    int64_t every_us = r->options.config_sync_interval_s * 1000000;
    mutex_lock(&r->lock);
    while (!r->stopping) {
        int64_t next_us = monotonic_us() + every_us;
        while (!r->stopping && cond_wait_until(&r->changed, &r->lock, next_us))
            continue;
        if (r->stopping)
            break;
        mutex_unlock(&r->lock);
        enum reload_result result;
        char revision[17];
        struct err err = ERR_INIT;
        if (has_changed(r) && refresh_reload(r, &result, revision, &err) != RC_OK)
            log_event(LOG_WARN, "reload", "the project was not reloaded; the running one serves on",
                      LF_STR("error", err.message));
        refresh_check_all(r);
        mutex_lock(&r->lock);
    }
    mutex_unlock(&r->lock);
    return NULL;
}
