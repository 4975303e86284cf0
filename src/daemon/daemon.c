/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start: loops, live, cache, pool, serve, refresh, the ports, then the project, whose warm start
 * publishes the first view. A project on this disk is read before all that, so that nothing is
 * opened for one that does not hold; one in a bucket is fetched on a thread of its own, while the
 * ports say what is waited for. Stop: drain, close the API port, stop refresh, close the rest, in
 * reverse. Signals arrive on the main thread by sigwaitinfo; every other thread has them blocked.
 * While the project on this disk is read, SIGHUP and SIGUSR1 wait, and a stop is an exit.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "daemon/supervisor.h"
#include "metrics/metrics.h"
#include "project/project.h"

#define DRAIN_GRACE_US 1000000
#define DRAIN_LOOK_US 50000
#define TRIAL_PORTS 20
#define ADMIN_CONNECTIONS 64
#define WRITE_STALL_US 10000000
#define LIMIT_LOOPS 256

struct daemon {
    const struct daemon_options *options;
    const struct settings *settings;
    struct loop *loops[LIMIT_LOOPS + 1]; /* the admin port's is last */
    int n_loops;
    struct live *live;
    struct cache *cache;
    struct pool *pool;
    struct engine *engine;
    struct serve *serve;
    struct objectstore *store;
    struct config_source *config;
    struct config_news news; /* until refresh takes it */
    pthread_t boot_thread;
    bool has_boot_thread;
    struct refresh *refresh;
    struct admin *admin;
    struct http_server *api, *admin_server;
    _Atomic bool draining;
    char *temp_directory, *remote_directory;
    struct watchdog *watchdog; /* NULL: none asked for */
};

/* ---- callbacks between rooms that do not know each other ---- */

static void on_publish(void *arg)
{
    struct daemon *d = arg;
    if (d->serve)
        serve_refresh_views(d->serve);
}

static void on_generations(void *arg, const uint64_t *generations, size_t n)
{
    struct daemon *d = arg;
    cache_drop_generations(d->cache, generations, n);
}

static void on_broken(void *arg, struct snapshot *s)
{
    struct daemon *d = arg;
    if (d->refresh)
        refresh_report_broken_soon(d->refresh, s);
}

/* Ranges of remote files, for query processes; each pinned to its snapshot's version. */
static enum rc read_remote(void *arg, const struct engine_file *file, uint64_t offset, void *to,
                           size_t n, const _Atomic bool *cancelled, struct err *err)
{
    const struct daemon *d = arg;
    struct object_request request = {
        .url = file->location, .tag = file->etag, .cancelled = cancelled};
    return objectstore_read(d->store, &request, offset, to, n, err);
}

/* ---- start ---- */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* without it fewer connections fit */
}

static enum rc load_project(struct daemon *d, struct err *err)
{
    struct errlist findings = ERRLIST_INIT;
    enum rc rc = config_source_boot(d->config, &findings, &d->news, err);
    for (size_t i = 0; i < findings.n_items; i++) {
        const struct finding *f = &findings.items[i];
        log_event(f->severity == FINDING_ERROR ? LOG_ERROR : LOG_WARN, "project", f->message,
                  LF_STR("file", f->file), LF_INT("line", f->line), LF_INT("column", f->column),
                  LF_STR("path", f->path), LF_STR("code", f->code));
    }
    errlist_done(&findings);
    return rc;
}

static enum rc make_loops(struct daemon *d, struct err *err)
{
    enum rc rc = RC_OK;
    int n =
        (int)(d->settings->http_threads < LIMIT_LOOPS ? d->settings->http_threads : LIMIT_LOOPS);
    for (int i = 0; rc == RC_OK && i <= n; i++) {
        rc = loop_new(i < n ? "http" : "admin", &d->loops[i], err);
        if (rc == RC_OK)
            rc = loop_start(d->loops[i], err);
        d->n_loops += rc == RC_OK;
    }
    return rc;
}

