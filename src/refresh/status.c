/* SPDX-License-Identifier: Apache-2.0 */
/* What operators see of datasets: readiness, diagnostics, gauges. */
#include <stdio.h>

#include "base/mem.h"
#include "base/timeutil.h"
#include "refresh/refresh_int.h"

#define STALE_WITHOUT_LIMIT_MINUTES (24 * 60)

/* Ready once every dataset of the boot's project has a snapshot, for good: a dataset that comes
 * later does not take that back, and one that a reload removed is not waited for. */
bool readiness_locked(struct refresh *r)
{
    if (r->ready)
        return true;
    if (!r->is_started)
        return false;
    for (size_t i = 0; i < r->n_states; i++)
        if (!r->states[i]->machine.is_removed && r->states[i]->is_of_boot && !r->states[i]->active)
            return false;
    r->ready = true;
    return true;
}

bool refresh_is_ready(struct refresh *r)
{
    LOCKED(&r->lock);
    return readiness_locked(r);
}

static void write_idle(struct refresh *r, struct json_writer *w, const char *key, bool of_boot)
{
    const struct project *p = r->project ? r->project->project : NULL;
    jw_key(w, key);
    jw_open(w, '[');
    for (size_t i = 0; p && !r->is_started && of_boot && i < p->n_datasets; i++)
        jw_cstr(w, p->datasets[i].id);
    for (size_t i = 0; i < r->n_states; i++) {
        const struct state *s = r->states[i];
        if (!s->machine.is_removed && !s->active && s->is_of_boot == of_boot)
            jw_cstr(w, s->id);
    }
    jw_close(w, ']');
}

void refresh_write_readiness(struct refresh *r, bool with_waiting, struct json_writer *w)
{
    LOCKED(&r->lock);
    bool is_loading = false;
    for (size_t i = 0; i < r->n_states; i++) {
        const struct state *s = r->states[i];
        is_loading |= !s->machine.is_removed && !s->active && !s->is_of_boot;
    }
    if (with_waiting)
        write_idle(r, w, "waiting_for", true);
    if (is_loading)
        write_idle(r, w, "loading", false);
    if (!r->project) {
        jw_key(w, "loading_project");
        jw_bool(w, true);
    }
}

static bool is_stale(const struct state *s, int64_t now_us)
{
    int64_t minutes = state_dataset(s)->tightest_staleness_minutes;
    if (!s->active)
        return false;
    return snapshot_age_us(s->active, now_us) >
           (minutes ? minutes : STALE_WITHOUT_LIMIT_MINUTES) * INT64_C(60000000);
}

static void write_snapshot(struct json_writer *w, const char *key, const struct snapshot *s,
                           int64_t now_us)
{
    jw_key(w, key);
    if (!s) {
        jw_null(w);
        return;
    }
    jw_open(w, '{');
    jw_key(w, "snapshot_id");
    jw_cstr(w, s->snapshot_id);
    jw_key(w, "watermark");
    jw_time(w, s->watermark_us);
    jw_key(w, "age_seconds");
    jw_int(w, snapshot_age_us(s, now_us) / 1000000);
    jw_key(w, "rows");
    jw_uint(w, s->n_rows);
    jw_key(w, "bytes");
    jw_uint(w, s->n_bytes);
    jw_key(w, "index_hash");
    jw_cstr(w, s->index_hash);
    jw_close(w, '}');
}

static void write_attempt(struct json_writer *w, const struct state *s)
{
    const struct attempt *a = &s->last;
    jw_key(w, "last_attempted");
    if (a->status == ATTEMPT_NONE) {
        jw_null(w);
    } else {
        jw_open(w, '{');
        jw_key(w, "snapshot_id");
        jw_cstr(w, *a->snapshot_id ? a->snapshot_id : NULL);
        jw_key(w, "status");
        jw_cstr(w, attempt_status_name(a->status));
        jw_key(w, "at");
        jw_time(w, a->at_us);
        jw_key(w, "duration_ms");
        jw_int(w, a->duration_us / 1000);
        jw_close(w, '}');
    }
    jw_key(w, "refresh_error");
    if (!s->has_error) {
        jw_null(w);
        return;
    }
    jw_open(w, '{');
    jw_key(w, "code");
    jw_cstr(w, *a->code ? a->code : "failed");
    jw_key(w, "message");
    jw_cstr(w, a->message);
    jw_close(w, '}');
}

static void write_progress(struct json_writer *w, const struct state *s)
{
    const struct ingest_progress *p = &s->progress;
    jw_key(w, "progress");
    if (!s->is_materializing) {
        jw_null(w);
        return;
    }
    jw_open(w, '{');
    static const char *const phases[] = {"waiting", "downloading", "building"};
    jw_key(w, "phase");
    jw_cstr(w, phases[s->phase]);
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {{"files_done", p->files_done}, {"files_total", p->files_total},
                   {"rows_done", p->rows_done},   {"rows_total", p->rows_total},
                   {"bytes_done", p->bytes_done}, {"bytes_total", p->bytes_total}};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        jw_key(w, numbers[i].key);
        jw_uint(w, numbers[i].value);
    }
    jw_close(w, '}');
}

