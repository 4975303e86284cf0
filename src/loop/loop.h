/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libuv wrapped: event loops on threads of their own, messages to a loop, timers, signals.
 * A loop blocks on nothing. What another thread wants from it comes as a message.
 */
#ifndef OFFLOADER_LOOP_LOOP_H
#define OFFLOADER_LOOP_LOOP_H

#include "base/compiler.h"
#include "base/err.h"

struct loop;
struct loop_timer;

/* A message is intrusive: its owner embeds it, so that posting never allocates or fails. */
struct loop_message {
    void (*run)(struct loop_message *m); /* on the loop's thread */
    struct loop_message *next;           /* the queue's */
};

MUST_CHECK enum rc loop_new(const char *name, struct loop **ret, struct err *err);
MUST_CHECK enum rc loop_start(struct loop *l,
                              struct err *err);         /* its thread runs until loop_stop */
void loop_post(struct loop *l, struct loop_message *m); /* any thread; order is kept */
void loop_stop(struct loop *l);                         /* any thread; returns at once */
/* After loop_stop: waits for its thread, runs what was posted. Where loops post to each other all
 * are joined before one is freed. */
void loop_join(struct loop *l);
void loop_join_free(struct loop *l); /* after loop_stop, and after every handle on it is closed */
bool loop_is_current(const struct loop *l);
int64_t loop_now_us(const struct loop *l); /* monotonic, cached once a turn; own thread only */

/* Repeating or single timers; own thread only. */
struct loop_timer *loop_timer_new(struct loop *l, void (*on_fire)(void *arg), void *arg);
void loop_timer_set(struct loop_timer *t, int64_t after_us, int64_t repeat_us);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);

/* The libuv loop for src/http; void so that <uv.h> stays in the two rooms. */
void *loop_uv(struct loop *l);

#endif
