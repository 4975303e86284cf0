/* SPDX-License-Identifier: Apache-2.0 */
/* Heads and bodies of answers. */
#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/timeutil.h"
#include "markup/markup.h"
#include "serve/serve_int.h"

#define TRACEPARENT_BYTES 55 /* of version 00 */

/* ---- parts ---- */

static bool is_listed(const char *origins, struct str origin)
{
    for (const char *p = origins; *p;) {
        size_t n = strcspn(p, ",");
        if (origin.n && str_eq(str_trim((struct str){p, n}), origin))
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

static void put_cors(const struct serve *s, struct buf *h, struct str origin)
{
    const char *origins = s->options.cors_origins;
    if (!origins)
        return;
    if (strcmp(origins, "*") == 0) {
        buf_put_literal(h, "Access-Control-Allow-Origin: *\r\n");
    } else if (is_listed(origins, origin)) {
        buf_put_literal(h, "Access-Control-Allow-Origin: ");
        buf_put_str(h, origin);
        buf_put_literal(h, "\r\nAccess-Control-Allow-Credentials: true\r\n");
    } else {
        return;
    }
    buf_put_literal(
        h, "Access-Control-Expose-Headers: ETag, Server-Timing, traceresponse, "
           "X-Request-Id, X-Content-Type-Options, X-Snapshot-Id, X-Row-Count, X-Watermark, "
           "X-Cache, X-Has-More, "
           "X-Next-Cursor, X-Total, X-Schema-Rev, X-Index-Hash, X-Model-Tag, X-Release\r\n");
}

void headers_common(const struct serve *s, struct buf *h, const char *request_id, struct str origin)
{
    const char *origins = s->options.cors_origins;
    buf_put_literal(h, "X-Request-Id: ");
    buf_put_cstr(h, request_id);
    buf_put_literal(h, "\r\nX-Content-Type-Options: nosniff\r\n"
                       "Vary: Accept, Accept-Encoding, Prefer");
    if (origins && strcmp(origins, "*") != 0)
        buf_put_literal(h, ", Origin");
    buf_put_literal(h, "\r\n");
    put_cors(s, h, origin);
    if (s->options.release) {
        buf_put_literal(h, "X-Release: ");
        buf_put_cstr(h, s->options.release);
        buf_put_literal(h, "\r\n");
    }
}

void headers_admin(const struct serve *s, struct buf *h, const char *request_id)
{
    buf_put_literal(h, "X-Request-Id: ");
    buf_put_cstr(h, request_id);
    buf_put_literal(h, "\r\nX-Content-Type-Options: nosniff\r\n");
    if (s->options.release) {
        buf_put_literal(h, "X-Release: ");
        buf_put_cstr(h, s->options.release);
        buf_put_literal(h, "\r\n");
    }
}

static bool is_hex_run(struct str s, size_t from, size_t n)
{
    bool any = false;
    for (size_t i = from; i < from + n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        any |= c != '0';
    }
    return any || n == 2;
}

/* W3C Trace Context: version 00, or a later one whose beginning is read as 00. */
static bool is_traceparent(struct str s)
{
    if (s.n < TRACEPARENT_BYTES || !is_hex_run(s, 0, 2) || (s.p[0] == 'f' && s.p[1] == 'f'))
        return false;
    bool is_first = s.p[0] == '0' && s.p[1] == '0';
    if (s.n > TRACEPARENT_BYTES && (is_first || s.p[TRACEPARENT_BYTES] != '-'))
        return false;
    return s.p[2] == '-' && s.p[35] == '-' && s.p[52] == '-' && is_hex_run(s, 3, 32) &&
           is_hex_run(s, 36, 16) && is_hex_run(s, 53, 2);
}

static void put_trace(struct job *j)
{
    if (!is_traceparent(j->traceparent))
        return;
    buf_put_literal(&j->headers, "traceresponse: ");
    buf_put(&j->headers, j->traceparent.p, TRACEPARENT_BYTES);
    buf_put_literal(&j->headers, "\r\n");
}

/* Microseconds as milliseconds with three decimals. */
static void put_ms(struct buf *b, struct str name, int64_t us)
{
    uint32_t fraction = us > 0 ? (uint32_t)((uint64_t)us % 1000) : 0;
    buf_put_str(b, name);
    buf_put_uint64(b, us > 0 ? (uint64_t)us / 1000 : 0);
    char text[4] = {'.', (char)('0' + fraction / 100), (char)('0' + fraction / 10 % 10),
                    (char)('0' + fraction % 10)};
    buf_put(b, text, sizeof text);
}

static void put_server_timing(struct job *j)
{
    struct buf *h = &j->headers;
    int64_t now_us = j->ended_us = monotonic_us();
    bool has_run = j->ran_us != 0;
    put_ms(h, STR("Server-Timing: auth;dur="), j->authenticated_us - j->arrived_us);
    put_ms(h, STR(", queue;dur="), has_run ? j->started_us - j->planned_us : 0);
    put_ms(h, STR(", query;dur="), has_run ? j->ran_us - j->started_us : 0);
    put_ms(h, STR(", encode;dur="), now_us - (has_run ? j->ran_us : j->planned_us));
    buf_put_literal(h, "\r\n");
}

static void put_pins(struct job *j)
{
    struct buf *h = &j->headers;
    buf_put_literal(h, "X-Schema-Rev: ");
    buf_put_int64(h, j->endpoint->endpoint->version);
    buf_put_literal(h, "\r\nX-Index-Hash: ");
    buf_put_cstr(h, j->snapshot->index_hash);
    if (j->snapshot->model_tag) {
        buf_put_literal(h, "\r\nX-Model-Tag: ");
        buf_put_cstr(h, j->snapshot->model_tag);
    }
    buf_put_literal(h, "\r\n");
}

void etag_make(const struct job *j, enum http_coding coding, char ret[ETAG_BYTES])
{
    /* Not a secret: the key is fixed so that every instance makes the same tag. */
    static const uint8_t key[16];
    uint8_t parts[32 + 32 + 3 + 16], digest[16];
    memcpy(parts, j->endpoint->endpoint->contract_hash, 32);
    memcpy(parts + 32, j->snapshot->fingerprint, 32);
    parts[64] = (uint8_t)j->form;
    parts[65] = (uint8_t)coding;
    parts[66] = j->plan.count_exact;
    siphash128(key, j->plan.canonical.p, j->plan.canonical.n, parts + 67);
    siphash128(key, parts, sizeof parts, digest);
    size_t n = 0;
    if (j->form == FORM_JSON) {
        memcpy(ret, "W/", 2);
        n = 2;
    }
    ret[n++] = '"';
    hex_encode(digest, sizeof digest, ret + n);
    n += 2 * sizeof digest;
    ret[n++] = '"';
    ret[n] = 0;
}

static void put_caching(struct job *j, const char *etag)
{
    struct buf *h = &j->headers;
    int64_t max_age = j->endpoint->endpoint->max_staleness_minutes * 60;
    if (!j->is_public) {
        buf_put_literal(h, "Cache-Control: private, no-store\r\n");
        return;
    }
    max_age = max_age == 0 ? 60 : max_age > 3600 ? 3600 : max_age;
    buf_put_literal(h, "Cache-Control: public, max-age=");
    buf_put_int64(h, max_age);
    buf_put_literal(h, ", stale-while-revalidate=60\r\nETag: ");
    buf_put_cstr(h, etag);
    buf_put_literal(h, "\r\n");
}

/* ---- the end of a request ---- */

static void count(struct job *j, int status)
{
    if (j->ended_us == 0)
        j->ended_us = monotonic_us();
    metrics_request(j->metrics_slot, metrics_status_of(status), j->ended_us - j->arrived_us);
    if (j->snapshot && status == 200 &&
        !atomic_load_explicit(&j->snapshot->warm, memory_order_relaxed))
        metrics_cold(j->metrics_slot);
}

bool is_access_logged(const struct serve *s, const char *request_id)
{
    if (s->options.access_log == ACCESS_LOG_OFF)
        return false;
    if (s->options.access_log == ACCESS_LOG_ON)
        return true;
    uint64_t roll = process_hash(request_id, strlen(request_id)) >> 11;
    return (double)roll * 0x1p-53 < s->options.access_log_share;
}

static void log_access(struct job *j, int status)
{
    if (!is_access_logged(j->home->serve, j->request_id))
        return;
    struct str trace = {NULL, 0};
    if (is_traceparent(j->traceparent))
        trace = (struct str){j->traceparent.p + 3, 32};
    log_event(LOG_INFO, "request", "answered", LF_STR("request_id", j->request_id),
              LF_STR("endpoint", j->endpoint ? j->endpoint->endpoint->name : "_unknown"),
              LF_INT("status", status), LF_STR("key", j->key ? j->key->id : ""),
              LF_STRN("trace", trace),
              LF_DBL("ms", (double)(j->ended_us - j->arrived_us) / 1000.0));
}

static void log_failure(const struct job *j, const char *message)
{
    log_event(LOG_ERROR, "request_failed", message, LF_STR("request_id", j->request_id),
              LF_STR("endpoint", j->endpoint ? j->endpoint->endpoint->name : "_unknown"));
}

/* Counts, logs and sends; of an answer that is not whole, the bare 500 that goes out instead. */
static void hand_out(struct job *j, struct http_answer *a)
{
    if (a->not_whole && a->status != 500)
        log_failure(j, "memory ran out while the answer was written");
    int status = http_hung_up(j->x) ? 499 : a->not_whole ? 500 : a->status;
    count(j, status);
    log_access(j, status);
    http_answer(j->x, a);
    job_done(j);
}

static void send_answer(struct job *j, int status, struct str body)
{
    struct http_answer a = {
        .status = status, .headers = {j->headers.p, j->headers.n}, .body = body};
    a.not_whole = j->headers.failed || j->body.failed;
    hand_out(j, &a);
}

const char *error_family(int status)
{
    switch (status) {
    case 401:
        return "unauthorized";
    case 404:
        return "not_found";
    case 409:
        return "revision_mismatch";
    case 410:
        return "cursor_expired";
    case 422:
        return "invalid_param";
    case 429:
        return "rate_limited";
    case 500:
        return "internal";
    case 503:
        return "not_ready";
    case 504:
        return "timeout";
    default:
        return "bad_request";
    }
}

void error_body(struct buf *b, const char *family, const char *message, const char *request_id)
{
    buf_put_literal(b, "{\"error\":{\"family\":");
    json_put_cstr(b, family);
    buf_put_literal(b, ",\"message\":");
    json_put_cstr(b, message);
    buf_put_literal(b, "},\"meta\":{\"request_id\":");
    json_put_cstr(b, request_id);
    buf_put_literal(b, "}}");
}

static void put_error_headers(struct buf *h, int status)
{
    buf_put_literal(h, "Content-Type: application/json\r\nCache-Control: no-store\r\n");
    if (status == 401)
        buf_put_literal(h, "WWW-Authenticate: Bearer\r\n");
    if (status == 503)
        buf_put_literal(h, "Retry-After: 1\r\n");
    if (status == 405)
        buf_put_literal(h, "Allow: GET, HEAD, OPTIONS\r\n");
}

void answer_error(struct job *j, int status, const char *message)
{
    /* Who waits for this answer gets the same one, unless it is our caller alone who went away. */
    int why = j->rc == RC_CANCELLED ? 0 : (int)j->rc | (j->is_over_groups ? WHY_OVER_GROUPS : 0);
    cache_abandon(j->home->serve->options.cache, TAKE(j->flight), why);
    buf_reset(&j->body);
    /* 429 has put its Retry-After there already. */
    put_error_headers(&j->headers, status);
    headers_common(j->home->serve, &j->headers, j->request_id, j->origin);
    put_trace(j);
    error_body(&j->body, error_family(status), message, j->request_id);
    if (status == 500)
        log_failure(j, j->err.message[0] ? j->err.message : message);
    send_answer(j, status, (struct str){j->body.p, j->body.n});
}

void answer_not_modified(struct job *j, const char *etag)
{
    headers_common(j->home->serve, &j->headers, j->request_id, j->origin);
    put_trace(j);
    put_caching(j, etag);
    put_pins(j);
    put_server_timing(j);
    send_answer(j, 304, (struct str){NULL, 0});
}

/* ---- 200 ---- */

void answer_health(struct job *j)
{
    static const char body[] = "{\"status\":\"ok\"}";
    j->authenticated_us = j->planned_us = j->arrived_us;
    buf_put_literal(&j->headers, "Content-Type: application/json\r\nCache-Control: no-store\r\n");
    headers_common(j->home->serve, &j->headers, j->request_id, j->origin);
    put_trace(j);
    put_server_timing(j);
    struct http_answer a = {
        .status = 200, .headers = {j->headers.p, j->headers.n}, .body = {body, sizeof body - 1}};
    a.not_whole = j->headers.failed != BUF_FINE;
    http_answer(j->x, &a); /* neither counted nor logged */
    job_done(j);
}

static const char *const cache_words[] = {"off", "miss", "hit"};

static void put_meta(struct job *j, const struct cache_body *body, struct buf *b)
{
    const struct endpoint *e = j->endpoint->endpoint;
    const struct snapshot *s = j->snapshot;
    int64_t now_us = wall_us();
    int64_t age_s = snapshot_age_us(s, now_us) / 1000000;
    buf_put_literal(b, ",\"meta\":{\"request_id\":\"");
    buf_put_cstr(b, j->request_id);
    buf_put_literal(b, "\",\"endpoint\":\"");
    buf_put_cstr(b, e->name);
    buf_put_literal(b, "\",\"version\":");
    buf_put_int64(b, e->version);
    buf_put_literal(b, ",\"snapshot_id\":\"");
    buf_put_cstr(b, s->snapshot_id); /* its alphabet needs no escape */
    buf_put_literal(b, "\",\"generated_at\":\"");
    buf_put_rfc3339(b, now_us);
    buf_put_literal(b, "\",\"row_count\":");
    buf_put_uint64(b, body->n_rows);
    if (e->serving_mode == MODE_REMOTE_SCAN)
        buf_put_literal(b, ",\"serving_mode\":\"remote_scan\",\"cache\":\"");
    else
        buf_put_literal(b, ",\"serving_mode\":\"local_table\",\"cache\":\"");
    buf_put_cstr(b, cache_words[j->cache_state]);
    buf_put_literal(b, "\",\"freshness\":{\"watermark\":\"");
    buf_put_cstr(b, s->watermark_text);
    buf_put_literal(b, "\",\"age_seconds\":");
    buf_put_int64(b, age_s);
    buf_put_literal(b, ",\"max_staleness_minutes\":");
    if (e->max_staleness_minutes)
        buf_put_int64(b, e->max_staleness_minutes);
    else
        buf_put_literal(b, "null");
    bool stale = e->max_staleness_minutes && age_s > e->max_staleness_minutes * 60;
    buf_put_cstr(b, stale ? ",\"stale\":true},\"page\":{\"limit\":"
                          : ",\"stale\":false},\"page\":{\"limit\":");
    buf_put_uint64(b, j->plan.limit);
    buf_put_literal(b, ",\"offset\":");
    buf_put_uint64(b, j->plan.position);
    buf_put_cstr(b, body->has_more ? ",\"has_more\":true" : ",\"has_more\":false");
    if (body->next_cursor.n) {
        buf_put_literal(b, ",\"next_cursor\":\"");
        buf_put_str(b, body->next_cursor);
        buf_putc(b, '"');
    }
    if (body->has_total) {
        buf_put_literal(b, ",\"total\":");
        buf_put_uint64(b, body->total);
    }
    buf_put_literal(b, "}}}");
}

/* meta of the forms that are rows only. */
static void put_meta_headers(struct job *j, const struct cache_body *body)
{
    struct buf *h = &j->headers;
    buf_put_literal(h, "X-Snapshot-Id: ");
    buf_put_cstr(h, j->snapshot->snapshot_id);
    buf_put_literal(h, "\r\nX-Row-Count: ");
    buf_put_uint64(h, body->n_rows);
    buf_put_literal(h, "\r\nX-Watermark: ");
    buf_put_cstr(h, j->snapshot->watermark_text);
    buf_put_literal(h, "\r\nX-Cache: ");
    buf_put_cstr(h, cache_words[j->cache_state]);
    buf_put_cstr(h, body->has_more ? "\r\nX-Has-More: true\r\n" : "\r\nX-Has-More: false\r\n");
    if (body->next_cursor.n) {
        buf_put_literal(h, "X-Next-Cursor: ");
        buf_put_str(h, body->next_cursor);
        buf_put_literal(h, "\r\n");
    }
    if (body->has_total) {
        buf_put_literal(h, "X-Total: ");
        buf_put_uint64(h, body->total);
        buf_put_literal(h, "\r\n");
    }
}

#define JSON_HEAD STR("{\"data\":")

struct str answer_head(const struct job *j)
{
    return j->form == FORM_JSON ? JSON_HEAD : (struct str){"", 0};
}

/* The cache key of the packed form of this answer's data: the plain key with the coding in its
 * place. */
static struct str packed_key(struct job *j)
{
    char *p = arena_try_strndup(&j->arena, j->cache_key.p, j->cache_key.n);
    if (!p)
        return (struct str){NULL, 0};
    p[9] = (char)j->coding; /* see cache_key_build() */
    return (struct str){p, j->cache_key.n};
}

bool packed_is_kept(struct job *j)
{
    struct str key = j->cache_state == JOB_CACHE_OFF ? (struct str){NULL, 0} : packed_key(j);
    struct cache_entry *kept = key.p ? cache_get(j->home->serve->options.cache, key) : NULL;
    cache_entry_unref(kept);
    return kept != NULL;
}

/* Compressed into j->body: by the kept blob where there is one. False: send it plain. */
static bool compress_answer(struct job *j, const struct cache_body *body, struct str tail)
{
    struct cache *c = j->home->serve->options.cache;
    struct str key = {NULL, 0};
    buf_reset(&j->body);
    if (j->cache_state != JOB_CACHE_OFF)
        key = packed_key(j);
    struct cache_entry *kept = key.p && !j->is_packed ? cache_get(c, key) : NULL;
    if (kept) {
        bool fine = splice_finish(j->coding, cache_entry_body(kept)->data, tail, &j->body);
        cache_entry_unref(kept);
        return fine;
    }
    if (!j->is_packed) {
        buf_reset(&j->packed);
        if (!splice_pack(j->coding, answer_head(j), body->data, &j->packed))
            return false;
    }
    struct cache_body blob = {.data = {j->packed.p, j->packed.n}, .coding = (uint8_t)j->coding};
    if (key.p)
        cache_put(c, key, &blob);
    return splice_finish(j->coding, blob.data, tail, &j->body);
}

static void put_content_type(struct job *j)
{
    switch (j->form) {
    case FORM_JSON:
        buf_put_literal(&j->headers, "Content-Type: application/json\r\n");
        return;
    case FORM_NDJSON:
        buf_put_literal(&j->headers, "Content-Type: application/x-ndjson\r\n");
        return;
    case FORM_CSV:
        buf_put_literal(&j->headers, "Content-Type: text/csv; charset=utf-8\r\n");
        return;
    case FORM_NONE:
        return;
    }
}

static void release_entry(void *entry)
{
    cache_entry_unref(entry);
}

/* The plain body. NDJSON and CSV are sent from the cache's own memory when they are there. */
static void send_plain(struct job *j, const struct cache_body *body, struct str tail)
{
    if (j->form != FORM_JSON) {
        struct http_answer a = {
            .status = 200, .headers = {j->headers.p, j->headers.n}, .body = body->data};
        a.not_whole = j->headers.failed != BUF_FINE;
        if (j->entry) {
            a.release = release_entry;
            a.release_arg = TAKE(j->entry);
        }
        hand_out(j, &a);
        return;
    }
    buf_reset(&j->body);
    buf_put_str(&j->body, JSON_HEAD);
    buf_put_str(&j->body, body->data);
    buf_put_str(&j->body, tail);
    send_answer(j, 200, (struct str){j->body.p, j->body.n});
}

void answer_rows(struct job *j, const struct cache_body *body)
{
    struct buf tail;
    char *room = arena_try(&j->arena, 1024 + body->next_cursor.n);
    char etag[ETAG_BYTES] = "";
    if (!room) {
        answer_error(j, 500, "the request needs more memory than is allowed");
        return;
    }
    tail = (struct buf){.p = room, .capacity = 1024 + body->next_cursor.n};
    tail.limit_bytes = tail.capacity;
    if (j->form == FORM_JSON)
        put_meta(j, body, &tail);
    assert(!tail.failed);
    struct str end = {tail.p, tail.n};
    size_t n_plain = body->data.n + tail.n + (j->form == FORM_JSON ? JSON_HEAD.n : 0);
    bool is_packed = j->coding != HTTP_IDENTITY && n_plain > COMPRESS_FROM_BYTES &&
                     compress_answer(j, body, end);
    if (!is_packed)
        j->coding = HTTP_IDENTITY;
    put_content_type(j);
    headers_common(j->home->serve, &j->headers, j->request_id, j->origin);
    put_trace(j);
    if (is_packed) {
        static const char *const words[] = {"identity", "gzip", "zstd", "br"};
        buf_put_literal(&j->headers, "Content-Encoding: ");
        buf_put_cstr(&j->headers, words[j->coding]);
        buf_put_literal(&j->headers, "\r\n");
    }
    if (j->is_public)
        etag_make(j, j->coding, etag);
    put_caching(j, etag);
    put_pins(j);
    if (j->form != FORM_JSON)
        put_meta_headers(j, body);
    put_server_timing(j);
    if (is_packed)
        send_answer(j, 200, (struct str){j->body.p, j->body.n});
    else
        send_plain(j, body, end);
}