static void write_dataset(struct json_writer *w, const struct state *s, int64_t now_us)
{
    static const char *const sources[] = {"static_manifest", "manifest", "databricks"};
    jw_open(w, '{');
    jw_key(w, "dataset");
    jw_cstr(w, s->id);
    jw_key(w, "source");
    jw_cstr(w, sources[state_dataset(s)->source.kind]);
    jw_key(w, "last_good");
    jw_cstr(w, s->active ? s->active->snapshot_id : NULL);
    write_snapshot(w, "active_snapshot", s->active, now_us);
    write_snapshot(w, "previous_snapshot", s->previous, now_us);
    jw_key(w, "quarantined");
    jw_cstr(w, *s->machine.quarantined ? s->machine.quarantined : NULL);
    write_attempt(w, s);
    write_progress(w, s);
    jw_key(w, "source_reachable");
    jw_bool(w, s->source_reachable);
    jw_key(w, "manifest_valid");
    jw_bool(w, s->manifest_valid);
    jw_key(w, "quality");
    jw_cstr(w, !s->active ? NULL : s->quality_warning ? "warning" : "passed");
    jw_key(w, "stale");
    jw_bool(w, is_stale(s, now_us));
    jw_key(w, "cutover_pending");
    jw_bool(w, s->pending != NULL);
    jw_key(w, "next_refresh_at");
    if (s->machine.next_us && !s->refresh->held)
        jw_time(w, now_us + (s->machine.next_us - monotonic_us()));
    else
        jw_null(w);
    jw_close(w, '}');
}

static void write_time_or_null(struct json_writer *w, const char *key, int64_t at_us)
{
    jw_key(w, key);
    if (at_us)
        jw_time(w, at_us);
    else
        jw_null(w);
}

void refresh_write_diagnostics(struct refresh *r, struct json_writer *w)
{
    int64_t now_us = wall_us();
    LOCKED(&r->lock);
    const char *trouble =
        r->project ? r->sync_error : config_source_boot_trouble(r->options.config);
    jw_key(w, "config_sync");
    jw_open(w, '{');
    jw_key(w, "enabled");
    jw_bool(w, r->options.config_sync_interval_s > 0);
    jw_key(w, "result");
    jw_cstr(w, r->sync_result);
    jw_key(w, "error");
    jw_cstr(w, trouble && *trouble ? trouble : NULL);
    write_time_or_null(w, "last_checked", r->sync_checked_us);
    write_time_or_null(w, "last_applied", r->sync_applied_us);
    jw_key(w, "revision");
    jw_cstr(w, r->revision[0] ? r->revision : NULL);
    jw_key(w, "serves_kept_copy");
    jw_bool(w, config_source_serves_copy(r->options.config));
    jw_close(w, '}');
    jw_key(w, "held");
    jw_bool(w, r->held);
    jw_key(w, "datasets");
    jw_open(w, '[');
    for (size_t i = 0; i < r->n_states; i++)
        if (!r->states[i]->machine.is_removed)
            write_dataset(w, r->states[i], now_us);
    jw_close(w, ']');
}

void refresh_config_version(struct refresh *r, char ret[21])
{
    LOCKED(&r->lock);
    (void)snprintf(ret, 21, "%s", r->project ? r->project->project->config_version : "");
}

char *refresh_object_store_mode(struct refresh *r)
{
    LOCKED(&r->lock);
    const char *mode = r->project ? r->project->project->object_store_mode : NULL;
    return mode ? x_strdup(mode) : NULL;
}

void refresh_each_gauges(struct refresh *r, void (*f)(void *arg, const struct dataset_gauges *g),
                         void *arg)
{
    int64_t now_us = wall_us();
    LOCKED(&r->lock);
    for (size_t i = 0; i < r->n_states; i++) {
        const struct state *s = r->states[i];
        struct dataset_gauges g = {.has_snapshot = s->active != NULL,
                                   .refresh_ok = !s->has_error && s->last.status != ATTEMPT_NONE,
                                   .source_reachable = s->source_reachable,
                                   .stale = is_stale(s, now_us)};
        if (s->machine.is_removed)
            continue;
        (void)snprintf(g.dataset, sizeof g.dataset, "%s", s->id);
        if (s->active) {
            (void)snprintf(g.snapshot_id, sizeof g.snapshot_id, "%s", s->active->snapshot_id);
            g.age_seconds = (double)snapshot_age_us(s->active, now_us) / 1e6;
            g.rows = s->active->n_rows;
            g.bytes = s->active->n_bytes;
        }
        f(arg, &g);
    }
}

bool refresh_serves_config_copy(struct refresh *r)
{
    return config_source_serves_copy(r->options.config);
}

bool refresh_config_sync(struct refresh *r, bool *ret_ok)
{
    LOCKED(&r->lock);
    *ret_ok = r->project ? strcmp(r->sync_result, "error") != 0
                         : !config_source_boot_trouble(r->options.config);
    return r->options.config_sync_interval_s > 0;
}
