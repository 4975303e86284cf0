/* SPDX-License-Identifier: Apache-2.0 */
/* One row a variable: name, how it is read, where it goes, its limits and its default. */
#include "daemon/settings.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "auth/token.h"
#include "base/mem.h"
#include "base/thread.h"

enum kind {
    TEXT,
    INTEGER,
    SIZE,
    SWITCH,
    PORT,
    ADDRESS,
    ORIGINS,
    LABEL,
    LEVEL,
    FORMAT,
    ACCESS,
    ENGINE
};

struct variable {
    const char *name;
    enum kind kind;
    size_t at;
    int64_t least, most;
    const char *otherwise; /* default, as text; NULL: unset */
    const char *help;
};

#define AT(member) offsetof(struct settings, member)

static const struct variable variables[] = {
    {"OFFLOADER_CONFIG", TEXT, AT(config), 0, 0, NULL,
     "offloader.yml, its directory, or a gs:// or s3:// prefix (required)"},
    {"OFFLOADER_SECRET_KEY_BASE", TEXT, AT(secret), 0, 0, NULL,
     "at least 32 bytes; keys internal HMACs (required)"},
    {"OFFLOADER_CACHE_DIR", TEXT, AT(cache_dir), 0, 0, "/var/lib/offloader/cache",
     "disposable: snapshots ready to serve"},
    {"OFFLOADER_API_PORT", PORT, AT(api_port), 0, 65535, "4000", "port of the API"},
    {"OFFLOADER_ADMIN_PORT", PORT, AT(admin_port), 0, 65535, "4001", "port of the operators"},
    {"OFFLOADER_BIND", ADDRESS, AT(bind), 0, 0, "0.0.0.0", "address the API port binds to"},
    {"OFFLOADER_ADMIN_BIND", ADDRESS, AT(admin_bind), 0, 0, "127.0.0.1",
     "address the admin port binds to"},
    {"OFFLOADER_ADMIN_TOKEN", TEXT, AT(admin_token), 0, 0, NULL,
     "at least 16 visible ASCII characters, no comma; without it guarded routes refuse"},
    {"OFFLOADER_LOG_LEVEL", LEVEL, AT(log_level), 0, 0, "info", "debug, info, warn or error"},
    {"OFFLOADER_LOG_FORMAT", FORMAT, AT(log_format), 0, 0, NULL,
     "json or text (default: text on a terminal)"},
    {"OFFLOADER_ACCESS_LOG", ACCESS, AT(access_log), 0, 0, "off", "off, on, or sample:0.01"},
    {"OFFLOADER_CONFIG_SYNC_INTERVAL", INTEGER, AT(config_sync_interval_s), 0, 86400, "0",
     "seconds between looks at the project; 0: off"},
    {"OFFLOADER_REFRESH_INTERVAL", INTEGER, AT(refresh_interval_s), 0, 86400, "30",
     "seconds between looks at static manifests; 0: off"},
    {"OFFLOADER_REFRESH_CONCURRENCY", INTEGER, AT(refresh_concurrency), 1, 64, "2",
     "snapshots that are built at once"},
    {"OFFLOADER_CORS_ORIGINS", ORIGINS, AT(cors_origins), 0, 0, NULL,
     "*, or a comma-separated list of origins"},
    {"OFFLOADER_ENGINE", ENGINE, AT(engine_is_duckdb), 0, 0, "auto",
     "auto, or duckdb for comparison"},
    {"OFFLOADER_HTTP_THREADS", INTEGER, AT(http_threads), 1, 256, NULL,
     "event loops (default: the CPUs of the cgroup)"},
    {"OFFLOADER_POOL_SIZE", INTEGER, AT(pool_size), 1, 1024, "16", "workers for large scans"},
    {"OFFLOADER_REMOTE_SCAN_CONCURRENCY", INTEGER, AT(remote_scan_concurrency), 1, 1024, NULL,
     "workers that remote scans may take (default: the smaller of the pool and 16)"},
    {"OFFLOADER_QUEUE_TIMEOUT_MS", INTEGER, AT(queue_timeout_ms), 1, 60000, "250",
     "longest wait for a worker"},
    {"OFFLOADER_QUERY_TIMEOUT_MS", INTEGER, AT(query_timeout_ms), 1, 3600000, "10000",
     "longest run of a query"},
    {"OFFLOADER_INLINE_ROWS", INTEGER, AT(inline_rows), 0, INT64_MAX, "65536",
     "scans of more rows leave the event loop"},
    {"OFFLOADER_DUCKDB_THREADS", INTEGER, AT(duckdb_threads), 1, 1024, NULL,
     "threads of DuckDB (default: the CPUs of the cgroup)"},
    {"OFFLOADER_DUCKDB_MEMORY_LIMIT", SIZE, AT(duckdb_memory_bytes), 0, 0, NULL,
     "memory of DuckDB (default: 60 % of the cgroup's)"},
    {"OFFLOADER_INGEST_STALL_SECONDS", INTEGER, AT(ingest_stall_seconds), 1, 86400, "120",
     "an ingest without progress is ended"},
    {"OFFLOADER_SEND_BUFFER_BYTES", SIZE, AT(send_buffer_bytes), 0, 0, NULL,
     "answers not yet sent (default: a quarter of the cgroup's memory)"},
    {"OFFLOADER_ALLOW_LOOPBACK", SWITCH, AT(allow_loopback), 0, 0, "off",
     "sources on loopback addresses, for trials"},
    {"OFFLOADER_CACHE_MAX_ENTRIES", INTEGER, AT(cache_max_entries), 0, 100000000, "10000",
     "answers in the response cache"},
    {"OFFLOADER_CACHE_MAX_BYTES", SIZE, AT(cache_max_bytes), 0, 0, "256MiB",
     "bytes in the response cache"},
    {"OFFLOADER_REMOTE_CACHE_BYTES", SIZE, AT(remote_cache_bytes), 0, 0, "512MiB",
     "ranges of remote files kept on disk"},
    {"OFFLOADER_MAX_CONNECTIONS", INTEGER, AT(max_connections), 65, 1000000, NULL,
     "connections (default: the smaller of 10000 and 80 % of the descriptor limit)"},
    {"OFFLOADER_REQUEST_TIMEOUT_MS", INTEGER, AT(request_timeout_ms), 100, 600000, "5000",
     "a whole head must arrive within"},
    {"OFFLOADER_IDLE_TIMEOUT_MS", INTEGER, AT(idle_timeout_ms), 100, 86400000, "60000",
     "an idle connection is closed after"},
    {"OFFLOADER_DRAIN_SECONDS", INTEGER, AT(drain_seconds), 0, 86400, "15",
     "longest drain after SIGTERM"},
    {"OFFLOADER_RELEASE_ID", LABEL, AT(release), 0, 0, NULL, "name of this deployed revision"},
    {"OFFLOADER_IDEMPOTENCY_TTL_HOURS", INTEGER, AT(idempotency_ttl_hours), 1, 8760, "48",
     "how long answers of actions are kept"},
};

