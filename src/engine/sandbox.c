/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock by the version the running kernel has, then a list of system calls that are allowed; all
 * others fail with EPERM, and clone3 with ENOSYS, so that the C library takes clone, whose flags a
 * filter can read. Threads may be made, processes not.
 */
#include "engine/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"

/* ---- Landlock: the kernel's interface, spelled out, for headers are older than kernels ---- */

#define LL_EXECUTE (UINT64_C(1) << 0)
#define LL_WRITE_FILE (UINT64_C(1) << 1)
#define LL_READ_FILE (UINT64_C(1) << 2)
#define LL_READ_DIR (UINT64_C(1) << 3)
#define LL_REMOVE_DIR (UINT64_C(1) << 4)
#define LL_REMOVE_FILE (UINT64_C(1) << 5)
#define LL_MAKE_DIR (UINT64_C(1) << 7)
#define LL_MAKE_REG (UINT64_C(1) << 8)
#define LL_FIRST_ABI ((UINT64_C(1) << 13) - 1)
#define LL_REFER (UINT64_C(1) << 13)     /* ABI 2 */
#define LL_TRUNCATE (UINT64_C(1) << 14)  /* ABI 3 */
#define LL_IOCTL_DEV (UINT64_C(1) << 15) /* ABI 5 */
#define LL_NET_ALL UINT64_C(3)           /* ABI 4: bind and connect of TCP */
#define LL_SCOPE_ALL UINT64_C(3)         /* ABI 6: abstract sockets and signals */
#define LL_RULE_PATH_BENEATH 1
#define LL_CREATE_VERSION 1u

struct ll_attributes {
    uint64_t fs, net, scoped;
};
struct __attribute__((packed)) ll_path {
    uint64_t allowed;
    int32_t parent_fd;
};

static uint64_t fs_rights(long abi)
{
    uint64_t rights = LL_FIRST_ABI;
    rights |= abi >= 2 ? LL_REFER : 0;
    rights |= abi >= 3 ? LL_TRUNCATE : 0;
    rights |= abi >= 5 ? LL_IOCTL_DEV : 0;
    return rights;
}

/* A path that is not there, or may not be looked at, needs no rule. */
static enum rc allow_path(int ruleset, const char *path, uint64_t rights, struct err *err)
{
    AUTO(fd_auto) int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return RC_OK;
    if (!S_ISDIR(st.st_mode))
        rights &= LL_READ_FILE | LL_WRITE_FILE | LL_TRUNCATE;
    struct ll_path rule = {rights, fd};
    if (syscall(SYS_landlock_add_rule, ruleset, LL_RULE_PATH_BENEATH, &rule, 0) != 0)
        return err_set_errno(err, RC_IO, errno, "cannot set up the sandbox (Landlock rule)");
    return RC_OK;
}

static enum rc shut_paths(const struct sandbox *s, struct err *err)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LL_CREATE_VERSION);
    if (s->landlock_at_most && abi > s->landlock_at_most)
        abi = s->landlock_at_most;
    if (abi < 1)
        return RC_OK; /* a kernel without it: the system calls are still filtered */
    struct ll_attributes a = {.fs = fs_rights(abi),
                              .net = abi >= 4 ? LL_NET_ALL : 0,
                              .scoped = abi >= 6 ? LL_SCOPE_ALL : 0};
    size_t n = abi >= 6 ? sizeof a : abi >= 4 ? 2 * sizeof a.fs : sizeof a.fs;
    AUTO(fd_auto) int ruleset = (int)syscall(SYS_landlock_create_ruleset, &a, n, 0);
    if (ruleset < 0)
        return err_set_errno(err, RC_IO, errno, "cannot set up the sandbox (Landlock)");
    uint64_t write = (LL_WRITE_FILE | LL_READ_FILE | LL_READ_DIR | LL_REMOVE_DIR | LL_REMOVE_FILE |
                      LL_MAKE_DIR | LL_MAKE_REG | LL_TRUNCATE) &
                     a.fs;
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < s->n_read; i++)
        rc = allow_path(ruleset, s->read[i], LL_READ_FILE | LL_READ_DIR, err);
    for (size_t i = 0; rc == RC_OK && i < ARRAY_LEN(s->write); i++)
        if (s->write[i])
            rc = allow_path(ruleset, s->write[i], write, err);
    if (rc == RC_OK && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        rc = err_set_errno(err, RC_IO, errno, "cannot enter the sandbox (Landlock)");
    return rc;
}

