/* SPDX-License-Identifier: Apache-2.0 */
/* Lookups, flights, eviction and the dropping of old generations. */
#include <pthread.h>

#include "cache/cache_int.h"
#include "metrics/metrics.h"
#include "unit.h"

static struct cache *new_cache(uint64_t entries, uint64_t bytes)
{
    struct cache_options o = {entries, bytes};
    return cache_new(&o);
}

static struct str key_of(char room[32], uint64_t generation, int i)
{
    memcpy(room, &generation, sizeof generation);
    int n = snprintf(room + 8, 24, "%d", i);
    return (struct str){room, 8 + (size_t)n};
}

static void put(struct cache *c, uint64_t generation, int i, size_t n_bytes)
{
    char room[32];
    static char data[1 << 16];
    struct cache_body body = {.data = {data, n_bytes}, .n_rows = (uint64_t)i};
    cache_put(c, key_of(room, generation, i), &body);
}

static bool has(struct cache *c, uint64_t generation, int i)
{
    char room[32];
    struct cache_entry *e = cache_get(c, key_of(room, generation, i));
    bool found = e && cache_entry_body(e)->n_rows == (uint64_t)i;
    cache_entry_unref(e);
    return found;
}

static struct cache_stats stats_of(struct cache *c)
{
    struct cache_stats s;
    cache_stats(c, &s);
    return s;
}

/* ---- flights ---- */

struct waiting {
    struct cache_waiter waiter;
    struct cache_entry *entry;
    int n_calls, why;
};

static void on_ready(struct cache_waiter *w, struct cache_entry *e, int why)
{
    struct waiting *x = (struct waiting *)w;
    x->entry = e;
    x->why = why;
    x->n_calls++;
}

static void test_a_flight_feeds_who_waits(void **state)
{
    (void)state;
    struct cache *c = new_cache(100, 1 << 20);
    struct cache_flight *flight = NULL, *none = NULL;
    struct cache_entry *e = NULL;
    struct waiting w[3] = {0};
    struct str key = STR("some key");
    struct cache_body body = {.data = STR("rows"),
                              .next_cursor = STR("cursor"),
                              .n_rows = 3,
                              .total = 9,
                              .has_more = true,
                              .has_total = true};
    assert_int_equal(cache_begin(c, key, &w[0].waiter, &e, &flight), CACHE_LEAD);
    assert_non_null(flight);
    for (int i = 1; i < 3; i++) {
        w[i].waiter.on_ready = on_ready;
        assert_int_equal(cache_begin(c, key, &w[i].waiter, &e, &none), CACHE_WAIT);
    }
    assert_int_equal(cache_begin(c, key, NULL, &e, &none),
                     CACHE_LEAD); /* who cannot wait flies alone */
    assert_null(none);
    e = cache_fill(c, flight, &body);
    assert_non_null(e);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(w[i].n_calls, 1);
        assert_ptr_equal(w[i].entry, e);
        cache_entry_unref(w[i].entry);
    }
    const struct cache_body *kept = cache_entry_body(e);
    assert_true(str_is(kept->data, "rows") && str_is(kept->next_cursor, "cursor") &&
                kept->has_more && kept->total == 9);
    cache_entry_unref(e);
    assert_int_equal(cache_begin(c, key, &w[0].waiter, &e, &none), CACHE_HIT);
    cache_entry_unref(e);
    cache_free(c);
}

static void test_an_abandoned_flight_says_why(void **state)
{
    (void)state;
    struct cache *c = new_cache(100, 1 << 20);
    for (int why = 0; why < 3; why++) {
        struct cache_flight *flight = NULL, *next = NULL;
        struct cache_entry *e = NULL;
        struct waiting w = {.waiter.on_ready = on_ready, .why = -1};
        assert_int_equal(cache_begin(c, STR("k"), NULL, &e, &flight), CACHE_LEAD);
        assert_int_equal(cache_begin(c, STR("k"), &w.waiter, &e, &next), CACHE_WAIT);
        cache_abandon(c, flight, why);
        assert_true(w.n_calls == 1 && w.entry == NULL && w.why == why);
        assert_int_equal(cache_begin(c, STR("k"), &w.waiter, &e, &next),
                         CACHE_LEAD); /* one may try again */
        cache_abandon(c, next, 0);
    }
    cache_abandon(c, NULL, 0);
    assert_int_equal(stats_of(c).entries, 0);
    cache_free(c);
}

