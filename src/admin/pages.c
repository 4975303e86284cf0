/* SPDX-License-Identifier: Apache-2.0 */
/* What operators read: readiness, status, metrics, diagnostics. */
#include "admin/admin_int.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "metrics/metrics.h"

void page_ready(struct admin *a, struct buf *b, int *ret_status)
{
    bool draining = atomic_load(a->options.draining);
    bool ready = refresh_is_ready(a->options.refresh) && !draining;
    struct json_writer w;
    jw_init(&w, b);
    jw_open(&w, '{');
    jw_key(&w, "status");
    jw_cstr(&w, ready ? "ok" : "unavailable");
    jw_key(&w, "ready");
    jw_bool(&w, ready);
    refresh_write_readiness(a->options.refresh, !ready, &w);
    if (draining) {
        jw_key(&w, "draining");
        jw_bool(&w, true);
    }
    jw_close(&w, '}');
    *ret_status = ready ? 200 : 503;
}

static double uptime_seconds(const struct admin *a)
{
    int64_t ms = (monotonic_us() - a->started_us) / 1000;
    return (double)ms / 1000.0;
}

void page_status(struct admin *a, struct buf *b)
{
    struct json_writer w;
    jw_init(&w, b);
    jw_open(&w, '{');
    jw_key(&w, "service");
    jw_cstr(&w, "offloader");
    jw_key(&w, "version");
    jw_cstr(&w, OFFLOADER_VERSION);
    jw_key(&w, "release");
    jw_cstr(&w, a->options.release);
    jw_key(&w, "ready");
    jw_bool(&w, refresh_is_ready(a->options.refresh) && !atomic_load(a->options.draining));
    jw_key(&w, "uptime_seconds");
    jw_double(&w, uptime_seconds(a));
    jw_close(&w, '}');
}

/* ---- metrics ---- */

struct scrape {
    struct admin *a;
    enum metric metric;
    struct metrics_writer *w;
};

static void dataset_sample(void *arg, const struct dataset_gauges *g)
{
    struct scrape *s = arg;
    struct metrics_label labels[] = {{"dataset", g->dataset}, {"snapshot_id", g->snapshot_id}};
    double value = 0;
    int n_labels = 1;
    bool needs_snapshot = true;
    if (s->metric == METRIC_snapshot_age_seconds) {
        value = g->age_seconds;
    } else if (s->metric == METRIC_snapshot_rows) {
        value = (double)g->rows;
    } else if (s->metric == METRIC_snapshot_bytes) {
        value = (double)g->bytes;
    } else if (s->metric == METRIC_snapshot_info) {
        value = 1;
        n_labels = 2;
    } else {
        needs_snapshot = false;
        value = s->metric == METRIC_snapshot_stale ? g->stale
                : s->metric == METRIC_refresh_ok   ? g->refresh_ok
                                                   : g->source_reachable;
    }
    if (g->has_snapshot || !needs_snapshot)
        metrics_sample(s->w, labels, n_labels, value);
}

static bool is_dataset_metric(enum metric m)
{
    return m == METRIC_snapshot_age_seconds || m == METRIC_snapshot_stale ||
           m == METRIC_refresh_ok || m == METRIC_source_reachable || m == METRIC_snapshot_rows ||
           m == METRIC_snapshot_bytes || m == METRIC_snapshot_info;
}

static void build_info(struct admin *a, struct metrics_writer *w)
{
    char config_version[21];
    refresh_config_version(a->options.refresh, config_version);
    const struct metrics_label labels[] = {{"version", OFFLOADER_VERSION},
                                           {"config_version", config_version}};
    metrics_sample(w, labels, 2, 1);
}

static bool sync_gauge(struct admin *a, enum metric m, double *ret)
{
    bool ok = false, enabled = refresh_config_sync(a->options.refresh, &ok);
    *ret = m == METRIC_config_sync_enabled ? enabled : ok;
    return m == METRIC_config_sync_enabled || enabled;
}