/* Read by other rooms, known here so that they are not called unknown. */
static const char *const elsewhere[] = {"OFFLOADER_S3_TYPE",
                                        "OFFLOADER_S3_KEY_ID",
                                        "OFFLOADER_S3_SECRET",
                                        "OFFLOADER_S3_SESSION_TOKEN",
                                        "OFFLOADER_S3_REGION",
                                        "OFFLOADER_S3_ENDPOINT",
                                        "OFFLOADER_S3_URL_STYLE",
                                        "OFFLOADER_S3_USE_SSL",
                                        "OFFLOADER_S3_AUTH",
                                        "OFFLOADER_GCS_ENDPOINT",
                                        "OFFLOADER_GCS_AUTH",
                                        "OFFLOADER_GCS_TOKEN",
                                        "OFFLOADER_GCS_METADATA_URL",
                                        "OFFLOADER_BIN",
                                        "OFFLOADER_FAULT",
                                        "OFFLOADER_KEY"};

bool settings_describe(size_t i, const char **ret_name, const char **ret_default,
                       const char **ret_help)
{
    if (i >= ARRAY_LEN(variables))
        return false;
    *ret_name = variables[i].name;
    *ret_default = variables[i].otherwise;
    *ret_help = variables[i].help;
    return true;
}

static void bad(struct errlist *findings, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void bad(struct errlist *findings, const char *name, const char *format, ...)
{
    char message[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args); /* cut: a message is for people */
    va_end(args);
    errlist_add(findings, FINDING_ERROR, "environment", 0, 0, name, "invalid_value", NULL, "%s",
                message);
}

/* Index of @value among the NULL-ended @words, or -1 after a finding. */
static int word_of(const struct variable *v, const char *value, const char *const *words,
                   struct errlist *findings)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(value, words[i]) == 0)
            return i;
    if (v->kind == SWITCH)
        bad(findings, v->name, "must be on or off");
    else
        bad(findings, v->name, "must be one of: %s", v->help);
    return -1;
}

