/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST actions. The order of checks is token (done), idempotency, dataset, body. An action runs on
 * a thread of its own; when its caller leaves it goes on, and its answer is stored for a repeat.
 */
#include <stdio.h>

#include "admin/admin_int.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "markup/markup.h"
#include "metrics/metrics.h"

enum action_kind {
    ACTION_REFRESH,
    ACTION_ROLLBACK,
    ACTION_HOLD,
    ACTION_RELEASE,
    ACTION_RELOAD,
    N_ACTIONS
};

struct action {
    struct admin *admin;
    struct http_exchange *x; /* NULL: answered already (respond-async) */
    struct loop *loop;
    struct loop_message message;
    enum action_kind kind;
    char request_id[REQUEST_ID_BYTES];
    char *dataset;
    char *key;     /* Idempotency-Key; NULL: none */
    char *request; /* what must be the same for a repeat: path, line feed, body; any bytes */
    size_t n_request, body_at;
    /* from the body */
    bool override_checks;
    char *source_id, *event_rev;
    char *event_key; /* owned while an event is being handled */
    /* the answer */
    int status; /* 0: to be acted on */
    struct buf answer;
    bool is_replay, is_deduplicated;
};

static enum action_kind kind_of(struct str path, struct str *ret_dataset)
{
    static const char *const plain[] = {
        [ACTION_HOLD] = "/hold", [ACTION_RELEASE] = "/release", [ACTION_RELOAD] = "/reload"};
    static const char *const suffixes[] = {
        [ACTION_REFRESH] = "/refresh", [ACTION_ROLLBACK] = "/rollback"};
    *ret_dataset = (struct str){NULL, 0};
    for (int k = ACTION_HOLD; k <= ACTION_RELOAD; k++)
        if (str_is(path, plain[k]))
            return (enum action_kind)k;
    for (int k = ACTION_REFRESH; k <= ACTION_ROLLBACK; k++) {
        size_t n = sizeof "/datasets/" - 1, m = strlen(suffixes[k]);
        if (!str_starts(path, "/datasets/") || !str_ends(path, suffixes[k]) || path.n <= n + m)
            continue;
        struct str id = {path.p + n, path.n - n - m};
        if (memchr(id.p, '/', id.n))
            continue;
        *ret_dataset = id;
        return (enum action_kind)k;
    }
    return N_ACTIONS;
}

bool action_exists(struct str path)
{
    struct str dataset;
    return kind_of(path, &dataset) != N_ACTIONS;
}

static void action_free(struct action *a)
{
    mem_free(a->dataset);
    mem_free(a->key);
    mem_free(a->request);
    mem_free(a->source_id);
    mem_free(a->event_rev);
    mem_free(a->event_key);
    buf_done(&a->answer);
    mem_free(a);
}

/* ---- answers ---- */

static void set_error(struct action *a, int status, const char *family, const char *message)
{
    a->status = status;
    buf_reset(&a->answer);
    error_body(&a->answer, family, message, a->request_id);
}

static void set_attempt_conflict(struct action *a, const struct attempt *attempt)
{
    struct json_writer w;
    a->status = 409;
    buf_reset(&a->answer);
    jw_init(&w, &a->answer);
    jw_open(&w, '{');
    jw_key(&w, "error");
    jw_open(&w, '{');
    jw_key(&w, "family");
    jw_cstr(&w, "conflict");
    jw_key(&w, "message");
    jw_cstr(&w, attempt->message);
    jw_close(&w, '}');
    jw_key(&w, "meta");
    jw_open(&w, '{');
    jw_key(&w, "request_id");
    jw_cstr(&w, a->request_id);
    jw_close(&w, '}');
    jw_key(&w, "attempt");
    jw_open(&w, '{');
    jw_key(&w, "snapshot_id");
    jw_cstr(&w, *attempt->snapshot_id ? attempt->snapshot_id : NULL);
    jw_key(&w, "status");
    jw_cstr(&w, attempt_status_name(attempt->status));
    jw_key(&w, "error");
    jw_open(&w, '{');
    jw_key(&w, "code");
    jw_cstr(&w, *attempt->code ? attempt->code : "failed");
    jw_key(&w, "message");
    jw_cstr(&w, attempt->message);
    jw_close(&w, '}');
    jw_close(&w, '}');
    jw_close(&w, '}');
}