/* Every entry must outlive its eviction while somebody reads it. */
static void test_entries_in_use_outlive_eviction(void **state)
{
    (void)state;
    struct cache *c = new_cache(4, 1 << 20);
    char room[32];
    put(c, 1, 0, 100);
    struct cache_entry *held = cache_get(c, key_of(room, 1, 0));
    for (int i = 1; i < 100; i++)
        put(c, 1, i, 100);
    cache_drop_generations(c, NULL, 0);
    assert_int_equal(stats_of(c).entries, 0);
    assert_int_equal(cache_entry_body(held)->data.n, 100);
    cache_free(c);
    cache_entry_unref(held); /* its last reference, after the cache itself */
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        uint64_t entries, bytes;
        size_t entry_bytes;
        uint64_t least, most;
    } rows[] = {
        {"by entries", 100, 1 << 20, 10, 100, 100},
        {"by bytes", 100000, 64 << 10, 1000, 1, 64},
        {"nothing is kept", 0, 1 << 20, 10, 0, 0},
        {"one entry", 1, 1 << 20, 10, 1, 1},
        {"an entry larger than a quarter of its shard is not kept", 100, 4000, 1500, 0, 0},
        {"shards share the limit", 20000, 256 << 20, 10, 10000, 20000},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cache *c = new_cache(rows[i].entries, rows[i].bytes);
        for (int k = 0; k < 30000; k++) {
            put(c, 1, k, rows[i].entry_bytes);
            if (k % 1000 == 0)
                CHECK(rows[i].why,
                      stats_of(c).entries <= rows[i].entries && stats_of(c).bytes <= rows[i].bytes);
        }
        struct cache_stats s = stats_of(c);
        CHECK(rows[i].why,
              s.entries >= rows[i].least && s.entries <= rows[i].most && s.bytes <= rows[i].bytes);
        cache_free(c);
    }
}

/* S3-FIFO: what is asked for again survives a scan of ten times the cache. */
static void test_a_scan_passes_through(void **state)
{
    (void)state;
    struct cache *c = new_cache(1000, 1 << 24);
    for (int turn = 0; turn < 3; turn++)
        for (int i = 0; i < 300; i++)
            if (!has(c, 1, i))
                put(c, 1, i, 50);
    for (int i = 1000; i < 11000; i++) {
        put(c, 1, i, 50);
        if (i % 10 == 0)
            (void)has(c, 1, i / 10 % 300); /* the hot ones are asked for now and then */
    }
    int kept = 0;
    for (int i = 0; i < 300; i++)
        kept += has(c, 1, i);
    CHECK("hot entries survive", kept >= 290);
    cache_free(c);
}

static void test_generations(void **state)
{
    (void)state;
    struct cache *c = new_cache(1000, 1 << 20);
    for (int i = 0; i < 50; i++)
        for (uint64_t g = 1; g <= 3; g++)
            put(c, g, i, 10);
    assert_false(has(c, 4, 1)); /* a new generation hits nothing of the old */
    const uint64_t keep[] = {1, 3};
    cache_drop_generations(c, keep, 2);
    assert_int_equal(stats_of(c).entries, 100);
    assert_true(has(c, 1, 7) && !has(c, 2, 7) && has(c, 3, 7));
    cache_drop_generations(c, NULL, 0);
    assert_true(stats_of(c).entries == 0 && stats_of(c).bytes == 0);
    cache_free(c);
}

static void test_put_keeps_what_is_there(void **state)
{
    (void)state;
    struct cache *c = new_cache(10, 1 << 20);
    struct cache_body one = {.data = STR("one")}, two = {.data = STR("two")};
    cache_put(c, STR("k"), &one);
    cache_put(c, STR("k"), &two);
    struct cache_entry *e = cache_get(c, STR("k"));
    assert_true(str_is(cache_entry_body(e)->data, "one"));
    cache_entry_unref(e);
    assert_null(cache_get(c, STR("K")));
    cache_free(c);
}

/* ---- many threads ---- */

static void *hammer(void *arg)
{
    struct cache *c = arg;
    uint64_t random = (uint64_t)(uintptr_t)&random | 1;
    for (int i = 0; i < 20000; i++) {
        int k = (int)(unit_random(&random) % 500);
        if (!has(c, 1 + (uint64_t)k % 3, k))
            put(c, 1 + (uint64_t)k % 3, k, 100);
        if (i % 5000 == 0)
            cache_drop_generations(c, &(uint64_t){2}, 1);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct cache *c = new_cache(200, 1 << 20);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, c), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(stats_of(c).entries <= 200);
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_flight_feeds_who_waits),
        cmocka_unit_test(test_an_abandoned_flight_says_why),
        cmocka_unit_test(test_entries_in_use_outlive_eviction),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_a_scan_passes_through),
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_put_keeps_what_is_there),
        cmocka_unit_test(test_threads),
    };
    metrics_init(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
