/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Query processes and who uses which connection.
 *
 *   NONE --take()--> STARTING --started--> RUNNING --give(broken)--> BROKEN --last give()--> NONE
 *                                             '----died while idle, next take()---'
 *
 * Lock: one, for all of it. Starting, killing and reaping happen without it.
 */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "engine/engine_int.h"
#include "engine/wire.h"

#define LOOK_US 50000 /* how often somebody who waits looks whether to go on waiting */

enum process_state { PROCESS_NONE, PROCESS_STARTING, PROCESS_RUNNING, PROCESS_BROKEN };

struct query_process {
    enum process_state state;
    struct process process;
    int control, fds[CONNECTIONS_PER_PROCESS];
    bool is_busy[CONNECTIONS_PER_PROCESS];
    int n_busy;
    char *temp; /* its spill directory */
};

struct query_pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct query_process *processes;
    int n_processes;
    uint64_t memory_bytes; /* of one process */
    bool was_used;
};

struct query_pool *query_pool_new(int n_connections, uint64_t memory_bytes,
                                  const char *temp_directory)
{
    struct query_pool *p = x_alloc0(sizeof *p);
    int n = n_connections > 0 ? n_connections : 1;
    p->n_processes = (n + CONNECTIONS_PER_PROCESS - 1) / CONNECTIONS_PER_PROCESS;
    p->memory_bytes = memory_bytes / (uint64_t)p->n_processes;
    p->processes = x_array0((size_t)p->n_processes, sizeof *p->processes);
    for (int i = 0; i < p->n_processes; i++)
        p->processes[i].temp = temp_directory ? x_printf("%s/query.%d", temp_directory, i) : NULL;
    mutex_init(&p->lock);
    cond_init(&p->changed);
    return p;
}

static void end_process(struct query_process *q)
{
    struct err tidy = ERR_INIT;
    (void)close(q->control); /* sockets: nothing can fail late */
    for (int i = 0; i < CONNECTIONS_PER_PROCESS; i++)
        (void)close(q->fds[i]);
    (void)process_end(&q->process, true, NULL);
    if (q->temp)
        IGNORE(
            io_remove_tree(q->temp, &tidy)); /* the next start of the server empties its parent */
}

void query_pool_free(struct query_pool *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n_processes; i++) {
        assert(p->processes[i].n_busy == 0);
        if (p->processes[i].state == PROCESS_RUNNING)
            end_process(&p->processes[i]);
        mem_free(p->processes[i].temp);
    }
    cond_done(&p->changed);
    mutex_done(&p->lock);
    mem_free(p->processes);
    mem_free(p);
}

bool query_pool_was_used(struct query_pool *p)
{
    LOCKED(&p->lock);
    return p->was_used;
}

static enum rc start_process(struct query_pool *p, struct query_process *q, struct err *err)
{
    char connections[16], memory[24];
    int sockets[CONNECTIONS_PER_PROCESS + 1];
    (void)snprintf(connections, sizeof connections, "%d", CONNECTIONS_PER_PROCESS);
    (void)snprintf(memory, sizeof memory, "%llu", (unsigned long long)p->memory_bytes);
    const char *args[] = {"__query", connections, memory, q->temp ? q->temp : "", NULL};
    enum rc rc = q->temp ? io_mkdir_all(q->temp, 0700, err) : RC_OK;
    if (rc == RC_OK)
        rc = process_start_sockets(&q->process, args, sockets, CONNECTIONS_PER_PROCESS + 1, err);
    if (rc != RC_OK)
        return rc;
    q->control = sockets[0];
    memcpy(q->fds, sockets + 1, sizeof q->fds);
    return RC_OK;
}

static void take(struct query_process *q, int connection, struct query_lease *ret)
{
    q->is_busy[connection] = true;
    q->n_busy++;
    *ret = (struct query_lease){q, connection, q->fds[connection]};
}

/* Its end of the control socket is closed. */
static bool has_died(const struct query_process *q)
{
    struct pollfd fd = {q->control, POLLIN, 0};
    return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLHUP | POLLERR));
}

