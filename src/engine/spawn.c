/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define LIMIT_ARGS 8

/*
 * Between vfork and exec: only async-signal-safe calls, and no write to what the parent reads, for
 * the memory is the parent's. @fds become descriptors 0, 1, 3, …; each is moved out of the way
 * first, because one may stand where another goes. -1: /dev/null. Nothing else stays.
 */
static void become_child(const int *fds, int n_fds, int nice, pid_t parent, char *const *args)
{
    struct rlimit no_core = {0, 0};
    int moved[LIMIT_SPAWN_FDS];
    sigset_t none;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    for (int i = 0; i < n_fds; i++) {
        int fd = fds[i] >= 0 ? fds[i] : open("/dev/null", O_RDWR | O_CLOEXEC);
        moved[i] = fcntl(fd, F_DUPFD_CLOEXEC, n_fds + 3);
    }
    for (int i = 0; i < n_fds; i++) {
        int at = i < 2 ? i : i + 1; /* 2 stays: the log */
        if (moved[i] < 0 || dup2(moved[i], at) < 0)
            _exit(127);
    }
    (void)close_range((unsigned)n_fds + 1, ~0u, 0); /* all are close-on-exec in any case */
    /* Our handlers would run here and tell the parent's loop of a signal that was not for it. */
    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL); /* refused for a few, which have no handler either */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    /* Of the main thread's, for the one that spawns may be a worker that gives way. Capped at 19. */
    (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, (id_t)parent) + nice);
    (void)execv("/proc/self/exe", args);
    _exit(127);
}

/* vfork, because a fork would copy the page tables of everything mapped, and each page that a loop
 * writes afterwards would fault once. */
pid_t spawn_child(const char *const *args, const int *fds, int n_fds, int nice)
{
    char *argv[LIMIT_ARGS + 2] = {(char *)(uintptr_t) "offloader"}; /* exec does not write to it */
    assert(n_fds <= LIMIT_SPAWN_FDS);
    for (int i = 0; args[i]; i++) {
        assert(i < LIMIT_ARGS);
        argv[i + 1] = (char *)(uintptr_t)args[i];
    }
    pid_t parent = getpid();
    pid_t pid = vfork();
    if (pid == 0)
        become_child(fds, n_fds, nice, parent, argv);
    return pid;
}
