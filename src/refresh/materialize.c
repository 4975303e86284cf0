/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attempt, without the lock: resolve, check, fetch, build aside, gates, open. Only the build
 * itself waits for a turn: a slow store keeps nobody else from building.
 */
#include <stdio.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "metrics/metrics.h"
#include "refresh/refresh_int.h"

void build_progress(struct build *b, enum build_phase phase, const struct ingest_progress *progress)
{
    struct state *s = b->state;
    int64_t now_us = monotonic_us();
    mutex_lock(&s->refresh->lock);
    s->phase = phase;
    s->progress = *progress;
    mutex_unlock(&s->refresh->lock);
    if (now_us - b->logged_us < PROGRESS_LOG_US)
        return;
    b->logged_us = now_us;
    log_event(LOG_INFO, "progress",
              phase == BUILD_DOWNLOADING ? "downloading a snapshot" : "building a snapshot",
              LF_STR("dataset", s->id), LF_INT("files_done", progress->files_done),
              LF_INT("files_total", progress->files_total),
              LF_INT("rows_done", progress->rows_done), LF_INT("rows_total", progress->rows_total),
              LF_INT("bytes_done", progress->bytes_done),
              LF_INT("bytes_total", progress->bytes_total));
}

static void on_ingest(void *arg, const struct ingest_progress *progress)
{
    build_progress(arg, BUILD_INGESTING, progress);
}

/* At most `concurrency` datasets build at once. */
static enum rc take_turn(struct state *s, struct err *err)
{
    struct refresh *r = s->refresh;
    LOCKED(&r->lock);
    while (r->n_materializing >= r->options.concurrency && !r->stopping &&
           !atomic_load(&s->cancelled))
        cond_wait(&r->changed, &r->lock);
    if (r->stopping || atomic_load(&s->cancelled))
        return err_set(err, RC_CANCELLED, "the refresh was stopped");
    r->n_materializing++;
    return RC_OK;
}

static void give_turn(struct state *s)
{
    struct refresh *r = s->refresh;
    LOCKED(&r->lock);
    r->n_materializing--;
    cond_broadcast(&r->changed);
}

static uint64_t begin(struct state *s)
{
    LOCKED(&s->refresh->lock);
    s->is_materializing = true;
    s->phase = BUILD_WAITING;
    s->progress = (struct ingest_progress){0};
    return ++s->refresh->n_temporary;
}

static void end(struct state *s)
{
    LOCKED(&s->refresh->lock);
    s->is_materializing = false;
}

/* Where the rows are whose tenants the new ones are compared with; NULL: nowhere. */
static const char *compared_directory(const struct order *o)
{
    const struct snapshot *active = o->active;
    if (!o->dataset->checks.has_min_tenant_ratio || o->errand.override_checks ||
        o->errand.is_cutover)
        return NULL;
    return active && active->store && !atomic_load(&active->is_broken) ? active->directory : NULL;
}

static enum rc ingest(struct build *b, const struct order *o, const struct manifest *m,
                      const char *const *paths, struct ingest_report *report, struct err *err)
{
    struct state *s = b->state;
    struct ingest_job job = {
        .dataset = o->dataset,
        .manifest = m,
        .local_paths = paths,
        .target_directory = b->target,
        .temp_directory = b->spill,
        .active_directory = compared_directory(o),
        .limits = s->refresh->options.limits,
        .on_progress = on_ingest,
        .arg = b,
        .cancelled = &s->cancelled,
    };
    enum rc rc = take_turn(s, err);
    if (rc != RC_OK)
        return rc;
    const struct ingest_progress totals = {
        .files_total = m->n_files, .rows_total = m->row_count, .bytes_total = m->size_bytes};
    build_progress(b, BUILD_INGESTING, &totals);
    rc = engine_ingest(&job, report, err);
    give_turn(s);
    return rc;
}

/* Where endpoints read the files themselves, the snapshot remembers them: remote ones where they
 * are for good, since a download goes with its build. */
static struct engine_source *make_source(const struct state *s, const struct order *o,
                                         const struct manifest *m)
{
    if (!o->dataset->any_remote_scan && !s->refresh->options.for_duckdb)
        return NULL;
    AUTO(mem_free_auto) const char **paths = x_array0(m->n_files, sizeof *paths);
    for (size_t i = 0; i < m->n_files; i++)
        paths[i] = m->files[i].remote ? NULL : m->files[i].location;
    return engine_source_new(m, paths);
}

static void fill_facts(const struct build *b, const struct order *o, const struct manifest *m,
                       const struct ingest_report *report, struct snapshot_facts *facts)
{
    *facts = (struct snapshot_facts){
        .snapshot_id = x_strdup(m->snapshot_id),
        .model_tag = x_printf("%s/%s", m->producer, m->upstream_run_id),
        .watermark_us = m->watermark_us,
        .created_at_us = m->created_at_us,
        .n_rows = report->n_rows,
        .n_bytes = report->store_bytes,
        .store_crc32c = report->file_crc32c,
        .quality_warning = m->quality == QUALITY_WARNING,
        .source = make_source(b->state, o, m),
    };
    memcpy(facts->contract_fingerprint, o->dataset->contract_fingerprint, 32);
    memcpy(facts->build_fingerprint, o->dataset->build_fingerprint, 32);
    memcpy(facts->origin_fingerprint, o->dataset->origin_fingerprint, 32);
    manifest_fingerprint(m, o->dataset->contract_fingerprint,
                         (const uint8_t(*)[32])report->file_hashes, report->file_sizes,
                         facts->fingerprint);
}