static enum rc make_serving(struct daemon *d, struct err *err)
{
    const struct settings *s = d->settings;
    struct cache_options cache = {(uint64_t)s->cache_max_entries, s->cache_max_bytes};
    struct pool_options pool = {
        .n_workers = (int)s->pool_size,
        .remote_cap = (int)s->remote_scan_concurrency,
        .queue_timeout_us = s->queue_timeout_ms * 1000,
        .local_cap = cpu_quota(),
    };
    struct engine_options engine = {
        .n_connections = (int)s->pool_size,
        .memory_bytes = s->duckdb_memory_bytes / 2,
        .temp_directory = d->temp_directory,
        .cache_directory = d->remote_directory,
        .cache_bytes = s->remote_cache_bytes,
        .reader = {read_remote, d},
    };
    d->live = live_new(on_publish, d);
    d->cache = cache_new(&cache);
    enum rc rc = pool_new(&pool, &d->pool, err);
    if (rc != RC_OK)
        return rc;
    d->engine = engine_new(&engine);
    struct serve_options serve = {
        .live = d->live,
        .cache = d->cache,
        .pool = d->pool,
        .n_workers = (int)s->pool_size,
        .engine = d->engine,
        .engine_is_duckdb = s->engine_is_duckdb,
        .loops = d->loops,
        .n_loops = d->n_loops,
        .cors_origins = s->cors_origins,
        .release = s->release,
        .query_timeout_us = s->query_timeout_ms * 1000,
        .inline_rows = (uint64_t)s->inline_rows,
        .access_log = s->access_log,
        .access_log_share = s->access_log_share,
        .on_broken = on_broken,
        .arg = d,
    };
    d->serve = serve_new(&serve);
    return RC_OK;
}

static enum rc make_refresh(struct daemon *d, struct err *err)
{
    const struct settings *s = d->settings;
    struct refresh_options options = {
        .config = d->config,
        .store = d->store,
        .reader = {read_remote, d},
        .cache_dir = s->cache_dir,
        .live = d->live,
        .refresh_interval_s = s->refresh_interval_s,
        .config_sync_interval_s = s->config_sync_interval_s,
        .concurrency = (int)s->refresh_concurrency,
        .limits = {.threads = (int)s->duckdb_threads,
                   .memory_bytes = s->duckdb_memory_bytes / 2 / (uint64_t)s->refresh_concurrency,
                   .stall_seconds = (int)s->ingest_stall_seconds},
        .for_duckdb = s->engine_is_duckdb,
        .on_publish_generations = on_generations,
        .arg = d,
    };
    struct admin_options admin = {
        .serve = d->serve,
        .pool = d->pool,
        .cache = d->cache,
        .engine = d->engine,
        .api_server = &d->api,
        .draining = &d->draining,
        .token = s->admin_token,
        .release = s->release,
        .cache_dir = s->cache_dir,
        .idempotency_ttl_hours = s->idempotency_ttl_hours,
    };
    enum rc rc = refresh_new(&options, &d->refresh, err);
    if (rc != RC_OK)
        return rc;
    admin.refresh = d->refresh;
    return admin_new(&admin, &d->admin, err);
}

static enum rc open_port(struct daemon *d, bool is_admin, struct http_server **ret, struct err *err)
{
    const struct settings *s = d->settings;
    struct http_server_options o = {
        .bind_address = is_admin ? s->admin_bind : s->bind,
        .port = (int)(is_admin ? s->admin_port : s->api_port),
        .exclusive = true,
        .allow_bodies = is_admin,
        .max_connections =
            is_admin ? ADMIN_CONNECTIONS : (int)s->max_connections - ADMIN_CONNECTIONS,
        .head_timeout_us = s->request_timeout_ms * 1000,
        .idle_timeout_us = s->idle_timeout_ms * 1000,
        .write_stall_us = WRITE_STALL_US,
        .send_buffer_bytes = s->send_buffer_bytes,
        .on_request = is_admin ? admin_on_request : serve_on_request,
        .on_refuse = is_admin ? admin_on_refuse : serve_on_refuse,
        .arg = is_admin ? (void *)d->admin : (void *)d->serve,
    };
    struct loop *const *loops = is_admin ? &d->loops[d->n_loops - 1] : d->loops;
    int n_loops = is_admin ? 1 : d->n_loops - 1;
    enum rc rc = http_server_open(&o, loops, n_loops, ret, err);
    for (int i = 1; rc == RC_BUSY && d->options->is_trial && o.port && i < TRIAL_PORTS; i++) {
        o.port++;
        rc = http_server_open(&o, loops, n_loops, ret, err);
    }
    return rc;
}

