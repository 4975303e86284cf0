/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the process may use: its cgroup's limits (v2, else v1), capped by the machine. Limits of
 * cgroups further up bind too, so every level from the process's own to the root is asked.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define CGROUP_PATH_BYTES 4096
#define CGROUP_FILE_BYTES 65536

/* First line of a small file, without the newline; false when it cannot be read. */
static bool read_line(const char *path, char *ret, size_t n)
{
    struct buf text;
    buf_init(&text, CGROUP_FILE_BYTES);
    bool fine = io_read_file(path, &text, NULL) == RC_OK;
    if (fine)
        snprintf(ret, n, "%.*s", (int)strcspn(buf_cstr(&text), "\n"), buf_cstr(&text));
    buf_done(&text);
    return fine;
}

/* The process's path in the hierarchy that /proc/self/cgroup names ":@controller:", "" if none. */
static void own_cgroup(const char *controller, char ret[CGROUP_PATH_BYTES])
{
    ret[0] = '\0';
    struct buf text;
    buf_init(&text, CGROUP_FILE_BYTES);
    if (io_read_file("/proc/self/cgroup", &text, NULL) == RC_OK) {
        char needle[64];
        snprintf(needle, sizeof(needle), ":%s:", controller);
        const char *at = strstr(buf_cstr(&text), needle);
        if (at) {
            at += strlen(needle);
            snprintf(ret, CGROUP_PATH_BYTES, "%.*s", (int)strcspn(at, "\n"), at);
        }
    }
    buf_done(&text);
}

/* Calls @ask with each directory from the process's own cgroup up to the root. */
static void each_level(const char *mount, const char *controller,
                       void (*ask)(const char *directory, void *arg), void *arg)
{
    char path[CGROUP_PATH_BYTES];
    own_cgroup(controller, path);
    for (;;) {
        char directory[CGROUP_PATH_BYTES + 64];
        snprintf(directory, sizeof(directory), "%s%s", mount, path);
        ask(directory, arg);
        char *slash = strrchr(path, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static bool read_number(const char *directory, const char *file, int64_t *ret)
{
    char path[CGROUP_PATH_BYTES + 128], line[128];
    snprintf(path, sizeof(path), "%s/%s", directory, file);
    return read_line(path, line, sizeof(line)) && parse_int64(str_from(line), ret);
}

static void lower_cpu(double *least, int64_t quota_us, int64_t period_us)
{
    if (quota_us > 0 && period_us > 0 && (double)quota_us / (double)period_us < *least)
        *least = (double)quota_us / (double)period_us;
}

static void ask_cpu_v2(const char *directory, void *arg)
{
    char path[CGROUP_PATH_BYTES + 128], line[128];
    int64_t quota_us, period_us;
    snprintf(path, sizeof(path), "%s/cpu.max", directory);
    if (!read_line(path, line, sizeof(line)))
        return;
    size_t n = strcspn(line, " ");
    if (line[n] == ' ' && parse_int64((struct str){line, n}, &quota_us) && /* not "max 100000" */
        parse_int64(str_from(line + n + 1), &period_us))
        lower_cpu(arg, quota_us, period_us);
}

static void ask_cpu_v1(const char *directory, void *arg)
{
    int64_t quota_us, period_us;
    if (read_number(directory, "cpu.cfs_quota_us", &quota_us) &&
        read_number(directory, "cpu.cfs_period_us", &period_us))
        lower_cpu(arg, quota_us, period_us);
}

int cpu_quota(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    double least = online > 0 ? (double)online : 1.0;
    each_level(CGROUP_ROOT, "", ask_cpu_v2, &least);
    each_level(CGROUP_ROOT "/cpu", "cpu,cpuacct", ask_cpu_v1, &least);
    int whole = (int)least;
    if ((double)whole < least)
        whole++; /* 1.5 CPUs keep two threads partly busy; one thread would waste a half */
    return whole < 1 ? 1 : whole;
}

static void lower_memory(uint64_t *least, int64_t bytes)
{
    if (bytes > 0 && (uint64_t)bytes < *least)
        *least = (uint64_t)bytes;
}

static void ask_memory_v2(const char *directory, void *arg)
{
    int64_t bytes;
    if (read_number(directory, "memory.max", &bytes))
        lower_memory(arg, bytes);
}

static void ask_memory_v1(const char *directory, void *arg)
{
    int64_t bytes;
    if (read_number(directory, "memory.limit_in_bytes", &bytes))
        lower_memory(arg, bytes);
}

uint64_t memory_quota_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
    uint64_t least =
        pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : (uint64_t)1 << 30;
    each_level(CGROUP_ROOT, "", ask_memory_v2, &least);
    each_level(CGROUP_ROOT "/memory", "memory", ask_memory_v1, &least);
    return least;
}