/* A gauge of the whole process. False: it has no sample now. */
static bool process_gauge(struct admin *a, enum metric m, double *ret)
{
    struct pool_gauges pool;
    struct cache_stats cache;
    struct err err = ERR_INIT;
    uint64_t n = 0;
    pool_gauges(a->options.pool, &pool);
    cache_stats(a->options.cache, &cache);
    if (m == METRIC_up)
        *ret = 1;
    else if (m == METRIC_duckdb_up)
        *ret = engine_is_up(a->options.engine, NULL);
    else if (m == METRIC_ready)
        *ret = refresh_is_ready(a->options.refresh) && !atomic_load(a->options.draining);
    else if (m == METRIC_pool_connections)
        *ret = pool.workers;
    else if (m == METRIC_pool_busy)
        *ret = pool.busy;
    else if (m == METRIC_pool_queue)
        *ret = pool.queued;
    else if (m == METRIC_pool_queue_age_ms)
        *ret = (double)pool.queue_age_us / 1000.0;
    else if (m == METRIC_cache_disk_free_bytes) {
        if (io_free_bytes(a->options.cache_dir, &n, &err) != RC_OK)
            return false;
        *ret = (double)n;
    } else if (m == METRIC_config_sync_enabled || m == METRIC_config_sync_ok)
        return sync_gauge(a, m, ret);
    else if (m == METRIC_config_kept_copy)
        *ret = refresh_serves_config_copy(a->options.refresh);
    else if (m == METRIC_http_connections)
        *ret = (double)http_server_connections(*a->options.api_server);
    else if (m == METRIC_draining)
        *ret = atomic_load(a->options.draining);
    else if (m == METRIC_response_cache_entries)
        *ret = (double)cache.entries;
    else if (m == METRIC_response_cache_bytes)
        *ret = (double)cache.bytes;
    else
        return false;
    return true;
}

static void on_gauge(void *arg, enum metric m, struct metrics_writer *w)
{
    struct admin *a = arg;
    double value = 0;
    if (m == METRIC_build_info) {
        build_info(a, w);
    } else if (is_dataset_metric(m)) {
        struct scrape s = {a, m, w};
        refresh_each_gauges(a->options.refresh, dataset_sample, &s);
    } else if (process_gauge(a, m, &value)) {
        metrics_sample(w, NULL, 0, value);
    }
}

void page_metrics(struct admin *a, struct buf *b)
{
    metrics_scrape(b, on_gauge, a);
}

/* ---- diagnostics ---- */

static void write_pool(struct admin *a, struct json_writer *w)
{
    struct pool_gauges pool;
    pool_gauges(a->options.pool, &pool);
    jw_key(w, "pool");
    jw_open(w, '{');
    jw_key(w, "connections");
    jw_int(w, pool.workers);
    jw_key(w, "busy");
    jw_int(w, pool.busy);
    jw_key(w, "saturated");
    jw_bool(w, pool.is_saturated);
    jw_key(w, "remote_cap");
    jw_int(w, pool.remote_cap);
    jw_key(w, "queue");
    jw_int(w, pool.queued);
    jw_close(w, '}');
}

static void write_cache(struct admin *a, struct json_writer *w)
{
    struct cache_stats stats;
    struct metrics_totals totals;
    struct err err = ERR_INIT;
    uint64_t free_bytes = 0;
    cache_stats(a->options.cache, &stats);
    metrics_totals(&totals);
    jw_key(w, "disk");
    jw_open(w, '{');
    jw_key(w, "cache_dir_free_bytes");
    if (io_free_bytes(a->options.cache_dir, &free_bytes, &err) == RC_OK)
        jw_uint(w, free_bytes);
    else
        jw_null(w);
    jw_close(w, '}');
    jw_key(w, "response_cache");
    jw_open(w, '{');
    jw_key(w, "entries");
    jw_uint(w, stats.entries);
    jw_key(w, "bytes");
    jw_uint(w, stats.bytes);
    jw_key(w, "hits");
    jw_uint(w, totals.cache_results[MCACHE_HIT]);
    jw_key(w, "misses");
    jw_uint(w, totals.cache_results[MCACHE_MISS]);
    jw_close(w, '}');
}

void page_diagnostics(struct admin *a, struct buf *b)
{
    AUTO(mem_free_auto) char *mode = refresh_object_store_mode(a->options.refresh);
    char config_version[21];
    const char *down_why = NULL;
    struct json_writer w;
    refresh_config_version(a->options.refresh, config_version);
    jw_init(&w, b);
    jw_open(&w, '{');
    jw_key(&w, "build_version");
    jw_cstr(&w, OFFLOADER_VERSION);
    jw_key(&w, "release");
    jw_cstr(&w, a->options.release);
    jw_key(&w, "config_version");
    jw_cstr(&w, *config_version ? config_version : NULL);
    jw_key(&w, "object_store_mode");
    jw_cstr(&w, mode);
    jw_key(&w, "duckdb_status");
    jw_cstr(&w, engine_is_up(a->options.engine, &down_why) ? "ok" : down_why);
    write_pool(a, &w);
    write_cache(a, &w);
    jw_key(&w, "ready");
    jw_bool(&w, refresh_is_ready(a->options.refresh) && !atomic_load(a->options.draining));
    jw_key(&w, "draining");
    jw_bool(&w, atomic_load(a->options.draining));
    jw_key(&w, "uptime_seconds");
    jw_double(&w, uptime_seconds(a));
    refresh_write_diagnostics(a->options.refresh, &w);
    jw_close(&w, '}');
}
