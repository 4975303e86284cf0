/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks that are not in memory: who may not wait for a disk does not read them, the warm-up reads
 * what leads to rows, and what the kernel drops is noticed. */
#include <fcntl.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "rows.h"
#include "store/store_int.h"

#define N_ROWS 70000 /* three blocks */

static char directory[] = "offloader-warm-XXXXXX"; /* in the build's: /tmp may be memory itself */
static struct store *store;
static struct store_scratch *scratch;

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    store = rows_open(directory, N_ROWS, 8192);
    scratch = store_scratch_new();
    /* Nothing is read along with what is asked for. */
    CHECK_INT("map", madvise((void *)(uintptr_t)store->map, store->n_map, MADV_RANDOM), 0);
    CHECK_INT("file", posix_fadvise(store->fd, 0, 0, POSIX_FADV_RANDOM), 0);
    return 0;
}

static int tear_down(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    store_scratch_free(scratch);
    store_free(store);
    CHECK_OK("removed", io_remove_tree(directory, &err), &err);
    memcpy(directory, "offloader-warm-XXXXXX", sizeof directory);
    return 0;
}

static enum rc take_row(void *arg, const struct value *values)
{
    (void)values;
    ++*(int *)arg;
    return RC_OK;
}

/* A tenant's rows, of this column. */
static enum rc run(int column, bool only_in_memory, uint64_t *ret_estimate, int *ret_rows)
{
    struct query_output output = {.column = column};
    struct query_filter tenant = {.column = COLUMN_TENANT,
                                  .op = FILTER_EQ,
                                  .value = {.kind = VALUE_TEXT, .text = STR("t400")}};
    bool wanted = true;
    struct query q = {.schema = &test_schema,
                      .outputs = &output,
                      .n_outputs = 1,
                      .wanted = &wanted,
                      .filters = &tenant,
                      .n_filters = 1,
                      .limit = 1000};
    struct query_control control = {.only_in_memory = only_in_memory};
    static struct query_result result;
    struct err err = ERR_INIT;
    *ret_rows = 0;
    *ret_estimate = store_estimate(store, &q, only_in_memory, scratch);
    return store_execute(store, &q, &control, (struct row_sink){take_row, ret_rows}, scratch,
                         &result, NULL, &err);
}

static void check_run(const char *why, int column, bool only_in_memory, uint64_t estimate,
                      enum rc rc)
{
    uint64_t n = 0;
    int n_rows = 0;
    CHECK_INT(why, run(column, only_in_memory, &n, &n_rows), rc);
    CHECK_INT(why, n, estimate);
    CHECK_INT(why, n_rows, rc == RC_OK ? ROWS_PER_TENANT : 0);
}

/* As the kernel does it when memory is short. */
static void drop(void)
{
    CHECK_INT("unmapped", madvise((void *)(uintptr_t)store->map, store->n_map, MADV_DONTNEED), 0);
    CHECK_INT("dropped", posix_fadvise(store->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

static void test_first_touch(void **state)
{
    (void)state;
    check_run("just written", COLUMN_AT, true, ROWS_PER_TENANT, RC_OK);
    drop();
    check_run("verified: taken to be there", COLUMN_AT, true, ROWS_PER_TENANT, RC_OK);
    check_run("the sort is, the column is not", COLUMN_BIG, true, ROWS_PER_TENANT, RC_BUSY);
    check_run("whoever may wait", COLUMN_BIG, false, ROWS_PER_TENANT, RC_OK);
    check_run("it is there now", COLUMN_BIG, true, ROWS_PER_TENANT, RC_OK);
}

static void test_warm_up(void **state)
{
    _Atomic bool cancelled = true;
    struct err err = ERR_INIT;
    (void)state;
    drop();
    check_run("nothing is there", COLUMN_DAY, true, UINT64_MAX, RC_BUSY);
    CHECK_INT("stopped", store_warm_up(store, &cancelled, &err), RC_CANCELLED);
    CHECK_OK("to its end", store_warm_up(store, NULL, &err), &err);
    check_run("what leads to rows", COLUMN_DAY, true, ROWS_PER_TENANT, RC_OK);
    check_run("and no more", COLUMN_BIG, true, ROWS_PER_TENANT, RC_BUSY);
}

static void test_warm_up_verifies(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    uint64_t at = store->columns[COLUMN_DAY].chunks[1].at;
    AUTO(fd_auto) int fd = open(store->path, O_RDWR | O_CLOEXEC);
    char byte = 0;
    CHECK_INT("read", pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 1;
    CHECK_INT("written", pwrite(fd, &byte, 1, (off_t)at), 1);
    CHECK_INT("on disk", fsync(fd), 0);
    drop();
    CHECK_INT("found", store_warm_up(store, NULL, &err), RC_CORRUPT);
    CHECK_INT("known", store_is_broken(store), true);
}

static void test_dropped(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    check_run("verified", COLUMN_DAY, true, ROWS_PER_TENANT, RC_OK);
    CHECK_INT("all is there", store_forget_dropped(store), 0);
    drop();
    assert_true(store_forget_dropped(store) > 0);
    CHECK_INT("once", store_forget_dropped(store), 0);
    check_run("not on a loop", COLUMN_DAY, true, UINT64_MAX, RC_BUSY);
    CHECK_OK("read again", store_warm_up(store, NULL, &err), &err);
    check_run("on a loop", COLUMN_DAY, true, ROWS_PER_TENANT, RC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_first_touch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_warm_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_warm_up_verifies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dropped, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