static void read_access_log(const struct variable *v, const char *value, struct settings *s,
                            struct errlist *findings)
{
    s->access_log = ACCESS_LOG_OFF;
    if (strcmp(value, "on") == 0) {
        s->access_log = ACCESS_LOG_ON;
    } else if (strncmp(value, "sample:", 7) == 0 &&
               parse_double(str_from(value + 7), &s->access_log_share) &&
               s->access_log_share >= 0 && s->access_log_share <= 1) {
        s->access_log = ACCESS_LOG_SAMPLED;
    } else if (strcmp(value, "off") != 0) {
        bad(findings, v->name, "must be off, on, or sample:<share between 0 and 1>");
    }
}

static void read_word(const struct variable *v, const char *value, struct settings *s,
                      struct errlist *findings)
{
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    static const char *const formats[] = {"json", "text", NULL};
    static const char *const engines[] = {"auto", "duckdb", NULL};
    static const char *const switches[] = {"off", "0", "false", "on", "1", "true", NULL};
    int i;
    if (v->kind == LEVEL && (i = word_of(v, value, levels, findings)) >= 0)
        s->log_level = (enum log_level)i;
    else if (v->kind == FORMAT && (i = word_of(v, value, formats, findings)) >= 0)
        s->log_format = i == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
    else if (v->kind == ENGINE && (i = word_of(v, value, engines, findings)) >= 0)
        s->engine_is_duckdb = i == 1;
    else if (v->kind == SWITCH && (i = word_of(v, value, switches, findings)) >= 0)
        *(bool *)((char *)s + v->at) = i >= 3;
    else if (v->kind == ACCESS)
        read_access_log(v, value, s, findings);
}

static bool is_address(const char *value)
{
    struct in6_addr address;
    return inet_pton(AF_INET, value, &address) == 1 || inet_pton(AF_INET6, value, &address) == 1;
}

/* `scheme://host` or `scheme://host:port`, as a browser sends it: no path, no space. */
static bool is_origin(struct str s)
{
    const char *colon = s.n ? memmem(s.p, s.n, "://", 3) : NULL;
    size_t from = colon ? (size_t)(colon - s.p) + 3 : 0;
    if (!colon || colon == s.p || from == s.n)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || (i >= from && s.p[i] == '/'))
            return false;
    return true;
}

static bool are_origins(const char *value)
{
    if (strcmp(value, "*") == 0)
        return true;
    for (const char *p = value; *p;) {
        size_t n = strcspn(p, ",");
        if (!is_origin(str_trim((struct str){p, n})))
            return false;
        p += n + (p[n] == ',');
    }
    return true;
}

/* It stands in a header and in labels of metrics. */
static bool is_label(const char *value)
{
    size_t n =
        strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@+/-");
    return value[n] == 0 && n <= 200;
}

static void read_text(const struct variable *v, const char *value, const char **ret,
                      struct errlist *findings)
{
    *ret = value;
    if (v->kind == ADDRESS && !is_address(value))
        bad(findings, v->name, "must be an IP address such as 127.0.0.1, 0.0.0.0 or ::");
    else if (v->kind == ORIGINS && !are_origins(value))
        bad(findings, v->name,
            "must be * or a comma-separated list such as https://app.example.com");
    else if (v->kind == LABEL && !is_label(value))
        bad(findings, v->name, "must be at most 200 letters, digits and . _ : @ + / -");
}

static void read_one(const struct variable *v, const char *value, struct settings *s,
                     struct errlist *findings)
{
    char *field = (char *)s + v->at;
    int64_t n = 0;
    uint64_t size = 0;
    switch (v->kind) {
    case TEXT:
    case ADDRESS:
    case ORIGINS:
    case LABEL:
        read_text(v, value, (const char **)(void *)field, findings);
        return;
    case INTEGER:
    case PORT:
        if (!parse_int64(str_from(value), &n) || n < v->least || n > v->most)
            bad(findings, v->name, "must be an integer between %lld and %lld", (long long)v->least,
                (long long)v->most);
        *(int64_t *)(void *)field = n;
        return;
    case SIZE:
        if (!parse_size_bytes(str_from(value), &size) || size == 0)
            bad(findings, v->name, "must be a size such as 512MiB or 4GB");
        *(uint64_t *)(void *)field = size;
        return;
    case SWITCH:
    case LEVEL:
    case FORMAT:
    case ACCESS:
    case ENGINE:
        read_word(v, value, s, findings);
        return;
    }
}

