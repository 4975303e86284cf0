/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and orders of the fault lane. They live in one page of shared memory: the file that
 * OFFLOADER_FAULT_CONTROL names, so that children count with the server, a restart goes on counting
 * and a test reads and changes orders while the server runs; without it, memory of this process.
 *
 * Layout, all uint64 in the machine's order (control.py has the same):
 *   0 magic   1 server pid   2 durable steps   3 crash at step (0: off)   4 orders were taken from
 * env   5 seconds (signed) that the wall clock is ahead   6 site + 1 whose call is held (0: off,
 * which lets it go)   7 that call's number; 0: it is being held   8 + 5 * site: calls, first call
 * to fail (0: off), last call to fail, errno (0: the site's own, SHORT as 2^64 - 1), calls failed
 */
#include "lane.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x3145544c554146)
#define PAGE_BYTES 4096

typedef _Atomic uint64_t cell;
struct orders {
    cell calls, from, until, number, failed;
};
struct control {
    cell magic, server, steps, crash_at, env_taken, wall_shift, held_site, held_call;
    struct orders sites[N_SITES];
};
_Static_assert(sizeof(struct control) <= PAGE_BYTES, "the control file is one page");

static struct control own;
static struct control *control = &own;

static const char *const site_names[] = {
#define SITE(name, ...) #name,
#include "sites.h"
#undef SITE
};

#define LIMIT_ERRNOS 6
#define HOLD_LIMIT_MS 120000 /* a test that forgot to release it */
static const int site_errnos[N_SITES][LIMIT_ERRNOS] = {
#define SITE(name, ...) {__VA_ARGS__},
#include "sites.h"
#undef SITE
};

static const struct {
    const char *name;
    int number;
} errnos[] = {
    {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EMFILE", EMFILE}, {"ENFILE", ENFILE},
    {"ENOMEM", ENOMEM}, {"EINTR", EINTR},   {"EAGAIN", EAGAIN}, {"EACCES", EACCES},
    {"EROFS", EROFS},   {"short", SHORT},
};

/* _exit and not abort: a typing error in a test is no crash of the program. */
_Noreturn static void refuse(const char *spec)
{
    fprintf(stderr,
            "offloader-fault: cannot read '%s' in OFFLOADER_FAULT; it is <site>:<n>[:once|always]"
            "[:<errno>|short] or crash:<n>, several with commas\n",
            spec);
    _exit(99);
}

static void take_order(char *spec)
{
    char *rest = NULL, whole[128];
    snprintf(whole, sizeof(whole), "%s", spec);
    const char *name = strtok_r(spec, ":", &rest), *at = strtok_r(NULL, ":", &rest);
    uint64_t n = at ? strtoull(at, NULL, 10) : 0;
    if (!name || n == 0)
        refuse(whole);
    if (strcmp(name, "crash") == 0) {
        control->crash_at = control->steps + n;
        return;
    }
    int site = -1;
    for (int i = 0; i < N_SITES; i++)
        if (strcmp(site_names[i], name) == 0)
            site = i;
    if (site < 0)
        refuse(whole);
    struct orders *o = &control->sites[site];
    uint64_t from = o->calls + n, until = from;
    for (const char *word; (word = strtok_r(NULL, ":", &rest));) {
        bool known = strcmp(word, "once") == 0;
        if (strcmp(word, "always") == 0) {
            until = UINT64_MAX;
            known = true;
        }
        for (size_t i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++) {
            if (strcmp(errnos[i].name, word) == 0) {
                o->number = (uint64_t)(int64_t)errnos[i].number;
                known = true;
            }
        }
        if (!known)
            refuse(whole);
    }
    o->until = until;
    o->from = from;
}

static void open_control(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    void *p = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= PAGE_BYTES)
        p = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "offloader-fault: '%s' is no control file of %d bytes\n", path, PAGE_BYTES);
        _exit(99);
    }
    (void)close(fd);
    control = p;
}

__attribute__((constructor)) static void lane_start(void)
{
    const char *path = getenv("OFFLOADER_FAULT_CONTROL"), *text = getenv("OFFLOADER_FAULT");
    if (path && *path)
        open_control(path);
    control->magic = MAGIC;
    uint64_t nobody = 0;
    if (!atomic_compare_exchange_strong(&control->server, &nobody, (uint64_t)getpid()) &&
        kill((pid_t)nobody, 0) != 0) {
        control->server = (uint64_t)getpid(); /* a restart on the same control file */
        control->env_taken = 0;
    }
    if (!text || atomic_exchange(&control->env_taken, 1))
        return;
    char *copy = strdup(text), *rest = NULL;
    for (char *spec = strtok_r(copy, ",", &rest); spec; spec = strtok_r(NULL, ",", &rest)) {
        char one[128];
        snprintf(one, sizeof(one), "%s", spec);
        take_order(one);
    }
    free(copy);
}

/* A slow disk, without a time: the call returns when the test says so. */
static void hold(enum site site, uint64_t n)
{
    uint64_t call = n;
    if (control->held_site != (uint64_t)site + 1 ||
        !atomic_compare_exchange_strong(&control->held_call, &call, 0))
        return;
    for (int ms = 0; control->held_site && ms < HOLD_LIMIT_MS; ms++)
        (void)usleep(1000); /* the page has no other bell: the test is not a process of ours */
}

/* 0: goes through; else the errno, or SHORT. */
static int count(enum site site, enum site counted_as)
{
    struct orders *o = &control->sites[counted_as];
    uint64_t n = atomic_fetch_add(&o->calls, 1) + 1;
    uint64_t from = o->from;
    hold(counted_as, n);
    if (from == 0 || n < from || n > o->until)
        return 0;
    o->failed++;
    int number = (int)(int64_t)o->number;
    if (number != 0)
        return number;
    int n_own = 0;
    while (n_own < LIMIT_ERRNOS && site_errnos[site][n_own] != 0)
        n_own++;
    number = n_own > 0 ? site_errnos[site][n % (uint64_t)n_own] : EIO;
    /* A call interrupted for ever is no fault that exists. */
    return number == EINTR && o->until == UINT64_MAX ? EIO : number;
}

static int fault_of(enum site site)
{
    int as_any = site == SITE_alloc ? 0 : count(site, SITE_any);
    int as_itself = count(site, site);
    return as_itself ? as_itself : as_any;
}

void lane_count(enum site site)
{
    atomic_fetch_add_explicit(&control->sites[site].calls, 1, memory_order_relaxed);
}

bool lane_fails(enum site site)
{
    int number = fault_of(site);
    if (number == 0 || number == SHORT)
        return false;
    errno = number;
    return true;
}

bool lane_fails_transfer(enum site site, size_t *n)
{
    int number = fault_of(site);
    if (number == SHORT && *n > 1)
        *n = 1;
    if (number == 0 || number == SHORT)
        return false;
    errno = number;
    return true;
}

void lane_durable_step(void)
{
    uint64_t n = atomic_fetch_add(&control->steps, 1) + 1;
    if (n != control->crash_at)
        return;
    pid_t server = (pid_t)control->server;
    /* A sandboxed child may not signal its parent: that goes at its own next step. */
    if (server > 0 && server != getpid() && kill(server, SIGKILL) != 0)
        control->crash_at = n + 1;
    (void)raise(SIGKILL);
}

void lane_durable_step_on(int fd)
{
    int saved = errno;
    struct stat st;
    if (fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
        lane_durable_step();
    errno = saved;
}

int64_t lane_wall_shift_s(void)
{
    return (int64_t)control->wall_shift;
}
