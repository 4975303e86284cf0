/* SPDX-License-Identifier: Apache-2.0 */
/* The Prometheus text: folds the shards and asks for gauges, in the order of the table. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "metrics/metrics_int.h"

struct metrics_writer {
    struct buf *b;
    enum metric m;
};

#define LABELS_LIMIT 6
#define PROC_FILE_BYTES 65536

static void put_label_value(struct buf *b, const char *s)
{
    for (; *s; s++)
        if (*s == '\\' || *s == '"') {
            buf_putc(b, '\\');
            buf_putc(b, *s);
        } else if (*s == '\n') {
            buf_put_literal(b, "\\n");
        } else {
            buf_putc(b, *s);
        }
}

static void put_series(struct buf *b, const char *name, const char *suffix,
                       const struct metrics_label *labels, int n_labels)
{
    buf_put_cstr(b, name);
    buf_put_cstr(b, suffix);
    for (int i = 0; i < n_labels; i++) {
        buf_putc(b, i ? ',' : '{');
        buf_put_cstr(b, labels[i].name);
        buf_put_literal(b, "=\"");
        put_label_value(b, labels[i].value);
        buf_putc(b, '"');
    }
    if (n_labels)
        buf_putc(b, '}');
    buf_putc(b, ' ');
}

void metrics_sample(struct metrics_writer *w, const struct metrics_label *labels, int n_labels,
                    double value)
{
    put_series(w->b, metric_name(w->m), "", labels, n_labels);
    buf_put_double(w->b, value);
    buf_putc(w->b, '\n');
}

/* ---- folding ---- */

