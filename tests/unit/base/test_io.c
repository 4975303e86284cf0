/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole transfers, durable replacement, trees, locks, and how each failure is named. */
#include "unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"

static char *directory;

static int make_directory(void **state)
{
    (void)state;
    directory = unit_directory();
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unit_remove(directory);
    return 0;
}

/* Owned path inside the scratch directory. */
static char *at(const char *name)
{
    return path_join(directory, name);
}

static void count_bytes(void *arg, size_t n)
{
    *(size_t *)arg += n;
}

static void test_write_and_read(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *path = at("file");
    AUTO(mem_free_auto) char *absent = at("absent");
    CHECK_OK("new", io_write_file(path, "one", 3, 0640, &err), &err);
    CHECK_OK("replaced", io_write_file(path, "twotwo", 6, 0640, &err), &err);
    struct stat st;
    CHECK_OK("there", io_stat(path, &st, &err), &err);
    CHECK_INT("its mode", st.st_mode & 0777, 0640);
    char **names = NULL;
    size_t n = 0;
    CHECK_OK("listed", io_list_dir(directory, &names, &n, &err), &err);
    CHECK_INT("no temporary file stays", n, 1);
    io_free_names(names, n);

    struct buf b;
    buf_init(&b, 6);
    CHECK_OK("a file of exactly the limit", io_read_file(path, &b, &err), &err);
    CHECK_STR("its bytes", buf_cstr(&b), "twotwo");
    buf_done(&b);
    buf_init(&b, 5);
    CHECK_INT("one byte more", io_read_file(path, &b, &err), RC_LIMIT);
    buf_done(&b);
    buf_init(&b, 100);
    CHECK_INT("absent", io_read_file(absent, &b, &err), RC_NOT_FOUND);
    CHECK_INT("a directory is no file", io_read_file(directory, &b, &err), RC_INVALID);
    AUTO(mem_free_auto) char *fifo = at("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    CHECK_INT("a pipe does not hang", io_read_file(fifo, &b, &err), RC_INVALID);
    buf_done(&b);
    uint8_t digest[32], want[32];
    uint64_t bytes = 0;
    CHECK_OK("digest", io_sha256_file(path, digest, &bytes, &err), &err);
    sha256("twotwo", 6, want);
    CHECK("digest and size", bytes == 6 && memcmp(digest, want, 32) == 0);
    size_t told = 0;
    CHECK_OK("told", io_sha256_file_told(path, count_bytes, &told, digest, &bytes, &err), &err);
    CHECK("the same, and each byte told", bytes == 6 && told == 6 && memcmp(digest, want, 32) == 0);
}

/* What is kept in the cache is JSON that any program reads, and every bit of it counts. */
static void test_checked(void **state)
{
    (void)state;
    static const char start[] = "{\"a\":1,\"crc32c\":\"", earlier[] = "{\"a\":1}";
    struct err err = ERR_INIT;
    struct buf b;
    AUTO(mem_free_auto) char *path = at("checked");
    buf_init(&b, 1024);
    buf_put_cstr(&b, earlier);
    CHECK_OK("written", io_write_checked(path, &b, 0600, &err), &err);
    buf_done(&b);
    buf_init(&b, 1024);
    CHECK_OK("read", io_read_checked(path, &b, &err), &err);
    CHECK_INT("one object", b.n, sizeof start - 1 + 8 + 3);
    CHECK("its last member", memcmp(b.p, start, sizeof start - 1) == 0);
    CHECK("its end", memcmp(b.p + b.n - 3, "\"}\n", 3) == 0);
    for (size_t i = 0; i < b.n * 8; i++) {
        struct buf again;
        b.p[i / 8] ^= (char)(1 << i % 8);
        CHECK_OK("a bit", io_write_file(path, b.p, b.n, 0600, &err), &err);
        b.p[i / 8] ^= (char)(1 << i % 8);
        buf_init(&again, 1024);
        CHECK_INT("is found", io_read_checked(path, &again, &err), RC_CORRUPT);
        buf_done(&again);
        err = (struct err)ERR_INIT;
    }
    buf_done(&b);
    buf_init(&b, 1024);
    buf_printf(&b, "%s\n%08x\n", earlier, crc32c(0, earlier, sizeof earlier - 1));
    CHECK_OK("earlier", io_write_file(path, b.p, b.n, 0600, &err), &err);
    buf_done(&b);
    buf_init(&b, 1024);
    CHECK_OK("an earlier release's", io_read_checked(path, &b, &err), &err);
    CHECK_INT("without its end", b.n, sizeof earlier - 1);
    buf_done(&b);
}

static void test_durable_replacement_fails_whole(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *path = at("no/such/dir/file");
    CHECK_INT("no directory", io_write_file(path, "x", 1, 0600, &err), RC_NOT_FOUND);
    AUTO(mem_free_auto) char *taken = at("taken");
    AUTO(mem_free_auto) char *inside = at("taken/inside");
    CHECK_OK("a directory in its place", io_mkdir_all(inside, 0700, &err), &err);
    CHECK_INT("cannot replace it", io_write_file(taken, "x", 1, 0600, &err), RC_IO);
    CHECK("the message names the file", strstr(err.message, "taken") != NULL);
    char **names = NULL;
    size_t n = 0;
    CHECK_OK("listed", io_list_dir(directory, &names, &n, &err), &err);
    CHECK_INT("the temporary file is gone", n, 1);
    io_free_names(names, n);
}

static void test_replacement_changes_nothing_else(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct stat before, after;
    AUTO(mem_free_auto) char *path = at("file");
    AUTO(mem_free_auto) char *link = at("link");
    CHECK_INT("nothing to replace", io_replace_file(path, "x", 1, &err), RC_NOT_FOUND);
    CHECK_OK("a file", io_write_file(path, "one", 3, 0600, &err), &err);
    assert_int_equal(chmod(path, 0646), 0); /* no umask leaves this one */
    if (geteuid() == 0)
        assert_int_equal(chown(path, 1, 2), 0);
    assert_int_equal(symlink("file", link), 0);
    CHECK_OK("before", io_stat(path, &before, &err), &err);
    CHECK_OK("replaced", io_replace_file(link, "two", 3, &err), &err);
    CHECK_OK("after", io_stat(path, &after, &err), &err);
    CHECK("another file", after.st_ino != before.st_ino);
    CHECK("its mode", after.st_mode == before.st_mode);
    CHECK("its owners", after.st_uid == before.st_uid && after.st_gid == before.st_gid);
    assert_int_equal(lstat(link, &after), 0);
    CHECK("the link is one", S_ISLNK(after.st_mode));
    struct buf b;
    buf_init(&b, 100);
    CHECK_OK("read", io_read_file(path, &b, &err), &err);
    CHECK_STR("its bytes", buf_cstr(&b), "two");
    buf_done(&b);
}

static void test_at_places(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *path = at("file");
    AUTO(fd_auto) int fd = -1;
    CHECK_OK("opened", io_open(path, O_RDWR | O_CREAT, 0600, &fd, &err), &err);
    CHECK_OK("written", io_write_all(fd, "0123456789", 10, path, &err), &err);
    CHECK_OK("in the middle", io_pwrite_all(fd, "abc", 3, 4, path, &err), &err);
    char got[11] = {0};
    CHECK_OK("read", io_pread_all(fd, got, 10, 0, path, &err), &err);
    CHECK_STR("bytes", got, "0123abc789");
    CHECK_INT("past the end is corrupt", io_pread_all(fd, got, 10, 1, path, &err), RC_CORRUPT);
    CHECK_OK("durable", io_fsync(fd, path, &err), &err);
    CHECK_OK("its directory too", io_fsync_dir(directory, &err), &err);
    CHECK("a child does not inherit it", fcntl(fd, F_GETFD) & FD_CLOEXEC);
    uint64_t bytes = 0;
    CHECK_OK("free space", io_free_bytes(directory, &bytes, &err), &err);
}

static void test_trees(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *tree = at("tree");
    AUTO(mem_free_auto) char *deep = at("tree/a/b/c");
    AUTO(mem_free_auto) char *file = at("tree/a/file");
    AUTO(mem_free_auto) char *outside = at("outside");
    AUTO(mem_free_auto) char *kept = at("outside/kept");
    AUTO(mem_free_auto) char *link = at("tree/link");
    CHECK_OK("made", io_mkdir_all(deep, 0700, &err), &err);
    CHECK_OK("again", io_mkdir_all(deep, 0700, &err), &err);
    CHECK_OK("a file", io_write_file(file, "x", 1, 0600, &err), &err);
    AUTO(mem_free_auto) char *through = at("tree/a/file/dir");
    CHECK_INT("through a file", io_mkdir_all(through, 0700, &err), RC_IO);
    CHECK_OK("outside", io_mkdir_all(outside, 0700, &err), &err);
    CHECK_OK("kept", io_write_file(kept, "x", 1, 0600, &err), &err);
    assert_int_equal(symlink(outside, link), 0);
    CHECK_OK("removed", io_remove_tree(tree, &err), &err);
    struct stat st;
    CHECK_INT("gone", io_stat(tree, &st, &err), RC_NOT_FOUND);
    CHECK_OK("the link's target stays", io_stat(kept, &st, &err), &err);
    CHECK_OK("a missing tree is fine", io_remove_tree(tree, &err), &err);
    CHECK_OK("a file is a tree", io_remove_tree(kept, &err), &err);
    char **names = NULL;
    size_t n = 9;
    CHECK_OK("an empty directory", io_list_dir(outside, &names, &n, &err), &err);
    CHECK_INT("has no names", n, 0);
    io_free_names(names, n);
    CHECK_INT("a missing one", io_list_dir(tree, &names, &n, &err), RC_NOT_FOUND);
}

/* What another process gets when it asks for the lock; -1: the message does not help. */
static int lock_elsewhere(const char *path)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        int fd = -1;
        struct err err = ERR_INIT;
        enum rc rc = io_lock_file(path, &fd, &err);
        bool helps = rc == RC_OK || strstr(err.message, "another directory");
        _exit(helps ? (int)rc : 255);
    }
    CHECK_INT("another process", waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status) == 255 ? -1 : WEXITSTATUS(status);
}

