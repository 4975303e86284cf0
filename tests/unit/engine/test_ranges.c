/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of remote files: exact at every border, cached, bounded, checked, merged, and ended in
 * time. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "engine/block_cache.h"
#include "engine/engine_int.h"
#include "unit.h"

#define FILE_BYTES (10 * BLOCK_BYTES + 777)

static uint8_t content[FILE_BYTES];
static _Atomic int n_reads;
static _Atomic uint64_t n_bytes;

static enum rc read_content(void *arg, const struct engine_file *file, uint64_t offset, void *to,
                            size_t n, const _Atomic bool *cancelled, struct err *err)
{
    (void)arg;
    (void)cancelled;
    if (offset + n > file->size_bytes)
        return err_set(err, RC_CORRUPT, "outside");
    memcpy(to, content + offset, n);
    atomic_fetch_add(&n_reads, 1);
    atomic_fetch_add(&n_bytes, n);
    return RC_OK;
}

static struct engine_file remote = {.location = (char *)(uintptr_t) "https://host/file",
                                    .etag = (char *)(uintptr_t) "\"1\"",
                                    .size_bytes = FILE_BYTES,
                                    .format = FILE_PARQUET,
                                    .is_remote = true};
static const struct query_control no_control;

static int fill_content(void **state)
{
    (void)state;
    random_bytes(content, sizeof content);
    return 0;
}

static struct ranges *make(const char *directory, uint64_t cache_bytes)
{
    struct engine_reader reader = {.read = read_content};
    atomic_store(&n_reads, 0);
    atomic_store(&n_bytes, 0);
    return ranges_new(&reader, directory, cache_bytes);
}

static void check_read(const char *why, struct ranges *r, uint64_t offset, size_t n)
{
    struct err err = ERR_INIT;
    uint8_t *got = x_alloc(n + 1);
    got[n] = 0x5a;
    CHECK_OK(why, ranges_read(r, &remote, offset, got, n, &no_control, &err), &err);
    CHECK(why, memcmp(got, content + offset, n) == 0);
    CHECK(why, got[n] == 0x5a);
    mem_free(got);
}

static void test_borders(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        uint64_t offset;
        size_t n;
        int reads; /* of a cold cache */
    } rows[] = {
        {"nothing", 5, 0, 0},
        {"one byte", 0, 1, 1},
        {"the last byte", FILE_BYTES - 1, 1, 1},
        {"a footer's tail", FILE_BYTES - 8, 8, 1},
        {"a block", BLOCK_BYTES, BLOCK_BYTES, 1},
        {"around a border", BLOCK_BYTES - 1, 2, 1},
        {"many blocks are one request", 100, 7 * BLOCK_BYTES, 1},
        {"everything", 0, FILE_BYTES, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *directory = unit_directory();
        struct ranges *r = make(directory, 64 * BLOCK_BYTES);
        check_read(rows[i].why, r, rows[i].offset, rows[i].n);
        CHECK_INT(rows[i].why, n_reads, rows[i].reads);
        check_read(rows[i].why, r, rows[i].offset, rows[i].n);
        CHECK_INT("again: from the cache", n_reads, rows[i].reads);
        ranges_free(r);
        unit_remove(directory);
    }
}

static void test_outside(void **state)
{
    (void)state;
    struct ranges *r = make(NULL, 0);
    struct err err = ERR_INIT;
    char byte;
    CHECK_INT("past the end", ranges_read(r, &remote, FILE_BYTES, &byte, 1, &no_control, &err),
              RC_CORRUPT);
    CHECK_INT("no sum overflows", ranges_read(r, &remote, UINT64_MAX, &byte, 2, &no_control, &err),
              RC_CORRUPT);
    ranges_free(r);
}

static void test_reading_on_is_ahead(void **state)
{
    (void)state;
    char *directory = unit_directory();
    struct ranges *r = make(directory, 64 * BLOCK_BYTES);
    check_read("the first", r, 0, BLOCK_BYTES);
    check_read("the second goes on", r, BLOCK_BYTES, BLOCK_BYTES);
    CHECK_INT("it brought more", n_bytes, 6 * BLOCK_BYTES);
    check_read("the third is there", r, 2 * BLOCK_BYTES, BLOCK_BYTES);
    CHECK_INT("no request", n_reads, 2);
    ranges_free(r);
    unit_remove(directory);
}

