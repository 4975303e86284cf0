/* SPDX-License-Identifier: Apache-2.0 */
/* The machine of decide.h. No function here calls anything but string functions. */
#include "refresh/decide.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static void put_id(char to[DECIDE_ID_BYTES], const char *id)
{
    (void)snprintf(to, DECIDE_ID_BYTES, "%s", id ? id : ""); /* ids are at most 200 bytes */
}

static bool same(const uint8_t a[32], const uint8_t b[32])
{
    return memcmp(a, b, 32) == 0;
}

/* A snapshot that was found and judged for one is so for the other. */
static bool same_demands(const struct contract *a, const struct contract *b)
{
    return same(a->contract, b->contract) && same(a->origin, b->origin) &&
           same(a->checks, b->checks);
}

/* What the source looked like does not say any more what there is to do, and what an attempt that
 * runs makes of it will not either. */
static void forget_look(struct machine *m)
{
    m->has_look = false;
    m->look_epoch++;
}

void decide_init(struct machine *m, const struct contract *served, const char *active_id,
                 const char *previous_id, const char *quarantined)
{
    *m = (struct machine){.served = *served, .wants_check = true};
    put_id(m->active_id, active_id);
    put_id(m->previous_id, *m->active_id ? previous_id : NULL);
    put_id(m->quarantined, quarantined);
    decide_origins(m, served->origin, served->origin);
}

void decide_origins(struct machine *m, const uint8_t active[32], const uint8_t previous[32])
{
    if (active)
        memcpy(m->active_origin, active, 32);
    if (previous)
        memcpy(m->previous_origin, previous, 32);
}

/* ---- events ---- */

void decide_check(struct machine *m)
{
    m->wants_check = true;
}

void decide_check_anew(struct machine *m)
{
    m->wants_check = true;
    if (m->retry_us)
        forget_look(m);
}

void decide_rebuild(struct machine *m)
{
    if (*m->active_id)
        m->wants_rebuild = true;
}

void decide_lose_previous(struct machine *m)
{
    put_id(m->previous_id, NULL);
}

/*
 * One that runs is joined when it is forced too and passes as many checks. It may have read the
 * source before whatever made the caller ask, so a cheap check follows, held or not. An automatic
 * one is not joined: it may have read an older manifest long ago, and the caller wants the newest.
 */
uint64_t decide_ask(struct machine *m, bool override_checks)
{
    const struct errand *e = &m->running;
    bool joins = m->is_running && e->epoch == m->epoch && e->forced &&
                 (e->override_checks || !override_checks);
    if (joins) {
        m->wants_check = m->check_is_asked = true;
        return e->answers;
    }
    m->wants_override |= override_checks;
    if (m->wants_forced)
        return m->n_asked; /* one that waits to begin is joined too */
    m->wants_forced = true;
    return ++m->n_asked;
}

bool decide_rollback(struct machine *m)
{
    if (!*m->previous_id)
        return false;
    put_id(m->quarantined, m->active_id);
    put_id(m->active_id, m->previous_id);
    memcpy(m->active_origin, m->previous_origin, 32);
    put_id(m->previous_id, NULL);
    m->wants_rebuild = false; /* it was meant for what was left */
    forget_look(m);           /* checks compare with what serves */
    return true;
}

/* Nothing of the attempt that runs may be used. Who waits for it waits for the next. */
static bool supersede(struct machine *m)
{
    m->epoch++;
    m->wants_check = true;
    m->failures = 0;
    m->retry_us = 0;
    return m->is_running;
}

