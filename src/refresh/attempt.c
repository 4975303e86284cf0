/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dataset's thread: waits until the machine has something to do, runs the attempt without the
 * lock, and carries out the verdict. A swap is on disk before it is published, so that a restart
 * finds at least what callers have seen.
 */
#include <assert.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "metrics/metrics.h"
#include "refresh/refresh_int.h"

static int64_t interval_us(const struct state *s)
{
    const struct dataset *d = state_dataset(s);
    if (d->source.kind == SOURCE_STATIC_MANIFEST)
        return s->refresh->options.refresh_interval_s * 1000000;
    return d->source.interval_seconds * 1000000;
}

static void retry_index_locked(struct state *s)
{
    char quarantined[DECIDE_ID_BYTES];
    struct err err = ERR_INIT;
    s->index_retry_us = 0;
    if (!s->index_is_stale)
        return;
    state_begin_move_locked(s);
    memcpy(quarantined, s->machine.quarantined, sizeof quarantined);
    if (s->index_is_stale && !s->machine.is_removed)
        IGNORE(state_write_index_locked(s, s->active, s->previous, quarantined,
                                        &err)); /* stays stale: tried again */
    state_end_move_locked(s);
}

static void wait_locked(struct state *s)
{
    struct refresh *r = s->refresh;
    while (!r->stopping && !s->machine.is_removed &&
           !decide_is_due(&s->machine, monotonic_us(), r->held)) {
        int64_t wake_us = decide_wake_us(&s->machine, r->held);
        if (s->index_is_stale && !s->index_retry_us)
            s->index_retry_us = monotonic_us() + INDEX_RETRY_US;
        if (s->index_retry_us && (!wake_us || s->index_retry_us < wake_us))
            wake_us = s->index_retry_us;
        if (wake_us)
            (void)cond_wait_until(&r->changed, &r->lock, wake_us); /* what is due is seen below */
        else
            cond_wait(&r->changed, &r->lock);
        if (s->index_retry_us && monotonic_us() >= s->index_retry_us)
            retry_index_locked(s);
    }
    retry_index_locked(s); /* the attempt may take long */
}

/* ---- what is said about an attempt ---- */

/* A manifest may run ahead of its files: these faults may pass without the manifest changing. */
static bool may_heal(const char *code)
{
    static const char *const codes[] = {"missing_file",       "size_mismatch",
                                        "checksum_mismatch",  "unreadable_file",
                                        "row_count_mismatch", "schema_data_mismatch"};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcmp(code, codes[i]) == 0)
            return true;
    return false;
}

static void record_error_locked(struct state *s, const struct outcome *o)
{
    struct attempt *a = &s->last;
    bool bad = o->status == ATTEMPT_REJECTED || o->status == ATTEMPT_FAILED;
    bool waits = o->was_quarantined && !s->active; /* nothing serves and nothing will by itself */
    s->has_error = bad || waits;
    (void)snprintf(a->code, sizeof a->code, "%s", waits ? "quarantined" : bad ? o->err.code : "");
    (void)snprintf(a->message, sizeof a->message, "%s", bad ? o->err.message : "");
    if (waits)
        (void)snprintf(a->message, sizeof a->message,
                       "snapshot %s was rolled back: publish another one, or force a refresh",
                       o->snapshot_id);
    if (!s->has_error)
        return;
    const struct event_field fields[] = {{"status", attempt_status_name(o->status)},
                                         {"code", a->code},
                                         {"snapshot_id", a->snapshot_id}};
    events_add(EVENT_REFRESH, s->id, fields, ARRAY_LEN(fields), "refresh %s: %s",
               attempt_status_name(o->status), a->message);
}

