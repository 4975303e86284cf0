/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last reference to a snapshot is often dropped by an event loop, and unmapping and unlinking a
 * large file takes milliseconds: so both happen here. A broken block is found by a loop, too, and
 * what follows from it takes refresh.lock: the same.
 *
 * Threads: two stacks under one mutex, which is held for no I/O. Once the thread has ended, whoever
 * drops a snapshot does the work itself, and nobody is told of a broken one.
 */
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "refresh/refresh_int.h"

struct janitor {
    struct refresh *refresh;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct snapshot *released; /* linked by ->released */
    struct snapshot *reported; /* references, linked by ->reported */
    bool stopping;
    pthread_t thread;
    bool is_started;
};

static void bury(const struct janitor *j, struct snapshot *s)
{
    bool is_broken = atomic_load(&s->is_broken);
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *directory =
        atomic_load(&s->discard) && s->directory ? x_strdup(s->directory) : NULL;
    snapshot_destroy(s);
    if (directory && is_broken)
        cache_quarantine(j->refresh, directory);
    else if (directory && io_remove_tree(directory, &err) != RC_OK)
        log_event(LOG_WARN, "cache",
                  "an old snapshot could not be removed; the next start removes it",
                  LF_STR("error", err.message));
}

static struct snapshot *pop_locked(struct janitor *j, bool *ret_reported)
{
    struct snapshot *s = j->reported;
    *ret_reported = s != NULL;
    if (s) {
        j->reported = s->reported;
    } else if (j->released) {
        s = j->released;
        j->released = s->released;
    }
    return s;
}

static void *janitor_main(void *arg)
{
    struct janitor *j = arg;
    mutex_lock(&j->lock);
    for (;;) {
        bool was_reported, stopping = j->stopping;
        struct snapshot *s = pop_locked(j, &was_reported);
        if (!s && stopping)
            break;
        if (!s) {
            cond_wait(&j->changed, &j->lock);
            continue;
        }
        mutex_unlock(&j->lock);
        if (was_reported && !stopping)
            refresh_report_broken(j->refresh, s->dataset_id, s->generation);
        if (was_reported)
            snapshot_unref(s);
        else
            bury(j, s);
        mutex_lock(&j->lock);
    }
    mutex_unlock(&j->lock);
    return NULL;
}

static void on_release(struct snapshot *s)
{
    struct janitor *j = s->owner;
    mutex_lock(&j->lock);
    bool taken = j->is_started && !j->stopping;
    if (taken) {
        s->released = j->released;
        j->released = s;
        cond_signal(&j->changed);
    }
    mutex_unlock(&j->lock);
    if (!taken)
        bury(j, s);
}

void janitor_report(struct janitor *j, struct snapshot *s)
{
    LOCKED(&j->lock);
    if (!j->is_started || j->stopping)
        return;
    s->reported = j->reported;
    j->reported = snapshot_ref(s);
    cond_signal(&j->changed);
}

void janitor_adopt(struct janitor *j, struct snapshot *s)
{
    s->owner = j;
    s->on_release = on_release;
}

enum rc janitor_new(struct refresh *r, struct janitor **ret, struct err *err)
{
    struct janitor *j = x_alloc0(sizeof *j);
    j->refresh = r;
    mutex_init(&j->lock);
    cond_init(&j->changed);
    j->is_started = true; /* before its thread can look */
    enum rc rc = thread_start(&j->thread, "janitor", janitor_main, j, err);
    if (rc != RC_OK) {
        j->is_started = false;
        janitor_free(j);
        return rc;
    }
    *ret = j;
    return RC_OK;
}

void janitor_free(struct janitor *j)
{
    if (!j)
        return;
    mutex_lock(&j->lock);
    j->stopping = true;
    cond_signal(&j->changed);
    mutex_unlock(&j->lock);
    if (j->is_started)
        thread_join(j->thread);
    cond_done(&j->changed);
    mutex_done(&j->lock);
    mem_free(j);
}