enum decide_reload decide_reload(struct machine *m, const struct contract *fresh, bool *ret_cancel)
{
    bool had_pending = m->has_pending;
    *ret_cancel = false;
    forget_look(m);
    if (same(m->served.contract, fresh->contract) || !*m->active_id) {
        bool is_other = !same_demands(&m->served, fresh);
        bool reshaped = !same(m->served.build, fresh->build);
        m->has_pending = false;
        m->served = *fresh;
        if (had_pending || is_other)
            *ret_cancel = supersede(m);
        if (reshaped)
            decide_rebuild(m);
        return DECIDE_SERVE;
    }
    /* The same cutover in a newer revision goes on: only what it flips to is newer. */
    if (!had_pending || !same_demands(&m->pending, fresh) || !same(m->pending.build, fresh->build))
        *ret_cancel = supersede(m);
    m->has_pending = true;
    m->pending = *fresh;
    return DECIDE_PEND;
}

void decide_remove(struct machine *m)
{
    m->is_removed = true;
    m->has_pending = false;
    m->epoch++;
    put_id(m->active_id, NULL);
    put_id(m->previous_id, NULL);
    put_id(m->quarantined, NULL);
}

/* ---- attempts ---- */

bool decide_is_due(const struct machine *m, int64_t now_us, bool held)
{
    if (m->is_removed || m->is_running)
        return false;
    if (m->wants_forced || m->check_is_asked)
        return true;
    if (held)
        return false;
    bool rebuild_is_due = m->wants_rebuild && (!m->retry_us || now_us >= m->retry_us);
    return m->wants_check || rebuild_is_due || (m->next_us && now_us >= m->next_us);
}

int64_t decide_wake_us(const struct machine *m, bool held)
{
    return held ? 0 : m->next_us;
}

void decide_begin(struct machine *m, int64_t now_us)
{
    assert(!m->is_running && !m->is_removed);
    bool rebuilds = m->wants_rebuild && !m->has_pending;
    bool waits = m->retry_us && now_us < m->retry_us; /* a check between two tries */
    bool tries = m->retry_us || rebuilds;
    m->running = (struct errand){
        .epoch = m->epoch,
        .look_epoch = m->look_epoch,
        .is_cutover = m->has_pending,
        .forced = m->wants_forced,
        .override_checks = m->wants_forced && m->wants_override,
        .check_is_asked = m->check_is_asked,
        .rebuilds = rebuilds,
        .is_foreign = !same(m->active_origin, m->served.origin),
        .uses_look = m->has_look && !m->wants_forced && (waits || !tries),
        .answers = m->wants_forced ? m->n_asked : m->n_answered,
    };
    put_id(m->running.active_id, m->active_id);
    put_id(m->running.quarantined, m->quarantined);
    memcpy(m->running.build, m->has_pending ? m->pending.build : m->served.build, 32);
    m->is_running = true;
    m->wants_check = m->wants_forced = m->wants_override = m->check_is_asked = false;
    m->wants_rebuild &= m->has_pending; /* the cutover goes first, and may make it needless */
}

bool decide_skips(const struct errand *e, const char *snapshot_id)
{
    if (e->forced)
        return false;
    if (*e->quarantined && strcmp(e->quarantined, snapshot_id) == 0)
        return true;
    return !e->is_cutover && !e->rebuilds && !e->is_foreign && *e->active_id &&
           strcmp(e->active_id, snapshot_id) == 0;
}

static enum verdict judge(const struct machine *m, const struct tally *t)
{
    const struct errand *e = &m->running;
    if (e->epoch != m->epoch)
        return VERDICT_SUPERSEDED;
    if (t->status != DECIDE_OK)
        return VERDICT_KEEP;
    if (!e->forced && *m->quarantined && strcmp(m->quarantined, t->fresh_id) == 0)
        return VERDICT_DISCARD; /* a rollback came while it was being built */
    if (e->is_cutover)
        return VERDICT_CUTOVER;
    return *m->active_id && strcmp(m->active_id, t->fresh_id) == 0 ? VERDICT_REBUILT : VERDICT_SWAP;
}

int64_t decide_backoff_us(int failures, int64_t first_us, int64_t limit_us, uint32_t dice)
{
    int64_t us = first_us < limit_us ? first_us : limit_us;
    for (int i = 1; i < failures && us < limit_us; i++)
        us = us > limit_us / 2 ? limit_us : us * 2;
    return us - (int64_t)(((uint64_t)us / 4 * (dice >> 16)) >> 16);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return !a ? b : !b ? a : a < b ? a : b;
}

