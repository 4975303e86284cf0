/* SPDX-License-Identifier: Apache-2.0 */
/* Children: their pipes and sockets, and the care that no descriptor leaks. */
#include "engine/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "engine/spawn.h"

#define LIMIT_LINE_BYTES (64u << 20)
#define WRITE_PATIENCE_S 10
#define BACKGROUND_NICE 10
#define EXIT_PATIENCE_US 2000000 /* for the end of a child that closed its output */

/* @fds are the child's 0, 1, 3, 4, … */
static enum rc spawn(struct process *p, const char *const *args, const int *fds, int n_fds,
                     int nice, struct err *err)
{
    p->pid = spawn_child(args, fds, n_fds, nice);
    return p->pid > 0 ? RC_OK : err_set_errno(err, RC_IO, errno, "cannot start a child process");
}

enum rc process_start(struct process *p, const char *const *args, struct err *err)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
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
    int fds[2] = {in[0], out[1]};
    enum rc rc = spawn(p, args, fds, 2, BACKGROUND_NICE, err);
    (void)close(in[0]); /* the child's ends */
    (void)close(out[1]);
    p->to = in[1];
    p->from = out[0];
    if (rc != RC_OK)
        (void)process_end(p, false, NULL); /* there is none */
    return rc;
}

enum rc process_start_sockets(struct process *p, const char *const *args, int *ret_sockets,
                              int n_sockets, struct err *err)
{
    int theirs[LIMIT_SPAWN_FDS] = {-1, -1}, n = 0;
    struct timeval patience = {WRITE_PATIENCE_S, 0};
    enum rc rc = RC_OK;
    assert(n_sockets + 2 <= LIMIT_SPAWN_FDS);
    *p = (struct process){.pid = -1, .to = -1, .from = -1};
    for (; rc == RC_OK && n < n_sockets; n++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
            rc = err_set_errno(err, RC_IO, errno, "cannot start a child process");
            break;
        }
        ret_sockets[n] = pair[0];
        theirs[n + 2] = pair[1];
        /* A child that does not read is given up; without this the writer would wait for ever. */
        (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    if (rc == RC_OK)
        rc = spawn(p, args, theirs, n_sockets + 2, THREAD_GIVE_WAY_NICE, err);
    for (int i = 0; i < n; i++) {
        (void)close(theirs[i + 2]); /* the child's ends */
        if (rc != RC_OK)
            (void)close(ret_sockets[i]); /* nothing was written */
    }
    return rc;
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
        return err_set(err, buf_rc(&p->lines), "a child process said more than can be held");
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

/* What its stdin takes now. False: it has gone, its last lines and its exit say why. */
static bool feed_some(struct process *p, struct str *text, enum rc *ret, struct err *err)
{
    ssize_t n = write(p->to, text->p, text->n);
    if (n < 0 && errno == EPIPE)
        return false;
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        *ret = err_set_errno(err, RC_IO, errno, "cannot talk to a child process");
    if (n > 0)
        *text = (struct str){text->p + n, text->n - (size_t)n};
    return true;
}

enum rc process_feed(struct process *p, struct str *text, int64_t wait_us, struct err *err)
{
    int64_t deadline_us = monotonic_us() + wait_us;
    bool is_there = true, at_end = false; /* at the end of output poll() would no longer wait */
    enum rc rc = RC_OK;
    (void)fcntl(p->to, F_SETFL, O_NONBLOCK); /* blocking would only wait where poll does */
    while (rc == RC_OK && is_there && text->n > 0) {
        struct pollfd fds[2] = {{p->to, POLLOUT, 0}, {at_end ? -1 : p->from, POLLIN, 0}};
        int64_t left_us = deadline_us - monotonic_us();
        int ready = left_us <= 0 ? 0 : poll(fds, 2, (int)((left_us + 999) / 1000));
        if (ready == 0)
            return err_set(err, RC_TIMEOUT, "a child process does not take its job");
        if (ready < 0 && errno != EINTR)
            return err_set_errno(err, RC_IO, errno, "cannot talk to a child process");
        if (ready < 0)
            continue;
        if (fds[1].revents)
            rc = read_some(p, &at_end, err);
        if (fds[0].revents & (POLLERR | POLLHUP))
            is_there = false;
        else if (rc == RC_OK && fds[0].revents & POLLOUT)
            is_there = feed_some(p, text, &rc, err);
    }
    (void)close(p->to); /* a pipe: nothing can fail late */
    p->to = -1;
    return rc;
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

/* A child that has nothing more to say is about to exit; one that stays is killed. */
static void reap(pid_t pid, bool is_killed, int *ret_status)
{
    int64_t deadline_us = monotonic_us() + EXIT_PATIENCE_US;
    for (;;) {
        pid_t got = waitpid(pid, ret_status, is_killed ? 0 : WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR))
            return;
        if (!is_killed && monotonic_us() > deadline_us) {
            (void)kill(pid, SIGKILL); /* it may have ended by itself */
            is_killed = true;
        } else if (!is_killed) {
            (void)poll(NULL, 0, 1); /* a pause; waking early only looks once more */
        }
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
        reap(p->pid, kill_it, &status);
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
