/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a plan to rows: the cache, a flight of somebody else's, the store on this loop, or the pool.
 * What leaves the loop comes back as a message; job_finish() runs on the loop in every case.
 */
#include "base/log.h"
#include "base/timeutil.h"
#include "serve/serve_int.h"

#define LIMIT_POSITION_BYTES (64u << 20)
#define JOB_OF(pointer, member) ((struct job *)((char *)(pointer)-offsetof(struct job, member)))

/*
 * generation u64 | form u8 | coding u8 | count u8 | contract 16 |
 *   tenant length u32, tenant | canonical
 *
 * The generation comes first for cache_drop_generations(), the coding at 9 for packed_key().
 */
void cache_key_build(struct job *j)
{
    const struct plan *p = &j->plan;
    uint32_t n_tenant = (uint32_t)p->tenant.n;
    size_t n = 8 + 3 + 16 + 4 + n_tenant + p->canonical.n;
    char *key = arena_try(&j->arena, n), *to = key;
    j->cache_key = (struct str){key, key ? n : 0};
    if (!key)
        return;
    memcpy(to, &j->snapshot->generation, 8);
    to[8] = (char)j->form;
    to[9] = (char)HTTP_IDENTITY;
    to[10] = (char)p->count_exact;
    memcpy(to + 11, p->shape->endpoint->contract_hash, 16);
    memcpy(to + 27, &n_tenant, 4);
    if (n_tenant)
        memcpy(to + 31, p->tenant.p, n_tenant);
    memcpy(to + 31 + n_tenant, p->canonical.p, p->canonical.n);
}

/* As above for a total: form 255, and only what decides which rows match. */
static struct str total_key(struct job *j)
{
    const struct plan *p = &j->plan;
    uint32_t n_tenant = (uint32_t)p->tenant.n;
    size_t n = 31 + n_tenant + p->filter_key.n;
    char *key = arena_try(&j->arena, n);
    if (!key)
        return (struct str){NULL, 0};
    memcpy(key, &j->snapshot->generation, 8);
    memset(key + 8, 0xff, 3);
    memcpy(key + 11, p->shape->endpoint->contract_hash, 16);
    memcpy(key + 27, &n_tenant, 4);
    if (n_tenant)
        memcpy(key + 31, p->tenant.p, n_tenant);
    if (p->filter_key.n)
        memcpy(key + 31 + n_tenant, p->filter_key.p, p->filter_key.n);
    return (struct str){key, n};
}

/* A total is counted once a snapshot and filter. */
static void find_total(struct job *j)
{
    if (!j->plan.count_exact)
        return;
    struct str key = total_key(j);
    struct cache_entry *e = key.p ? cache_get(j->home->serve->options.cache, key) : NULL;
    if (!e)
        return;
    j->total = cache_entry_body(e)->total;
    j->total_known = true;
    j->plan.query.count_total = false;
    cache_entry_unref(e);
}

static void keep_total(struct job *j)
{
    struct str key = total_key(j);
    struct cache_body body = {.total = j->result.total, .has_total = true};
    j->total = j->result.total;
    j->total_known = true;
    if (key.p)
        cache_put(j->home->serve->options.cache, key, &body);
}

/* ---- executing, on whatever thread ---- */

/* As the endpoint's mode says; the other way where the snapshot was built before a reload asked for
 * this one. The rows are the same, so nobody waits for the rebuild. */
static bool uses_store(const struct job *j)
{
    const struct snapshot *s = j->snapshot;
    if (j->home->serve->options.engine_is_duckdb || !s->store)
        return false;
    return !s->source || j->endpoint->endpoint->serving_mode == MODE_LOCAL_TABLE;
}

/* Does it take one of the workers that remote scans may have? */
static bool is_remote_scan(const struct job *j)
{
    return !uses_store(j) && (!j->home->serve->options.engine_is_duckdb ||
                              j->endpoint->endpoint->serving_mode == MODE_REMOTE_SCAN);
}

