/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation, arenas, the map, errors and findings. */
#include "unit.h"

#include "base/arena.h"
#include "base/errlist.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/thread.h"

static void test_alloc(void **state)
{
    (void)state;
    uint64_t before = mem_thread_allocations();
    void *p = try_alloc(0);
    CHECK("nothing is still something", p != NULL);
    mem_free(p);
    CHECK("a product that overflows", try_array0(SIZE_MAX / 2, 3) == NULL);
    mem_fail_nth(2, false);
    void *a = try_alloc(8), *b = try_alloc0(8), *c = try_alloc(8);
    CHECK("the second fails, once", a && !b && c);
    mem_fail_nth(1, true);
    CHECK("from then on", !try_alloc(1) && !try_alloc0(1) && !try_realloc(a, 99));
    mem_fail_nth(0, false);
    CHECK("a failed realloc leaves the block", a != NULL);
    mem_free(a);
    mem_free(c);
    char *text = x_printf("%s-%d", "x", 5);
    CHECK_STR("printf", text, "x-5");
    mem_free(text);
    mem_free(NULL);
    CHECK("every try is counted", mem_thread_allocations() - before >= 8);
}

static void test_arena(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    uint64_t seed = unit_seed(5);
    for (int round = 0; round < 3; round++) {
        uint8_t *former = NULL;
        size_t former_n = 0;
        for (int i = 0; i < 200; i++) {
            size_t n = unit_random(&seed) % 3000;
            uint8_t *p = arena_try(&a, n);
            CHECK("there is room", p != NULL);
            CHECK("aligned to 16", ((uintptr_t)p & 15) == 0);
            for (size_t k = 0; k < n; k++)
                CHECK("zeroed, also when used again", p[k] == 0);
            memset(p, 0xa5, n);
            for (size_t k = 0; former && k < former_n; k++)
                CHECK("pieces do not overlap", former[k] == 0xa5);
            former = p;
            former_n = n;
        }
        uint64_t before = mem_thread_allocations();
        arena_reset(&a);
        CHECK("used again without allocating",
              arena_try(&a, 16) && mem_thread_allocations() == before);
        arena_reset(&a);
    }
    CHECK("the limit", arena_try(&a, (1 << 20) + 1) == NULL);
    CHECK("no overflow", arena_try(&a, SIZE_MAX) == NULL);
    CHECK("no overflow of a product", arena_try_array(&a, SIZE_MAX / 4, 8) == NULL);
    CHECK("no overflow of a text", arena_try_strndup(&a, "x", SIZE_MAX) == NULL);
    CHECK_STR("a copy is terminated", arena_try_strndup(&a, "abc", 2), "ab");
    mem_fail_nth(1, true);
    arena_done(&a);
    CHECK("memory that is gone", arena_try(&a, 16) == NULL);
    mem_fail_nth(0, false);
    CHECK("and comes back", arena_try(&a, 16) != NULL);
    arena_done(&a);
}

static void test_map(void **state)
{
    (void)state;
    enum { KEYS = 5000 };
    static char names[KEYS][16];
    static int values[KEYS];
    struct map m = {0};
    void *old = names;
    for (int i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof(names[i]), "key-%d", i);
        CHECK("put", map_put(&m, str_from(names[i]), &values[i], &old) && old == NULL);
    }
    CHECK_INT("all are there", m.n, KEYS);
    for (int i = 0; i < KEYS; i++)
        CHECK("found", map_get(&m, str_from(names[i])) == &values[i]);
    CHECK("absent", map_get(&m, STR("key-")) == NULL);
    CHECK("replaced", map_put(&m, STR("key-7"), &values[0], &old) && old == &values[7]);
    CHECK_INT("still as many", m.n, KEYS);
    for (int i = 0; i < KEYS; i += 2)
        CHECK("removed", map_remove(&m, str_from(names[i])) != NULL);
    CHECK("removed once only", map_remove(&m, str_from(names[0])) == NULL);
    for (int i = 0; i < KEYS; i++)
        CHECK("every other is left", !map_get(&m, str_from(names[i])) == (i % 2 == 0));
    size_t at = 0, seen = 0;
    struct str key;
    void *value;
    while (map_next(&m, &at, &key, &value))
        seen++;
    CHECK_INT("a walk sees each once", seen, KEYS / 2);
    for (int i = 0; i < 100000; i++) { /* tombs must not fill the table */
        CHECK("put and removed again", map_put(&m, str_from(names[0]), &values[0], NULL));
        CHECK("put and removed again", map_remove(&m, str_from(names[0])) == &values[0]);
    }
    CHECK("an empty key is a key",
          map_put(&m, STR(""), &values[1], NULL) && map_get(&m, STR("")) == &values[1]);
    map_done(&m);
    CHECK("empty again", map_get(&m, STR("key-1")) == NULL && m.n == 0);
    mem_fail_nth(1, false);
    CHECK("memory that is gone", !map_put(&m, STR("a"), &values[0], NULL) && m.n == 0);
    mem_fail_nth(0, false);
    map_done(&m);
}