/* Between two tries there is time for cheap looks. */
static int64_t between_tries(const struct machine *m, int64_t regular_us)
{
    return m->has_look ? sooner(m->retry_us, regular_us) : m->retry_us;
}

static void schedule(struct machine *m, const struct tally *t, const struct tempo *tempo)
{
    int64_t regular_us = tempo->every_us ? tempo->now_us + tempo->every_us : 0;
    bool retries = m->has_pending || m->wants_rebuild || t->status == DECIDE_FAILED;
    /* A fault that may pass is looked into again: by the retry, or where there is none by any
     * check. */
    m->has_look =
        t->has_look && m->running.look_epoch == m->look_epoch && (retries || !t->may_pass);
    if (t->was_untouched && m->retry_us) {
        m->next_us = between_tries(m, regular_us);
        return;
    }
    m->failures = retries ? m->failures + 1 : 0;
    if (!retries) {
        m->retry_us = 0;
        m->next_us = regular_us;
    } else if (m->has_pending) {
        m->retry_us = tempo->now_us + decide_backoff_us(m->failures, CUTOVER_RETRY_FIRST_US,
                                                        CUTOVER_RETRY_LIMIT_US, tempo->dice);
        m->next_us = between_tries(m, regular_us);
    } else {
        int64_t limit_us = tempo->every_us ? tempo->every_us : RETRY_LIMIT_US;
        m->retry_us =
            tempo->now_us + decide_backoff_us(m->failures, RETRY_FIRST_US, limit_us, tempo->dice);
        m->next_us = m->retry_us;
    }
}

/* D8: one that does not verify goes, and what was the target before it stays. */
static void set_target(struct machine *m, const struct tally *t, enum verdict v)
{
    if (v == VERDICT_SWAP && !t->active_is_broken) {
        put_id(m->previous_id, m->active_id);
        memcpy(m->previous_origin, m->active_origin, 32);
    } else if (v == VERDICT_CUTOVER ||
               (v == VERDICT_SWAP && strcmp(m->previous_id, t->fresh_id) == 0)) {
        put_id(m->previous_id, NULL);
    }
}

enum verdict decide_settle(struct machine *m, const struct tally *t, const struct tempo *tempo)
{
    assert(m->is_running);
    assert((t->status == DECIDE_OK) == (t->fresh_id != NULL));
    const struct errand e = m->running;
    enum verdict v = judge(m, t);
    bool rebuilds = e.rebuilds && *m->active_id && strcmp(e.active_id, m->active_id) == 0;
    m->is_running = false;
    if (v == VERDICT_SUPERSEDED) {
        m->wants_forced |= e.forced; /* D6 */
        m->wants_override |= e.override_checks;
        m->check_is_asked |= e.check_is_asked;
        m->wants_rebuild |= rebuilds;
        m->has_look = false;
        return v;
    }
    if (v == VERDICT_CUTOVER) {
        m->served = m->pending;
        m->has_pending = false;
    }
    set_target(m, t, v);
    if (v != VERDICT_KEEP && v != VERDICT_DISCARD)
        memcpy(m->active_origin, m->served.origin, 32);
    if (v == VERDICT_SWAP || v == VERDICT_CUTOVER) {
        put_id(m->active_id, t->fresh_id);
        put_id(m->quarantined, NULL); /* another id, or it was forced */
    }
    if (v == VERDICT_KEEP || v == VERDICT_DISCARD)
        m->wants_rebuild |= rebuilds; /* what serves is as bad as before */
    else
        m->wants_rebuild = !same(e.build, m->served.build); /* a reload may have come since */
    if (e.forced)
        m->n_answered = e.answers;
    schedule(m, t, tempo);
    return v;
}
