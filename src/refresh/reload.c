/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reloading the project: load and validate aside, then reconcile dataset by dataset under the lock
 * and publish one view. A dataset whose contract changed keeps serving its old one until the new
 * snapshot is built; a later reload supersedes that, and one back to the served contract cancels
 * it.
 */
#include <stdio.h>

#include "base/hash.h"
#include "base/io.h"
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

static bool is_under(const char *path, const char *directory)
{
    size_t n = strlen(directory);
    n -= n && directory[n - 1] == '/';
    return strncmp(path, directory, n) == 0 && path[n] == '/';
}

/* Reads @s files where the project was before its directory was replaced by another? Nobody keeps
 * that one, as trees fetched from a bucket are kept. */
static bool is_left_behind(const struct state *s, const struct project *fresh, int index)
{
    const struct engine_source *source = s->active ? s->active->source : NULL;
    bool keeps = config_source_is_bucket(s->refresh->options.config) ||
                 fresh->datasets[index].source.kind != SOURCE_STATIC_MANIFEST;
    for (size_t i = 0; source && !keeps && i < source->n_files; i++)
        if (!source->files[i].is_remote && !is_under(source->files[i].location, fresh->root))
            return true;
    return false;
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
    if (is_left_behind(s, fresh->project, index))
        decide_rebuild(&s->machine);
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

/* A loaded project, and its datasets that are new, opened without the lock: a disk may be slow. */
struct arrivals {
    struct project_ref *project; /* NULL: there is no news */
    struct state **states;
    size_t n;
};

static bool is_there(struct refresh *r, const char *id)
{
    LOCKED(&r->lock);
    return state_find(r, str_from(id)) != NULL;
}

/* Under reload_lock, so that no other reload adds or removes any meanwhile. */
static void arrivals_open(struct refresh *r, struct project *taken, struct arrivals *ret)
{
    *ret = (struct arrivals){.project = project_ref_new(taken)};
    ret->states = x_array0(taken->n_datasets + 1, sizeof(struct state *));
    for (size_t i = 0; i < taken->n_datasets; i++) {
        if (is_there(r, taken->datasets[i].id))
            continue;
        struct state *s = ret->states[ret->n++] = state_new(r, ret->project, (int)i);
        cache_warm_start(s);
    }
}

/* What nobody took over. */
static void arrivals_done(struct arrivals *a)
{
    for (size_t i = 0; i < a->n; i++)
        state_free(a->states[i]);
    mem_free(a->states);
    if (a->project)
        project_ref_put(a->project);
}

static void apply_locked(struct refresh *r, struct arrivals *a)
{
    struct project_ref *fresh = a->project;
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
    for (size_t i = 0; i < a->n; i++) {
        state_add_locked(r, a->states[i]);
        state_start(a->states[i]);
    }
    a->n = 0;
    project_ref_put(r->project);
    r->project = project_ref_get(fresh);
    if (p->auth_required) {
        project_ref_put(r->last_keys);
        r->last_keys = project_ref_get(fresh);
    }
    publish_locked(r);
}

/* A look that failed. @text goes to diagnostics' readers and events: a class, or a project's
 * findings, never a place. @detail goes to the log. */
struct refusal {
    const char *class; /* literal */
    char text[ERR_MESSAGE_BYTES];
    const char *detail;
    bool is_tick;
};

/* The same again at the next tick is no news. */
static void note_error_locked(struct refresh *r, const struct refusal *f)
{
    bool is_news =
        !f->is_tick || strcmp(r->sync_error, f->class) != 0 || strcmp(r->sync_text, f->text) != 0;
    r->sync_result = "error";
    (void)snprintf(r->sync_error, sizeof r->sync_error, "%s", f->class);
    (void)snprintf(r->sync_text, sizeof r->sync_text, "%s", f->text);
    r->sync_checked_us = wall_us();
    metrics_config_sync(MSYNC_ERROR);
    if (!is_news)
        return;
    log_event(LOG_WARN, "reload", "the project was not reloaded; the running one serves on",
              LF_STR("class", f->class), LF_STR("error", f->detail));
    events_add(EVENT_RELOAD, NULL, NULL, 0, "the project was not reloaded: %s", f->text);
}

void note_copy_locked(struct refresh *r)
{
    r->sync_result = "error";
    (void)snprintf(r->sync_error, sizeof r->sync_error, "%s", r->copy_because);
    metrics_config_sync(MSYNC_ERROR);
    events_add(EVENT_BOOT, NULL, NULL, 0,
               "the project in the bucket is not used (%s): serving revision %s from the copy kept "
               "on disk",
               r->copy_because, r->revision);
}

/* ---- directories that are still read ---- */

static bool reads_from(const struct snapshot *s, const char *directory)
{
    for (size_t i = 0; s && s->source && i < s->source->n_files; i++)
        if (is_under(s->source->files[i].location, directory))
            return true;
    return false;
}

static bool is_root(const struct project_ref *p, const char *directory)
{
    return p && strcmp(p->project->root, directory) == 0;
}

bool is_read_from(void *arg, const char *directory)
{
    struct refresh *r = arg;
    AUTO(mem_free_auto) char *real = path_real(directory);
    bool used = false;
    LOCKED(&r->lock);
    for (size_t i = 0; real && !used && i < r->n_states; i++) {
        const struct state *s = r->states[i];
        used = is_root(s->project, real) || is_root(s->pending, real) ||
               reads_from(s->active, real) || reads_from(s->previous, real);
    }
    return used;
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

/* ---- reloading ---- */

static void apply_news_locked(struct refresh *r, struct arrivals *a, const char revision[17])
{
    apply_locked(r, a);
    memcpy(r->revision, revision, sizeof r->revision);
    r->sync_result = "applied";
    metrics_config_sync(MSYNC_APPLIED);
    r->sync_error[0] = 0;
    r->sync_checked_us = r->sync_applied_us = wall_us();
    const struct event_field fields[] = {{"revision", r->revision}};
    events_add(EVENT_RELOAD, NULL, fields, ARRAY_LEN(fields), "project revision %s applied",
               r->revision);
}

static void note_unchanged_locked(struct refresh *r)
{
    r->sync_checked_us = wall_us();
    r->sync_error[0] = 0;
    r->sync_result = "unchanged";
    metrics_config_sync(MSYNC_UNCHANGED);
}

static void describe_refusal(const struct refresh *r, enum rc rc, const struct err *err,
                             const struct errlist *findings, bool is_repeat, struct refusal *ret)
{
    bool is_bucket = config_source_is_bucket(r->options.config);
    ret->class = config_error_class(rc, err);
    (void)snprintf(ret->text, sizeof ret->text, is_bucket ? "the project's bucket: %s" : "%s",
                   is_bucket ? ret->class : err->message);
    if (is_repeat)
        memcpy(ret->text, r->sync_text, sizeof ret->text); /* written under reload_lock only */
    else if (rc == RC_INVALID)
        describe(findings, ret->text, sizeof ret->text);
    ret->detail = is_bucket ? err->message : ret->text;
}

/* Under reload_lock. True: applied, and to be recorded as that without the lock. */
static bool take_news(struct refresh *r, enum rc *rc, struct arrivals *a, const char revision[17],
                      const struct refusal *refusal, struct err *err)
{
    LOCKED(&r->lock);
    bool applied = false;
    refresh_hold_moves_locked(r);
    if (r->stopping) {
        *rc = err_set(err, RC_UNAVAILABLE, "shutting down");
    } else if (*rc != RC_OK) {
        note_error_locked(r, refusal);
        *rc = err_set(err, *rc, "%s", refusal->text);
    } else if (a->project) {
        apply_news_locked(r, a, revision);
        applied = true;
    } else {
        note_unchanged_locked(r);
    }
    refresh_release_moves_locked(r);
    return applied;
}

static bool has_started(struct refresh *r)
{
    LOCKED(&r->lock);
    return r->is_started;
}

static enum rc reload(struct refresh *r, bool is_tick, enum reload_result *ret,
                      char ret_revision[17], struct err *err)
{
    struct errlist findings = ERRLIST_INIT;
    struct config_news news;
    struct err problem = ERR_INIT;
    struct refusal refusal = {.is_tick = is_tick};
    LOCKED(&r->reload_lock);
    if (!has_started(r))
        return err_set(err, RC_UNAVAILABLE, "starting"); /* the first look may be going on */
    enum rc rc = config_source_look(r->options.config, is_tick, &r->sync_cancelled, &findings,
                                    &news, &problem);
    if (rc != RC_OK)
        describe_refusal(r, rc, &problem, &findings, news.is_repeat, &refusal);
    if (rc == RC_CONFLICT)
        rc = RC_BUSY; /* it moved while it was read: no word about the revision */
    struct arrivals arrivals = {0};
    if (news.project)
        arrivals_open(r, TAKE(news.project), &arrivals);
    bool applied = take_news(r, &rc, &arrivals, news.revision, &refusal, err);
    arrivals_done(&arrivals);
    if (applied)
        config_source_applied(r->options.config, is_read_from, r);
    *ret = applied ? RELOAD_APPLIED : RELOAD_UNCHANGED;
    memcpy(ret_revision, news.revision, sizeof news.revision);
    errlist_done(&findings);
    return rc;
}

enum rc refresh_reload(struct refresh *r, enum reload_result *ret, char ret_revision[17],
                       struct err *err)
{
    return reload(r, false, ret, ret_revision, err);
}

/* Manifests of the project are looked at with it; other sources have an interval of their own. */
static void check_static(struct refresh *r)
{
    LOCKED(&r->lock);
    for (size_t i = 0; i < r->n_states; i++)
        if (state_dataset(r->states[i])->source.kind == SOURCE_STATIC_MANIFEST)
            decide_check(&r->states[i]->machine);
    cond_broadcast(&r->changed);
}

static void sync_once(struct refresh *r, bool asked)
{
    enum reload_result result;
    char revision[17];
    struct err err = ERR_INIT;
    IGNORE(reload(r, !asked, &result, revision, &err)); /* it has told what went wrong */
    if (asked)
        refresh_check_all(r);
    else if (r->options.config_sync_interval_s > 0)
        check_static(r);
}

/* Without an interval a bucket that was away at the start is still looked at, until it is back. */
static int64_t pause_us(const struct refresh *r)
{
    if (r->options.config_sync_interval_s > 0)
        return r->options.config_sync_interval_s * 1000000;
    return config_source_serves_copy(r->options.config) ? COPY_RETRY_US : 0;
}

void *sync_main(void *arg)
{
    struct refresh *r = arg;
    mutex_lock(&r->lock);
    while (!r->stopping) {
        int64_t every_us = pause_us(r), next_us = monotonic_us() + every_us;
        bool is_time = false;
        while (!r->stopping && !r->wants_sync && !is_time) {
            reap_locked(r); /* the last of them may have ended just now */
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