/* ---- seccomp ---- */

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#else
#error "the sandbox knows x86-64 and arm64"
#endif

/* What reading and writing open files, memory, threads and time need. -1: not on this machine. */
static const int allowed[] = {
    SYS_read,
    SYS_write,
    SYS_pread64,
    SYS_pwrite64,
    SYS_readv,
    SYS_writev,
    SYS_preadv,
    SYS_pwritev,
    SYS_lseek,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_statfs,
    SYS_fstatfs,
    SYS_getdents64,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_getcwd,
    SYS_mkdirat,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_sync_file_range,
    SYS_fadvise64,
    SYS_flock,
    SYS_dup,
    SYS_dup3,
    SYS_ppoll,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_mincore,
    SYS_futex,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_membarrier,
    SYS_getcpu,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_getpid,
    SYS_getppid,
    SYS_gettid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getrandom,
    SYS_getrusage,
    SYS_uname,
    SYS_sysinfo,
    SYS_set_tid_address,
    SYS_restart_syscall,
    SYS_exit,
    SYS_exit_group,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
#if defined(__x86_64__)
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_mkdir,
    SYS_rmdir,
    SYS_unlink,
    SYS_rename,
    SYS_poll,
    SYS_dup2,
    SYS_time,
#endif
};

#define FILTER_INSTRUCTIONS 256

struct filter {
    struct sock_filter code[FILTER_INSTRUCTIONS];
    unsigned short n;
};

static void emit(struct filter *f, struct sock_filter instruction)
{
    assert(f->n < FILTER_INSTRUCTIONS);
    f->code[f->n++] = instruction;
}

