/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of each dataset, its thread, and how an attempt's outcome changes what serves. Everything
 * named _locked runs under r->lock; an attempt itself runs without it.
 */
#include "refresh/refresh.h"

#include <stdio.h>
#include <unistd.h>

#include "base/hash.h"
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
        if (str_is(id, r->states[i]->id) && !r->states[i]->is_removed)
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
        if (s->is_removed)
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

struct state *state_new_locked(struct refresh *r, struct project_ref *p, int index)
{
    struct state *s = x_alloc0(sizeof *s);
    s->refresh = r;
    s->project = project_ref_get(p);
    s->index = index;
    s->id = x_strdup(p->project->datasets[index].id);
    s->metrics_slot = metrics_dataset_register(s->id);
    s->source_reachable = true;
    s->wants_check = true;
    r->states = x_realloc(r->states, (r->n_states + 1) * sizeof *r->states);
    r->states[r->n_states++] = s;
    return s;
}

void state_start(struct state *s)
{
    struct err err = ERR_INIT;
    s->is_started = thread_start(&s->thread, "refresh", state_main, s, &err) == RC_OK;
    if (!s->is_started)
        log_event(LOG_ERROR, "refresh", "a dataset's thread cannot be started; it will not refresh",
                  LF_STR("dataset", s->id), LF_STR("error", err.message));
}

static void state_free(struct state *s)
{
    snapshot_unref(s->active);
    snapshot_unref(s->previous);
    project_ref_put(s->project);
    project_ref_put(s->pending);
    metrics_dataset_unregister(s->metrics_slot);
    mem_free(s->quarantined);
    mem_free(s->id);
    mem_free(s);
}

/* ---- when ---- */

static int64_t interval_us(const struct state *s)
{
    const struct dataset *d = state_dataset(s);
    if (d->source.kind == SOURCE_STATIC_MANIFEST)
        return s->refresh->options.refresh_interval_s * 1000000;
    return d->source.interval_seconds * 1000000;
}

/* Doubling from @first, at most @limit, with a quarter of jitter either way. */
static int64_t backoff_us(int failures, int64_t first_us, int64_t limit_us)
{
    uint32_t dice;
    int64_t us = failures > 20 ? limit_us : first_us << (failures > 0 ? failures - 1 : 0);
    us = us > limit_us ? limit_us : us;
    random_bytes(&dice, sizeof dice);
    return us * 3 / 4 + (int64_t)((uint64_t)us / 2 * (dice >> 16) >> 16);
}

static void schedule_locked(struct state *s, enum attempt_status status)
{
    int64_t now_us = monotonic_us(), every_us = interval_us(s);
    bool bad = status == ATTEMPT_FAILED || (s->pending && status != ATTEMPT_OK);
    s->failures = bad ? s->failures + 1 : 0;
    if (s->pending && bad)
        s->next_us = now_us + backoff_us(s->failures, CUTOVER_RETRY_FIRST_US, CUTOVER_RETRY_LIMIT_US);
    else if (bad)
        s->next_us = now_us + backoff_us(s->failures, RETRY_FIRST_US, every_us ? every_us : RETRY_LIMIT_US);
    else
        s->next_us = every_us ? now_us + every_us : 0;
}

static bool is_due_locked(const struct state *s)
{
    if (s->wants_forced)
        return true;
    if (s->refresh->held)
        return false;
    return s->wants_check || (s->next_us && monotonic_us() >= s->next_us);
}

static void wait_locked(struct state *s)
{
    struct refresh *r = s->refresh;
    while (!r->stopping && !s->is_removed && !is_due_locked(s)) {
        if (s->next_us && !r->held)
            (void)cond_wait_until(&r->changed, &r->lock, s->next_us); /* the loop looks again */
        else
            cond_wait(&r->changed, &r->lock);
    }
}

/* ---- settling an outcome ---- */

