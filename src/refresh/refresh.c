/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of all datasets, what is published of them, and what is asked of them from outside.
 * Everything named _locked runs under r->lock.
 */
#include "refresh/refresh.h"

#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "metrics/metrics.h"
#include "refresh/refresh_int.h"

const char *attempt_status_name(enum attempt_status s)
{
    static const char *const names[] = {"none", "ok", "unchanged", "rejected", "failed"};
    return names[s];
}

struct state *state_find(const struct refresh *r, struct str id)
{
    for (size_t i = 0; i < r->n_states; i++)
        if (str_is(id, r->states[i]->id) && !r->states[i]->machine.is_removed)
            return r->states[i];
    return NULL;
}

/* ---- publishing ---- */

static void tell_generations(struct refresh *r)
{
    AUTO(mem_free_auto) uint64_t *generations = x_array0(2 * r->n_states + 1, sizeof *generations);
    size_t n = 0;
    for (size_t i = 0; i < r->n_states; i++) {
        if (r->states[i]->active)
            generations[n++] = r->states[i]->active->generation;
        if (r->states[i]->previous)
            generations[n++] = r->states[i]->previous->generation;
    }
    if (r->options.on_publish_generations)
        r->options.on_publish_generations(r->options.arg, generations, n);
}

void publish_locked(struct refresh *r)
{
    AUTO(mem_free_auto) struct view_input *inputs = x_array0(r->n_states + 1, sizeof *inputs);
    size_t n = 0;
    bool serves_tenants = false;
    for (size_t i = 0; i < r->n_states; i++) {
        const struct state *s = r->states[i];
        if (s->machine.is_removed)
            continue;
        inputs[n++] = (struct view_input){s->project, s->index, s->active, s->previous};
        serves_tenants |= state_dataset(s)->tenant_column >= 0;
    }
    bool keeps_old_keys = !r->project->project->auth_required && serves_tenants && r->last_keys;
    struct view *v = view_new(r->project, keeps_old_keys ? r->last_keys : r->project, inputs, n);
    live_publish(r->options.live, v);
    tell_generations(r);
    (void)readiness_locked(r);
    cond_broadcast(&r->changed);
}

/* ---- states ---- */

void contract_of(const struct dataset *d, struct contract *ret)
{
    memcpy(ret->contract, d->contract_fingerprint, 32);
    memcpy(ret->origin, d->origin_fingerprint, 32);
    memcpy(ret->build, d->build_fingerprint, 32);
    memcpy(ret->checks, d->checks_fingerprint, 32);
}

struct state *state_new(struct refresh *r, struct project_ref *p, int index)
{
    struct state *s = x_alloc0(sizeof *s);
    s->refresh = r;
    s->project = project_ref_get(p);
    s->index = index;
    s->id = x_strdup(p->project->datasets[index].id);
    s->metrics_slot = metrics_dataset_register(s->id);
    s->source_reachable = s->manifest_valid = true;
    return s;
}

void state_add_locked(struct refresh *r, struct state *s)
{
    r->states = x_realloc(r->states, (r->n_states + 1) * sizeof *r->states);
    r->states[r->n_states++] = s;
}

void state_start(struct state *s)
{
    struct err err = ERR_INIT;
    s->is_started = thread_start(&s->thread, "refresh", state_main, s, &err) == RC_OK;
    if (!s->is_started)
        log_event(LOG_ERROR, "refresh", "a dataset's thread cannot be started; it will not refresh",
                  LF_STR("dataset", s->id), LF_STR("error", err.message));
}

void state_free(struct state *s)
{
    snapshot_unref(s->active);
    snapshot_unref(s->previous);
    project_ref_put(s->project);
    project_ref_put(s->pending);
    metrics_dataset_unregister(s->metrics_slot);
    source_memory_done(&s->memory);
    mem_free(s->id);
    mem_free(s);
}

/* ---- actions ---- */

enum rc refresh_dataset(struct refresh *r, struct str id, bool override_checks, struct attempt *ret,
                        struct err *err)
{
    LOCKED(&r->lock);
    if (!r->is_started)
        return err_set(err, RC_UNAVAILABLE, "starting");
    struct state *s = state_find(r, id);
    if (!s)
        return err_set(err, RC_NOT_FOUND, "there is no such dataset");
    if (!s->is_started)
        return err_set(err, RC_UNAVAILABLE, "this dataset's thread could not be started: restart");
    uint64_t mine = decide_ask(&s->machine, override_checks);
    cond_broadcast(&r->changed);
    s->n_waiters++;
    while (!r->stopping && !s->machine.is_removed && s->machine.n_answered < mine)
        cond_wait(&r->changed, &r->lock);
    s->n_waiters--;
    if (r->stopping)
        return err_set(err, RC_UNAVAILABLE, "shutting down");
    if (s->machine.is_removed) {
        cond_broadcast(&r->changed); /* one waiter less: its state may be freed */
        return err_set(err, RC_NOT_FOUND, "the dataset was removed from the project meanwhile");
    }
    *ret = s->answer;
    return RC_OK;
}