static void write_cursor(struct job *j)
{
    struct cursor_binding binding = {
        .endpoint = j->endpoint->endpoint,
        .dataset = j->endpoint->dataset,
        .tenant = j->plan.tenant,
        .snapshot_fingerprint = j->snapshot->fingerprint,
    };
    buf_reset(&j->next_cursor);
    if (!j->result.has_more || j->rc != RC_OK)
        return;
    if (!cursor_write(&binding, &j->plan, &j->result, j->plan.position + j->result.n_rows,
                      &j->next_cursor))
        j->rc = RC_NO_MEMORY;
}

/* @on_loop: RC_BUSY, and nothing counted, when the store would have to be read from its disk. */
static void execute(struct job *j, struct store_scratch *scratch, bool on_loop)
{
    const struct serve_options *o = &j->home->serve->options;
    j->started_us = monotonic_us();
    struct query_control control = {
        .deadline_us = j->started_us + o->query_timeout_us,
        .cancelled = j->is_away ? &j->cancelled : NULL,
        .only_in_memory = on_loop,
    };
    bool in_store = uses_store(j);
    AUTO(buf_done) struct buf keep; /* texts of the last row's position */
    buf_init(&keep, LIMIT_POSITION_BYTES);
    struct encoder encoder;
    encoder_begin(&encoder, &j->plan, j->form, &j->data);
    if (in_store)
        j->rc = store_execute(j->snapshot->store, &j->plan.query, &control, encoder_sink(&encoder),
                              scratch, &j->result, NULL, &j->err);
    else if (o->engine && j->snapshot->source)
        j->rc = engine_execute(o->engine, j->snapshot->source, &j->plan.query, &control,
                               encoder_sink(&encoder), &keep, &j->result, NULL, &j->err);
    else
        j->rc = err_set(&j->err, RC_UNAVAILABLE, "no executor for this endpoint is loaded");
    j->is_over_groups = j->rc == RC_LIMIT && strcmp(j->err.code, STORE_TOO_MANY_GROUPS) == 0;
    enum rc encoded = encoder_end(&encoder);
    if (j->rc == RC_OK)
        j->rc = encoded;
    write_cursor(j); /* before anybody else uses the executor's scratch */
    if (j->rc != RC_OK && !j->err.message[0])
        (void)err_set(&j->err, j->rc, "the answer could not be written: %s", rc_name(j->rc));
    j->ran_us = monotonic_us();
    if (j->rc == RC_BUSY)
        return;
    metrics_query(in_store ? MEXEC_STORE : MEXEC_DUCKDB, j->ran_us - j->started_us);
}

static void on_back(struct loop_message *m)
{
    job_finish(JOB_OF(m, message));
}

static void go_back(struct job *j)
{
    j->message.run = on_back;
    loop_post(j->home->loop, &j->message);
}

static void run_on_worker(struct pool_job *p, int worker)
{
    struct job *j = JOB_OF(p, pool_job);
    execute(j, j->home->serve->worker_scratch[worker], false);
    go_back(j);
}

static void on_shed(struct pool_job *p)
{
    struct job *j = JOB_OF(p, pool_job);
    if (atomic_load_explicit(&j->cancelled, memory_order_relaxed)) {
        j->rc = RC_CANCELLED;
    } else {
        metrics_shed(MSHED_QUEUE_TIMEOUT);
        j->rc = RC_BUSY;
    }
    go_back(j);
}

static void run_plan(struct job *j)
{
    const struct serve_options *o = &j->home->serve->options;
    find_total(j);
    if (uses_store(j) && store_estimate(j->snapshot->store, &j->plan.query, true,
                                        j->home->scratch) <= o->inline_rows) {
        execute(j, j->home->scratch, true);
        if (j->rc != RC_BUSY) {
            job_finish(j);
            return;
        }
        j->err = (struct err)ERR_INIT; /* a worker starts afresh */
    }
    if (!j->is_away)
        job_go_away(j);
    j->pool_job = (struct pool_job){
        .run = run_on_worker,
        .on_shed = on_shed,
        .is_remote = is_remote_scan(j),
        .cancelled = &j->cancelled,
    };
    if (pool_submit(o->pool, &j->pool_job) != RC_OK) {
        metrics_shed(MSHED_QUEUE_FULL);
        j->rc = RC_BUSY;
        job_finish(j);
    }
}