static void record_locked(struct state *s, const struct outcome *o, int64_t at_us, int64_t duration_us)
{
    struct attempt *a = &s->last;
    static const enum metrics_refresh_status counted[] = {
        [ATTEMPT_NONE] = MREFRESH_FAILED,     [ATTEMPT_OK] = MREFRESH_OK,
        [ATTEMPT_UNCHANGED] = MREFRESH_UNCHANGED, [ATTEMPT_REJECTED] = MREFRESH_REJECTED,
        [ATTEMPT_FAILED] = MREFRESH_FAILED};
    bool bad = o->status == ATTEMPT_REJECTED || o->status == ATTEMPT_FAILED;
    metrics_refresh(s->metrics_slot, counted[o->status], duration_us);
    s->source_reachable = o->source_reachable;
    s->has_seen = o->has_seen;
    memcpy(s->seen, o->seen, sizeof s->seen);
    /* Data that is on its way may arrive without the manifest changing again. */
    if (strcmp(o->err.code, "missing_file") == 0 || strcmp(o->err.code, "size_mismatch") == 0)
        s->has_seen = false;
    if (o->status == ATTEMPT_UNCHANGED && !*o->snapshot_id && a->status != ATTEMPT_NONE) {
        /* Nothing was even read: what was wrong still is, what was right still is. */
        if (!s->has_error)
            a->status = ATTEMPT_UNCHANGED;
        a->at_us = at_us;
        a->duration_us = duration_us;
        return;
    }
    s->manifest_valid = o->manifest_valid;
    s->has_error = bad;
    a->status = o->status;
    a->at_us = at_us;
    a->duration_us = duration_us;
    (void)snprintf(a->snapshot_id, sizeof a->snapshot_id, "%s", o->snapshot_id);
    (void)snprintf(a->code, sizeof a->code, "%s", bad ? o->err.code : "");
    (void)snprintf(a->message, sizeof a->message, "%s", bad ? o->err.message : "");
    if (!bad)
        return;
    const struct event_field fields[] = {{"status", attempt_status_name(o->status)}, {"code", a->code}};
    events_add(EVENT_REFRESH, s->id, fields, ARRAY_LEN(fields), "refresh %s: %s",
               attempt_status_name(o->status), a->message);
}

static void discard(struct snapshot *s)
{
    if (s)
        atomic_store(&s->discard, true);
    snapshot_unref(s);
}

/* The new snapshot takes over, with its contract if it is a cutover's. */
static void swap_locked(struct state *s, const struct order *o, struct snapshot *fresh)
{
    struct err err = ERR_INIT;
    struct snapshot *old = s->active;
    bool rebuilt = old && !o->is_cutover && strcmp(old->snapshot_id, fresh->snapshot_id) == 0;
    if (o->is_cutover) {
        project_ref_put(s->project);
        s->project = TAKE(s->pending);
        s->index = s->pending_index;
        discard(old);
        discard(TAKE(s->previous)); /* of another contract: no rollback target */
    } else if (rebuilt) {
        discard(old); /* the rollback target stays */
    } else {
        discard(s->previous);
        s->previous = old;
    }
    s->active = fresh;
    mem_free(s->quarantined);
    s->quarantined = NULL;
    s->quality_warning = fresh->quality_warning;
    if (cache_write_index(s, &err) != RC_OK)
        log_event(LOG_ERROR, "cache", "the index cannot be written: a restart would start cold or older",
                  LF_STR("dataset", s->id), LF_STR("error", err.message));
    const struct event_field fields[] = {{"snapshot_id", fresh->snapshot_id}};
    events_add(EVENT_SWAP, s->id, fields, ARRAY_LEN(fields), "serving snapshot %s", fresh->snapshot_id);
    publish_locked(s->refresh);
}

/* May this outcome still be used? A reload may have superseded the attempt while it ran. */
static bool is_current_locked(const struct state *s, const struct order *o)
{
    if (s->refresh->stopping || s->is_removed)
        return false;
    if (o->is_cutover)
        return s->pending == o->project;
    return memcmp(state_dataset(s)->contract_fingerprint, o->dataset->contract_fingerprint, 32) == 0;
}