static void test_a_damaged_block_is_read_again(void **state)
{
    (void)state;
    char *directory = unit_directory();
    char path[600];
    struct err err = ERR_INIT;
    struct ranges *r = make(directory, 64 * BLOCK_BYTES);
    check_read("fills the cache", r, 0, FILE_BYTES);
    (void)snprintf(path, sizeof path, "%s/blocks", directory);
    int fd = open(path, O_RDWR);
    CHECK("the cache is a file", fd >= 0);
    for (uint64_t at = 13; at < 11 * BLOCK_BYTES; at += BLOCK_BYTES)
        CHECK_OK("a byte of each block", io_pwrite_all(fd, "\xff\x01\xff", 3, at, "blocks", &err),
                 &err);
    (void)close(fd);
    check_read("the right bytes all the same", r, 0, FILE_BYTES);
    CHECK("asked for again", n_reads > 1);
    ranges_free(r);
    CHECK("nothing stays", access(path, F_OK) != 0);
    unit_remove(directory);
}

static void test_another_version_is_another_file(void **state)
{
    (void)state;
    char *directory = unit_directory();
    struct ranges *r = make(directory, 64 * BLOCK_BYTES);
    check_read("version 1", r, 0, 100);
    remote.etag = (char *)(uintptr_t) "\"2\"";
    content[7] ^= 1;
    check_read("version 2", r, 0, 100);
    remote.etag = (char *)(uintptr_t) "\"1\"";
    ranges_free(r);
    unit_remove(directory);
}

/* ---- many threads in a cache too small for the file ---- */

static void *read_at_random(void *arg)
{
    struct ranges *r = arg;
    for (int i = 0; i < 1500; i++) {
        uint32_t random[2];
        random_bytes(random, sizeof random);
        uint64_t offset = random[0] % FILE_BYTES;
        size_t n = random[1] % (FILE_BYTES - offset < 200000 ? FILE_BYTES - offset : 200000);
        check_read("any range", r, offset, n);
    }
    return NULL;
}

static void test_threads_in_a_small_cache(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, BLOCK_BYTES, 3 * BLOCK_BYTES, 64 * BLOCK_BYTES};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *directory = unit_directory();
        char path[600];
        struct stat st;
        pthread_t threads[4];
        struct ranges *r = make(directory, sizes[i]);
        for (size_t j = 0; j < ARRAY_LEN(threads); j++)
            assert_int_equal(pthread_create(&threads[j], NULL, read_at_random, r), 0);
        for (size_t j = 0; j < ARRAY_LEN(threads); j++)
            assert_int_equal(pthread_join(threads[j], NULL), 0);
        (void)snprintf(path, sizeof path, "%s/blocks", directory);
        if (sizes[i])
            CHECK("bounded", stat(path, &st) == 0 && (uint64_t)st.st_size <= sizes[i]);
        ranges_free(r);
        unit_remove(directory);
    }
}

/* ---- deadlines ---- */

static enum rc read_until_stopped(void *arg, const struct engine_file *file, uint64_t offset,
                                  void *to, size_t n, const _Atomic bool *cancelled,
                                  struct err *err)
{
    (void)arg;
    (void)file;
    (void)offset;
    (void)to;
    (void)n;
    while (!atomic_load(cancelled))
        (void)usleep(1000);
    return err_set(err, RC_CANCELLED, "stopped");
}

static void test_a_deadline_stops_a_reader(void **state)
{
    (void)state;
    struct engine_reader reader = {.read = read_until_stopped};
    struct ranges *r = ranges_new(&reader, NULL, 0);
    struct err err = ERR_INIT;
    char byte;
    _Atomic bool cancelled = true;
    struct query_control late = {.deadline_us = monotonic_us() + 30000};
    struct query_control gone = {.cancelled = &cancelled};
    CHECK_INT("the deadline", ranges_read(r, &remote, 0, &byte, 1, &late, &err), RC_CANCELLED);
    CHECK_INT("the caller", ranges_read(r, &remote, 0, &byte, 1, &gone, &err), RC_CANCELLED);
    ranges_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_outside),
        cmocka_unit_test(test_reading_on_is_ahead),
        cmocka_unit_test(test_a_damaged_block_is_read_again),
        cmocka_unit_test(test_another_version_is_another_file),
        cmocka_unit_test(test_threads_in_a_small_cache),
        cmocka_unit_test(test_a_deadline_stops_a_reader),
    };
    return cmocka_run_group_tests(tests, fill_content, NULL);
}
