/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a child says on its stdout, and that it works.
 *
 * The server ends an ingest that says nothing for long. Much of one is silent: a sort, a count, a
 * large file's digest. So a thread looks at what the process used since its last look, and says a
 * line when that was CPU time or blocks of a disk. A process that hangs uses neither.
 */
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "engine/child.h"

#define LOOK_EVERY_MS 200
#define WORK_CPU_US 1000 /* less may be a thread that wakes up to find nothing */

static pthread_mutex_t line_lock = PTHREAD_MUTEX_INITIALIZER;

void child_say(struct buf *line)
{
    struct err err = ERR_INIT;
    buf_putc(line, '\n');
    if (!line->failed) {
        LOCKED(&line_lock);
        IGNORE(io_write_all(STDOUT_FILENO, line->p, line->n, "stdout",
                            &err)); /* no parent, no one to tell */
    }
    buf_reset(line);
}

struct work {
    int64_t cpu_us; /* of all threads but this one */
    long n_blocks;
};

static struct work work_so_far(void)
{
    struct rusage used = {0};
    int64_t own_us = thread_cpu_us();
    (void)getrusage(RUSAGE_SELF, &used); /* fails only on a bad argument */
    return (struct work){.cpu_us = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
                                   used.ru_utime.tv_usec + used.ru_stime.tv_usec - own_us,
                         .n_blocks = used.ru_inblock + used.ru_oublock};
}

static void *watch_work(void *arg)
{
    const struct timespec pause = {0, LOOK_EVERY_MS * 1000000};
    struct work before = work_so_far();
    struct buf b;
    (void)arg; /* there is one process */
    buf_init(&b, 64);
    while (!b.failed) {
        (void)nanosleep(&pause, NULL); /* waking early only looks sooner */
        struct work now = work_so_far();
        bool works = now.cpu_us - before.cpu_us >= WORK_CPU_US || now.n_blocks != before.n_blocks;
        before = now;
        if (!works)
            continue;
        buf_put_literal(&b, "{\"works\":true}");
        child_say(&b);
    }
    return NULL;
}

enum rc child_say_it_works(struct err *err)
{
    pthread_t thread;
    return thread_start(&thread, "works", watch_work, NULL, err);
}