static void settle_locked(struct state *s, const struct order *o, struct outcome *out, int64_t at_us)
{
    int64_t duration_us = wall_us() - at_us;
    bool quarantined = out->snapshot && !o->forced && s->quarantined &&
                       strcmp(s->quarantined, out->snapshot->snapshot_id) == 0;
    if (!is_current_locked(s, o) || quarantined) {
        discard(TAKE(out->snapshot)); /* built for what is no longer wanted */
        if (out->status == ATTEMPT_OK)
            out->status = ATTEMPT_UNCHANGED;
    }
    record_locked(s, out, at_us, duration_us < 0 ? 0 : duration_us);
    if (out->snapshot)
        swap_locked(s, o, TAKE(out->snapshot));
    schedule_locked(s, out->status);
}

static void make_order_locked(struct state *s, struct order *o)
{
    *o = (struct order){
        .is_cutover = s->pending != NULL,
        .forced = s->wants_forced,
        .override_checks = s->wants_override,
        .has_seen = s->has_seen,
        .active = snapshot_ref(s->active),
        .active_id = s->active ? x_strdup(s->active->snapshot_id) : NULL,
        .quarantined = s->quarantined ? x_strdup(s->quarantined) : NULL,
    };
    o->project = project_ref_get(s->pending ? s->pending : s->project);
    o->dataset = &o->project->project->datasets[s->pending ? s->pending_index : s->index];
    memcpy(o->seen, s->seen, sizeof o->seen);
    s->wants_check = s->wants_forced = s->wants_override = false;
}

static void order_done(struct order *o)
{
    snapshot_unref(o->active);
    project_ref_put(o->project);
    mem_free(o->active_id);
    mem_free(o->quarantined);
}

void *state_main(void *arg)
{
    struct state *s = arg;
    struct refresh *r = s->refresh;
    struct outcome *out = x_alloc0(sizeof *out);
    mutex_lock(&r->lock);
    for (;;) {
        struct order o;
        wait_locked(s);
        if (r->stopping || s->is_removed)
            break;
        uint64_t answering = s->n_asked;
        make_order_locked(s, &o);
        s->is_running = true;
        atomic_store(&s->cancelled, false);
        mutex_unlock(&r->lock);
        int64_t at_us = wall_us();
        attempt_run(s, &o, out);
        mutex_lock(&r->lock);
        settle_locked(s, &o, out, at_us);
        order_done(&o);
        s->is_running = false;
        s->n_answered = answering;
        cond_broadcast(&r->changed);
    }
    mutex_unlock(&r->lock);
    mem_free(out);
    return NULL;
}

/* ---- actions ---- */

enum rc refresh_dataset(struct refresh *r, struct str id, bool override_checks, struct attempt *ret,
                        struct err *err)
{
    LOCKED(&r->lock);
    struct state *s = state_find(r, id);
    if (!s || !s->is_started)
        return err_set(err, RC_NOT_FOUND, "there is no such dataset");
    /* One that runs and was forced is joined; an automatic one is followed by a forced one. */
    bool joins = s->is_running && s->n_asked > s->n_answered && !override_checks;
    if (!joins) {
        s->n_asked++;
        s->wants_forced = true;
        s->wants_override |= override_checks;
        cond_broadcast(&r->changed);
    }
    uint64_t mine = s->n_asked;
    while (!r->stopping && !s->is_removed && s->n_answered < mine)
        cond_wait(&r->changed, &r->lock);
    if (r->stopping || s->is_removed)
        return err_set(err, RC_UNAVAILABLE, "shutting down");
    *ret = s->last;
    return RC_OK;
}

