/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reloading the project: load and validate aside, then reconcile dataset by dataset under the lock
 * and publish one view. A dataset whose contract changed keeps serving its old one until the new
 * snapshot is built; a later reload supersedes that, and one back to the served contract cancels
 * it.
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

/* An existing dataset in the new project. */
static void reconcile(struct state *s, struct project_ref *fresh, int index)
{
    struct contract contract;
    bool cancels;
    contract_of(&fresh->project->datasets[index], &contract);
    enum decide_reload step = decide_reload(&s->machine, &contract, &cancels);
    if (cancels)
        atomic_store(&s->cancelled, true);
    project_ref_put(TAKE(s->pending));
    if (step == DECIDE_SERVE) {
        project_ref_put(s->project);
        s->project = project_ref_get(fresh);
        s->index = index;
    } else {
        s->pending = project_ref_get(fresh);
        s->pending_index = index;
    }
    s->has_seen = false; /* the source, the checks or the contract may be others now */
    decide_check(&s->machine);
}

static void remove_state(struct state *s)
{
    decide_remove(&s->machine);
    atomic_store(&s->cancelled, true);
    project_ref_put(TAKE(s->pending));
    cache_forget(s);
    discard(TAKE(s->active));
    discard(TAKE(s->previous));
}

/* States that are removed, whose thread has ended, and that nobody waits for. */
static void reap_locked(struct refresh *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_states; i++) {
        struct state *s = r->states[i];
        bool is_over =
            s->machine.is_removed && (s->has_ended || !s->is_started) && s->n_waiters == 0;
        if (!is_over) {
            r->states[n++] = s;
            continue;
        }
        if (s->is_started)
            thread_join(s->thread);
        state_free(s);
    }
    r->n_states = n;
}

static void apply_locked(struct refresh *r, struct project_ref *fresh)
{
    const struct project *p = fresh->project;
    reap_locked(r);
    size_t n_before = r->n_states;
    for (size_t i = 0; i < n_before; i++) {
        struct state *s = r->states[i];
        int index = s->machine.is_removed ? -1 : dataset_index(p, s->id);
        if (index >= 0)
            reconcile(s, fresh, index);
        else if (!s->machine.is_removed)
            remove_state(s);
    }
    for (size_t i = 0; i < p->n_datasets; i++) {
        if (state_find(r, str_from(p->datasets[i].id)))
            continue;
        struct state *s = state_new(r, fresh, (int)i);
        cache_warm_start(s);
        state_add_locked(r, s);
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
        (void)snprintf(ret, n, "%s:%d: %s: %s: %s (%zu finding(s))", f->file, f->line, f->path,
                       f->code, f->message, findings->n_errors);
        return;
    }
}

/*
 * Reads the project whole: what was walked before and after must be the same, or a push was under
 * way and half of it may have been read.
 */
static enum rc load_whole(struct refresh *r, uint8_t ret_walked[32], bool *ret_has_walked,
                          struct errlist *findings, struct project **ret, struct err *err)
{
    uint8_t after[32];
    for (int i = 0; i < LIMIT_LOADS; i++) {
        struct err unread = ERR_INIT;
        errlist_done(findings);
        *ret_has_walked =
            project_walk_fingerprint(r->options.project_path, ret_walked, &unread) == RC_OK;
        enum rc rc = project_load(r->options.project_path, findings, ret, err);
        if (!*ret_has_walked)
            return rc;
        if (project_walk_fingerprint(r->options.project_path, after, &unread) == RC_OK &&
            memcmp(ret_walked, after, sizeof after) == 0)
            return rc;
        if (rc == RC_OK)
            project_free(TAKE(*ret));
    }
    *ret_has_walked = false;
    return err_set(
        err, RC_BUSY,
        "the project changed %d times while it was read; it is read again at the next check",
        LIMIT_LOADS);
}

static enum rc refuse_locked(struct refresh *r, enum rc rc, const char *message, struct err *err)
{
    note_error_locked(r,
                      rc == RC_INVALID ? "invalid"
                      : rc == RC_BUSY  ? "changing"
                                       : "unreachable",
                      message);
    return err_set(err, rc, "%s", message);
}