static void set_dataset_answer(struct action *a, const char *snapshot_id, const char *status,
                               const char *dedupe_key)
{
    struct json_writer w;
    a->status = 200;
    buf_reset(&a->answer);
    jw_init(&w, &a->answer);
    jw_open(&w, '{');
    jw_key(&w, "dataset");
    jw_cstr(&w, a->dataset);
    jw_key(&w, "snapshot_id");
    jw_cstr(&w, *snapshot_id ? snapshot_id : NULL);
    jw_key(&w, "status");
    jw_cstr(&w, status);
    if (dedupe_key) {
        jw_key(&w, "dedupe_key");
        jw_cstr(&w, dedupe_key);
    }
    jw_close(&w, '}');
}

/* ---- acting, on the action's own thread ---- */

static void make_dedupe_key(struct action *a, char ret[SHA256_HEX_BYTES])
{
    char hash[17];
    uint8_t digest[32];
    refresh_index_hash(a->admin->options.refresh, str_from(a->dataset), hash);
    AUTO(mem_free_auto) char *text = x_printf("%s\n%s\n%s", a->source_id, a->event_rev, hash);
    sha256(text, strlen(text), digest);
    hex_encode(digest, sizeof digest, ret);
}

static void note_refresh(const struct action *a, const char *dedupe_key)
{
    struct event_field fields[2];
    size_t n = 0;
    if (*dedupe_key)
        fields[n++] = (struct event_field){"dedupe_key", dedupe_key};
    if (a->override_checks)
        fields[n++] = (struct event_field){"override_checks", "true"};
    events_add(EVENT_ACTION, a->dataset, fields, n,
               a->override_checks ? "refresh asked for, quality checks overridden"
                                  : "refresh asked for");
}

static void act_refresh(struct action *a)
{
    struct attempt attempt;
    struct err err = ERR_INIT;
    char dedupe_key[SHA256_HEX_BYTES] = "";
    if (a->source_id)
        make_dedupe_key(a, dedupe_key);
    note_refresh(a, dedupe_key);
    enum rc rc = refresh_dataset(a->admin->options.refresh, str_from(a->dataset),
                                 a->override_checks, &attempt, &err);
    if (rc == RC_NOT_FOUND)
        set_error(a, 404, "not_found", err.message);
    else if (rc != RC_OK)
        set_error(a, 503, "not_ready", err.message);
    else if (attempt.status == ATTEMPT_OK || attempt.status == ATTEMPT_UNCHANGED)
        set_dataset_answer(a, attempt.snapshot_id, attempt_status_name(attempt.status),
                           a->source_id ? dedupe_key : NULL);
    else
        set_attempt_conflict(a, &attempt);
}

static void act_rollback(struct action *a)
{
    struct err err = ERR_INIT;
    char snapshot_id[201] = "";
    events_add(EVENT_ACTION, a->dataset, NULL, 0, "rollback asked for");
    enum rc rc =
        refresh_rollback(a->admin->options.refresh, str_from(a->dataset), snapshot_id, &err);
    if (rc == RC_NOT_FOUND)
        set_error(a, 404, "not_found", "there is no such dataset");
    else if (rc == RC_CONFLICT)
        set_error(a, 409, "conflict", err.message);
    else if (rc != RC_OK)
        set_error(a, 503, "not_ready", err.message);
    else
        set_dataset_answer(a, snapshot_id, "ok", NULL);
}

