/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing. The mutex orders publishers and guards `current` while it is being referenced; a
 * reader that has the newest view touches the sequence number only.
 */
#include "live/live.h"

#include "base/mem.h"
#include "base/thread.h"

struct live {
    _Atomic uint64_t sequence; /* of `current`; 0 before the first */
    pthread_mutex_t lock;
    struct view *current; /* owned; under lock */
    void (*on_publish)(void *arg);
    void *arg;
};

struct live_reader {
    struct live *live;
    struct view *view; /* owned; NULL before the first publish */
    uint64_t sequence;
};

struct live *live_new(void (*on_publish)(void *arg), void *arg)
{
    struct live *l = x_alloc0(sizeof *l);
    mutex_init(&l->lock);
    l->on_publish = on_publish;
    l->arg = arg;
    return l;
}

void live_free(struct live *l)
{
    if (!l)
        return;
    view_unref(l->current);
    mutex_done(&l->lock);
    mem_free(l);
}

void live_publish(struct live *l, struct view *taken)
{
    mutex_lock(&l->lock);
    struct view *old = l->current;
    taken->sequence = atomic_load_explicit(&l->sequence, memory_order_relaxed) + 1;
    l->current = taken;
    /* Release: who sees the number sees the view behind it, after taking the lock. */
    atomic_store_explicit(&l->sequence, taken->sequence, memory_order_release);
    mutex_unlock(&l->lock);
    view_unref(old);
    if (l->on_publish)
        l->on_publish(l->arg);
}

struct view *live_get(struct live *l)
{
    LOCKED(&l->lock);
    return l->current ? view_ref(l->current) : NULL;
}

struct live_reader *live_reader_new(struct live *l)
{
    struct live_reader *r = x_alloc0(sizeof *r);
    r->live = l;
    return r;
}

void live_reader_free(struct live_reader *r)
{
    if (!r)
        return;
    view_unref(r->view);
    mem_free(r);
}

struct view *live_peek(struct live_reader *r)
{
    uint64_t sequence = atomic_load_explicit(&r->live->sequence, memory_order_acquire);
    if (LIKELY(sequence == r->sequence))
        return r->view;
    struct view *fresh = live_get(r->live);
    view_unref(r->view);
    r->view = fresh;
    r->sequence = fresh ? fresh->sequence : 0;
    return fresh;
}