static void record_locked(struct state *s, const struct outcome *o, int64_t at_us,
                          int64_t duration_us)
{
    struct attempt *a = &s->last;
    static const enum metrics_refresh_status counted[] = {[ATTEMPT_NONE] = MREFRESH_FAILED,
                                                          [ATTEMPT_OK] = MREFRESH_OK,
                                                          [ATTEMPT_UNCHANGED] = MREFRESH_UNCHANGED,
                                                          [ATTEMPT_REJECTED] = MREFRESH_REJECTED,
                                                          [ATTEMPT_FAILED] = MREFRESH_FAILED};
    metrics_refresh(s->metrics_slot, counted[o->status], duration_us);
    s->source_reachable = o->source_reachable;
    memcpy(s->seen, o->seen, sizeof s->seen);
    a->at_us = at_us;
    a->duration_us = duration_us;
    if (o->was_untouched && a->status != ATTEMPT_NONE) {
        /* Nothing was even read: what was wrong still is, what was right still is. */
        if (!s->has_error)
            a->status = ATTEMPT_UNCHANGED;
        return;
    }
    s->manifest_valid = o->manifest_valid;
    a->status = o->status;
    (void)snprintf(a->snapshot_id, sizeof a->snapshot_id, "%s", o->snapshot_id);
    record_error_locked(s, o);
}

/* ---- settling an outcome ---- */

void discard(struct snapshot *s)
{
    if (s)
        atomic_store(&s->discard, true);
    snapshot_unref(s);
}

static bool takes_over(enum verdict v)
{
    return v == VERDICT_SWAP || v == VERDICT_REBUILT || v == VERDICT_CUTOVER;
}

/* The rollback target after a takeover: of what is here now, the one that @m names. */
static struct snapshot *target_of(const struct state *s, const struct machine *m)
{
    if (!*m->previous_id)
        return NULL;
    bool is_active = s->active && strcmp(s->active->snapshot_id, m->previous_id) == 0;
    return is_active ? s->active : s->previous;
}

/* The fresh snapshot takes over, with its contract if it is a cutover's. The machine has decided
 * so. */
static void swap_locked(struct state *s, enum verdict v, struct snapshot *fresh)
{
    struct snapshot *const before[] = {s->active, s->previous};
    struct snapshot *target = target_of(s, &s->machine);
    assert(!target == !*s->machine.previous_id);
    if (v == VERDICT_CUTOVER) {
        project_ref_put(s->project);
        s->project = TAKE(s->pending);
        s->index = s->pending_index;
    }
    s->active = fresh;
    s->previous = target;
    memset(s->lost, 0, sizeof s->lost);
    s->quality_warning = fresh->quality_warning;
    const struct event_field fields[] = {{"snapshot_id", fresh->snapshot_id},
                                         {"kind", v == VERDICT_CUTOVER   ? "cutover"
                                                  : v == VERDICT_REBUILT ? "rebuild"
                                                                         : "swap"}};
    events_add(EVENT_SWAP, s->id, fields, ARRAY_LEN(fields), "serving snapshot %s",
               fresh->snapshot_id);
    publish_locked(s->refresh);
    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        if (before[i] != target)
            discard(before[i]);
}

static struct tally tally_of(const struct state *s, const struct outcome *out)
{
    static const enum decide_status statuses[] = {[ATTEMPT_NONE] = DECIDE_FAILED,
                                                  [ATTEMPT_OK] = DECIDE_OK,
                                                  [ATTEMPT_UNCHANGED] = DECIDE_UNCHANGED,
                                                  [ATTEMPT_REJECTED] = DECIDE_REJECTED,
                                                  [ATTEMPT_FAILED] = DECIDE_FAILED};
    return (struct tally){.status = statuses[out->status],
                          .fresh_id = out->snapshot ? out->snapshot->snapshot_id : NULL,
                          .was_untouched = out->was_untouched,
                          .has_look = out->has_seen,
                          .may_pass = out->status == ATTEMPT_FAILED || may_heal(out->err.code),
                          .active_is_broken = s->active && atomic_load(&s->active->is_broken)};
}

/*
 * A swap that cannot be made durable is a failed attempt: what serves goes on. The verdict is found
 * twice, since requests for a refresh may come while the index is written; nothing that comes then
 * changes it (moves.c). Only what is the target afterwards may be another one: a snapshot may turn
 * out broken meanwhile.
 */
