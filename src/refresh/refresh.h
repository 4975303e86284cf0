/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots that come and go (snapshots.md): resolve → check → materialize → swap, each dataset on
 * a thread of its own; warm start, rollback, quarantine; reload of the project with blue-green
 * cutovers. What serves is published through live; nothing here is on a request's path.
 *
 * Threads: every function from any thread. One mutex guards the state; it is held for no I/O but
 * the writing of an index file, and never across an ingest.
 */
#ifndef OFFLOADER_REFRESH_REFRESH_H
#define OFFLOADER_REFRESH_REFRESH_H

#include "live/live.h"
#include "markup/markup.h"
#include "objectstore/objectstore.h"
#include "refresh/config_source.h"

struct refresh_options {
    struct config_source
        *config;           /* borrowed for good; nobody else uses it from refresh_start() on */
    const char *cache_dir; /* borrowed for good */
    struct live *live;
    struct objectstore *store;      /* borrowed for good */
    struct engine_reader reader;    /* ranges of remote files */
    int64_t refresh_interval_s;     /* of static manifests; 0: off */
    int64_t config_sync_interval_s; /* 0: off */
    int concurrency;                /* materializations at once */
    struct ingest_limits limits;
    bool for_duckdb; /* OFFLOADER_ENGINE=duckdb */
    void (*on_publish_generations)(void *arg, const uint64_t *generations,
                                   size_t n); /* what is served now */
    void *arg;
};

struct refresh;

/* Takes the cache directory's lock. RC_BUSY: another process has it. There is no project yet:
 * whoever asks is told so. */
MUST_CHECK enum rc refresh_new(const struct refresh_options *options, struct refresh **ret,
                               struct err *err);
/* Takes over @news->project, what config_source_boot() brought; serves what the cache has,
 * publishes the first view, starts the threads. */
void refresh_start(struct refresh *r, struct config_news *news);
void refresh_stop(struct refresh *r); /* cancels ingests, joins threads */
void refresh_free(struct refresh *r);

enum attempt_status {
    ATTEMPT_NONE,
    ATTEMPT_OK,
    ATTEMPT_UNCHANGED,
    ATTEMPT_REJECTED,
    ATTEMPT_FAILED
};
const char *attempt_status_name(enum attempt_status s);

struct attempt {
    enum attempt_status status;
    char snapshot_id[201]; /* "" when it was never known */
    char code[ERR_CODE_BYTES];
    char message[ERR_MESSAGE_BYTES];
    int64_t at_us, duration_us; /* wall clock */
};

/* Forced refresh; joins one that runs. RC_NOT_FOUND: no such dataset; RC_UNAVAILABLE: starting or
 * stopping. Blocks until the attempt ended. */
MUST_CHECK enum rc refresh_dataset(struct refresh *r, struct str id, bool override_checks,
                                   struct attempt *ret, struct err *err);
/* RC_NOT_FOUND; RC_CONFLICT: nothing to go back to. @ret_snapshot_id (201 bytes): what serves now.
 */
MUST_CHECK enum rc refresh_rollback(struct refresh *r, struct str id, char *ret_snapshot_id,
                                    struct err *err);
bool refresh_has_dataset(struct refresh *r, struct str id);
/* index_hash of what is active, "" when nothing is. */
void refresh_index_hash(struct refresh *r, struct str id, char ret[17]);

enum reload_result { RELOAD_UNCHANGED, RELOAD_APPLIED };
/* Reads the project and applies it when it changed. RC_INVALID: refused, the running one serves on.
 */
MUST_CHECK enum rc refresh_reload(struct refresh *r, enum reload_result *ret, char ret_revision[17],
                                  struct err *err);
/* Every dataset soon, not forced; what failed does not wait for its retry. */
void refresh_check_all(struct refresh *r);
void refresh_sync_soon(
    struct refresh *r); /* reload and check every dataset, on refresh's own thread */
void refresh_hold(struct refresh *r, bool held);
/* A snapshot's store does not verify: it is rebuilt. */
void refresh_report_broken(struct refresh *r, const char *dataset_id, uint64_t generation);
/* The same for an event loop: told to a thread that may wait. */
void refresh_report_broken_soon(struct refresh *r, struct snapshot *s);

/* ---- what others show ---- */

bool refresh_is_ready(struct refresh *r); /* once true, true for good */
/* "waiting_for":[…] when asked for, "loading_project":true before there is one, "loading":[…] when
 * a reload added some that have no snapshot yet */
void refresh_write_readiness(struct refresh *r, bool with_waiting, struct json_writer *w);
/* "config_sync":{…},"datasets":[…] */
void refresh_write_diagnostics(struct refresh *r, struct json_writer *w);
void refresh_config_version(struct refresh *r, char ret[21]);
char *refresh_object_store_mode(struct refresh *r); /* owned, NULL: none */

struct dataset_gauges {
    char dataset[64], snapshot_id[201];
    bool has_snapshot, refresh_ok, source_reachable, stale;
    double age_seconds;
    uint64_t rows, bytes;
};
void refresh_each_gauges(struct refresh *r, void (*f)(void *arg, const struct dataset_gauges *g),
                         void *arg);
bool refresh_config_sync(struct refresh *r, bool *ret_ok); /* enabled? */
bool refresh_serves_config_copy(
    struct refresh *r); /* nothing was taken from the bucket since the start */

#endif
