/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that are given again: what a key gets, what is kept over a restart, the cap, the wait. */
#include "unit.h"

#include "admin/idempotency.h"
#include "admin/moment.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/thread.h"

struct fixture {
    char *directory;
    struct idempotency *store;
    struct err err;
};

static void open_store(struct fixture *f, int64_t hours)
{
    CHECK_OK("opens", idempotency_new(f->directory, hours, &f->store, &f->err), &f->err);
}

static struct fixture fixture(void)
{
    struct fixture f = {.directory = unit_directory(), .err = ERR_INIT};
    open_store(&f, 48);
    return f;
}

static void done(struct fixture *f)
{
    idempotency_free(f->store);
    unit_remove(f->directory);
}

static enum idempotency_outcome ask(struct fixture *f, const char *key, const char *request,
                                    const char *want)
{
    int status = 0;
    char *body = NULL;
    enum idempotency_outcome o =
        idempotency_begin(f->store, str_from(key), str_from(request), false, &status, &body);
    if (o == IDEMPOTENCY_STORED) {
        CHECK_INT("the status that was stored", status, 200);
        CHECK_STR("the body that was stored", body, want);
    }
    free(body);
    return o;
}

static void answer(struct fixture *f, const char *key, const char *body)
{
    idempotency_finish(f->store, str_from(key), 200, str_from(body));
}

static void test_one_key(void **state)
{
    (void)state;
    struct fixture f = fixture();
    CHECK_INT("nobody has it", ask(&f, "k", "r", NULL), IDEMPOTENCY_FRESH);
    CHECK_INT("in flight", ask(&f, "k", "r", NULL), IDEMPOTENCY_RUNNING);
    CHECK_INT("in flight, for something else", ask(&f, "k", "other", NULL), IDEMPOTENCY_MISMATCH);
    answer(&f, "k", "first");
    CHECK_INT("again", ask(&f, "k", "r", "first"), IDEMPOTENCY_STORED);
    CHECK_INT("for something else", ask(&f, "k", "other", NULL), IDEMPOTENCY_MISMATCH);
    CHECK_INT("another key", ask(&f, "k2", "r", NULL), IDEMPOTENCY_FRESH);
    idempotency_forget(f.store, STR("k2"));
    CHECK_INT("forgotten: as if it had not been", ask(&f, "k2", "r", NULL), IDEMPOTENCY_FRESH);
    done(&f);
}

static void test_over_a_restart(void **state)
{
    (void)state;
    struct fixture f = fixture();
    (void)ask(&f, "kept", "r", NULL);
    answer(&f, "kept", "with \"quotes\" and \n lines");
    (void)ask(&f, "unfinished", "r", NULL);
    idempotency_free(f.store);
    open_store(&f, 48);
    CHECK_INT("kept", ask(&f, "kept", "r", "with \"quotes\" and \n lines"), IDEMPOTENCY_STORED);
    CHECK_INT("dropped", ask(&f, "unfinished", "r", NULL), IDEMPOTENCY_FRESH);
    done(&f);
}

static void test_a_cache_deleted_meanwhile(void **state)
{
    (void)state;
    struct fixture f = fixture();
    CHECK_OK("the cache goes", io_remove_tree(f.directory, &f.err), &f.err);
    (void)ask(&f, "later", "r", NULL);
    answer(&f, "later", "x");
    idempotency_free(f.store);
    open_store(&f, 48);
    CHECK_INT("what came later is kept", ask(&f, "later", "r", "x"), IDEMPOTENCY_STORED);
    done(&f);
}

static void write_record_of(struct fixture *f, const struct moment *at)
{
    char path[600], hex[SHA256_HEX_BYTES], request[SHA256_HEX_BYTES];
    uint8_t digest[32];
    struct buf b;
    sha256("k", 1, digest);
    hex_encode(digest, sizeof digest, hex);
    sha256("r", 1, digest);
    hex_encode(digest, sizeof digest, request);
    snprintf(path, sizeof path, "%s/idempotency/%s.json", f->directory, hex);
    buf_init(&b, 65536);
    buf_printf(&b,
               "{\"key\":\"%s\",\"request\":\"%s\",\"status\":200,\"body\":\"x\",\"at_us\":%lld,"
               "\"boot\":\"%s\",\"since_boot_us\":%lld}",
               hex, request, (long long)at->wall_us, at->boot, (long long)at->boot_us);
    CHECK_OK("writes", io_write_checked(path, &b, 0600, &f->err), &f->err);
    buf_done(&b);
}