/* ---- compressing what is large, on a worker ---- */

static void on_packed(struct loop_message *m)
{
    job_answer(JOB_OF(m, message));
}

static void pack_on_worker(struct pool_job *p, int worker)
{
    struct job *j = JOB_OF(p, pool_job);
    struct cache_body body;
    (void)worker;
    job_body(j, &body);
    buf_reset(&j->packed);
    j->is_packed = splice_pack(j->coding, answer_head(j), body.data, &j->packed);
    if (!j->is_packed)
        j->coding = HTTP_IDENTITY;
    j->message.run = on_packed;
    loop_post(j->home->loop, &j->message);
}

/* Too busy to compress: the plain answer is better than none. */
static void on_pack_shed(struct pool_job *p)
{
    struct job *j = JOB_OF(p, pool_job);
    j->coding = HTTP_IDENTITY;
    j->message.run = on_packed;
    loop_post(j->home->loop, &j->message);
}

/* True: the answer goes on when a worker has compressed it. */
static bool pack_elsewhere(struct job *j, const struct cache_body *body)
{
    if (j->coding == HTTP_IDENTITY || body->data.n <= PACK_ON_LOOP_BYTES || j->is_packed ||
        packed_is_kept(j))
        return false;
    if (!j->is_away)
        job_go_away(j);
    j->pool_job = (struct pool_job){
        .run = pack_on_worker, .on_shed = on_pack_shed, .cancelled = &j->cancelled};
    if (pool_submit(j->home->serve->options.pool, &j->pool_job) == RC_OK)
        return true;
    j->coding = HTTP_IDENTITY;
    return false;
}

void job_body(const struct job *j, struct cache_body *ret)
{
    if (j->entry) {
        *ret = *cache_entry_body(j->entry);
        return;
    }
    *ret = (struct cache_body){
        .data = {j->data.p, j->data.n},
        .next_cursor = {j->next_cursor.p, j->next_cursor.n},
        .n_rows = j->result.n_rows,
        .has_more = j->result.has_more,
        .has_total = j->plan.count_exact && j->total_known,
        .total = j->total,
    };
}

void job_answer(struct job *j)
{
    struct cache_body body;
    job_body(j, &body);
    if (!pack_elsewhere(j, &body))
        answer_rows(j, &body);
}

/* ---- the cache in front ---- */

static void answer_entry(struct job *j)
{
    j->cache_state = JOB_CACHE_HIT;
    job_answer(j);
}

static void fly(struct job *j, bool is_first);

/* The flight this job waited for has landed, or was abandoned. On the loop. */
static void on_landed(struct loop_message *m)
{
    struct job *j = JOB_OF(m, message);
    if (j->rc != RC_OK)
        (void)err_set(&j->err, j->rc, "the request that this one waited for failed");
    if (atomic_load_explicit(&j->cancelled, memory_order_relaxed))
        j->rc = RC_CANCELLED;
    if (j->rc == RC_BUSY) /* shed with the one it waited for */
        metrics_shed(MSHED_QUEUE_TIMEOUT);
    if (j->rc != RC_OK) {
        job_finish(j);
    } else if (j->entry) {
        j->started_us = j->ran_us = monotonic_us(); /* until now it was queued */
        answer_entry(j);
    } else {
        fly(j, false); /* the leader's caller went away: one of those who waited leads now */
    }
}

static void on_ready(struct cache_waiter *w, struct cache_entry *e, int why)
{
    struct job *j = JOB_OF(w, waiter);
    j->entry = e;
    j->rc = (enum rc)(why & ~WHY_OVER_GROUPS);
    j->is_over_groups = (why & WHY_OVER_GROUPS) != 0;
    j->message.run = on_landed;
    loop_post(j->home->loop, &j->message);
}

