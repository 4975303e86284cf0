/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv loops. Messages come through an intrusive stack that many threads push on and the loop
 * takes as a whole (then reverses, so that order is kept); one uv_async wakes it, and wake-ups that
 * coalesce do no harm because each takes everything there is.
 */
#include "loop/loop.h"

#include <stdatomic.h>
#include <uv.h>

#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    _Atomic(struct loop_message *) inbox; /* newest first */
    _Atomic bool stopping;
    char *name;
    pthread_t thread;
    bool is_started;
};

struct loop_timer {
    uv_timer_t uv;
    void (*on_fire)(void *arg);
    void *arg;
};

static void run_messages(struct loop *l)
{
    struct loop_message *newest = atomic_exchange_explicit(&l->inbox, NULL, memory_order_acquire);
    struct loop_message *oldest = NULL;
    while (newest) {
        struct loop_message *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct loop_message *m = oldest;
        oldest = m->next; /* before run(): the message may be gone after it */
        m->run(m);
    }
}

static void on_wake(uv_async_t *async)
{
    struct loop *l = async->data;
    run_messages(l);
    if (atomic_load(&l->stopping))
        uv_stop(&l->uv);
}

enum rc loop_new(const char *name, struct loop **ret, struct err *err)
{
    struct loop *l = x_alloc0(sizeof *l);
    int status = uv_loop_init(&l->uv);
    if (status != 0) {
        mem_free(l);
        return err_set(err, RC_IO, "cannot make an event loop: %s", uv_strerror(status));
    }
    l->uv.data = l;
    status = uv_async_init(&l->uv, &l->wake, on_wake);
    if (status != 0) {
        (void)uv_loop_close(&l->uv); /* nothing is open on it */
        mem_free(l);
        return err_set(err, RC_IO, "cannot make an event loop: %s", uv_strerror(status));
    }
    l->wake.data = l;
    l->name = x_strdup(name);
    *ret = l;
    return RC_OK;
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    thread_take_short_turns();
    (void)uv_run(&l->uv, UV_RUN_DEFAULT);
    return NULL;
}

enum rc loop_start(struct loop *l, struct err *err)
{
    enum rc rc = thread_start(&l->thread, l->name, loop_main, l, err);
    l->is_started = rc == RC_OK;
    return rc;
}

void loop_post(struct loop *l, struct loop_message *m)
{
    struct loop_message *head = atomic_load_explicit(&l->inbox, memory_order_relaxed);
    do
        m->next = head;
    while (!atomic_compare_exchange_weak_explicit(&l->inbox, &head, m, memory_order_release,
                                                  memory_order_relaxed));
    /* Only the first of a batch needs to wake the loop: it takes the whole inbox. */
    if (!head)
        (void)uv_async_send(&l->wake);
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stopping, true);
    (void)uv_async_send(&l->wake);
}

void loop_join(struct loop *l)
{
    if (l->is_started)
        thread_join(l->thread);
    l->is_started = false;
    run_messages(l);
}

void loop_join_free(struct loop *l)
{
    if (!l)
        return;
    loop_join(l);
    uv_close((uv_handle_t *)&l->wake, NULL);
    (void)uv_run(&l->uv, UV_RUN_DEFAULT); /* lets close callbacks run */
    int status = uv_loop_close(&l->uv);
    assert(status == 0);
    mem_free(l->name);
    mem_free(l);
}

bool loop_is_current(const struct loop *l)
{
    return l->is_started && pthread_equal(l->thread, pthread_self());
}

int64_t loop_now_us(const struct loop *l)
{
    return (int64_t)uv_now(&l->uv) * 1000;
}

void *loop_uv(struct loop *l)
{
    return &l->uv;
}

/* ---- timers ---- */

static void on_timer(uv_timer_t *uv)
{
    struct loop_timer *t = uv->data;
    t->on_fire(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, void (*on_fire)(void *arg), void *arg)
{
    struct loop_timer *t = x_alloc0(sizeof *t);
    (void)uv_timer_init(&l->uv, &t->uv); /* cannot fail */
    t->uv.data = t;
    t->on_fire = on_fire;
    t->arg = arg;
    return t;
}

void loop_timer_set(struct loop_timer *t, int64_t after_us, int64_t repeat_us)
{
    (void)uv_timer_start(&t->uv, on_timer, (uint64_t)((after_us + 999) / 1000),
                         (uint64_t)((repeat_us + 999) / 1000)); /* fails only on a closed handle */
}

void loop_timer_stop(struct loop_timer *t)
{
    (void)uv_timer_stop(&t->uv); /* cannot fail */
}

static void on_timer_closed(uv_handle_t *uv)
{
    mem_free(uv->data);
}

void loop_timer_free(struct loop_timer *t)
{
    if (t)
        uv_close((uv_handle_t *)&t->uv, on_timer_closed);
}