static enum verdict decide_durably_locked(struct state *s, struct outcome *out,
                                          const struct tempo *tempo)
{
    struct machine plan = s->machine;
    struct tally t = tally_of(s, out);
    bool was_broken = t.active_is_broken;
    enum verdict v = decide_settle(&plan, &t, tempo);
    if (takes_over(v) && state_write_index_locked(s, out->snapshot, target_of(s, &plan),
                                                  plan.quarantined, &out->err) != RC_OK) {
        /* The index on disk may be either one now, and may name what is just discarded: it is
         * stale. */
        out->status = ATTEMPT_FAILED;
        discard(TAKE(out->snapshot));
        v = VERDICT_KEEP;
    }
    t = tally_of(s, out);
    s->index_is_stale |= takes_over(v) && t.active_is_broken != was_broken;
    enum verdict found = decide_settle(&s->machine, &t, tempo);
    assert(found == v);
    return found;
}

static void settle_in_turn_locked(struct state *s, struct outcome *out, int64_t at_us,
                                  int64_t started_us)
{
    int64_t now_us = monotonic_us();
    struct tempo tempo = {.now_us = now_us, .every_us = interval_us(s)};
    random_bytes(&tempo.dice, sizeof tempo.dice);
    uint64_t n_answered = s->machine.n_answered;
    if (s->refresh->stopping || s->machine.is_removed) {
        discard(TAKE(out->snapshot));
        s->machine.is_running = false;
        return;
    }
    enum verdict v = decide_durably_locked(s, out, &tempo);
    if (!takes_over(v))
        discard(TAKE(out->snapshot));
    if (v == VERDICT_SUPERSEDED)
        return;
    if (v == VERDICT_DISCARD)
        out->status = ATTEMPT_UNCHANGED;
    record_locked(s, out, at_us, now_us - started_us);
    if (out->snapshot)
        swap_locked(s, v, TAKE(out->snapshot));
    if (s->machine.n_answered != n_answered)
        s->answer = s->last;
}

static void settle_locked(struct state *s, struct outcome *out, int64_t at_us, int64_t started_us)
{
    state_begin_move_locked(s);
    settle_in_turn_locked(s, out, at_us, started_us);
    state_end_move_locked(s);
    retry_index_locked(s);
}

static void make_order_locked(struct state *s, struct order *o)
{
    decide_begin(&s->machine, monotonic_us());
    *o = (struct order){
        .errand = s->machine.running,
        .has_seen = s->machine.running.uses_look,
        .active = snapshot_ref(s->active),
    };
    bool is_cutover = o->errand.is_cutover;
    o->project = project_ref_get(is_cutover ? s->pending : s->project);
    o->dataset = &o->project->project->datasets[is_cutover ? s->pending_index : s->index];
    memcpy(o->lost, s->lost, sizeof o->lost);
    memcpy(o->seen, s->seen, sizeof o->seen);
    atomic_store(&s->cancelled, false);
}

static void order_done(struct order *o)
{
    snapshot_unref(o->active);
    project_ref_put(o->project);
}

void *state_main(void *arg)
{
    struct state *s = arg;
    struct refresh *r = s->refresh;
    struct outcome *out = x_alloc0(sizeof *out);
    struct order *o = x_alloc0(sizeof *o);
    mutex_lock(&r->lock);
    for (;;) {
        wait_locked(s);
        if (r->stopping || s->machine.is_removed)
            break;
        make_order_locked(s, o);
        mutex_unlock(&r->lock);
        int64_t at_us = wall_us(), started_us = monotonic_us();
        attempt_run(s, o, out);
        order_done(o); /* its references may be the last: not under the lock */
        mutex_lock(&r->lock);
        settle_locked(s, out, at_us, started_us);
        cond_broadcast(&r->changed);
    }
    s->has_ended = true;
    cond_broadcast(&r->changed);
    mutex_unlock(&r->lock);
    mem_free(out);
    mem_free(o);
    return NULL;
}