/* Joins the flight for this key, or leads one, and counts that when it @is_first. The job is away:
 * another thread may hand it on. */
static void fly(struct job *j, bool is_first)
{
    static const enum metrics_cache_result counted[] = {
        [CACHE_HIT] = MCACHE_HIT, [CACHE_LEAD] = MCACHE_MISS, [CACHE_WAIT] = MCACHE_COALESCED};
    struct cache *c = j->home->serve->options.cache;
    j->waiter.on_ready = on_ready;
    enum cache_outcome outcome = cache_begin(c, j->cache_key, &j->waiter, &j->entry, &j->flight);
    if (is_first)
        metrics_cache(j->metrics_slot, counted[outcome]);
    switch (outcome) {
    case CACHE_HIT:
        answer_entry(j);
        return;
    case CACHE_WAIT:
        return;
    case CACHE_LEAD:
        run_plan(j);
        return;
    }
}

void job_run(struct job *j)
{
    struct cache *c = j->home->serve->options.cache;
    if (j->endpoint->endpoint->cache == CACHE_NONE) {
        run_plan(j);
        return;
    }
    j->cache_state = JOB_CACHE_MISS;
    cache_key_build(j);
    if (!j->cache_key.p) {
        answer_error(j, 500, "the request needs more memory than is allowed");
        return;
    }
    /* Another thread may hand this job on as soon as it waits: its references come first. */
    j->entry = cache_get(c, j->cache_key);
    if (j->entry) {
        metrics_cache(j->metrics_slot, MCACHE_HIT);
        answer_entry(j);
        return;
    }
    job_go_away(j);
    fly(j, true);
}

/* ---- the end ---- */

#define MESSAGE_OVER_LIMIT "the answer would be larger than 32 MiB; ask for fewer rows or columns"
_Static_assert(STORE_LIMIT_GROUPS == 1000000, "the message names the limit");
_Static_assert(STORE_LIMIT_GROUP_BYTES >> 20 == 512, "and this one");
#define MESSAGE_OVER_GROUPS                                                                        \
    "the query makes more than 1,000,000 groups, or 512 MiB of them; narrow it by its params"

static void answer_failure(struct job *j)
{
    const struct serve_options *o = &j->home->serve->options;
    switch (j->rc) {
    case RC_LIMIT:
        answer_error(j, 422, j->is_over_groups ? MESSAGE_OVER_GROUPS : MESSAGE_OVER_LIMIT);
        return;
    case RC_TIMEOUT:
        answer_error(j, 504, "the query took longer than is allowed");
        return;
    case RC_BUSY:
        answer_error(j, 503, "busy; try again soon");
        return;
    case RC_CORRUPT:
        if (o->on_broken)
            o->on_broken(o->arg, j->snapshot);
        answer_error(j, 503, "the snapshot is being rebuilt; try again soon");
        return;
    case RC_UNAVAILABLE:
        answer_error(j, 503, "the data is not reachable now; try again soon");
        return;
    case RC_CANCELLED:
        answer_error(j, 503, "the caller went away");
        return;
    case RC_OK:
    case RC_INVALID:
    case RC_NOT_FOUND:
    case RC_DENIED:
    case RC_IO:
    case RC_NO_MEMORY:
    case RC_CONFLICT:
    case RC_INTERNAL:
        answer_error(j, 500, "something went wrong here; the log has the details");
        return;
    }
}

void job_finish(struct job *j)
{
    if (j->rc != RC_OK) {
        answer_failure(j);
        return;
    }
    if (j->plan.query.count_total)
        keep_total(j);
    if (j->flight) {
        struct cache_body body;
        job_body(j, &body);
        j->entry = cache_fill(j->home->serve->options.cache, TAKE(j->flight), &body);
    }
    job_answer(j);
}
