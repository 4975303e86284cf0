/* SPDX-License-Identifier: Apache-2.0 */
/* pthreads with names and checked results; a failed lock is a bug and aborts. */
#ifndef OFFLOADER_BASE_THREAD_H
#define OFFLOADER_BASE_THREAD_H

#include <pthread.h>

#include "base/compiler.h"
#include "base/err.h"

MUST_CHECK enum rc thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *arg,
                                struct err *err); /* signals blocked in the new thread */
void thread_join(pthread_t t);
/*
 * For a thread that wakes often and works briefly: it asks for short turns on a CPU, and gets its
 * next one sooner after it wakes, at the same share. A hint: nothing changes before Linux 6.12, nor
 * under another scheduling policy than the usual one. sched(7), EEVDF's custom slice.
 */
void thread_take_short_turns(void);
/* For a thread that works long at a time: the brief ones, ours and those of a proxy or caller on the
 * same machine, come before it. A hint, as nice(1): where nobody else wants the CPU it has all of
 * it. */
void thread_give_way(void);
/* A third of the weight of others. Work in the background has less. */
#define THREAD_GIVE_WAY_NICE 5

void mutex_init(pthread_mutex_t *m);
void mutex_done(pthread_mutex_t *m);
void mutex_lock(pthread_mutex_t *m);
void mutex_unlock(pthread_mutex_t *m);
void mutex_unlock_auto(pthread_mutex_t **m);
#define LOCKED(m)                                                                                  \
    AUTO(mutex_unlock_auto) pthread_mutex_t *lock_guard_ = (m);                                    \
    mutex_lock(lock_guard_)

void cond_init(pthread_cond_t *c); /* monotonic clock */
void cond_done(pthread_cond_t *c);
void cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
/* False when @deadline_us (monotonic_us clock) passed. */
bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_us);
void cond_signal(pthread_cond_t *c);
void cond_broadcast(pthread_cond_t *c);

int cpu_quota(void); /* CPUs of the cgroup (v2 cpu.max, v1 quota), else online; >= 1 */
uint64_t memory_quota_bytes(void); /* of the cgroup, else of the machine */

#endif
