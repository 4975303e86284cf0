/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a program for what it prints. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/timeutil.h"
#include "net/credentials_int.h"

extern char **environ;

static int spawn(const char *const *argv, int out, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    union { /* posix_spawn's arguments are not const, and not written to */
        const char *const *read_only;
        char *const *plain;
    } args = {argv};
    int saved = posix_spawn_file_actions_init(&actions);
    if (saved != 0)
        return saved;
    saved = posix_spawnattr_init(&attributes);
    if (saved != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return saved;
    }
    (void)sigemptyset(&none); /* our threads block signals; the program should not */
    saved = posix_spawnattr_setsigmask(&attributes, &none);
    if (saved == 0)
        saved = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if (saved == 0)
        saved = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (saved == 0)
        saved = posix_spawn_file_actions_adddup2(&actions, out, 1);
    if (saved == 0)
        saved = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    if (saved == 0)
        saved = posix_spawnp(ret, argv[0], &actions, &attributes, args.plain, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return saved;
}

/* False when the time or the buffer is over. */
static bool read_all(int fd, int64_t deadline_us, struct buf *ret)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left_us = deadline_us - monotonic_us();
        if (left_us <= 0 || !buf_reserve(ret, 4096))
            return false;
        int n_ready = poll(&p, 1, (int)(left_us / 1000) + 1);
        if (n_ready == 0 || (n_ready < 0 && errno == EINTR))
            continue;
        ssize_t n = n_ready < 0 ? -1 : read(fd, ret->p + ret->n, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        ret->n += (size_t)n;
    }
}

enum rc program_output(const char *const *argv, int64_t timeout_ms, struct buf *ret,
                       struct err *err)
{
    int ends[2];
    pid_t pid;
    int status = 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set_errno(err, RC_IO, errno, "cannot make a pipe");
    AUTO(fd_auto) int from = ends[0];
    int saved = spawn(argv, ends[1], &pid);
    (void)close(ends[1]); /* the program's end is its own now */
    if (saved == ENOENT)
        return err_set(err, RC_NOT_FOUND, "there is no program %s on the PATH", argv[0]);
    if (saved != 0)
        return err_set_errno(err, RC_IO, saved, "cannot run %s", argv[0]);
    bool done = read_all(from, monotonic_us() + timeout_ms * 1000, ret);
    if (!done)
        (void)kill(pid, SIGKILL); /* gone already is as good */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!done)
        return err_set(err, RC_TIMEOUT, "%s printed no end within %lld ms", argv[0],
                       (long long)timeout_ms);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, RC_DENIED, "%s failed", argv[0]);
    while (ret->n && (unsigned char)ret->p[ret->n - 1] <= 0x20)
        ret->n--;
    return RC_OK;
}