static void test_lock(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *path = at("lock");
    int fd = -1, pipes[2];
    CHECK_OK("taken", io_lock_file(path, &fd, &err), &err);
    CHECK_INT("busy", lock_elsewhere(path), RC_BUSY);
    CHECK_INT("a pipe", pipe(pipes), 0);
    pid_t heir = fork(); /* has the descriptor, as a child before its exec */
    if (heir == 0) {
        char byte;
        close(pipes[1]);
        _exit(read(pipes[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(fd);
    CHECK_INT("no child inherits it", lock_elsewhere(path), RC_OK);
    close(pipes[0]);
    close(pipes[1]);
    CHECK_INT("the heir lived all the while", waitpid(heir, NULL, 0), heir);
}

static void test_lock_holder(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *path = at("held");
    int fd = -1, holder = -1, status = 0;
    CHECK_INT("no file", io_lock_holder(path, &holder, &err), RC_NOT_FOUND);
    CHECK_OK("taken", io_lock_file(path, &fd, &err), &err);
    pid_t looker = fork();
    if (looker == 0) {
        bool found = io_lock_holder(path, &holder, &err) == RC_OK && holder == getppid();
        _exit(found ? 0 : 1);
    }
    CHECK_INT("a look from outside", waitpid(looker, &status, 0), looker);
    CHECK_INT("names the holder", status, 0);
    close(fd);
    CHECK_OK("a look", io_lock_holder(path, &holder, &err), &err);
    CHECK_INT("at a free lock", holder, 0);
}

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *why, *a, *b, *joined;
    } rows[] = {
        {"one slash between", "/a", "b", "/a/b"}, {"not two", "/a/", "b", "/a/b"},
        {"absolute wins", "/a", "/b", "/b"},      {"root", "/", "b", "/b"},
        {"nothing before", "", "b", "/b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows) - 1; i++) {
        AUTO(mem_free_auto) char *got = path_join(rows[i].a, rows[i].b);
        CHECK_STR(rows[i].why, got, rows[i].joined);
    }
    AUTO(mem_free_auto) char *target = at("target");
    AUTO(mem_free_auto) char *link = at("link");
    struct err err = ERR_INIT;
    CHECK_OK("a file", io_write_file(target, "x", 1, 0600, &err), &err);
    assert_int_equal(symlink("target", link), 0);
    AUTO(mem_free_auto) char *real = path_real(link);
    AUTO(mem_free_auto) char *expected = path_real(target);
    CHECK_STR("links are followed", real, expected);
    AUTO(mem_free_auto) char *absent = at("absent");
    CHECK("an absent file has no real path", path_real(absent) == NULL);
}

int main(void)
{
#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(test_write_and_read),
        IN_DIRECTORY(test_checked),
        IN_DIRECTORY(test_durable_replacement_fails_whole),
        IN_DIRECTORY(test_replacement_changes_nothing_else),
        IN_DIRECTORY(test_at_places),
        IN_DIRECTORY(test_trees),
        IN_DIRECTORY(test_lock),
        IN_DIRECTORY(test_lock_holder),
        IN_DIRECTORY(test_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