static void serve_project(struct daemon *d)
{
    refresh_start(d->refresh, &d->news);
    if (d->options->on_ready)
        d->options->on_ready(d->options->arg, http_server_port(d->api),
                             http_server_port(d->admin_server));
}

static void tell_failure(const struct err *err)
{
    log_event(LOG_ERROR, "start", err->message, LF_STR("code", err->code));
    fprintf(stderr, "offloader: %s\n", err->message);
}

static void *boot_main(void *arg)
{
    struct daemon *d = arg;
    struct err err = ERR_INIT;
    enum rc rc = load_project(d, &err);
    if (rc == RC_OK) {
        serve_project(d);
    } else if (!atomic_load(&d->draining)) {
        tell_failure(&err);
        _exit(1); /* threads run: nothing here needs saving */
    }
    return NULL;
}

static enum rc start(struct daemon *d, struct err *err)
{
    enum rc rc = make_loops(d, err);
    if (rc == RC_OK)
        rc = make_serving(d, err);
    if (rc == RC_OK)
        rc = make_refresh(d, err);
    if (rc == RC_OK)
        rc = io_mkdir_all(d->temp_directory, 0700, err);
    if (rc == RC_OK)
        rc = open_port(d, false, &d->api, err);
    if (rc == RC_OK)
        rc = open_port(d, true, &d->admin_server, err);
    if (rc != RC_OK)
        return rc;
    bool is_bucket = config_source_is_bucket(d->config);
    if (!is_bucket)
        serve_project(d);
    events_add(EVENT_BOOT, NULL, NULL, 0, "offloader %s serves on %s:%d, admin on %s:%d",
               OFFLOADER_VERSION, d->settings->bind, http_server_port(d->api),
               d->settings->admin_bind, http_server_port(d->admin_server));
    supervisor_tell("READY=1");
    if (is_bucket)
        rc = thread_start(&d->boot_thread, "boot", boot_main, d, err);
    d->has_boot_thread = is_bucket && rc == RC_OK;
    return rc;
}

/* ---- signals and drain ---- */

static void handled_signals(sigset_t *ret)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    (void)sigemptyset(ret); /* these cannot fail */
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        (void)sigaddset(ret, signals[i]);
}

static void dump_diagnostics(struct daemon *d)
{
    struct buf b;
    buf_init(&b, 64u << 20);
    admin_write_diagnostics(d->admin, &b);
    log_event(LOG_INFO, "diagnostics", "asked for by SIGUSR1",
              LF_STRN("document", ((struct str){b.p, b.n})));
    buf_done(&b);
}

/* The next handled signal, or -1 after at most @longest_us; feeds the watchdog meanwhile. */
static int next_signal(struct daemon *d, int64_t longest_us)
{
    sigset_t set;
    int64_t end_us = monotonic_us() + longest_us, left_us = longest_us;
    handled_signals(&set);
    do {
        int64_t us = watchdog_tick(d->watchdog, left_us);
        struct timespec wait = {us / 1000000, us % 1000000 * 1000};
        int n = sigtimedwait(&set, NULL, &wait);
        if (n > 0)
            return n;
        left_us = end_us - monotonic_us();
    } while (left_us > 0);
    return -1;
}

/* Until SIGTERM or SIGINT. */
static void wait_for_end(struct daemon *d)
{
    for (;;) {
        int n = next_signal(d, 3600 * INT64_C(1000000));
        if (n == SIGHUP)
            refresh_sync_soon(d->refresh);
        else if (n == SIGUSR1)
            dump_diagnostics(d);
        else if (n > 0)
            return;
    }
}