static enum reload_result take_locked(struct refresh *r, struct project *loaded,
                                      char ret_revision[17])
{
    r->sync_checked_us = wall_us();
    r->sync_error[0] = 0;
    hex_encode(loaded->fingerprint, 8, ret_revision);
    if (memcmp(loaded->fingerprint, r->project->project->fingerprint, 32) == 0) {
        project_free(loaded);
        r->sync_result = "unchanged";
        return RELOAD_UNCHANGED;
    }
    struct project_ref *fresh = project_ref_new(loaded);
    apply_locked(r, fresh);
    project_ref_put(fresh);
    r->sync_result = "applied";
    r->sync_applied_us = wall_us();
    const struct event_field fields[] = {{"revision", ret_revision}};
    events_add(EVENT_RELOAD, NULL, fields, ARRAY_LEN(fields), "project revision %s applied",
               ret_revision);
    return RELOAD_APPLIED;
}

enum rc refresh_reload(struct refresh *r, enum reload_result *ret, char ret_revision[17],
                       struct err *err)
{
    struct errlist findings = ERRLIST_INIT;
    struct project *loaded = NULL;
    struct err problem = ERR_INIT;
    uint8_t walked[32];
    bool has_walked = false;
    LOCKED(&r->reload_lock);
    enum rc rc = load_whole(r, walked, &has_walked, &findings, &loaded, &problem);
    char text[ERR_MESSAGE_BYTES] = "";
    (void)snprintf(text, sizeof text, "%s", problem.message);
    if (rc == RC_INVALID)
        describe(&findings, text, sizeof text);
    errlist_done(&findings);
    mutex_lock(&r->lock);
    r->has_walked = has_walked;
    memcpy(r->walked, walked, sizeof walked);
    if (!r->is_started || r->stopping) {
        project_free(loaded);
        rc = err_set(err, RC_UNAVAILABLE, r->stopping ? "shutting down" : "starting");
    } else if (rc != RC_OK) {
        rc = refuse_locked(r, rc, text, err);
    } else {
        *ret = take_locked(r, loaded, ret_revision);
    }
    mutex_unlock(&r->lock);
    return rc;
}

/* Has anything moved since the last load? A revision that was refused stays refused until it
 * changes. */
static bool has_changed(struct refresh *r)
{
    uint8_t walked[32];
    struct err err = ERR_INIT;
    if (project_walk_fingerprint(r->options.project_path, walked, &err) != RC_OK)
        return true; /* the load will say what is wrong */
    LOCKED(&r->lock);
    if (!r->has_walked || memcmp(walked, r->walked, sizeof walked) != 0 ||
        strcmp(r->sync_error, "unreachable") == 0)
        return true;
    if (strcmp(r->sync_result, "error") != 0)
        r->sync_result = "unchanged";
    r->sync_checked_us = wall_us();
    return false;
}

static void sync_once(struct refresh *r, bool asked)
{
    enum reload_result result;
    char revision[17];
    struct err err = ERR_INIT;
    if ((asked || has_changed(r)) && refresh_reload(r, &result, revision, &err) != RC_OK)
        log_event(LOG_WARN, "reload", "the project was not reloaded; the running one serves on",
                  LF_STR("error", err.message));
    refresh_check_all(r);
}

void *sync_main(void *arg)
{
    struct refresh *r = arg;
    int64_t every_us = r->options.config_sync_interval_s * 1000000;
    mutex_lock(&r->lock);
    while (!r->stopping) {
        int64_t next_us = monotonic_us() + every_us;
        bool is_time = false;
        while (!r->stopping && !r->wants_sync && !is_time) {
            if (every_us)
                is_time = !cond_wait_until(&r->changed, &r->lock, next_us);
            else
                cond_wait(&r->changed, &r->lock);
        }
        bool asked = r->wants_sync;
        r->wants_sync = false;
        if (r->stopping)
            break;
        mutex_unlock(&r->lock);
        sync_once(r, asked);
        mutex_lock(&r->lock);
    }
    mutex_unlock(&r->lock);
    return NULL;
}
