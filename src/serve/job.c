/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: made once, used again and again by their loop. */
#include "base/hash.h"
#include "base/mem.h"
#include "serve/serve_int.h"

#define LIMIT_FREE_JOBS 64
#define KEEP_BUFFER_BYTES (1u << 20) /* a larger one is given back after its request */

static void on_hangup(void *arg)
{
    struct job *j = arg;
    atomic_store_explicit(&j->cancelled, true, memory_order_relaxed);
}

/* Lists that came in several header lines, each joined to one. Rare: the common case copies
 * nothing. */
static void join_lists(struct job *j, const struct http_request *r)
{
    struct str *const fields[] = {&j->accept, &j->accept_encoding, &j->if_none_match, &j->prefer};
    static const char *const names[] = {"accept", "accept-encoding", "if-none-match", "prefer"};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        char *room = fields[i]->p ? arena_try(&j->arena, HTTP_LIMIT_HEAD_BYTES) : NULL;
        if (room)
            *fields[i] = http_header_join(r, names[i], room, HTTP_LIMIT_HEAD_BYTES);
    }
}

static void take_pins(struct job *j, const struct http_request *r)
{
    static const char *const names[] = {"x-schema-rev", "x-index-hash", "x-model-tag"};
    j->has_pin_conflict = false;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        j->pins[i] = (struct str){NULL, 0};
    for (int i = 0; i < r->n_headers; i++) {
        if ((r->headers[i].name.p[0] | 0x20) != 'x')
            continue;
        for (size_t k = 0; k < ARRAY_LEN(names); k++) {
            if (!str_eq_nocase(r->headers[i].name, str_from(names[k])))
                continue;
            j->has_pin_conflict |= j->pins[k].p && !str_eq(j->pins[k], r->headers[i].value);
            j->pins[k] = r->headers[i].value;
        }
    }
}

static void take_request(struct job *j, struct http_exchange *x, const struct http_request *r)
{
    j->x = x;
    j->is_head = r->method == HTTP_HEAD;
    j->accept = r->accept;
    j->accept_encoding = r->accept_encoding;
    j->if_none_match = r->if_none_match;
    j->origin = r->origin;
    j->prefer = r->prefer;
    j->traceparent = r->traceparent;
    j->arrived_us = r->arrived_us;
    request_id_choose(r->request_id, j->request_id);
    take_pins(j, r);
    if (r->has_repeated)
        join_lists(j, r);
}

struct job *job_take(struct serve_loop *home, struct http_exchange *x, const struct http_request *r)
{
    struct job *j = home->free_jobs;
    if (j) {
        home->free_jobs = j->next_free;
        home->n_free_jobs--;
    } else {
        j = try_alloc0(sizeof *j);
        if (!j)
            return NULL;
        arena_init(&j->arena, JOB_ARENA_BYTES);
        buf_init(&j->data, LIMIT_ANSWER_BYTES);
        buf_init(&j->headers, LIMIT_HEADERS_BYTES);
        buf_init(&j->body, 2 * (size_t)LIMIT_ANSWER_BYTES);
        buf_init(&j->packed, 2 * (size_t)LIMIT_ANSWER_BYTES);
        buf_init(&j->next_cursor, CURSOR_LIMIT_BYTES + 256);
        j->home = home;
    }
    j->is_admin_port = false;
    j->view = NULL;
    j->is_away = false;
    j->endpoint = NULL;
    j->snapshot = NULL;
    j->key = NULL;
    j->is_public = false;
    j->metrics_slot = METRICS_UNKNOWN;
    j->form = FORM_JSON;
    j->coding = HTTP_IDENTITY;
    j->cache_state = JOB_CACHE_OFF;
    j->is_packed = false;
    j->total_known = false;
    j->rc = RC_OK;
    j->is_over_groups = false;
    j->err.rc = RC_OK;
    j->err.code[0] = j->err.message[0] = 0;
    j->authenticated_us = j->planned_us = j->started_us = j->ran_us = j->ended_us = 0;
    atomic_store_explicit(&j->cancelled, false, memory_order_relaxed);
    take_request(j, x, r);
    return j;
}

static void trim(struct buf *b)
{
    size_t limit = b->limit_bytes;
    if (b->capacity > KEEP_BUFFER_BYTES) {
        buf_done(b);
        buf_init(b, limit);
    }
    buf_reset(b);
}

void job_done(struct job *j)
{
    struct serve_loop *home = j->home;
    cache_entry_unref(j->entry);
    j->entry = NULL;
    assert(!j->flight);
    if (j->is_away) {
        snapshot_unref(j->snapshot);
        view_unref(j->view);
    }
    arena_reset(&j->arena);
    trim(&j->data);
    trim(&j->headers);
    trim(&j->body);
    trim(&j->packed);
    buf_reset(&j->next_cursor);
    if (home->n_free_jobs < LIMIT_FREE_JOBS) {
        j->next_free = home->free_jobs;
        home->free_jobs = j;
        home->n_free_jobs++;
        return;
    }
    arena_done(&j->arena);
    buf_done(&j->data);
    buf_done(&j->headers);
    buf_done(&j->body);
    buf_done(&j->packed);
    buf_done(&j->next_cursor);
    mem_free(j);
}

void job_go_away(struct job *j)
{
    assert(!j->is_away);
    j->is_away = true;
    (void)view_ref(j->view);
    (void)snapshot_ref(j->snapshot);
    http_on_hangup(j->x, on_hangup, j);
}

/* ---- request ids ---- */

static bool is_request_id(struct str s)
{
    if (s.n < 8 || s.n > 128)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alphanumeric =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alphanumeric && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

void request_id_choose(struct str sent, char ret[REQUEST_ID_BYTES])
{
    /* xorshift128+ (Vigna), seeded once a thread: ids need to differ, not to be secret. */
    static _Thread_local uint64_t state[2];
    if (is_request_id(sent)) {
        memcpy(ret, sent.p, sent.n);
        ret[sent.n] = 0;
        return;
    }
    if (!state[0] && !state[1])
        random_bytes(state, sizeof state);
    uint64_t words[2];
    for (int i = 0; i < 2; i++) {
        uint64_t a = state[0], b = state[1];
        words[i] = a + b;
        a ^= a << 23;
        state[0] = b;
        state[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
    }
    hex_encode(words, sizeof words, ret);
}
