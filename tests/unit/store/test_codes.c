/* SPDX-License-Identifier: Apache-2.0 */
/* Packed numbers: every width, every place a run may begin, and nothing read past the chunk. */
#include "base/mem.h"

#include "../unit.h"
#include "store/codes.h"

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return z ^ z >> 27;
}

/* The numbers of @bits in room of exactly the bytes that are said to be enough: what is read beyond
 * is seen by the sanitizers. Owned by the caller. */
static uint8_t *packed(const uint64_t *codes, size_t n, unsigned bits, struct chunk_view *v)
{
    struct chunk_entry e = {.base = -1000, .bits = (uint8_t)bits};
    uint8_t *p = x_alloc0(codes_bytes(&e, n));
    codes_pack(codes, n, bits, p);
    codes_view(&e, p, n, v);
    return p;
}

static void test_every_width_comes_back(void **state)
{
    static const size_t counts[] = {1, 7, 8, 9, 63, 64, 65, 1000};
    uint64_t random = 17;
    static uint64_t codes[1000];
    static int64_t keys[1001];
    (void)state;
    for (unsigned bits = 1; bits <= LIMIT_PACKED_BITS; bits++) {
        for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
            size_t n = counts[c];
            struct chunk_view v;
            for (size_t i = 0; i < n; i++)
                codes[i] = next_random(&random) >> (64 - bits);
            codes[n - 1] = UINT64_MAX >> (64 - bits); /* the last one has all bits */
            uint8_t *p = packed(codes, n, bits, &v);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(chunk_code(&v, i), codes[i]);
            for (size_t first = 0; first < n && first < 17; first++) {
                for (size_t to = first; to <= n; to += to + 9 < n ? 9 : 1) {
                    memset(keys, 0x55, sizeof keys);
                    chunk_keys(&v, first, to - first, keys);
                    for (size_t i = first; i < to; i++)
                        assert_int_equal(keys[i - first], (int64_t)codes[i] - 1000);
                    assert_int_equal(keys[to - first], INT64_C(0x5555555555555555));
                }
            }
            mem_free(p);
        }
    }
}

static void test_bases_wrap(void **state)
{
    static const struct {
        int64_t base;
        uint64_t code;
        int64_t key;
        const char *why;
    } rows[] = {
        {INT64_MIN, 0, INT64_MIN, "the least key"},
        {INT64_MAX, 0, INT64_MAX, "the largest as a base"},
        {INT64_MIN, UINT64_MAX, INT64_MAX, "the whole range"},
        {-5, 7, 2, "across zero"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct chunk_view v;
        int64_t key = 0;
        uint64_t code = rows[i].code;
        struct chunk_entry e = {.base = rows[i].base, .width = 8};
        codes_view(&e, (const uint8_t *)&code, 1, &v);
        chunk_keys(&v, 0, 1, &key);
        CHECK(rows[i].why, key == rows[i].key && chunk_key(&v, 0) == rows[i].key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_width_comes_back),
        cmocka_unit_test(test_bases_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
