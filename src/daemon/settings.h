/* SPDX-License-Identifier: Apache-2.0 */
/* The environment (operations.md): one table of variables makes the parser, --help and the docs. */
#ifndef OFFLOADER_DAEMON_SETTINGS_H
#define OFFLOADER_DAEMON_SETTINGS_H

#include "base/errlist.h"
#include "base/log.h"
#include "serve/serve.h"

struct settings {
    const char *config, *secret, *cache_dir, *bind, *admin_bind, *admin_token, *cors_origins,
        *release;
    int64_t api_port, admin_port;
    enum log_level log_level;
    enum log_format log_format;
    enum access_log access_log;
    double access_log_share;
    int64_t config_sync_interval_s, refresh_interval_s, refresh_concurrency;
    bool engine_is_duckdb, allow_loopback;
    int64_t http_threads, pool_size, remote_scan_concurrency, queue_timeout_ms, query_timeout_ms,
        inline_rows;
    int64_t duckdb_threads, ingest_stall_seconds;
    uint64_t duckdb_memory_bytes, send_buffer_bytes;
    int64_t cache_max_entries;
    uint64_t cache_max_bytes, remote_cache_bytes;
    int64_t max_connections, request_timeout_ms, idle_timeout_ms, drain_seconds,
        idempotency_ttl_hours;
};

/*
 * Reads the environment by @get (getenv). Findings: a malformed or missing value is an error that
 * names its variable; an unknown OFFLOADER_* name in @environment (NULL-ended, "NAME=value") a
 * warning. Strings are borrowed from the environment.
 */
void settings_read(const char *(*get)(const char *name), char *const *environment,
                   struct settings *ret, struct errlist *findings);
/* Name, default and meaning of the i-th variable; false past the last. */
bool settings_describe(size_t i, const char **ret_name, const char **ret_default,
                       const char **ret_help);

#endif
