/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, describing and asking a project without a server. */
#include "trial/trial.h"

#include <stdlib.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "metrics/metrics.h"
#include "refresh/refresh.h"
#include "serve/encode.h"

#define INGEST_STALL_SECONDS 120
#define CACHE_TEMPLATE "/tmp/offloader-query-XXXXXX"
#define QUERY_ARENA_BYTES (1u << 20)
#define LIMIT_POSITION_BYTES (1u << 20)

struct trial {
    struct trial_options options;
    char cache_dir[sizeof CACHE_TEMPLATE]; /* "": not made */
    struct objectstore *store;
    struct config_source *config;
    struct config_news news;
    struct live *live;
    struct refresh *refresh;
    const char *dataset; /* of the project */
    struct engine *engine;
    struct view *view;                    /* a reference */
    const struct view_endpoint *endpoint; /* of the view */
    struct store_scratch *scratch;
    struct arena arena;
};

static enum rc read_remote(void *arg, const struct engine_file *file, uint64_t offset, void *to,
                           size_t n, const _Atomic bool *cancelled, struct err *err)
{
    const struct trial *t = arg;
    struct object_request request = {
        .url = file->location, .tag = file->etag, .cancelled = cancelled};
    return objectstore_read(t->store, &request, offset, to, n, err);
}

static void on_generations(void *arg, const uint64_t *generations, size_t n)
{
    (void)arg; /* no cache to drop anything from */
    (void)generations;
    (void)n;
}

static enum rc load(struct trial *t, struct errlist *findings, struct err *err)
{
    struct refresh_options options = {
        .cache_dir = t->cache_dir,
        .reader = {read_remote, t},
        .concurrency = 1,
        .limits = {.threads = 1, .stall_seconds = INGEST_STALL_SECONDS},
        .for_duckdb = t->options.use_duckdb,
        .on_publish_generations = on_generations,
        .arg = t,
    };
    if (!mkdtemp(t->cache_dir)) {
        *t->cache_dir = 0;
        return err_set(err, RC_IO, "cannot make a cache directory under /tmp");
    }
    enum rc rc = objectstore_new(true, &t->store, err);
    if (rc != RC_OK)
        return rc;
    t->config = config_source_new(t->options.config, t->cache_dir, t->store);
    rc = config_source_boot(t->config, findings, &t->news, err);
    if (rc != RC_OK)
        return rc;
    const struct endpoint *e = project_endpoint(t->news.project, str_from(t->options.endpoint));
    if (!e)
        return err_set(err, RC_NOT_FOUND, "the project has no endpoint `%s`", t->options.endpoint);
    t->dataset = t->news.project->datasets[e->dataset].id;
    options.config = t->config;
    options.store = t->store;
    options.live = t->live = live_new(NULL, NULL);
    return refresh_new(&options, &t->refresh, err);
}

/* Materializes the endpoint's dataset and pins what is served then. */
static enum rc materialize(struct trial *t, struct err *err)
{
    struct attempt attempt;
    refresh_hold(t->refresh, true);
    refresh_start(t->refresh, &t->news);
    enum rc rc = refresh_dataset(t->refresh, str_from(t->dataset), false, &attempt, err);
    if (rc != RC_OK)
        return rc;
    if (attempt.status != ATTEMPT_OK && attempt.status != ATTEMPT_UNCHANGED)
        return err_set(err, RC_INVALID, "dataset `%s`: %s: %s", t->dataset, attempt.code,
                       attempt.message);
    t->view = live_get(t->live);
    t->endpoint = view_endpoint(t->view, str_from(t->options.endpoint));
    if (!t->endpoint || !t->endpoint->active)
        return err_set(err, RC_UNAVAILABLE, "dataset `%s` has no snapshot yet", t->dataset);
    return RC_OK;
}

enum rc trial_new(const struct trial_options *options, struct errlist *findings, struct trial **ret,
                  struct err *err)
{
    struct trial *t = x_alloc0(sizeof *t);
    struct engine_options engine = {.n_connections = 1, .reader = {read_remote, t}};
    metrics_init(NULL);
    store_install_bus_handler();
    t->options = *options;
    arena_init(&t->arena, QUERY_ARENA_BYTES);
    memcpy(t->cache_dir, CACHE_TEMPLATE, sizeof CACHE_TEMPLATE);
    enum rc rc = load(t, findings, err);
    if (rc == RC_OK)
        rc = materialize(t, err);
    if (rc != RC_OK) {
        trial_free(t);
        return rc;
    }
    t->engine = engine_new(&engine);
    t->scratch = store_scratch_new();
    *ret = t;
    return RC_OK;
}

