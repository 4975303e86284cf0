/* SPDX-License-Identifier: Apache-2.0 */
/* The growing buffer: limits, sticky failure, integers, ownership. */
#include "unit.h"

#include "base/buf.h"
#include "base/mem.h"

static void test_limit(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_put_literal(&b, "12345");
    buf_put_literal(&b, "67890");
    CHECK_INT("exactly the limit fits", b.failed, BUF_FINE);
    buf_putc(&b, 'x');
    CHECK_INT("one more does not", b.failed, BUF_OVER_LIMIT);
    buf_put_literal(&b, "");
    CHECK_STR("the bytes stay", buf_cstr(&b), "1234567890");
    buf_reset(&b);
    buf_put_literal(&b, "again");
    CHECK_STR("reset clears the failure", buf_cstr(&b), "again");
    buf_reset(&b);
    buf_put_literal(&b, "12345");
    buf_put_literal(&b, "too much");
    buf_putc(&b, '6');
    CHECK_STR("after a failure nothing is added, though it would fit", buf_cstr(&b), "12345");
    CHECK("a failed buffer gives no text away", buf_take_cstr(&b, NULL) == NULL);
    buf_done(&b);

    buf_init(&b, 0);
    CHECK_STR("empty text without memory", buf_cstr(&b), "");
    buf_putc(&b, 'x');
    CHECK_INT("no room at all", b.failed, BUF_OVER_LIMIT);
    buf_done(&b);
}

static void test_memory_failure(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_put_literal(&b, "kept");
    mem_fail_nth(1, false);
    char big[4096] = {0};
    buf_put(&b, big, sizeof(big));
    mem_fail_nth(0, false);
    CHECK_INT("says that memory was gone", b.failed, BUF_NO_MEMORY);
    CHECK_INT("the bytes stay", b.n, 4);
    buf_done(&b);
    buf_done(&b);
}

static void test_printf(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "%d-%s", 7, "x");
    CHECK_STR("short", buf_cstr(&b), "7-x");
    char word[300];
    memset(word, 'w', sizeof(word));
    word[sizeof(word) - 1] = 0;
    for (size_t n = 254; n <= 257; n++) {
        buf_reset(&b);
        buf_printf(&b, "%.*s", (int)n, word);
        CHECK_INT("around the size of the stack's buffer", b.n, n);
        CHECK("all of it", memcmp(b.p, word, n) == 0);
    }
    buf_done(&b);
}

static void test_integers(void **state)
{
    (void)state;
    static const int64_t values[] = {0,         1,         -1,        9,        10,    99,
                                     100,       101,       999,       1000,     -1000, 123456789,
                                     INT64_MAX, INT64_MIN, INT32_MAX, INT32_MIN};
    struct buf b;
    char want[64];
    buf_init(&b, 1 << 10);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        buf_reset(&b);
        buf_put_int64(&b, values[i]);
        snprintf(want, sizeof(want), "%lld", (long long)values[i]);
        CHECK_STR("as printf", buf_cstr(&b), want);
    }
    buf_reset(&b);
    buf_put_uint64(&b, UINT64_MAX);
    CHECK_STR("the largest unsigned", buf_cstr(&b), "18446744073709551615");
    uint64_t seed = unit_seed(11);
    for (int i = 0; i < 100000; i++) {
        int64_t v = (int64_t)unit_random(&seed) >> (unit_random(&seed) & 63);
        buf_reset(&b);
        buf_put_int64(&b, v);
        snprintf(want, sizeof(want), "%lld", (long long)v);
        CHECK_STR("random", buf_cstr(&b), want);
    }
    buf_done(&b);
}

static void test_int128(void **state)
{
    (void)state;
    const __int128 most = (__int128)(~(unsigned __int128)0 >> 1);
    static const char most_text[] = "170141183460469231731687303715884105727";
    const struct {
        const char *why;
        __int128 value;
        const char *text;
    } rows[] = {
        {"zero", 0, "0"},
        {"small", -42, "-42"},
        {"past 64 bits", (__int128)INT64_MAX * 10, "92233720368547758070"},
        {"zeros in the middle", (__int128)INT64_C(10000000000) * INT64_C(10000000000),
         "100000000000000000000"},
        {"the largest", most, most_text},
        {"the smallest", -most - 1, "-170141183460469231731687303715884105728"},
    };
    struct buf b;
    buf_init(&b, 1 << 10);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        buf_reset(&b);
        buf_put_int128(&b, rows[i].value);
        CHECK_STR(rows[i].why, buf_cstr(&b), rows[i].text);
    }
    buf_done(&b);
}

static void test_take(void **state)
{
    (void)state;
    struct buf b;
    size_t n = 0;
    buf_init(&b, 1 << 10);
    buf_put(&b, "a\0b", 3);
    char *text = buf_take_cstr(&b, &n);
    CHECK("length and bytes", n == 3 && memcmp(text, "a\0b", 4) == 0);
    CHECK("the buffer is empty", b.n == 0 && b.p == NULL);
    mem_free(text);
    text = buf_take_cstr(&b, &n);
    CHECK("nothing is the empty text", text && n == 0 && *text == 0);
    mem_free(text);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit),  cmocka_unit_test(test_memory_failure),
        cmocka_unit_test(test_printf), cmocka_unit_test(test_integers),
        cmocka_unit_test(test_int128), cmocka_unit_test(test_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