/* ---- files that stay where they are ---- */

/* A check that looks at values needs the rows here; counts are in the footers. */
static bool checks_values(const struct checks *c)
{
    return c->n_not_null || c->n_unique || c->n_max_null_ratio || c->has_min_tenant_ratio;
}

/* Every endpoint reads the files where they are, and nothing else asks for their rows. CSV files
 * have no random access, so they are taken here like any other. */
static bool stores_nothing(const struct state *s, const struct order *o, const struct manifest *m)
{
    const struct dataset *d = o->dataset;
    if (!d->any_remote_scan || d->any_local_table || s->refresh->options.for_duckdb ||
        (!o->errand.override_checks && checks_values(&d->checks)))
        return false;
    for (size_t i = 0; i < m->n_files; i++)
        if (!m->files[i].remote || m->files[i].format != FILE_PARQUET)
            return false;
    return true;
}

/* What an ingest would have found, from what the footers and the store say: a pinned version
 * stands for its contents. */
static void report_in_place(const struct manifest *m, uint64_t n_rows, struct ingest_report *ret)
{
    ret->n_rows = n_rows;
    ret->file_hashes = x_array0(m->n_files, sizeof *ret->file_hashes);
    ret->file_sizes = x_array0(m->n_files, sizeof *ret->file_sizes);
    for (size_t i = 0; i < m->n_files; i++) {
        const struct data_file *f = &m->files[i];
        struct sha256_stream *hash = sha256_new();
        sha256_add(hash, f->location, strlen(f->location) + 1);
        if (f->etag)
            sha256_add(hash, f->etag, strlen(f->etag));
        sha256_finish(hash, ret->file_hashes[i]);
        ret->file_sizes[i] = f->size_bytes;
        ret->store_bytes += f->size_bytes;
    }
}

/* Schemas and row counts, read from the footers where they are. */
static enum rc inspect(struct build *b, const struct manifest *m, const char *const *paths,
                       struct ingest_report *report, struct err *err)
{
    struct errlist findings = ERRLIST_INIT;
    uint64_t n_rows = 0;
    enum rc rc = take_turn(b->state, err);
    if (rc != RC_OK)
        return rc;
    rc = engine_inspect(m, paths, &b->state->refresh->options.reader, "manifest", &findings,
                        &n_rows, err);
    give_turn(b->state);
    if (rc == RC_OK)
        rc = first_finding(&findings, err);
    errlist_done(&findings);
    if (rc == RC_OK)
        report_in_place(m, n_rows, report);
    return rc == RC_OK || rc == RC_INVALID ? rc : blame_source(rc, err);
}

/* What the casts were allowed to lose is told, not hidden. */
static void tell_losses(const struct order *o, const struct manifest *m,
                        const struct ingest_report *report)
{
    const struct event_field fields[] = {{"snapshot_id", m->snapshot_id}};
    if (report->n_decimals_rounded || report->n_nanoseconds_cut)
        events_add(EVENT_REFRESH, o->dataset->id, fields, ARRAY_LEN(fields),
                   "%llu decimal value(s) rounded to doubles, %llu time(s) cut to microseconds",
                   (unsigned long long)report->n_decimals_rounded,
                   (unsigned long long)report->n_nanoseconds_cut);
}

/* ---- building ---- */

/*
 * The rows that serve, or did before the start, built again because their store broke or endpoints
 * call for another form: they passed the checks when they came, or somebody let them in, and a
 * limit that they are past by now is no reason to stay without them. An id alone is no proof of
 * that, but what is read in place and what is stored have no fingerprint in common.
 */
static bool was_admitted(const struct order *o, const struct snapshot_facts *fresh)
{
    const struct snapshot *active = o->active;
    if (memcmp(o->lost, fresh->fingerprint, 32) == 0)
        return true;
    if (!o->errand.rebuilds || !active || strcmp(active->snapshot_id, fresh->snapshot_id) != 0)
        return false;
    return (active->store == NULL) != fresh->is_in_place ||
           memcmp(active->fingerprint, fresh->fingerprint, 32) == 0;
}