static void act_hold(struct action *a, bool held)
{
    refresh_hold(a->admin->options.refresh, held);
    events_add(EVENT_ACTION, NULL, NULL, 0,
               held ? "automatic refreshes held" : "automatic refreshes go on");
    a->status = 200;
    buf_put_cstr(&a->answer, held ? "{\"held\":true}" : "{\"held\":false}");
}

static void act_reload(struct action *a)
{
    enum reload_result result = RELOAD_UNCHANGED;
    char revision[17] = "";
    struct err err = ERR_INIT;
    events_add(EVENT_ACTION, NULL, NULL, 0, "reload asked for");
    enum rc rc = refresh_reload(a->admin->options.refresh, &result, revision, &err);
    if (rc != RC_OK) {
        bool comes_later = rc == RC_BUSY || rc == RC_UNAVAILABLE; /* no word about the revision */
        set_error(a, comes_later ? 503 : 409, comes_later ? "not_ready" : "conflict", err.message);
        return;
    }
    a->status = 200;
    buf_printf(&a->answer, "{\"result\":\"%s\",\"revision\":\"%s\"}",
               result == RELOAD_APPLIED ? "applied" : "unchanged", revision);
}

static void act(struct action *a)
{
    switch (a->kind) {
    case ACTION_REFRESH:
        act_refresh(a);
        break;
    case ACTION_ROLLBACK:
        act_rollback(a);
        break;
    case ACTION_HOLD:
    case ACTION_RELEASE:
        act_hold(a, a->kind == ACTION_HOLD);
        break;
    case ACTION_RELOAD:
        act_reload(a);
        break;
    case N_ACTIONS:
        break;
    }
}

/* Only 200s and 409s of the act itself, and what a repeat would get again, are kept. */
static bool is_stored(int status)
{
    return status != 401 && status < 500;
}

/* Keeps an answer for the repeats of its request; one that memory was short for is not a whole
 * document: then a repeat acts anew. */
static void keep_answer(struct action *a, struct str key, bool is_wanted)
{
    struct idempotency *store = a->admin->idempotency;
    if (is_wanted && !a->answer.failed)
        idempotency_finish(store, key, a->status, (struct str){a->answer.p, a->answer.n});
    else
        idempotency_forget(store, key);
}

/* A producer's event acts once: a repeat, also one beside the first, gets the first result. */
static void act_on_event(struct action *a)
{
    struct idempotency *store = a->admin->idempotency;
    char *body = NULL;
    a->event_key = x_printf("event\n%s\n%s\n%s", a->dataset, a->source_id, a->event_rev);
    struct str key = str_from(a->event_key);
    enum idempotency_outcome outcome =
        idempotency_begin(store, key, STR("event"), true, &a->status, &body);
    if (outcome == IDEMPOTENCY_STORED) {
        a->is_deduplicated = true;
        metrics_add(METRIC_dedupe_hits_total, 1);
        buf_put_cstr(&a->answer, body);
        mem_free(body);
        return;
    }
    act(a);
    if (outcome == IDEMPOTENCY_FRESH)
        keep_answer(a, key, a->status == 200); /* a failed event may come again and act */
}

/* ---- how many run ---- */

static bool take_place(struct admin *admin, enum action_kind kind)
{
    LOCKED(&admin->lock);
    bool is_refresh = kind == ACTION_REFRESH;
    if (admin->stopping || admin->n_actions >= LIMIT_ACTIONS ||
        (is_refresh && admin->n_refreshes >= LIMIT_REFRESHES))
        return false;
    admin->n_actions++;
    admin->n_refreshes += is_refresh;
    return true;
}

static void give_place(struct admin *admin, enum action_kind kind)
{
    LOCKED(&admin->lock);
    admin->n_actions--;
    admin->n_refreshes -= kind == ACTION_REFRESH;
    cond_broadcast(&admin->changed);
}