static void test_err(void **state)
{
    (void)state;
    struct err err = ERR_INIT, copy = ERR_INIT;
    CHECK_INT("gives its class back", err_set(&err, RC_IO, "disk %d", 3), RC_IO);
    CHECK_STR("message", err.message, "disk 3");
    CHECK_STR("no code", err.code, "");
    CHECK_INT("prefix keeps the class", err_prefix(&err, "store '%s'", "x"), RC_IO);
    CHECK_STR("prefix", err.message, "store 'x': disk 3");
    (void)err_set(&err, RC_IO, "again: %s", err.message);
    CHECK_STR("its own message as argument", err.message, "again: store 'x': disk 3");
    (void)err_set_code(&err, RC_INVALID, "row_count_mismatch", "%d rows", 2);
    CHECK_STR("code", err.code, "row_count_mismatch");
    err_copy(&copy, &err);
    CHECK("copied", copy.rc == RC_INVALID && strcmp(copy.message, "2 rows") == 0);
    (void)err_set_errno(&err, RC_IO, 2 /* ENOENT */, "cannot open");
    CHECK_STR("errno in words, the old code gone", err.message,
              "cannot open: No such file or directory");
    CHECK_STR("no code", err.code, "");
    char long_text[4 * ERR_MESSAGE_BYTES];
    memset(long_text, 'm', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = 0;
    (void)err_set(&err, RC_IO, "%s", long_text);
    CHECK_INT("cut, terminated", strlen(err.message), ERR_MESSAGE_BYTES - 1);
    (void)err_set_errno(&err, RC_IO, 2, "%s", long_text);
    (void)err_prefix(&err, "%s", long_text);
    CHECK_INT("cut again", strlen(err.message), ERR_MESSAGE_BYTES - 1);
    CHECK_INT("nobody listens", err_set(NULL, RC_BUSY, "x"), RC_BUSY);
}

static void test_errlist(void **state)
{
    (void)state;
    struct errlist list = ERRLIST_INIT;
    errlist_add(&list, FINDING_ERROR, "b", 1, 1, "p", "c", NULL, "first of b");
    errlist_add(&list, FINDING_WARNING, "a", 9, 1, "", "c", "hint", "late");
    errlist_add(&list, FINDING_ERROR, "a", 2, 5, "", "c", NULL, "column 5");
    errlist_add(&list, FINDING_ERROR, "a", 2, 3, "", "c", NULL, "column 3");
    errlist_add(&list, FINDING_ERROR, "a", 2, 3, "", "c", NULL, "same place, later");
    errlist_sort(&list);
    static const char *const order[] = {"column 3", "same place, later", "column 5", "late",
                                        "first of b"};
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        CHECK_STR("file, line, column, arrival", list.items[i].message, order[i]);
    CHECK_INT("warnings are not errors", list.n_errors, 4);
    CHECK_STR("hint", list.items[3].hint, "hint");
    for (int i = 0; i < LIMIT_FINDINGS + 5; i++)
        errlist_add(&list, FINDING_ERROR, NULL, 0, 0, NULL, "c", NULL, "%d", i);
    CHECK_INT("bounded", list.n_items, LIMIT_FINDINGS);
    CHECK("and says so", list.truncated);
    errlist_add(&list, FINDING_WARNING, NULL, 0, 0, NULL, "c", NULL, "one more");
    CHECK_INT("errors are counted on", list.n_errors, 4 + LIMIT_FINDINGS + 5);
    CHECK_INT("and warnings", list.n_warnings, 2);
    errlist_done(&list);
    errlist_done(&list);
}

static void *count_up(void *arg)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    for (int i = 0; i < 10000; i++) {
        LOCKED(&lock);
        ++*(int *)arg;
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    pthread_t threads[4];
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK_OK("starts", thread_start(&threads[i], "unit", count_up, &n, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        thread_join(threads[i]);
    CHECK_INT("no step is lost", n, 40000);
    pthread_mutex_t m;
    pthread_cond_t c;
    mutex_init(&m);
    cond_init(&c);
    mutex_lock(&m);
    CHECK("a deadline in the past", !cond_wait_until(&c, &m, -5));
    mutex_unlock(&m);
    cond_done(&c);
    mutex_done(&m);
    CHECK("quotas are sane", cpu_quota() >= 1 && memory_quota_bytes() > (1 << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc),   cmocka_unit_test(test_arena),
        cmocka_unit_test(test_map),     cmocka_unit_test(test_err),
        cmocka_unit_test(test_errlist), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
