/* SPDX-License-Identifier: Apache-2.0 */
/*
 * S-13: what a decoder taken over by a crafted file would try. Run inside the sandbox of an ingest
 * or a query process every attempt must be denied; `bare` runs the same without one, to show that
 * they could have worked. An attempt that needs no harm to be tried does none: signal 0, empty
 * arguments.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "engine/sandbox.h"

static const char *outside; /* a directory beside the one that may be written */
static char path_room[4096];

static const char *beside(const char *name)
{
    (void)snprintf(path_room, sizeof path_room, "%s/%s", outside, name);
    return path_room;
}

static long try_open(const char *path, int flags)
{
    long fd = syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close((int)fd); /* nothing was written */
    return fd;
}

static long try_socket(int family, int type)
{
    long fd = syscall(SYS_socket, family, type, 0);
    if (fd >= 0)
        (void)close((int)fd); /* nothing was sent */
    return fd;
}

/* A child that ends at once: allowed is allowed, whatever becomes of it. */
static long try_process(unsigned long flags)
{
    long pid = syscall(SYS_clone, flags, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        (void)waitpid((pid_t)pid, NULL, __WALL); /* nothing to learn from it */
    return pid;
}

static long try_exec(bool by_descriptor)
{
    static char *const args[] = {NULL};
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    int status = 1;
    /* Where no process can be made the call is tried in this one: it must fail. */
    if (pid <= 0) {
        long rc = by_descriptor ? syscall(SYS_execveat, AT_FDCWD, "/bin/true", args, args, 0)
                                : syscall(SYS_execve, "/bin/true", args, args);
        if (pid == 0)
            _exit(1);
        return rc;
    }
    (void)waitpid((pid_t)pid, &status, 0); /* its status is looked at */
    errno = EPERM;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static long try_code(bool by_protect)
{
    int first = by_protect ? PROT_READ : PROT_READ | PROT_EXEC;
    void *p = mmap(NULL, 4096, first, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -1;
    long rc = by_protect ? mprotect(p, 4096, PROT_READ | PROT_EXEC) : 0;
    int saved = errno;
    (void)munmap(p, 4096); /* ours */
    errno = saved;
    return rc;
}

static long read_parent(void)
{
    char byte;
    struct {
        void *p;
        size_t n;
    } here = {&byte, 1}, there = {(void *)(uintptr_t)outside, 1};
    return syscall(SYS_process_vm_readv, getppid(), &here, 1, &there, 1, 0);
}

/* ---- the table ---- */

#define ATTEMPTS(X)                                                                                \
    X("read /etc/passwd", try_open("/etc/passwd", O_RDONLY))                                       \
    X("read /etc/hostname", try_open("/etc/hostname", O_RDONLY))                                   \
    X("read /proc/self/environ", try_open("/proc/self/environ", O_RDONLY))                         \
    X("read /proc/self/maps", try_open("/proc/self/maps", O_RDONLY))                               \
    X("read /proc/cpuinfo", try_open("/proc/cpuinfo", O_RDONLY))                                   \
    X("read the program", try_open("/proc/self/exe", O_RDONLY))                                    \
    X("list /", try_open("/", O_RDONLY | O_DIRECTORY))                                             \
    X("list /etc", try_open("/etc", O_RDONLY | O_DIRECTORY))                                       \
    X("list /proc", try_open("/proc", O_RDONLY | O_DIRECTORY))                                     \
    X("list the directory beside", try_open(outside, O_RDONLY | O_DIRECTORY))                      \
    X("read a file beside", try_open(beside("victim"), O_RDONLY))                                  \
    X("write a file beside", try_open(beside("victim"), O_WRONLY))                                 \
    X("cut a file beside", syscall(SYS_truncate, beside("victim"), 0L))                            \
    X("create a file beside", try_open(beside("new"), O_CREAT | O_WRONLY))                         \
    X("create a file in /tmp", try_open("/tmp/offloader-sandbox-test", O_CREAT | O_WRONLY))        \
    X("make a directory beside", syscall(SYS_mkdirat, AT_FDCWD, beside("newdir"), 0700))           \
    X("remove a directory beside",                                                                 \
      syscall(SYS_unlinkat, AT_FDCWD, beside("olddir"), AT_REMOVEDIR))                             \
    X("rename a file beside",                                                                      \
      syscall(SYS_renameat, AT_FDCWD, beside("victim"), AT_FDCWD, beside("victim")))               \
    X("remove a file beside", syscall(SYS_unlinkat, AT_FDCWD, beside("spare"), 0))                 \
    X("change a mode", syscall(SYS_fchmodat, AT_FDCWD, beside("victim"), 0600))                    \
    X("change an owner", syscall(SYS_fchownat, AT_FDCWD, beside("victim"), getuid(), getgid(), 0)) \
    X("change times", syscall(SYS_utimensat, AT_FDCWD, beside("victim"), NULL, 0))                 \
    X("set an attribute", syscall(SYS_setxattr, beside("victim"), "user.x", "y", 1UL, 0))          \
    X("make a symbolic link", syscall(SYS_symlinkat, "/etc", AT_FDCWD, beside("link")))            \
    X("make a hard link",                                                                          \
      syscall(SYS_linkat, AT_FDCWD, beside("victim"), AT_FDCWD, "/tmp/offloader-sandbox-link", 0)) \
    X("make a pipe in the tree",                                                                   \
      syscall(SYS_mknodat, AT_FDCWD, beside("fifo"), S_IFIFO | 0600, 0))                           \
    X("write to a device", try_open("/dev/null", O_WRONLY))                                        \
    X("change directory", syscall(SYS_chdir, "/"))                                                 \
    X("socket: TCP", try_socket(AF_INET, SOCK_STREAM))                                             \
    X("socket: UDP", try_socket(AF_INET, SOCK_DGRAM))                                              \
    X("socket: TCP over IPv6", try_socket(AF_INET6, SOCK_STREAM))                                  \
    X("socket: unix", try_socket(AF_UNIX, SOCK_STREAM))                                            \
    X("socket: netlink", try_socket(AF_NETLINK, SOCK_RAW))                                         \
    X("fork", try_process(SIGCHLD))                                                                \
    X("vfork-like clone", try_process(CLONE_VFORK | SIGCHLD))                                      \
    X("run a program", try_exec(false))                                                            \
    X("run a program by descriptor", try_exec(true))                                               \
    X("map code", try_code(false))                                                                 \
    X("make memory code", try_code(true))                                                          \
    X("signal the parent", kill(getppid(), 0))                                                     \
    X("signal its group", kill(0, 0))                                                              \
    X("signal a thread of the parent", syscall(SYS_tgkill, getppid(), getppid(), 0))               \
    X("hold the parent", syscall(SYS_pidfd_open, getppid(), 0))                                    \
    X("read the parent's limits", syscall(SYS_getpriority, 0, getppid()))                          \
    X("read the parent's memory", read_parent())                                                   \
    X("become traceable", syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0))                            \
    X("outlive the parent", prctl(PR_SET_PDEATHSIG, 0))                                            \
    X("be dumped", prctl(PR_SET_DUMPABLE, 1))                                                      \
    X("new session", syscall(SYS_setsid))                                                          \
    X("new namespace", syscall(SYS_unshare, CLONE_FS))                                             \
    X("set a user", syscall(SYS_setuid, getuid()))                                                 \
    X("set a group", syscall(SYS_setgid, getgid()))                                                \
    X("change a personality", syscall(SYS_personality, 0xffffffffUL))                              \
    X("anonymous file", syscall(SYS_memfd_create, "x", 0))                                         \
    X("shared memory", syscall(SYS_shmget, IPC_PRIVATE, 4096UL, IPC_CREAT | 0600))                 \
    X("watch files", syscall(SYS_inotify_init1, 0))                                                \
    X("io_uring", syscall(SYS_io_uring_setup, 1, path_room))                                       \
    X("user fault handling", syscall(SYS_userfaultfd, O_CLOEXEC))                                  \
    X("keys of the kernel", syscall(SYS_keyctl, 0, -3L, 1))                                        \
    X("a pipe", syscall(SYS_pipe2, path_room, 0))                                                  \
    X("poll set", syscall(SYS_epoll_create1, 0))

static bool is_denied(long rc)
{
    return rc < 0 && (errno == EPERM || errno == EACCES || errno == ENOSYS || errno == EXDEV);
}

static int try_all(void)
{
    int n_denied = 0, n_allowed = 0;
#define X(name, call)                                                                              \
    errno = 0;                                                                                     \
    if (is_denied(call)) {                                                                         \
        n_denied++;                                                                                \
        printf("denied  %s\n", name);                                                              \
    } else {                                                                                       \
        n_allowed++;                                                                               \
        printf("ALLOWED %s\n", name);                                                              \
    }
    ATTEMPTS(X)
#undef X
    printf("%d denied, %d allowed\n", n_denied, n_allowed);
    return n_allowed ? 1 : 0;
}

/* What must go on working: its own directory, its own files, threads' and memory's calls. */
static bool still_works(const char *directory, const char *readable)
{
    AUTO(mem_free_auto) char *own = path_join(directory, "own");
    struct buf b;
    struct err err = ERR_INIT;
    buf_init(&b, 4096);
    bool fine =
        io_write_file(own, "x", 1, 0600, &err) == RC_OK && io_read_file(own, &b, &err) == RC_OK;
    if (fine && readable)
        fine = try_open(readable, O_RDONLY) >= 0 && is_denied(try_open(readable, O_WRONLY)) &&
               is_denied(try_open(readable, O_RDONLY | O_TRUNC));
    if (!fine)
        printf("BROKEN: %s\n", err.message);
    buf_done(&b);
    return fine;
}

int sandbox_test_main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    if (argc != 4 && argc != 5)
        return 2;
    bool is_ingest = strcmp(argv[2], "ingest") == 0, is_bare = strcmp(argv[2], "bare") == 0;
    AUTO(mem_free_auto) char *own = path_join(argv[3], "own");
    AUTO(mem_free_auto) char *data = path_join(argv[3], "data");
    AUTO(mem_free_auto) char *beside_directory = path_join(argv[3], "beside");
    AUTO(mem_free_auto) char *old_directory = path_join(beside_directory, "olddir");
    const char *readable = data;
    struct sandbox s = {
        .read = &readable, .n_read = is_ingest, .write = {own}, .memory_bytes = 1u << 30};
    s.landlock_at_most = argc == 5 ? argv[4][0] - '0' : 0;
    enum rc rc = io_mkdir_all(own, 0700, &err);
    if (rc == RC_OK)
        rc = io_mkdir_all(old_directory, 0700, &err);
    outside = beside_directory;
    if (rc == RC_OK)
        rc = io_write_file(data, "x", 1, 0600, &err);
    if (rc == RC_OK)
        rc = io_write_file(beside("victim"), "x", 1, 0600, &err);
    if (rc == RC_OK)
        rc = io_write_file(beside("spare"), "x", 1, 0600, &err);
    if (rc == RC_OK && !is_bare)
        rc = sandbox_enter(&s, &err);
    if (rc != RC_OK) {
        fprintf(stderr, "offloader: %s\n", err.message);
        return 2;
    }
    if (!is_bare && !still_works(own, is_ingest ? data : NULL))
        return 1;
    return try_all();
}