static void answer_action(struct loop_message *m)
{
    struct action *a = (struct action *)((char *)m - offsetof(struct action, message));
    struct admin *admin = a->admin;
    enum action_kind kind = a->kind;
    struct str extra = a->is_replay         ? STR("Idempotent-Replay: true\r\n")
                       : a->is_deduplicated ? STR("Deduplicated: true\r\n")
                       : a->status == 503   ? STR("Retry-After: 1\r\n")
                                            : (struct str){"", 0};
    admin_answer(admin, a->x, a->status, "application/json", extra, &a->answer, a->request_id);
    action_free(a);
    give_place(admin, kind);
}

static void *action_main(void *arg)
{
    struct action *a = arg;
    struct admin *admin = a->admin;
    enum action_kind kind = a->kind;
    if (!a->status && a->source_id)
        act_on_event(a);
    else if (!a->status)
        act(a);
    if (a->key)
        keep_answer(a, str_from(a->key), is_stored(a->status));
    if (a->x) {
        a->message.run = answer_action;
        loop_post(a->loop, &a->message);
        return NULL;
    }
    action_free(a);
    give_place(admin, kind);
    return NULL;
}

/* ---- reading the request ---- */

static bool is_event_word(const struct node *n)
{
    if (n->kind != NODE_STRING || n->text.n < 1 || n->text.n > 200)
        return false;
    for (size_t i = 0; i < n->text.n; i++) {
        char c = n->text.p[i];
        bool alphanumeric =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alphanumeric && !memchr("._:-", c, 4))
            return false;
    }
    return true;
}

/* NULL when the body is fine; else what is wrong with it. */
static const char *take_body(struct action *a, const struct node *root)
{
    if (root->kind != NODE_MAP)
        return "the body must be a JSON object";
    for (const struct node *n = root->first; n; n = n->next) {
        bool is_flag = str_is(n->key, "override_checks");
        bool is_word = str_is(n->key, "source_id") || str_is(n->key, "event_rev");
        if (a->kind != ACTION_REFRESH || (!is_flag && !is_word))
            return "the body has a field that this action does not know";
        if (is_flag && n->kind != NODE_BOOL)
            return "override_checks must be true or false";
        if (is_word && !is_event_word(n))
            return "source_id and event_rev must be 1 to 200 letters, digits or any of . _ : -";
        if (is_flag)
            a->override_checks = n->boolean;
        else if (str_is(n->key, "source_id"))
            a->source_id = x_strndup(n->text.p, n->text.n);
        else
            a->event_rev = x_strndup(n->text.p, n->text.n);
    }
    if (!a->source_id != !a->event_rev)
        return "source_id and event_rev belong together";
    return NULL;
}

static const char *read_body(struct action *a)
{
    struct str body = {a->request + a->body_at, a->n_request - a->body_at};
    struct arena arena;
    struct err err = ERR_INIT;
    if (body.n == 0)
        return NULL;
    arena_init(&arena, 4u << 20);
    const struct node *root = json_parse(body, &arena, &err);
    const char *problem = root ? take_body(a, root) : "the body is not valid JSON";
    arena_done(&arena);
    return problem;
}

static bool is_key(struct str s)
{
    if (s.n < 1 || s.n > 200)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return true;
}

/* False after an answer: a repeat, one in flight, a misused or malformed key. */
static bool pass_idempotency(struct action *a, struct str key)
{
    char *body = NULL;
    if (!key.p)
        return true;
    if (!is_key(key)) {
        set_error(a, 400, "bad_request",
                  "Idempotency-Key must stand once, with 1 to 200 visible ASCII characters");
        return false;
    }
    a->key = x_strndup(key.p, key.n);
    struct str request = {a->request, a->n_request};
    switch (idempotency_begin(a->admin->idempotency, key, request, false, &a->status, &body)) {
    case IDEMPOTENCY_FRESH:
        return true;
    case IDEMPOTENCY_STORED:
        a->is_replay = true;
        metrics_add(METRIC_idempotent_replays_total, 1);
        buf_put_cstr(&a->answer, body);
        mem_free(body);
        break;
    case IDEMPOTENCY_RUNNING:
        set_error(a, 409, "conflict",
                  "the first request with this Idempotency-Key is still running");
        break;
    case IDEMPOTENCY_MISMATCH:
        set_error(a, 422, "invalid_param", "this Idempotency-Key was used for another request");
        break;
    }
    mem_free(a->key);
    a->key = NULL;
    return false;
}

