/* SPDX-License-Identifier: Apache-2.0 */
/* One attempt, without the lock: resolve, check, build aside, gates, open. */
#include <stdio.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "refresh/refresh_int.h"

static void on_progress(void *arg, const struct ingest_progress *progress)
{
    struct state *s = arg;
    int64_t now_us = monotonic_us();
    mutex_lock(&s->refresh->lock);
    s->progress = *progress;
    bool logs = now_us - s->progress_logged_us >= PROGRESS_LOG_US;
    if (logs)
        s->progress_logged_us = now_us;
    mutex_unlock(&s->refresh->lock);
    if (logs)
        log_event(LOG_INFO, "progress", "materializing", LF_STR("dataset", s->id),
                  LF_INT("files_done", (int64_t)progress->files_done),
                  LF_INT("files_total", (int64_t)progress->files_total),
                  LF_INT("rows_done", (int64_t)progress->rows_done),
                  LF_INT("rows_total", (int64_t)progress->rows_total),
                  LF_INT("bytes_done", (int64_t)progress->bytes_done),
                  LF_INT("bytes_total", (int64_t)progress->bytes_total));
}

/* At most `concurrency` datasets build at once. False: stopped while waiting. */
static bool take_turn(struct state *s)
{
    struct refresh *r = s->refresh;
    LOCKED(&r->lock);
    while (r->n_materializing >= r->options.concurrency && !r->stopping &&
           !atomic_load(&s->cancelled))
        cond_wait(&r->changed, &r->lock);
    if (r->stopping || atomic_load(&s->cancelled))
        return false;
    r->n_materializing++;
    s->is_materializing = true;
    s->progress_logged_us = monotonic_us();
    s->progress = (struct ingest_progress){0};
    return true;
}

static void give_turn(struct state *s)
{
    struct refresh *r = s->refresh;
    LOCKED(&r->lock);
    r->n_materializing--;
    s->is_materializing = false;
    cond_broadcast(&r->changed);
}

static uint64_t next_number(struct refresh *r)
{
    LOCKED(&r->lock);
    return ++r->n_temporary;
}

static enum rc ingest(struct state *s, const struct order *o, const struct manifest *m,
                      const char *build, const char *temp, struct ingest_report *report,
                      struct err *err)
{
    AUTO(mem_free_auto) const char **paths = x_array0(m->n_files, sizeof *paths);
    for (size_t i = 0; i < m->n_files; i++) {
        if (m->files[i].remote)
            return err_set_code(err, RC_UNAVAILABLE, "source_unreachable",
                                "this version reads local files only, not object stores");
        paths[i] = m->files[i].location;
    }
    struct ingest_job job = {
        .dataset = o->dataset,
        .manifest = m,
        .local_paths = paths,
        .target_directory = build,
        .temp_directory = temp,
        .active_directory =
            o->dataset->checks.has_min_tenant_ratio && o->active && !o->errand.is_cutover
                ? o->active->directory
                : NULL,
        .limits = s->refresh->options.limits,
        .on_progress = on_progress,
        .arg = s,
        .cancelled = &s->cancelled,
    };
    return engine_ingest(&job, report, err);
}

/* Where endpoints read the files themselves, the snapshot remembers them. */
static struct engine_source *make_source(const struct state *s, const struct order *o,
                                         const struct manifest *m)
{
    if (!o->dataset->any_remote_scan && !s->refresh->options.for_duckdb)
        return NULL;
    AUTO(mem_free_auto) const char **paths = x_array0(m->n_files, sizeof *paths);
    for (size_t i = 0; i < m->n_files; i++)
        paths[i] = m->files[i].location;
    return engine_source_new(m, paths);
}

