/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that waits for the time or for the end, whichever comes first. */
#include "refresh/patience.h"

#include "base/timeutil.h"

static void *wait(void *arg)
{
    struct patience *p = arg;
    mutex_lock(&p->lock);
    while (!p->has_ended && monotonic_us() < p->until_us)
        (void)cond_wait_until(&p->changed, &p->lock, p->until_us); /* the loop looks again */
    if (!p->has_ended)
        atomic_store(p->is_over, true);
    mutex_unlock(&p->lock);
    return NULL;
}

void patience_begin(struct patience *p, int64_t us, _Atomic bool *is_over)
{
    struct err err = ERR_INIT;
    *p = (struct patience){.is_over = is_over, .until_us = monotonic_us() + us};
    mutex_init(&p->lock);
    cond_init(&p->changed);
    p->has_thread = thread_start(&p->thread, "patience", wait, p, &err) == RC_OK;
}

void patience_end(struct patience *p)
{
    mutex_lock(&p->lock);
    p->has_ended = true;
    cond_broadcast(&p->changed);
    mutex_unlock(&p->lock);
    if (p->has_thread)
        thread_join(p->thread);
    cond_done(&p->changed);
    mutex_done(&p->lock);
}