static enum rc roll_back_locked(struct state *s, char *ret_snapshot_id, struct err *err)
{
    struct refresh *r = s->refresh;
    struct err problem = ERR_INIT;
    struct machine plan = s->machine;
    if (s->machine.is_removed)
        return err_set(err, RC_NOT_FOUND, "the dataset was removed from the project meanwhile");
    bool can = decide_rollback(&plan);
    /* An operator who goes back must get it even on a full disk; the index is then tried again. */
    if (can && state_write_index_locked(s, s->previous, NULL, plan.quarantined, &problem) != RC_OK)
        log_event(LOG_ERROR, "cache",
                  "the index cannot be written: a restart now would undo this rollback",
                  LF_STR("dataset", s->id), LF_STR("error", problem.message));
    if (!decide_rollback(&s->machine)) { /* the target may have turned out broken meanwhile */
        s->index_is_stale |= can;
        return err_set(err, RC_CONFLICT, "there is no previous snapshot to go back to");
    }
    struct snapshot *left = s->active;
    s->active = TAKE(s->previous);
    s->quality_warning = s->active->quality_warning;
    const struct event_field fields[] = {{"snapshot_id", s->active->snapshot_id},
                                         {"left", left->snapshot_id}};
    events_add(EVENT_ROLLBACK, s->id, fields, ARRAY_LEN(fields), "rolled back from %s to %s",
               left->snapshot_id, s->active->snapshot_id);
    (void)snprintf(ret_snapshot_id, 201, "%s", s->active->snapshot_id);
    publish_locked(r);
    discard(left);
    return RC_OK;
}

enum rc refresh_rollback(struct refresh *r, struct str id, char *ret_snapshot_id, struct err *err)
{
    LOCKED(&r->lock);
    struct state *s = state_find(r, id);
    if (!r->is_started)
        return err_set(err, RC_UNAVAILABLE, "starting");
    if (!s)
        return err_set(err, RC_NOT_FOUND, "there is no such dataset");
    s->n_waiters++;
    state_begin_move_locked(s);
    enum rc rc = roll_back_locked(s, ret_snapshot_id, err);
    state_end_move_locked(s);
    s->n_waiters--;
    return rc;
}

bool refresh_has_dataset(struct refresh *r, struct str id)
{
    LOCKED(&r->lock);
    if (!r->project)
        return true; /* nobody knows yet; what is asked of it says that it is starting */
    if (!r->is_started)
        return project_dataset(r->project->project, id) != NULL;
    return state_find(r, id) != NULL;
}

void refresh_index_hash(struct refresh *r, struct str id, char ret[17])
{
    LOCKED(&r->lock);
    const struct state *s = state_find(r, id);
    (void)snprintf(ret, 17, "%s", s && s->active ? s->active->index_hash : "");
}

void refresh_check_all(struct refresh *r)
{
    LOCKED(&r->lock);
    for (size_t i = 0; i < r->n_states; i++)
        decide_check_anew(&r->states[i]->machine);
    cond_broadcast(&r->changed);
}

void refresh_sync_soon(struct refresh *r)
{
    LOCKED(&r->lock);
    r->wants_sync = true;
    cond_broadcast(&r->changed);
}

void refresh_hold(struct refresh *r, bool held)
{
    LOCKED(&r->lock);
    r->held = held;
    cond_broadcast(&r->changed);
}

/* The rollback target is of no use any more: there is none. Its dataset's thread tells the index. */
static void lose_previous_locked(struct state *s)
{
    struct snapshot *gone = TAKE(s->previous);
    decide_lose_previous(&s->machine);
    s->index_is_stale = true;
    publish_locked(s->refresh);
    discard(gone);
}

void refresh_report_broken(struct refresh *r, const char *dataset_id, uint64_t generation)
{
    LOCKED(&r->lock);
    /* The janitor tells of some until the end. */
    struct state *s = r->stopping ? NULL : state_find(r, str_from(dataset_id));
    if (!s)
        return;
    bool is_previous = s->previous && s->previous->generation == generation;
    struct snapshot *broken = is_previous ? s->previous : s->active;
    if (!broken || broken->generation != generation || atomic_exchange(&broken->is_broken, true))
        return;
    events_add(EVENT_REFRESH, s->id, NULL, 0, "snapshot %s does not verify any more%s",
               broken->snapshot_id, is_previous ? ": it is no rollback target" : " and is rebuilt");
    if (is_previous)
        lose_previous_locked(s);
    else
        decide_rebuild(&s->machine);
    cond_broadcast(&r->changed);
}

