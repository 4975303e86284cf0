/* SPDX-License-Identifier: Apache-2.0 */
/* Checked pthreads: what can only fail through a bug aborts here, with the call's name. */
#include "base/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SHORT_TURN_NS 100000 /* the kernel's least */

static void must_be_zero(int result, const char *call)
{
    if (LIKELY(result == 0))
        return;
    char reason[128];
    fprintf(stderr, "offloader: bug: %s: %s\n", call, strerror_r(result, reason, sizeof(reason)));
    abort();
}

enum rc thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *arg,
                     struct err *err)
{
    /* Signals are main's business; a thread inherits the mask of its creator. Those that a thread's
     * own instructions raise stay open: blocked, they would end the process past any handler. */
    static const int own[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t all, former;
    sigfillset(&all);
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        sigdelset(&all, own[i]);
    must_be_zero(pthread_sigmask(SIG_SETMASK, &all, &former), "pthread_sigmask");
    pthread_t thread;
    int result = pthread_create(&thread, NULL, run, arg);
    must_be_zero(pthread_sigmask(SIG_SETMASK, &former, NULL), "pthread_sigmask");
    if (result)
        return err_set_errno(err, RC_UNAVAILABLE, result,
                             "cannot start the thread '%s'; raise the limit of threads or memory",
                             name);

    char short_name[16]; /* the kernel's limit */
    snprintf(short_name, sizeof(short_name), "%s", name);
    (void)pthread_setname_np(thread, short_name); /* a name is only for ps and debuggers */
    *ret = thread;
    return RC_OK;
}

/* The kernel's struct sched_attr, which glibc 2.36 does not declare. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

void thread_take_short_turns(void)
{
    struct scheduling s = {.size = sizeof s, .policy = SCHED_OTHER, .runtime_ns = SHORT_TURN_NS};
    s.nice = getpriority(PRIO_PROCESS, 0); /* the call sets both; 0 is this thread */
    if (sched_getscheduler(0) == SCHED_OTHER)
        (void)syscall(SYS_sched_setattr, 0, &s, 0); /* a hint: a refusal costs nothing */
}

void thread_give_way(void)
{
    /* On Linux the call is about one thread: 0 is this one. */
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + THREAD_GIVE_WAY_NICE);
}

void thread_join(pthread_t t)
{
    must_be_zero(pthread_join(t, NULL), "pthread_join");
}

void mutex_init(pthread_mutex_t *m)
{
    pthread_mutexattr_t attributes;
    must_be_zero(pthread_mutexattr_init(&attributes), "pthread_mutexattr_init");
    /* Locking twice or unlocking another's is reported instead of hanging. */
    must_be_zero(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK),
                 "pthread_mutexattr_settype");
    must_be_zero(pthread_mutex_init(m, &attributes), "pthread_mutex_init");
    must_be_zero(pthread_mutexattr_destroy(&attributes), "pthread_mutexattr_destroy");
}

void mutex_done(pthread_mutex_t *m)
{
    must_be_zero(pthread_mutex_destroy(m), "pthread_mutex_destroy");
}

void mutex_lock(pthread_mutex_t *m)
{
    must_be_zero(pthread_mutex_lock(m), "pthread_mutex_lock");
}

void mutex_unlock(pthread_mutex_t *m)
{
    must_be_zero(pthread_mutex_unlock(m), "pthread_mutex_unlock");
}

void mutex_unlock_auto(pthread_mutex_t **m)
{
    if (*m)
        mutex_unlock(*m);
}

void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attributes;
    must_be_zero(pthread_condattr_init(&attributes), "pthread_condattr_init");
    must_be_zero(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC),
                 "pthread_condattr_setclock");
    must_be_zero(pthread_cond_init(c, &attributes), "pthread_cond_init");
    must_be_zero(pthread_condattr_destroy(&attributes), "pthread_condattr_destroy");
}

void cond_done(pthread_cond_t *c)
{
    must_be_zero(pthread_cond_destroy(c), "pthread_cond_destroy");
}

void cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    must_be_zero(pthread_cond_wait(c, m), "pthread_cond_wait");
}

bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_us)
{
    if (deadline_us < 0)
        deadline_us = 0;
    struct timespec deadline = {
        .tv_sec = deadline_us / 1000000,
        .tv_nsec = deadline_us % 1000000 * 1000,
    };
    int result = pthread_cond_timedwait(c, m, &deadline);
    if (result == ETIMEDOUT)
        return false;
    must_be_zero(result, "pthread_cond_timedwait");
    return true;
}

void cond_signal(pthread_cond_t *c)
{
    must_be_zero(pthread_cond_signal(c), "pthread_cond_signal");
}

void cond_broadcast(pthread_cond_t *c)
{
    must_be_zero(pthread_cond_broadcast(c), "pthread_cond_broadcast");
}