/* Called and left with the lock held: who died while nobody used it breaks no query. */
static void bury_idle(struct query_pool *p)
{
    for (int i = 0; i < p->n_processes; i++) {
        struct query_process *q = &p->processes[i];
        if (q->state != PROCESS_RUNNING || q->n_busy || !has_died(q))
            continue;
        q->state = PROCESS_BROKEN; /* nobody else touches it */
        mutex_unlock(&p->lock);
        end_process(q);
        mutex_lock(&p->lock);
        q->state = PROCESS_NONE;
        cond_broadcast(&p->changed);
    }
}

/* Under the lock: a free connection of a running process. */
static bool take_free(struct query_pool *p, struct query_lease *ret)
{
    for (int i = 0; i < p->n_processes; i++) {
        struct query_process *q = &p->processes[i];
        for (int j = 0; q->state == PROCESS_RUNNING && j < CONNECTIONS_PER_PROCESS; j++) {
            if (q->is_busy[j])
                continue;
            take(q, j, ret);
            return true;
        }
    }
    return false;
}

static struct query_process *find_state(struct query_pool *p, enum process_state state)
{
    for (int i = 0; i < p->n_processes; i++)
        if (p->processes[i].state == state)
            return &p->processes[i];
    return NULL;
}

static enum rc check_control(const struct query_control *control, struct err *err)
{
    if (control->cancelled && atomic_load_explicit(control->cancelled, memory_order_relaxed))
        return err_set(err, RC_CANCELLED, "the caller went away");
    if (control->deadline_us && monotonic_us() > control->deadline_us)
        return err_set(err, RC_TIMEOUT, "the query passed its deadline");
    return RC_OK;
}

/* Starts @q, which is ours while it is STARTING. Called and left with the lock held. */
static enum rc start_and_take(struct query_pool *p, struct query_process *q,
                              struct query_lease *ret, struct err *err)
{
    q->state = PROCESS_STARTING;
    mutex_unlock(&p->lock);
    enum rc rc = start_process(p, q, err);
    mutex_lock(&p->lock);
    q->state = rc == RC_OK ? PROCESS_RUNNING : PROCESS_NONE;
    if (rc == RC_OK)
        take(q, 0, ret);
    cond_broadcast(&p->changed);
    return rc;
}

enum rc query_pool_take(struct query_pool *p, const struct query_control *control,
                        struct query_lease *ret, struct err *err)
{
    LOCKED(&p->lock);
    p->was_used = true;
    for (;;) {
        enum rc rc = check_control(control, err);
        if (rc != RC_OK)
            return rc;
        bury_idle(p);
        if (take_free(p, ret))
            return RC_OK;
        struct query_process *q = find_state(p, PROCESS_NONE);
        if (q)
            return start_and_take(p, q, ret, err);
        (void)cond_wait_until(&p->changed, &p->lock, monotonic_us() + LOOK_US); /* looks again */
    }
}

void query_pool_give(struct query_pool *p, struct query_lease *lease, bool broken)
{
    struct query_process *q = lease->process;
    mutex_lock(&p->lock);
    q->is_busy[lease->connection] = false;
    q->n_busy--;
    if (broken && q->state == PROCESS_RUNNING) {
        q->state = PROCESS_BROKEN;
        (void)kill(q->process.pid, SIGKILL); /* not reaped yet: the number is its own */
    }
    bool is_last = q->state == PROCESS_BROKEN && q->n_busy == 0;
    mutex_unlock(&p->lock);
    if (is_last) /* nobody else touches a broken process without connections in use */
        end_process(q);
    mutex_lock(&p->lock);
    if (is_last)
        q->state = PROCESS_NONE;
    cond_broadcast(&p->changed);
    mutex_unlock(&p->lock);
    *lease = (struct query_lease){0};
}

void query_pool_stop(const struct query_lease *lease, uint64_t number)
{
    struct {
        uint32_t connection, unused;
        uint64_t number;
    } stop = {(uint32_t)lease->connection, 0, number};
    IGNORE(wire_write(lease->process->control, &stop, sizeof stop)); /* told again, or killed */
}