/* A day of 24 hours is kept; hours are what each clock has gone on since the record was made. */
static void test_what_a_restart_keeps(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        bool same_boot;
        int64_t boot_h, wall_h;
        bool is_kept;
    } rows[] = {
        {"one boot, young", true, 1, 1, true},
        {"one boot, old", true, 25, 25, false},
        {"one boot, young, the clock set ahead", true, 1, 9000, true},
        {"one boot, old, the clock set back", true, 25, -9000, false},
        {"another boot, young", false, 0, 23, true},
        {"another boot, old", false, 0, 25, false},
        {"another boot, from the future", false, 0, -9000, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f = fixture();
        idempotency_free(f.store);
        struct moment at = moment_now();
        if (!rows[i].same_boot)
            at.boot[0] = at.boot[0] == 'a' ? 'b' : 'a';
        at.boot_us -= rows[i].boot_h * INT64_C(3600000000);
        at.wall_us -= rows[i].wall_h * INT64_C(3600000000);
        write_record_of(&f, &at);
        open_store(&f, 24);
        CHECK_INT(rows[i].why, ask(&f, "k", "r", "x"),
                  rows[i].is_kept ? IDEMPOTENCY_STORED : IDEMPOTENCY_FRESH);
        /* One from the future counts from this start on, also for the next one. */
        idempotency_free(f.store);
        open_store(&f, rows[i].wall_h < 0 && !rows[i].same_boot ? 0 : 24);
        CHECK_INT(rows[i].why, ask(&f, "k", "r", "x"),
                  rows[i].is_kept && (rows[i].wall_h >= 0 || rows[i].same_boot)
                      ? IDEMPOTENCY_STORED
                      : IDEMPOTENCY_FRESH);
        done(&f);
    }
}

static size_t n_files(const struct fixture *f)
{
    char path[600], **names = NULL;
    size_t n = 0;
    struct err err = ERR_INIT;
    snprintf(path, sizeof path, "%s/idempotency", f->directory);
    CHECK_OK("lists", io_list_dir(path, &names, &n, &err), &err);
    io_free_names(names, n);
    return n;
}

/* In memory files, since each record is fsynced. */
static void test_the_cap(void **state)
{
    (void)state;
    char key[32];
    setenv("TMPDIR", "/dev/shm", 1);
    struct fixture f = fixture();
    unsetenv("TMPDIR");
    for (int i = 0; i < LIMIT_RECORDS; i++) {
        snprintf(key, sizeof key, "k%d", i);
        (void)ask(&f, key, "r", NULL);
        answer(&f, key, "x");
    }
    CHECK_INT("exactly the limit", n_files(&f), LIMIT_RECORDS);
    CHECK_INT("the oldest is there", ask(&f, "k0", "r", "x"), IDEMPOTENCY_STORED);
    (void)ask(&f, "one more", "r", NULL);
    answer(&f, "one more", "x");
    CHECK_INT("still the limit", n_files(&f), LIMIT_RECORDS);
    CHECK_INT("the oldest went", ask(&f, "k0", "r", NULL), IDEMPOTENCY_FRESH);
    CHECK_INT("and then the next, to make room", ask(&f, "k1", "r", NULL), IDEMPOTENCY_FRESH);
    CHECK_INT("the third is there", ask(&f, "k3", "r", "x"), IDEMPOTENCY_STORED);
    done(&f);
}

static void *finish_later(void *arg)
{
    struct fixture *f = arg;
    (void)usleep(20000);
    answer(f, "event", "first");
    return NULL;
}

static void test_waiting_for_the_one_in_flight(void **state)
{
    (void)state;
    struct fixture f = fixture();
    pthread_t thread;
    int status = 0;
    char *body = NULL;
    (void)ask(&f, "event", "r", NULL);
    CHECK_OK("starts", thread_start(&thread, "later", finish_later, &f, &f.err), &f.err);
    CHECK_INT("waits for it",
              idempotency_begin(f.store, STR("event"), STR("r"), true, &status, &body),
              IDEMPOTENCY_STORED);
    CHECK_STR("and has its answer", body, "first");
    free(body);
    thread_join(thread);
    done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_key),
        cmocka_unit_test(test_over_a_restart),
        cmocka_unit_test(test_a_cache_deleted_meanwhile),
        cmocka_unit_test(test_what_a_restart_keeps),
        cmocka_unit_test(test_the_cap),
        cmocka_unit_test(test_waiting_for_the_one_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
