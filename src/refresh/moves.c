/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A move changes what a dataset serves: a swap, a cutover, a rollback. It is on disk before callers
 * see it, and a disk can be slow: so r->lock is let go while the index is written, and readers of
 * r->lock (readiness, metrics, other datasets' refreshes) wait for no fsync.
 *
 * Between state_begin_move_locked() and state_end_move_locked() nobody else moves the dataset or
 * gives it another project. What may happen meanwhile: callers ask for a refresh, the rollback
 * target turns out broken and goes, the process begins to stop. A reload changes many datasets in
 * one view: it waits for the moves that were begun, and new ones wait for it.
 */
#include <assert.h>

#include "refresh/refresh_int.h"

void state_begin_move_locked(struct state *s)
{
    struct refresh *r = s->refresh;
    while (s->is_moving || r->holds_moves)
        cond_wait(&r->changed, &r->lock);
    s->is_moving = true;
}

void state_end_move_locked(struct state *s)
{
    s->is_moving = false;
    cond_broadcast(&s->refresh->changed);
}

enum rc state_write_index_locked(struct state *s, struct snapshot *active,
                                 struct snapshot *previous, const char *quarantined,
                                 struct err *err)
{
    struct refresh *r = s->refresh;
    struct snapshot *a = snapshot_ref(active), *p = snapshot_ref(previous);
    assert(s->is_moving);
    s->index_is_stale = false; /* may come back meanwhile */
    mutex_unlock(&r->lock);
    enum rc rc = cache_write_index(s, a, p, quarantined, err);
    snapshot_unref(a);
    snapshot_unref(p);
    mutex_lock(&r->lock);
    s->index_is_stale |= rc != RC_OK;
    return rc;
}

static bool any_moves(const struct refresh *r)
{
    for (size_t i = 0; i < r->n_states; i++)
        if (r->states[i]->is_moving)
            return true;
    return false;
}

void refresh_hold_moves_locked(struct refresh *r)
{
    assert(!r->holds_moves); /* reload_lock is held */
    r->holds_moves = true;
    while (any_moves(r))
        cond_wait(&r->changed, &r->lock);
}

void refresh_release_moves_locked(struct refresh *r)
{
    r->holds_moves = false;
    cond_broadcast(&r->changed);
}
