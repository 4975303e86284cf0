/* SPDX-License-Identifier: Apache-2.0 */
/* Children: fork and exec of this same binary, pipes, and the care that no descriptor leaks. */
#include "engine/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"

#define LIMIT_LINE_BYTES (64u << 20)
#define LIMIT_ARGS 8

/* Between fork and exec: only async-signal-safe calls. */
static void become_child(int in, int out, pid_t parent, char *const *args)
{
    struct rlimit no_core = {0, 0};
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    if (getppid() != parent || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
        _exit(127);
    (void)execv("/proc/self/exe", args);
    _exit(127);
}

enum rc process_start(struct process *p, const char *const *args, struct err *err)
{
    char *argv[LIMIT_ARGS + 2] = {(char *)(uintptr_t)"offloader"}; /* exec does not write to it */
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    for (int i = 0; args[i]; i++) {
        assert(i < LIMIT_ARGS);
        argv[i + 1] = (char *)(uintptr_t)args[i];
    }
    *p = (struct process){.pid = -1, .to = -1, .from = -1};
    buf_init(&p->lines, LIMIT_LINE_BYTES);
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
        int saved = errno;
        if (in[0] >= 0) {
            (void)close(in[0]); /* nothing was written */
            (void)close(in[1]);
        }
        return err_set_errno(err, RC_IO, saved, "cannot start a child process");
    }
    pid_t parent = getpid();
    p->pid = fork();
    if (p->pid == 0)
        become_child(in[0], out[1], parent, argv);
    (void)close(in[0]); /* the child's ends */
    (void)close(out[1]);
    p->to = in[1];
    p->from = out[0];
    if (p->pid < 0) {
        int saved = errno;
        (void)process_end(p, false, NULL);
        return err_set_errno(err, RC_IO, saved, "cannot start a child process");
    }
    return RC_OK;
}

/* Reads what is there into p->lines; false at the end of output. */
static enum rc read_some(struct process *p, bool *ret_end, struct err *err)
{
    if (p->at) {
        memmove(p->lines.p, p->lines.p + p->at, p->lines.n - p->at);
        p->lines.n -= p->at;
        p->at = 0;
    }
    if (!buf_reserve(&p->lines, 65536))
        return err_set(err, RC_LIMIT, "a child process said more than is allowed");
    ssize_t n;
    do
        n = read(p->from, p->lines.p + p->lines.n, 65536);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set_errno(err, RC_IO, errno, "cannot read from a child process");
    *ret_end = n == 0;
    p->lines.n += (size_t)n;
    return RC_OK;
}

enum rc process_feed(struct process *p, struct str text, struct err *err)
{
    size_t at = 0;
    (void)fcntl(p->to, F_SETFL, O_NONBLOCK); /* blocking would only wait where poll does */
    while (at < text.n) {
        struct pollfd fds[2] = {{p->to, POLLOUT, 0}, {p->from, POLLIN, 0}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return err_set_errno(err, RC_IO, errno, "cannot talk to a child process");
        if (fds[0].revents & (POLLERR | POLLHUP))
            break; /* it has gone: its last lines and its exit say why */
        if (fds[0].revents & POLLOUT) {
            ssize_t n = write(p->to, text.p + at, text.n - at);
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                break;
            at += n > 0 ? (size_t)n : 0;
        }
    }
    (void)close(p->to); /* a pipe: nothing can fail late */
    p->to = -1;
    return RC_OK;
}

enum rc process_line(struct process *p, int64_t wait_us, struct str *ret, struct err *err)
{
    int64_t deadline_us = monotonic_us() + wait_us;
    for (;;) {
        const char *from = p->lines.p + p->at;
        size_t n = p->lines.n - p->at;
        const char *end = n ? memchr(from, '\n', n) : NULL;
        if (end) {
            *ret = (struct str){from, (size_t)(end - from)};
            p->at += ret->n + 1;
            return RC_OK;
        }
        struct pollfd fd = {p->from, POLLIN, 0};
        int64_t left_us = deadline_us - monotonic_us();
        int ready = left_us <= 0 ? 0 : poll(&fd, 1, (int)((left_us + 999) / 1000));
        if (ready == 0)
            return err_set(err, RC_TIMEOUT, "a child process made no progress");
        if (ready < 0 && errno != EINTR)
            return err_set_errno(err, RC_IO, errno, "cannot wait for a child process");
        bool at_end = false;
        enum rc rc = ready > 0 ? read_some(p, &at_end, err) : RC_OK;
        if (rc != RC_OK)
            return rc;
        if (at_end)
            return RC_NOT_FOUND;
    }
}

bool process_end(struct process *p, bool kill_it, char ret_how[128])
{
    int status = 0;
    if (p->to >= 0)
        (void)close(p->to); /* pipes: nothing can fail late */
    if (p->from >= 0)
        (void)close(p->from);
    buf_done(&p->lines);
    if (p->pid > 0) {
        if (kill_it)
            (void)kill(p->pid, SIGKILL); /* it may have ended by itself */
        while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    if (ret_how && WIFSIGNALED(status))
        (void)snprintf(ret_how, 128, "was ended by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    else if (ret_how)
        (void)snprintf(ret_how, 128, "exited with %d", WEXITSTATUS(status));
    bool fine = p->pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    *p = (struct process){.pid = -1, .to = -1, .from = -1};
    return fine;
}