void refresh_report_broken_soon(struct refresh *r, struct snapshot *s)
{
    if (!atomic_exchange(&s->is_reported, true))
        janitor_report(r->janitor, s);
}

/* ---- life ---- */

enum rc refresh_new(const struct refresh_options *options, struct refresh **ret, struct err *err)
{
    struct refresh *r = x_alloc0(sizeof *r);
    r->options = *options;
    r->lock_fd = -1;
    r->sync_result = "init";
    mutex_init(&r->lock);
    mutex_init(&r->reload_lock);
    cond_init(&r->changed);
    enum rc rc = cache_prepare(options->cache_dir, &r->lock_fd, err);
    if (rc == RC_OK)
        rc = janitor_new(r, &r->janitor, err);
    if (rc != RC_OK) {
        refresh_free(r);
        return rc;
    }
    *ret = r;
    return RC_OK;
}

static void take_project(struct refresh *r, struct config_news *news)
{
    struct project *taken = TAKE(news->project);
    LOCKED(&r->lock);
    r->project = project_ref_new(taken);
    if (taken->auth_required)
        r->last_keys = project_ref_get(r->project);
    memcpy(r->revision, news->revision, sizeof r->revision);
    r->copy_because = news->copy_because;
}

/*
 * The ports are open already. Opening what the cache has may take a while, so it is done without
 * the lock; nobody looks at a state before is_started.
 */
void refresh_start(struct refresh *r, struct config_news *news)
{
    struct err err = ERR_INIT;
    LOCKED(&r->reload_lock); /* no reload before this one is recorded as applied */
    take_project(r, news);
    const struct project *p = r->project->project;
    AUTO(mem_free_auto) struct state **states = x_array0(p->n_datasets + 1, sizeof *states);
    cache_remove_strangers(r, p);
    for (size_t i = 0; i < p->n_datasets; i++) {
        states[i] = state_new(r, r->project, (int)i);
        states[i]->is_of_boot = true;
        cache_warm_start(states[i]);
    }
    mutex_lock(&r->lock);
    for (size_t i = 0; i < p->n_datasets; i++)
        state_add_locked(r, states[i]);
    r->is_started = true;
    r->sync_checked_us = wall_us();
    if (r->copy_because)
        note_copy_locked(r);
    publish_locked(r);
    for (size_t i = 0; i < r->n_states; i++)
        state_start(r->states[i]);
    r->has_warm_thread = thread_start(&r->warm_thread, "warm-up", warm_main, r, &err) == RC_OK;
    r->has_scrub_thread = thread_start(&r->scrub_thread, "scrub", scrub_main, r, &err) == RC_OK;
    r->has_sync_thread = thread_start(&r->sync_thread, "config-sync", sync_main, r, &err) == RC_OK;
    mutex_unlock(&r->lock);
    config_source_applied(r->options.config, is_read_from, r);
}

void refresh_stop(struct refresh *r)
{
    mutex_lock(&r->lock);
    r->stopping = true;
    atomic_store(&r->sync_cancelled, true);
    atomic_store(&r->scrub_cancelled, true);
    for (size_t i = 0; i < r->n_states; i++)
        atomic_store(&r->states[i]->cancelled, true);
    cond_broadcast(&r->changed);
    mutex_unlock(&r->lock);
    if (r->has_warm_thread)
        thread_join(r->warm_thread);
    if (r->has_scrub_thread)
        thread_join(r->scrub_thread);
    if (r->has_sync_thread)
        thread_join(r->sync_thread);
    for (size_t i = 0; i < r->n_states; i++)
        if (r->states[i]->is_started)
            thread_join(r->states[i]->thread);
    r->has_sync_thread = r->has_scrub_thread = r->has_warm_thread = false;
    for (size_t i = 0; i < r->n_states; i++)
        r->states[i]->is_started = false;
}

void refresh_free(struct refresh *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_states; i++)
        state_free(r->states[i]);
    mem_free(r->states);
    project_ref_put(r->project);
    project_ref_put(r->last_keys);
    janitor_free(r->janitor);
    if (r->lock_fd >= 0)
        (void)close(r->lock_fd); /* lets the next process in */
    cond_done(&r->changed);
    mutex_done(&r->lock);
    mutex_done(&r->reload_lock);
    mem_free(r);
}