/* Serves on until nobody is left, the time is up, or a second signal comes (then: at once). */
static void drain(struct daemon *d)
{
    int64_t deadline_us = monotonic_us() + d->settings->drain_seconds * 1000000;
    int64_t least_us = monotonic_us() + (d->settings->drain_seconds > 0 ? DRAIN_GRACE_US : 0);
    atomic_store(&d->draining, true);
    config_source_cancel_boot(d->config);
    supervisor_tell("STOPPING=1");
    events_add(EVENT_DRAIN, NULL, NULL, 0, "draining for at most %lld s",
               (long long)d->settings->drain_seconds);
    http_server_drain(d->api, DRAIN_GRACE_US);
    while (monotonic_us() < deadline_us) {
        int n = next_signal(d, DRAIN_LOOK_US);
        if (n == SIGTERM || n == SIGINT)
            _exit(0);
        if (n == SIGUSR1)
            dump_diagnostics(d);
        if (monotonic_us() >= least_us && http_server_connections(d->api) == 0)
            return;
    }
}

static void end_at_once(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

/* Where nobody takes signals by sigwaitinfo, one that asks for the end must not wait. */
static void obey_stop_at_once(void)
{
    struct sigaction action = {.sa_handler = end_at_once};
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/*
 * Refresh first, since actions wait for it; then the admin port, whose pages look at everything
 * else. Views go before refresh: the last reference to a snapshot is given to refresh's janitor.
 * Answers that a worker has made may still ask the pool to compress them, and wake requests of
 * other loops that waited for them: the pool and the loops stand until all loops have ended.
 */
static void stop(struct daemon *d)
{
    obey_stop_at_once(); /* the main thread waits for others now */
    if (d->has_boot_thread)
        thread_join(d->boot_thread);
    refresh_stop(d->refresh);
    admin_stop(d->admin);
    http_server_free(d->admin_server);
    admin_free(d->admin);
    http_server_free(d->api);
    pool_stop(d->pool);
    for (int i = 0; i < d->n_loops; i++)
        loop_stop(d->loops[i]);
    for (int i = 0; i < d->n_loops; i++)
        loop_join(d->loops[i]);
    for (int i = 0; i < d->n_loops; i++)
        loop_join_free(d->loops[i]);
    pool_free(d->pool);
    watchdog_free(d->watchdog);
    serve_free(d->serve);
    live_free(d->live);
    refresh_free(d->refresh);
    config_source_free(d->config);
    engine_free(d->engine);
    cache_free(d->cache);
    objectstore_free(d->store);
    mem_free(d->temp_directory);
    mem_free(d->remote_directory);
}

int daemon_run(const struct daemon_options *options)
{
    static struct daemon d;
    struct err err = ERR_INIT;
    sigset_t set;
    d.options = options;
    d.settings = options->settings;
    d.temp_directory = path_join(d.settings->cache_dir, "temporary");
    d.remote_directory = path_join(d.settings->cache_dir, "remote");
    log_configure(d.settings->log_level, d.settings->log_format);
    log_set_release(d.settings->release);
    metrics_init(d.settings->release);
    cursor_set_secret(d.settings->secret, strlen(d.settings->secret));
    raise_descriptor_limit();
    handled_signals(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* threads inherit it */
    obey_stop_at_once();
    store_install_bus_handler();
    (void)signal(SIGPIPE, SIG_IGN);
    enum rc rc = objectstore_new(options->is_trial, &d.store, &err);
    if (rc == RC_OK)
        d.config = config_source_new(d.settings->config, d.settings->cache_dir, d.store);
    if (rc == RC_OK && !config_source_is_bucket(d.config))
        rc = load_project(&d, &err);
    if (rc != RC_OK) {
        tell_failure(&err);
        config_source_free(d.config);
        objectstore_free(d.store);
        return 1;
    }
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* again: the stop signals too */
    rc = start(&d, &err);
    if (rc != RC_OK) {
        tell_failure(&err);
        _exit(1); /* threads may be running: nothing here needs saving */
    }
    d.watchdog = watchdog_new(d.loops, d.n_loops);
    wait_for_end(&d);
    drain(&d);
    stop(&d);
    return 0;
}