/* In the build's directories; the caller removes them. */
static enum rc build_aside(struct build *b, const struct order *o, struct manifest *m, char **paths,
                           struct outcome *ret, struct err *err)
{
    AUTO(mem_free_auto) char *downloads = path_join(b->parent, "files");
    AUTO(mem_free_auto) char *directory = NULL;
    struct ingest_report report = {0};
    struct snapshot_facts facts = {0};
    bool in_place = stores_nothing(b->state, o, m);
    enum rc rc = place_files(b, m, downloads, in_place, paths, &ret->source_reachable, err);
    if (rc == RC_OK && in_place)
        rc = inspect(b, m, (const char *const *)paths, &report, err);
    else if (rc == RC_OK)
        rc = ingest(b, o, m, (const char *const *)paths, &report, err);
    if (rc == RC_OK)
        tell_losses(o, m, &report);
    if (rc == RC_OK && report.active_is_unreadable)
        refresh_report_broken(b->state->refresh, b->state->id, o->active->generation);
    if (rc == RC_OK) {
        fill_facts(b, o, m, &report, &facts);
        facts.is_in_place = in_place;
        facts.has_store_crc = !in_place;
    }
    if (rc == RC_OK && !o->errand.override_checks && !was_admitted(o, &facts))
        rc = gates_check(o->dataset, m, &report, o->errand.is_cutover ? NULL : o->active, wall_us(),
                         err);
    if (rc == RC_OK)
        rc = cache_finish_build(b->state, b->target, &facts, b->number, &directory, err);
    if (rc == RC_OK) {
        ret->snapshot = cache_make_snapshot(b->state, o->dataset, &facts, directory, err);
        rc = ret->snapshot ? RC_OK : err->rc;
        if (rc == RC_CORRUPT) /* no index will name it */
            cache_quarantine(b->state->refresh, directory);
        if (rc == RC_OK)
            rc = snapshot_warm_up(ret->snapshot, &b->state->cancelled, err);
        if (ret->snapshot && rc == RC_CORRUPT)
            atomic_store(&ret->snapshot->is_broken, true); /* quarantined as it goes */
        if (rc != RC_OK)
            discard(TAKE(ret->snapshot));
    }
    facts_done(&facts);
    ingest_report_done(&report);
    return rc;
}

static enum rc build_snapshot(struct state *s, const struct order *o, struct manifest *m,
                              struct outcome *ret, struct err *err)
{
    struct build b = {.state = s, .number = begin(s), .logged_us = monotonic_us()};
    AUTO(mem_free_auto) char **paths = x_array0(m->n_files + 1, sizeof *paths);
    struct err tidy = ERR_INIT;
    cache_remove_left(s, b.number);
    enum rc rc = cache_begin_build(s, b.number, &b.target, &b.spill, err);
    b.parent = x_printf("%s/temporary/%s.%llu", s->refresh->options.cache_dir, s->id,
                        (unsigned long long)b.number);
    if (rc == RC_OK)
        rc = build_aside(&b, o, m, paths, ret, err);
    if (io_remove_tree(b.parent, &tidy) != RC_OK && s->left_from == 0)
        s->left_from = b.number;
    for (size_t i = 0; i < m->n_files; i++)
        mem_free(paths[i]);
    mem_free(b.target);
    mem_free(b.spill);
    mem_free(b.parent);
    end(s);
    return rc;
}

/* Whose fault: the data's or manifest's (rejected), or the network's, disk's, engine's (failed). */
static enum attempt_status status_of(enum rc rc)
{
    return rc == RC_OK ? ATTEMPT_OK : rc == RC_INVALID ? ATTEMPT_REJECTED : ATTEMPT_FAILED;
}

static enum rc resolve(struct state *s, const struct order *o, struct outcome *ret,
                       struct manifest **ret_manifest)
{
    struct resolve_job job = {
        .project = o->project->project,
        .dataset = o->dataset,
        .store = s->refresh->options.store,
        .memory = &s->memory,
        .seen = o->has_seen ? o->seen : NULL,
        .has_active = o->active != NULL,
        .cancelled = &s->cancelled,
    };
    struct resolved resolved;
    enum rc rc = resolve_manifest(&job, &resolved, &ret->err);
    *ret_manifest = resolved.manifest;
    memcpy(ret->snapshot_id, resolved.snapshot_id, sizeof ret->snapshot_id);
    memcpy(ret->seen, resolved.seen, sizeof ret->seen);
    ret->has_seen = resolved.has_seen;
    ret->source_reachable = resolved.reachable;
    ret->manifest_valid = rc == RC_OK;
    ret->was_untouched = rc == RC_OK && resolved.is_untouched;
    return rc;
}

void attempt_run(struct state *s, const struct order *o, struct outcome *ret)
{
    struct manifest *m = NULL;
    *ret = (struct outcome){.status = ATTEMPT_UNCHANGED};
    enum rc rc = resolve(s, o, ret, &m);
    ret->was_quarantined =
        m && !o->errand.forced && strcmp(o->errand.quarantined, m->snapshot_id) == 0;
    if (rc == RC_OK && m && !decide_skips(&o->errand, m->snapshot_id)) {
        ret->quality_warning = m->quality == QUALITY_WARNING;
        rc = build_snapshot(s, o, m, ret, &ret->err);
        ret->status = status_of(rc);
    } else if (rc != RC_OK) {
        ret->status = status_of(rc);
    } else if (o->active && o->active->source) {
        ret->source_reachable = probe_source(s, o->active->source);
    }
    manifest_free(m);
}