void trial_free(struct trial *t)
{
    struct err err = ERR_INIT;
    if (!t)
        return;
    store_scratch_free(t->scratch);
    engine_free(t->engine);
    view_unref(t->view);
    if (t->refresh)
        refresh_stop(t->refresh);
    live_free(t->live); /* what it lets go of is removed by the refresh */
    refresh_free(t->refresh);
    project_free(t->news.project);
    config_source_free(t->config);
    objectstore_free(t->store);
    arena_done(&t->arena);
    if (*t->cache_dir && io_remove_tree(t->cache_dir, &err) != RC_OK)
        log_event(LOG_WARN, "cache", err.message);
    mem_free(t);
}

void trial_describe(const struct trial *t, struct trial_facts *ret)
{
    const struct dataset *d = t->endpoint->dataset;
    const struct snapshot *s = t->endpoint->active;
    *ret = (struct trial_facts){
        .endpoint = t->endpoint->endpoint->name,
        .version = t->endpoint->endpoint->version,
        .dataset = d->id,
        .snapshot_id = s->snapshot_id,
        .is_remote_scan = t->endpoint->endpoint->serving_mode == MODE_REMOTE_SCAN,
        .n_rows = s->n_rows,
        .n_bytes = s->n_bytes,
    };
    for (int i = 0; i < d->n_sort_columns; i++)
        ret->sort_columns[ret->n_sort_columns++] = d->schema.columns[d->sort_columns[i]].name;
}

static enum rc make_plan(struct trial *t, const char *tenant, const char *query_string,
                         struct plan *ret, struct err *err)
{
    const struct view_endpoint *e = t->endpoint;
    char message[PLAN_MESSAGE_BYTES] = "";
    if (e->endpoint->tenant_scoped && !tenant)
        return err_set(err, RC_INVALID,
                       "endpoint `%s` is tenant-scoped: say which tenant by --tenant",
                       e->endpoint->name);
    if (!e->endpoint->tenant_scoped && tenant)
        return err_set(err, RC_INVALID, "endpoint `%s` has no tenant: leave --tenant away",
                       e->endpoint->name);
    struct plan_input in = {
        .shape = e->shape, .tenant = str_from(tenant), .query_string = str_from(query_string)};
    arena_reset(&t->arena);
    enum rc rc = plan_request(&in, &t->arena, ret, message);
    if (rc == RC_INVALID)
        return err_set(err, rc, "%s", message);
    if (rc == RC_OK && ret->cursor.n)
        return err_set(err, RC_INVALID,
                       "param `cursor` works on the server that made it; use `offset` here");
    return rc == RC_OK ? rc : err_set(err, rc, "the request needs more memory than is allowed");
}

enum rc trial_run(struct trial *t, const char *tenant, const char *query_string,
                  enum http_form form, struct buf *rows, struct trial_answer *ret, struct err *err)
{
    struct plan plan;
    struct encoder encoder;
    struct query_result result;
    const struct snapshot *s = t->endpoint->active;
    bool in_store =
        t->endpoint->endpoint->serving_mode == MODE_LOCAL_TABLE && !t->options.use_duckdb;
    AUTO(buf_done) struct buf keep;
    buf_init(&keep, LIMIT_POSITION_BYTES);
    *ret = (struct trial_answer){0};
    enum rc rc = make_plan(t, tenant, query_string, &plan, err);
    if (rc != RC_OK)
        return rc;
    struct query_control control = {0};
    encoder_begin(&encoder, &plan, form, rows);
    if (in_store)
        ret->estimate_rows = store_estimate(s->store, &plan.query, false, t->scratch);
    int64_t from_us = monotonic_us();
    rc = in_store ? store_execute(s->store, &plan.query, &control, encoder_sink(&encoder),
                                  t->scratch, &result, &ret->stats, err)
                  : engine_execute(t->engine, s->source, &plan.query, &control,
                                   encoder_sink(&encoder), &keep, &result, &ret->stats, err);
    enum rc encoded = encoder_end(&encoder);
    ret->duration_us = monotonic_us() - from_us;
    if (rc == RC_OK && encoded != RC_OK)
        rc = err_set(err, encoded, "the answer is larger than is allowed");
    if (rc != RC_OK)
        return rc;
    ret->n_rows = result.n_rows;
    ret->has_more = result.has_more;
    ret->limit = plan.limit;
    ret->position = plan.position;
    return RC_OK;
}
