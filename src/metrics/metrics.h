/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the program counts. One table of metrics (metrics_table.h) makes the enum, HELP and TYPE;
 * the request path adds to counters of its own thread (a shard) and never takes a lock; a scrape
 * folds the shards. Gauges are asked for when somebody scrapes, by a callback that `admin` plugs
 * in.
 *
 * Model: a series that belongs to an endpoint or a dataset is addressed by a slot, got once by name
 * (register/unregister count references; a slot nobody holds is not shown and keeps its counts).
 * Slot METRICS_UNKNOWN is the endpoint "_unknown".
 *
 * Threads: everything here may be called from any thread. metrics_init before the first thread.
 */
#ifndef OFFLOADER_METRICS_METRICS_H
#define OFFLOADER_METRICS_METRICS_H

#include "base/buf.h"
#include "base/compiler.h"

enum metric_kind { METRIC_GAUGE, METRIC_COUNTER, METRIC_HISTOGRAM };

#define METRIC(id, name, kind, help) METRIC_##id,
enum metric {
#include "metrics/metrics_table.h"
    N_METRICS
};
#undef METRIC

const char *metric_name(enum metric m);
const char *metric_help(enum metric m);
enum metric_kind metric_kind(enum metric m);

/* @release: OFFLOADER_RELEASE_ID or NULL; copied. Endpoint series then carry release and revision.
 */
void metrics_init(const char *release);

/* ---- series of endpoints ---- */

#define METRICS_UNKNOWN 0
#define METRICS_LIMIT_SLOTS 65536
/* The slot of endpoint @name (its @revision tells series apart only when a release is set). Past
 * the limit METRICS_UNKNOWN. Takes a lock: when a catalog is built, not in a request. */
int metrics_endpoint_register(const char *name, int64_t revision);
void metrics_endpoint_unregister(int slot); /* once for each register; METRICS_UNKNOWN is fine */

enum metrics_status { MSTATUS_OK, MSTATUS_CLIENT_ERROR, MSTATUS_NOT_READY, MSTATUS_SERVER_ERROR };
/* By the HTTP status: 2xx and 304 ok, 503 not_ready, 500 and 504 server_error, the rest
 * client_error. */
enum metrics_status metrics_status_of(int http_status);
enum metrics_cache_result { MCACHE_HIT, MCACHE_MISS, MCACHE_COALESCED };
enum metrics_executor { MEXEC_STORE, MEXEC_DUCKDB };
enum metrics_shed {
    MSHED_QUEUE_FULL,
    MSHED_QUEUE_TIMEOUT,
    MSHED_MEMORY,
    MSHED_CONNECTIONS,
    N_MSHED
};

/* One finished request: counts it and its duration (arrival of the head to the answer written). */
void metrics_request(int slot, enum metrics_status status, int64_t duration_us);
void metrics_cache(int slot, enum metrics_cache_result result);
void metrics_cold(int slot); /* answered before the dataset's warm-up finished */
void metrics_queue_wait(int64_t us);
void metrics_query(enum metrics_executor executor, int64_t us);
void metrics_shed(enum metrics_shed reason);
/* METRIC_response_cache_evictions_total, _idempotent_replays_total or _dedupe_hits_total. */
void metrics_add(enum metric m, uint64_t n);

/* Sums over all endpoints and threads, for diagnostics. */
struct metrics_totals {
    uint64_t requests[4];      /* by enum metrics_status */
    uint64_t cache_results[3]; /* by enum metrics_cache_result */
};
void metrics_totals(struct metrics_totals *ret);

/* ---- series of datasets, the project and object stores (rare: these take a lock) ---- */

enum metrics_refresh_status { MREFRESH_OK, MREFRESH_UNCHANGED, MREFRESH_REJECTED, MREFRESH_FAILED };
int metrics_dataset_register(const char *id);
void metrics_dataset_unregister(int slot);
void metrics_refresh(int slot, enum metrics_refresh_status status, int64_t duration_us);

enum metrics_sync { MSYNC_UNCHANGED, MSYNC_APPLIED, MSYNC_ERROR, N_MSYNC };
void metrics_config_sync(enum metrics_sync result);

enum metrics_store { MSTORE_GS, MSTORE_S3, MSTORE_HTTPS, N_MSTORE };
/* @http_status 0: transport error (code_class "error"). */
void metrics_object_store_request(enum metrics_store store, int http_status);
void metrics_object_store_retry(enum metrics_store store);

/* ---- scrape ---- */

struct metrics_writer; /* valid within on_gauge */
struct metrics_label {
    const char *name, *value;
};
/* Writes one sample of the metric being asked for; label values are escaped. */
void metrics_sample(struct metrics_writer *w, const struct metrics_label *labels, int n_labels,
                    double value);
/* Called once for each METRIC_GAUGE of the table, in its order; writes none or more samples. */
typedef void metrics_on_gauge(void *arg, enum metric m, struct metrics_writer *w);
/* Appends the whole exposition (text 0.0.4) to @b; process_* gauges are written here. */
void metrics_scrape(struct buf *b, metrics_on_gauge *on_gauge, void *arg);

/* The bounds of request_duration in milliseconds, rising; for tests and docs. */
const double *metrics_duration_bounds(int *ret_n);

/* ---- events: the last EVENTS_KEPT, each also one log line ---- */

#define EVENTS_KEPT 500
enum event_type {
    EVENT_BOOT,
    EVENT_REFRESH,
    EVENT_SWAP,
    EVENT_ROLLBACK,
    EVENT_RELOAD,
    EVENT_DRAIN,
    EVENT_ACTION
};
const char *event_type_name(enum event_type t);
struct event_field {
    const char *key;
    const char *value;
};
/* @dataset may be NULL. Ids, statuses and counts only: never a secret, never row data. Copied. */
void events_add(enum event_type type, const char *dataset, const struct event_field *fields,
                size_t n_fields, const char *format, ...) PRINTF_LIKE(5, 6);
/* Appends {"events":[...]}, newest first. */
void events_write_json(struct buf *b);

#endif
