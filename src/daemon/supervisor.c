/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams to the supervisor; one pulse per loop. */
#include "daemon/supervisor.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timeutil.h"

struct pulse {
    struct loop_message message; /* first: the loop hands it back */
    _Atomic bool is_out;
};

struct watchdog {
    struct loop *const *loops;
    int n_loops;
    struct pulse *pulses;
    int64_t every_us, next_us; /* monotonic */
    bool is_late;
};

void supervisor_tell(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (*path == '@')
        address.sun_path[0] = 0;
    AUTO(fd_auto) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (fd >= 0)
        (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
                     n); /* best effort */
}

static void on_pulse(struct loop_message *m)
{
    atomic_store(&((struct pulse *)(void *)m)->is_out, false);
}

struct watchdog *watchdog_new(struct loop *const *loops, int n_loops)
{
    const char *text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    int64_t us = 0, wanted = 0;
    if (!text || !parse_int64(str_from(text), &us) || us <= 0)
        return NULL;
    if (pid && (!parse_int64(str_from(pid), &wanted) || wanted != getpid()))
        return NULL;
    struct watchdog *w = x_alloc0(sizeof *w);
    w->loops = loops;
    w->n_loops = n_loops;
    w->pulses = x_array0((size_t)n_loops, sizeof *w->pulses);
    w->every_us = us / 3 > 0 ? us / 3 : 1; /* two may be lost */
    return w;
}

void watchdog_free(struct watchdog *w)
{
    if (!w)
        return;
    mem_free(w->pulses);
    mem_free(w);
}

static bool all_came_back(const struct watchdog *w)
{
    for (int i = 0; i < w->n_loops; i++)
        if (atomic_load(&w->pulses[i].is_out))
            return false;
    return true;
}

int64_t watchdog_tick(struct watchdog *w, int64_t otherwise_us)
{
    if (!w)
        return otherwise_us;
    int64_t now_us = monotonic_us();
    if (now_us >= w->next_us) {
        bool fine = all_came_back(w);
        if (!fine && !w->is_late)
            log_event(LOG_WARN, "watchdog",
                      "an event loop does not answer; the supervisor is not told to wait");
        w->is_late = !fine;
        w->next_us = now_us + w->every_us;
        if (fine)
            supervisor_tell("WATCHDOG=1");
        for (int i = 0; fine && i < w->n_loops; i++) {
            w->pulses[i].message.run = on_pulse;
            atomic_store(&w->pulses[i].is_out, true);
            loop_post(w->loops[i], &w->pulses[i].message);
        }
    }
    int64_t left_us = w->next_us - now_us;
    return left_us < otherwise_us ? left_us : otherwise_us;
}