static void load(struct filter *f, size_t offset)
{
    emit(f, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

static void answer(struct filter *f, uint32_t action)
{
    emit(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

/* Skips the next @n instructions unless the loaded word is @value. */
static void unless_equal_skip(struct filter *f, uint32_t value, uint8_t n)
{
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, n));
}

static size_t low_word(int argument)
{
    return offsetof(struct seccomp_data, args) + (size_t)argument * 8; /* little-endian */
}

#define DENY (SECCOMP_RET_ERRNO | EPERM)

/* The low word of @argument has these bits of @mask: @then; else: @otherwise. */
static void judge_bits(struct filter *f, int number, int argument, uint32_t mask, uint32_t bits,
                       uint32_t then, uint32_t otherwise)
{
    unless_equal_skip(f, (uint32_t)number, 5);
    load(f, low_word(argument));
    emit(f, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
    unless_equal_skip(f, bits, 1);
    answer(f, then);
    answer(f, otherwise);
}

static void allow_bits(struct filter *f, int number, int argument, uint32_t mask, uint32_t bits)
{
    judge_bits(f, number, argument, mask, bits, SECCOMP_RET_ALLOW, DENY);
}

static void deny_bits(struct filter *f, int number, int argument, uint32_t mask, uint32_t bits)
{
    judge_bits(f, number, argument, mask, bits, DENY, SECCOMP_RET_ALLOW);
}

/* Allowed when the low word of @argument is one of @values; else denied. */
static void allow_values(struct filter *f, int number, int argument, const uint32_t *values,
                         uint8_t n)
{
    unless_equal_skip(f, (uint32_t)number, (uint8_t)(2 * n + 2));
    load(f, low_word(argument));
    for (uint8_t i = 0; i < n; i++) {
        unless_equal_skip(f, values[i], 1);
        answer(f, SECCOMP_RET_ALLOW);
    }
    answer(f, DENY);
}

/* Allowed when @argument, a pointer, is NULL; else denied. */
static void allow_null(struct filter *f, int number, int argument)
{
    unless_equal_skip(f, (uint32_t)number, 6);
    load(f, low_word(argument));
    unless_equal_skip(f, 0, 3);
    load(f, low_word(argument) + 4);
    unless_equal_skip(f, 0, 1);
    answer(f, SECCOMP_RET_ALLOW);
    answer(f, DENY);
}

static void build(struct filter *f)
{
    static const uint32_t fcntls[] = {F_GETFD,         F_SETFD, F_GETFL, F_SETFL,
                                      F_DUPFD_CLOEXEC, F_GETLK, F_SETLK, F_SETLKW};
    static const uint32_t prctls[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA};
    uint32_t self = (uint32_t)getpid();
    load(f, offsetof(struct seccomp_data, arch));
    emit(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0));
    answer(f, SECCOMP_RET_KILL_PROCESS);
    load(f, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        unless_equal_skip(f, (uint32_t)allowed[i], 1);
        answer(f, SECCOMP_RET_ALLOW);
    }
    unless_equal_skip(f, SYS_clone3, 1);
    answer(f, SECCOMP_RET_ERRNO | ENOSYS);
    /* Cutting what may only be read: Landlock sees to it from ABI 3 on, Debian 12's kernel has 2.
     * truncate(2) is missing above for the same reason. */
    deny_bits(f, SYS_openat, 2, O_TRUNC | O_ACCMODE, O_TRUNC | O_RDONLY);
#if defined(__x86_64__)
    deny_bits(f, SYS_open, 1, O_TRUNC | O_ACCMODE, O_TRUNC | O_RDONLY);
#endif
    allow_bits(f, SYS_clone, 0, CLONE_THREAD, CLONE_THREAD);
    allow_bits(f, SYS_mmap, 2, PROT_EXEC, 0);
    allow_bits(f, SYS_mprotect, 2, PROT_EXEC, 0);
    allow_values(f, SYS_fcntl, 1, fcntls, ARRAY_LEN(fcntls));
    allow_values(f, SYS_prctl, 0, prctls, ARRAY_LEN(prctls));
    allow_values(f, SYS_tgkill, 0, &self, 1); /* abort() */
    allow_null(f, SYS_sendto, 4);             /* send() on a socket that was inherited */
    allow_null(f, SYS_prlimit64, 2);          /* looking only */
    answer(f, DENY);
}

static enum rc shut_calls(struct err *err)
{
    struct filter f = {.n = 0};
    build(&f);
    struct sock_fprog program = {f.n, f.code};
    /* Of every thread: a library may have started one while it was loaded. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        return err_set_errno(err, RC_IO, errno, "cannot enter the sandbox (seccomp)");
    return RC_OK;
}

/* ---- resources ---- */

/* Beyond DuckDB's own limit: its code, its threads' stacks, what it does not count. */
#define MEMORY_BESIDE_BYTES (UINT64_C(2) << 30)
#define LIMIT_FDS 1024

static void limit_resources(const struct sandbox *s)
{
    struct rlimit fds = {LIMIT_FDS, LIMIT_FDS};
    (void)setrlimit(RLIMIT_NOFILE, &fds); /* a lower limit is fine too */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    if (s->memory_bytes && s->memory_bytes < (UINT64_MAX - MEMORY_BESIDE_BYTES) / 2) {
        rlim_t n = (rlim_t)(2 * s->memory_bytes + MEMORY_BESIDE_BYTES);
        struct rlimit memory = {n, n};
        (void)setrlimit(RLIMIT_DATA, &memory); /* DuckDB's own limit is the first line */
    }
#else
    (void)s; /* shadow memory counts as data */
#endif
}

/* When memory runs out it is this process that goes, not the one that serves. */
static void offer_to_oom_killer(void)
{
    AUTO(fd_auto) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        IGNORE(write(fd, "500", 3)); /* best effort */
}

enum rc sandbox_enter(const struct sandbox *s, struct err *err)
{
    offer_to_oom_killer();
    limit_resources(s);
    if (prctl(PR_SET_DUMPABLE, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_set_errno(err, RC_IO, errno, "cannot enter the sandbox");
    enum rc rc = shut_paths(s, err);
    return rc == RC_OK ? shut_calls(err) : rc;
}