enum rc refresh_rollback(struct refresh *r, struct str id, char *ret_snapshot_id, struct err *err)
{
    struct err problem = ERR_INIT;
    LOCKED(&r->lock);
    struct state *s = state_find(r, id);
    if (!s)
        return err_set(err, RC_NOT_FOUND, "there is no such dataset");
    if (!s->previous)
        return err_set(err, RC_CONFLICT, "there is no previous snapshot to go back to");
    struct snapshot *left = s->active;
    s->active = TAKE(s->previous);
    mem_free(s->quarantined);
    s->quarantined = x_strdup(left->snapshot_id);
    s->quality_warning = s->active->quality_warning;
    if (cache_write_index(s, &problem) != RC_OK)
        log_event(LOG_ERROR, "cache", "the index cannot be written: a restart would undo this rollback",
                  LF_STR("dataset", s->id), LF_STR("error", problem.message));
    const struct event_field fields[] = {{"snapshot_id", s->active->snapshot_id}, {"left", left->snapshot_id}};
    events_add(EVENT_ROLLBACK, s->id, fields, ARRAY_LEN(fields), "rolled back from %s to %s",
               left->snapshot_id, s->active->snapshot_id);
    (void)snprintf(ret_snapshot_id, 201, "%s", s->active->snapshot_id);
    publish_locked(r);
    discard(left);
    return RC_OK;
}

bool refresh_has_dataset(struct refresh *r, struct str id)
{
    LOCKED(&r->lock);
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
        r->states[i]->wants_check = true;
    cond_broadcast(&r->changed);
}

void refresh_hold(struct refresh *r, bool held)
{
    LOCKED(&r->lock);
    r->held = held;
    cond_broadcast(&r->changed);
}

void refresh_report_broken(struct refresh *r, const char *dataset_id, uint64_t generation)
{
    LOCKED(&r->lock);
    struct state *s = state_find(r, str_from(dataset_id));
    if (!s || s->broken_generation == generation || !s->active || s->active->generation != generation)
        return;
    s->broken_generation = generation;
    s->wants_forced = true; /* the same id is built again; nobody waits for it */
    s->wants_override = true;
    events_add(EVENT_REFRESH, s->id, NULL, 0, "snapshot %s does not verify any more and is rebuilt",
               s->active->snapshot_id);
    cond_broadcast(&r->changed);
}

/* ---- life ---- */

enum rc refresh_new(const struct refresh_options *options, struct project *taken, struct refresh **ret,
                    struct err *err)
{
    struct refresh *r = x_alloc0(sizeof *r);
    r->options = *options;
    r->lock_fd = -1;
    r->sync_result = "init";
    mutex_init(&r->lock);
    cond_init(&r->changed);
    r->project = project_ref_new(taken);
    if (taken->auth_required)
        r->last_keys = project_ref_get(r->project);
    enum rc rc = cache_prepare(options->cache_dir, &r->lock_fd, err);
    if (rc != RC_OK) {
        refresh_free(r);
        return rc;
    }
    *ret = r;
    return RC_OK;
}

void refresh_start(struct refresh *r)
{
    struct err err = ERR_INIT;
    mutex_lock(&r->lock);
    const struct project *p = r->project->project;
    for (size_t i = 0; i < p->n_datasets; i++)
        cache_warm_start(state_new_locked(r, r->project, (int)i));
    r->has_walked = project_walk_fingerprint(r->options.project_path, r->walked, &err) == RC_OK;
    r->sync_checked_us = wall_us();
    publish_locked(r);
    for (size_t i = 0; i < r->n_states; i++)
        state_start(r->states[i]);
    if (r->options.config_sync_interval_s > 0)
        r->has_sync_thread = thread_start(&r->sync_thread, "config-sync", sync_main, r, &err) == RC_OK;
    mutex_unlock(&r->lock);
}

void refresh_stop(struct refresh *r)
{
    mutex_lock(&r->lock);
    r->stopping = true;
    for (size_t i = 0; i < r->n_states; i++)
        atomic_store(&r->states[i]->cancelled, true);
    cond_broadcast(&r->changed);
    mutex_unlock(&r->lock);
    if (r->has_sync_thread)
        thread_join(r->sync_thread);
    for (size_t i = 0; i < r->n_states; i++)
        if (r->states[i]->is_started)
            thread_join(r->states[i]->thread);
    r->has_sync_thread = false;
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
    if (r->lock_fd >= 0)
        (void)close(r->lock_fd); /* lets the next process in */
    cond_done(&r->changed);
    mutex_done(&r->lock);
    mem_free(r);
}