static int64_t default_connections(void)
{
    struct rlimit limit; /* the hard one: the soft limit is raised to it at start */
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max == RLIM_INFINITY)
        return 10000;
    int64_t share = (int64_t)(limit.rlim_max / 5 * 4);
    return share < 10000 ? (share > 65 ? share : 65) : 10000;
}

/* What follows from the machine where nothing is set. */
static void fill_defaults(struct settings *s)
{
    if (!s->http_threads)
        s->http_threads = cpu_quota();
    if (!s->remote_scan_concurrency)
        s->remote_scan_concurrency = s->pool_size < 16 ? s->pool_size : 16;
    if (!s->duckdb_threads)
        s->duckdb_threads = cpu_quota();
    if (!s->duckdb_memory_bytes)
        s->duckdb_memory_bytes = memory_quota_bytes() / 10 * 6;
    if (!s->send_buffer_bytes)
        s->send_buffer_bytes = memory_quota_bytes() / 4;
    if (!s->max_connections)
        s->max_connections = default_connections();
}

static void check_required(const struct settings *s, struct errlist *findings)
{
    if (!s->config)
        errlist_add(findings, FINDING_ERROR, "environment", 0, 0, "OFFLOADER_CONFIG", "missing",
                    NULL, "is required: offloader.yml, its directory, or a gs:// or s3:// prefix");
    if (!s->secret)
        errlist_add(findings, FINDING_ERROR, "environment", 0, 0, "OFFLOADER_SECRET_KEY_BASE",
                    "missing", NULL,
                    "is required: at least 32 random bytes, the same on every instance");
    else if (strlen(s->secret) < 32)
        bad(findings, "OFFLOADER_SECRET_KEY_BASE", "must have at least 32 bytes");
    if (s->admin_token && *s->admin_token && strlen(s->admin_token) < 16)
        bad(findings, "OFFLOADER_ADMIN_TOKEN", "must have at least 16 bytes");
    else if (s->admin_token && *s->admin_token && !token_is_sendable(str_from(s->admin_token)))
        bad(findings, "OFFLOADER_ADMIN_TOKEN",
            "must be at most %d visible ASCII characters without a comma", LIMIT_TOKEN_BYTES);
    if (s->api_port && s->api_port == s->admin_port)
        bad(findings, "OFFLOADER_ADMIN_PORT", "must differ from OFFLOADER_API_PORT");
}

static void check_unknown(char *const *environment, struct errlist *findings)
{
    const char *names[ARRAY_LEN(variables) + ARRAY_LEN(elsewhere)];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        names[n++] = variables[i].name;
    for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
        names[n++] = elsewhere[i];
    for (; environment && *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        if (strncmp(*environment, "OFFLOADER_", 10) != 0 || !equals)
            continue;
        AUTO(mem_free_auto) char *name = x_strndup(*environment, (size_t)(equals - *environment));
        bool known = false;
        for (size_t i = 0; i < n; i++)
            known |= strcmp(name, names[i]) == 0;
        const char *nearest = known ? NULL : str_nearest(name, names, n);
        if (!known)
            errlist_add(findings, FINDING_WARNING, "environment", 0, 0, name, "unknown_variable",
                        NULL, nearest ? "is not known; did you mean %s?" : "is not known", nearest);
    }
}

void settings_read(const char *(*get)(const char *name), char *const *environment,
                   struct settings *s, struct errlist *findings)
{
    *s = (struct settings){.log_format = isatty(STDERR_FILENO) ? LOG_FORMAT_TEXT : LOG_FORMAT_JSON};
    for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
        const char *value = get(variables[i].name);
        if (!value || !*value)
            value = variables[i].otherwise;
        if (value)
            read_one(&variables[i], value, s, findings);
    }
    check_required(s, findings);
    check_unknown(environment, findings);
    fill_defaults(s);
    if (s->admin_token && !*s->admin_token)
        s->admin_token = NULL;
}