static enum rc build_snapshot(struct state *s, const struct order *o, const struct manifest *m,
                              struct snapshot **ret, struct err *err)
{
    uint64_t number = next_number(s->refresh);
    AUTO(mem_free_auto) char *build = NULL;
    AUTO(mem_free_auto) char *temp = NULL;
    AUTO(mem_free_auto) char *directory = NULL;
    AUTO(mem_free_auto) char *parent = x_printf(
        "%s/temporary/%s.%llu", s->refresh->options.cache_dir, s->id, (unsigned long long)number);
    struct ingest_report report = {0};
    struct snapshot_facts facts = {0};
    struct err tidy = ERR_INIT;
    enum rc rc = cache_begin_build(s, number, &build, &temp, err);
    if (rc == RC_OK)
        rc = ingest(s, o, m, build, temp, &report, err);
    if (rc == RC_OK && !o->errand.override_checks)
        rc = gates_check(o->dataset, m, &report, o->errand.is_cutover ? NULL : o->active, wall_us(),
                         err);
    if (rc == RC_OK) {
        facts = (struct snapshot_facts){
            .snapshot_id = x_strdup(m->snapshot_id),
            .model_tag = x_printf("%s/%s", m->producer, m->upstream_run_id),
            .watermark_us = m->watermark_us,
            .created_at_us = m->created_at_us,
            .n_rows = report.n_rows,
            .n_bytes = report.store_bytes,
            .quality_warning = m->quality == QUALITY_WARNING,
            .source = make_source(s, o, m),
        };
        memcpy(facts.contract_fingerprint, o->dataset->contract_fingerprint, 32);
        memcpy(facts.build_fingerprint, o->dataset->build_fingerprint, 32);
        manifest_fingerprint(m, o->dataset->contract_fingerprint,
                             (const uint8_t(*)[32])report.file_hashes, report.file_sizes,
                             facts.fingerprint);
        rc = cache_finish_build(s, build, &facts, number, &directory, err);
    }
    if (rc == RC_OK) {
        *ret = cache_make_snapshot(s, &facts, directory, err);
        rc = *ret ? RC_OK : err->rc;
    }
    facts_done(&facts);
    ingest_report_done(&report);
    IGNORE(io_remove_tree(parent, &tidy)); /* the next start empties it in any case */
    return rc;
}

/* Whose fault: the data's or manifest's (rejected), or the network's, disk's, engine's (failed). */
static enum attempt_status status_of(enum rc rc)
{
    return rc == RC_OK ? ATTEMPT_OK : rc == RC_INVALID ? ATTEMPT_REJECTED : ATTEMPT_FAILED;
}

void attempt_run(struct state *s, const struct order *o, struct outcome *ret)
{
    struct manifest *m = NULL;
    *ret = (struct outcome){
        .status = ATTEMPT_UNCHANGED, .source_reachable = true, .manifest_valid = true};
    enum rc rc = resolve_manifest(o->project->project, o->dataset, o->has_seen ? o->seen : NULL, &m,
                                  ret->snapshot_id, ret->seen, &ret->err);
    ret->has_seen = rc == RC_OK || rc == RC_INVALID;
    ret->source_reachable =
        rc == RC_OK || (rc == RC_INVALID && strcmp(ret->err.code, "missing_file") != 0);
    ret->manifest_valid = rc == RC_OK;
    ret->was_untouched = rc == RC_OK && !m;
    ret->was_quarantined =
        m && !o->errand.forced && strcmp(o->errand.quarantined, m->snapshot_id) == 0;
    if (rc == RC_OK && m && !decide_skips(&o->errand, m->snapshot_id)) {
        ret->quality_warning = m->quality == QUALITY_WARNING;
        if (!take_turn(s)) {
            rc = err_set(&ret->err, RC_CANCELLED, "the refresh was stopped");
        } else {
            rc = build_snapshot(s, o, m, &ret->snapshot, &ret->err);
            give_turn(s);
        }
        ret->status = status_of(rc);
    } else if (rc != RC_OK) {
        ret->status = status_of(rc);
    }
    manifest_free(m);
}