static uint64_t load(const counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

struct endpoint_sum {
    uint64_t status[4], cache[3], cold, buckets[FINE_BOUNDS_LIMIT + 1], sum_us;
};

static bool fold_endpoint(int slot, struct endpoint_sum *ret)
{
    bool any = false;
    memset(ret, 0, sizeof(*ret));
    for (struct shard *s = atomic_load(&metrics_state.shards); s; s = atomic_load(&s->next)) {
        struct endpoint_chunk *chunk = atomic_load(&s->chunks[slot / SLOTS_PER_CHUNK]);
        struct endpoint_block *b =
            chunk ? atomic_load(&chunk->blocks[slot % SLOTS_PER_CHUNK]) : NULL;
        if (!b)
            continue;
        any = true;
        for (int i = 0; i < 4; i++)
            ret->status[i] += load(&b->status[i]);
        for (int i = 0; i < 3; i++)
            ret->cache[i] += load(&b->cache[i]);
        ret->cold += load(&b->cold);
        for (int i = 0; i <= metrics_state.n_fine_bounds; i++)
            ret->buckets[i] += load(&b->duration.buckets[i]);
        ret->sum_us += load(&b->duration.sum_us);
    }
    return any;
}

static uint64_t fold_plain(enum metric m)
{
    uint64_t sum = 0;
    for (struct shard *s = atomic_load(&metrics_state.shards); s; s = atomic_load(&s->next))
        sum += load(&s->plain[m]);
    return sum;
}

static void put_count(struct metrics_writer *w, const char *suffix,
                      const struct metrics_label *labels, int n_labels, uint64_t n)
{
    put_series(w->b, metric_name(w->m), suffix, labels, n_labels);
    buf_put_uint64(w->b, n);
    buf_putc(w->b, '\n');
}

/* Cumulative buckets, sum and count. @labels has room for one label more. */
static void put_histogram(struct metrics_writer *w, struct metrics_label *labels, int n_labels,
                          const double *bounds, int n_bounds, const uint64_t *buckets, double sum)
{
    uint64_t total = 0;
    struct buf text;
    buf_init(&text, 64);
    for (int i = 0; i <= n_bounds; i++) {
        total += buckets[i];
        buf_reset(&text);
        if (i < n_bounds)
            buf_put_double(&text, bounds[i]);
        else
            buf_put_literal(&text, "+Inf");
        labels[n_labels] = (struct metrics_label){"le", buf_cstr(&text)};
        put_count(w, "_bucket", labels, n_labels + 1, total);
    }
    buf_done(&text);
    put_series(w->b, metric_name(w->m), "_sum", labels, n_labels);
    buf_put_double(w->b, sum);
    buf_putc(w->b, '\n');
    put_count(w, "_count", labels, n_labels, total);
}

/* ---- series of endpoints ---- */

static const char *const status_names[] = {"ok", "client_error", "not_ready", "server_error"};
static const char *const cache_names[] = {"hit", "miss", "coalesced"};
static const char *const shed_names[] = {"queue_full", "queue_timeout", "memory", "connections"};
static const char *const executor_names[] = {"store", "duckdb"};
static const char *const refresh_names[] = {"ok", "unchanged", "rejected", "failed"};
static const char *const sync_names[] = {"unchanged", "applied", "error"};
static const char *const store_names[] = {"gs", "s3", "https"};
static const char *const class_names[] = {"2xx", "3xx", "4xx", "5xx", "error"};

static void put_endpoint(struct metrics_writer *w, const struct slot_name *name,
                         const struct endpoint_sum *sum)
{
    char revision[24];
    struct metrics_label labels[LABELS_LIMIT];
    int n = 0;
    labels[n++] = (struct metrics_label){"endpoint", name->name};
    if (metrics_state.release) {
        (void)snprintf(revision, sizeof(revision), "%lld", (long long)name->revision);
        labels[n++] = (struct metrics_label){"release", metrics_state.release};
        labels[n++] = (struct metrics_label){"revision", revision};
    }
    if (w->m == METRIC_request_duration_ms) {
        put_histogram(w, labels, n, metrics_state.fine_bounds_ms, metrics_state.n_fine_bounds,
                      sum->buckets, (double)sum->sum_us / 1000);
    } else if (w->m == METRIC_requests_total) {
        for (int i = 0; i < 4; i++) {
            labels[n] = (struct metrics_label){"status", status_names[i]};
            put_count(w, "", labels, n + 1, sum->status[i]);
        }
    } else if (w->m == METRIC_response_cache_total) {
        for (int i = 0; i < 3; i++) {
            labels[n] = (struct metrics_label){"result", cache_names[i]};
            put_count(w, "", labels, n + 1, sum->cache[i]);
        }
    } else {
        put_count(w, "", labels, n, sum->cold);
    }
}

/* Counters stand at 0 before the first request, or its increase could not be seen. A histogram is
 * a hundred lines: of an endpoint that nobody has asked there is none. */
static void put_endpoints(struct metrics_writer *w)
{
    struct endpoint_sum sum;
    LOCKED(&metrics_state.slots.lock);
    for (int slot = 0; slot < metrics_state.slots.n; slot++) {
        if (metrics_state.slots.names[slot].references == 0)
            continue;
        bool is_asked = fold_endpoint(slot, &sum);
        if (is_asked || slot == METRICS_UNKNOWN || w->m != METRIC_request_duration_ms)
            put_endpoint(w, &metrics_state.slots.names[slot], &sum);
    }
}

/* ---- series of threads, datasets, stores ---- */

static void put_shed(struct metrics_writer *w)
{
    for (int i = 0; i < N_MSHED; i++) {
        uint64_t sum = 0;
        for (struct shard *s = atomic_load(&metrics_state.shards); s; s = atomic_load(&s->next))
            sum += load(&s->shed[i]);
        struct metrics_label label = {"reason", shed_names[i]};
        put_count(w, "", &label, 1, sum);
    }
}

/* @executor -1: the queue's histogram. */
static void put_coarse(struct metrics_writer *w, int executor)
{
    uint64_t buckets[COARSE_BOUNDS + 1] = {0}, sum_us = 0;
    for (struct shard *s = atomic_load(&metrics_state.shards); s; s = atomic_load(&s->next)) {
        const struct coarse_histogram *h = executor < 0 ? &s->queue_wait : &s->query[executor];
        for (int i = 0; i <= COARSE_BOUNDS; i++)
            buckets[i] += load(&h->buckets[i]);
        sum_us += load(&h->sum_us);
    }
    struct metrics_label labels[2];
    if (executor >= 0)
        labels[0] = (struct metrics_label){"executor", executor_names[executor]};
    put_histogram(w, labels, executor >= 0, metrics_coarse_bounds_ms, COARSE_BOUNDS, buckets,
                  (double)sum_us / 1000);
}

static void put_datasets(struct metrics_writer *w)
{
    LOCKED(&metrics_state.rare.lock);
    for (int i = 0; i < metrics_state.rare.n_datasets; i++) {
        const struct dataset_series *d = &metrics_state.rare.datasets[i];
        if (!d->references)
            continue;
        struct metrics_label labels[2] = {{"dataset", d->id}};
        if (w->m == METRIC_refresh_duration_seconds) {
            put_histogram(w, labels, 1, metrics_refresh_bounds_s, REFRESH_BOUNDS, d->buckets,
                          d->sum_seconds);
            continue;
        }
        for (int k = 0; k < 4; k++) {
            labels[1] = (struct metrics_label){"status", refresh_names[k]};
            put_count(w, "", labels, 2, d->status[k]);
        }
    }
}

static void put_config_sync(struct metrics_writer *w)
{
    LOCKED(&metrics_state.rare.lock);
    for (int i = 0; i < N_MSYNC; i++) {
        struct metrics_label label = {"result", sync_names[i]};
        put_count(w, "", &label, 1, metrics_state.rare.config_sync[i]);
    }
}

static void put_stores(struct metrics_writer *w)
{
    LOCKED(&metrics_state.rare.lock);
    for (int i = 0; i < N_MSTORE; i++) {
        struct metrics_label labels[2] = {{"store", store_names[i]}};
        if (w->m == METRIC_object_store_retries_total) {
            put_count(w, "", labels, 1, metrics_state.rare.store_retries[i]);
            continue;
        }
        for (int k = 0; k < CODE_CLASSES; k++) {
            labels[1] = (struct metrics_label){"code_class", class_names[k]};
            put_count(w, "", labels, 2, metrics_state.rare.store_requests[i][k]);
        }
    }
}

/* ---- the process ---- */

/* Reads a file of /proc into @b; false when there is none. */
static bool read_proc(const char *path, struct buf *b)
{
    return io_read_file(path, b, NULL) == RC_OK;
}

/* Field @n (1-based, from the third on: after the command's closing parenthesis) of
 * /proc/self/stat. */
static double stat_field(int n)
{
    struct buf b;
    double value = 0;
    buf_init(&b, PROC_FILE_BYTES);
    if (read_proc("/proc/self/stat", &b)) {
        const char *p = strrchr(buf_cstr(&b), ')');
        for (int at = 2; p && at < n; at++)
            p = strchr(p + 1, ' ');
        int64_t v = 0;
        if (p) {
            const char *end = strchr(p + 1, ' ');
            if (end && parse_int64((struct str){p + 1, (size_t)(end - p - 1)}, &v))
                value = (double)v;
        }
    }
    buf_done(&b);
    return value;
}

static double start_time_seconds(void)
{
    static _Atomic int64_t kept_us;
    int64_t known = atomic_load(&kept_us);
    if (!known) {
        double ticks = stat_field(22), since_boot = 0;
        struct buf b;
        buf_init(&b, PROC_FILE_BYTES);
        if (read_proc("/proc/uptime", &b)) {
            const char *text = buf_cstr(&b), *end = strchr(text, ' ');
            if (!end || !parse_double((struct str){text, (size_t)(end - text)}, &since_boot))
                since_boot = 0;
        }
        buf_done(&b);
        double ago = since_boot - ticks / (double)sysconf(_SC_CLK_TCK);
        known = wall_us() - (int64_t)(ago * 1e6);
        atomic_store(&kept_us, known);
    }
    int64_t known_ms = known / 1000;
    return (double)known_ms / 1000;
}

static double open_descriptors(void)
{
    char **names = NULL;
    size_t n = 0;
    if (io_list_dir("/proc/self/fd", &names, &n, NULL) != RC_OK)
        return 0;
    io_free_names(names, n);
    return n ? (double)(n - 1) : 0; /* the listing's own */
}

static bool put_process(struct metrics_writer *w)
{
    struct rusage usage;
    struct rlimit limit;
    double value;
    if (w->m == METRIC_process_cpu_seconds_total) {
        (void)getrusage(RUSAGE_SELF, &usage); /* fails only for a bad pointer */
        value = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    } else if (w->m == METRIC_process_resident_memory_bytes) {
        value = stat_field(24) * (double)sysconf(_SC_PAGESIZE);
    } else if (w->m == METRIC_process_virtual_memory_bytes) {
        value = stat_field(23);
    } else if (w->m == METRIC_process_open_fds) {
        value = open_descriptors();
    } else if (w->m == METRIC_process_max_fds) {
        value = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur : 0;
    } else if (w->m == METRIC_process_start_time_seconds) {
        value = start_time_seconds();
    } else {
        return false;
    }
    metrics_sample(w, NULL, 0, value);
    return true;
}

/* ---- all of it ---- */

static void put_metric(struct metrics_writer *w)
{
    if (put_process(w))
        return;
    if (w->m == METRIC_requests_total || w->m == METRIC_response_cache_total ||
        w->m == METRIC_cold_requests_total || w->m == METRIC_request_duration_ms) {
        put_endpoints(w);
    } else if (w->m == METRIC_shed_total) {
        put_shed(w);
    } else if (w->m == METRIC_queue_wait_ms) {
        put_coarse(w, -1);
    } else if (w->m == METRIC_query_duration_ms) {
        put_coarse(w, MEXEC_STORE);
        put_coarse(w, MEXEC_DUCKDB);
    } else if (w->m == METRIC_refresh_total || w->m == METRIC_refresh_duration_seconds) {
        put_datasets(w);
    } else if (w->m == METRIC_config_sync_total) {
        put_config_sync(w);
    } else if (w->m == METRIC_object_store_requests_total ||
               w->m == METRIC_object_store_retries_total) {
        put_stores(w);
    } else {
        put_count(w, "", NULL, 0, fold_plain(w->m));
    }
}

void metrics_scrape(struct buf *b, metrics_on_gauge *on_gauge, void *arg)
{
    static const char *const kinds[] = {"gauge", "counter", "histogram"};
    for (int m = 0; m < N_METRICS; m++) {
        struct metrics_writer w = {.b = b, .m = (enum metric)m};
        size_t header_at = b->n;
        buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", metric_name(w.m), metric_help(w.m),
                   metric_name(w.m), kinds[metric_kind(w.m)]);
        size_t body_at = b->n;
        if (metric_kind(w.m) == METRIC_GAUGE && !put_process(&w)) {
            if (on_gauge)
                on_gauge(arg, w.m, &w);
        } else if (metric_kind(w.m) != METRIC_GAUGE) {
            put_metric(&w);
        }
        if (b->n == body_at)
            b->n = header_at; /* no samples: no header either */
    }
}
