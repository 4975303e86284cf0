/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread for all questions: a query process that it starts dies with the thread that started
 * it, and event loops, who want to know, may not wait.
 */
#include "engine/health.h"

#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"

#define ASK_EVERY_US 1000000

struct health {
    void (*ask)(void *arg, const _Atomic bool *cancelled);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    int64_t asked_us;
    bool has_thread, is_wanted;
    _Atomic bool is_ending;
};

struct health *health_new(void (*ask)(void *arg, const _Atomic bool *cancelled), void *arg)
{
    struct health *h = x_alloc0(sizeof *h);
    h->ask = ask;
    h->arg = arg;
    mutex_init(&h->lock);
    cond_init(&h->changed);
    return h;
}

void health_free(struct health *h)
{
    mutex_lock(&h->lock);
    atomic_store(&h->is_ending, true);
    cond_broadcast(&h->changed);
    mutex_unlock(&h->lock);
    if (h->has_thread)
        thread_join(h->thread);
    cond_done(&h->changed);
    mutex_done(&h->lock);
    mem_free(h);
}

static void *health_main(void *arg)
{
    struct health *h = arg;
    mutex_lock(&h->lock);
    while (!atomic_load(&h->is_ending)) {
        if (!h->is_wanted) {
            cond_wait(&h->changed, &h->lock);
            continue;
        }
        mutex_unlock(&h->lock);
        h->ask(h->arg, &h->is_ending);
        mutex_lock(&h->lock);
        h->is_wanted = false;
        h->asked_us = monotonic_us();
    }
    mutex_unlock(&h->lock);
    return NULL;
}

void health_want(struct health *h)
{
    struct err err = ERR_INIT;
    LOCKED(&h->lock);
    if (h->is_wanted || (h->asked_us && monotonic_us() - h->asked_us < ASK_EVERY_US))
        return;
    /* No thread to be had: the answer of before stands, and the next want tries again. */
    if (!h->has_thread)
        h->has_thread = thread_start(&h->thread, "health", health_main, h, &err) == RC_OK;
    h->is_wanted = h->has_thread;
    cond_broadcast(&h->changed);
}