static bool pass_dataset_and_body(struct action *a)
{
    const char *problem = NULL;
    if (a->dataset && !refresh_has_dataset(a->admin->options.refresh, str_from(a->dataset)))
        set_error(a, 404, "not_found", "there is no such dataset");
    else if ((problem = read_body(a)) != NULL)
        set_error(a, 400, "bad_request", problem);
    else
        return true;
    return false;
}

static void answer_now(struct action *a)
{
    struct str extra = a->is_replay       ? STR("Idempotent-Replay: true\r\n")
                       : a->status == 409 ? STR("Retry-After: 1\r\n")
                                          : (struct str){"", 0};
    admin_answer(a->admin, a->x, a->status, "application/json", extra, &a->answer, a->request_id);
    action_free(a);
}

static void answer_accepted(struct admin *admin, struct http_exchange *x, const char *request_id)
{
    struct buf body;
    buf_init(&body, 64);
    buf_put_literal(&body, "{\"status\":\"accepted\"}");
    admin_answer(admin, x, 202, "application/json", (struct str){"", 0}, &body, request_id);
    buf_done(&body);
}

static void start(struct action *a, bool async)
{
    struct admin *admin = a->admin;
    struct http_exchange *x = a->x;
    enum action_kind kind = a->kind;
    struct err err = ERR_INIT;
    pthread_t thread;
    char request_id[REQUEST_ID_BYTES];
    memcpy(request_id, a->request_id, sizeof request_id);
    if (async)
        a->x = NULL;
    bool room = take_place(admin, kind);
    if (room && thread_start(&thread, "action", action_main, a, &err) == RC_OK) {
        (void)pthread_detach(thread); /* admin_free() waits for n_actions */
        if (async)
            answer_accepted(admin, x, request_id);
        return;
    }
    if (room)
        give_place(admin, kind);
    if (a->key)
        idempotency_forget(admin->idempotency, str_from(a->key));
    action_free(a);
    admin_error(admin, x, 503, "not_ready", "too many actions are running; try again soon",
                request_id);
}

static void keep_request(struct action *a, struct str path, struct str body)
{
    a->body_at = path.n + 1;
    a->n_request = a->body_at + body.n;
    a->request = x_alloc(a->n_request);
    memcpy(a->request, path.p, path.n);
    a->request[path.n] = '\n';
    if (body.n)
        memcpy(a->request + a->body_at, body.p, body.n);
}

void action_begin(struct admin *admin, struct http_exchange *x, const struct http_request *r,
                  struct str path, const char *request_id)
{
    struct action *a = x_alloc0(sizeof *a);
    struct str dataset;
    a->admin = admin;
    a->x = x;
    a->loop = http_exchange_loop(x);
    a->kind = kind_of(path, &dataset);
    a->dataset = dataset.p ? x_strndup(dataset.p, dataset.n) : NULL;
    keep_request(a, path, r->body);
    memcpy(a->request_id, request_id, strlen(request_id) + 1);
    buf_init(&a->answer, 1u << 20);
    int n_keys = 0;
    struct str key = http_header_get(r, "idempotency-key", &n_keys);
    if (n_keys > 1) /* which of them is meant nobody knows: acted on, a repeat might act again */
        key = (struct str){"", 0};
    if (pass_idempotency(a, key) && pass_dataset_and_body(a))
        start(a, http_prefers(r->prefer, STR("respond-async")));
    else if (a->key)
        start(a, false); /* the refusal is kept, and a loop waits for no disk */
    else
        answer_now(a);
}
