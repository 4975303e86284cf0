/* SPDX-License-Identifier: Apache-2.0 */
/* The sort against qsort's order, and that equal items keep theirs. */
#include "../unit.h"
#include "base/sort.h"

struct item { /* 24 bytes: neither 4 nor 8 */
    uint64_t key, arrived, more;
};

static int by_key(const void *a, const void *b, void *arg)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    (*(size_t *)arg)++;
    return (x > y) - (x < y);
}

static int by_small_key(const void *a, const void *b, void *arg)
{
    const uint32_t *keys = arg;
    uint32_t x = keys[*(const uint32_t *)a], y = keys[*(const uint32_t *)b];
    return (x > y) - (x < y);
}

static const size_t sizes[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000, 4097};

static void test_items_rise_and_equal_ones_keep_their_order(void **state)
{
    uint64_t seed = unit_seed(11);
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (uint64_t range = 1; range <= 1u << 20; range *= 32) {
            size_t n = sizes[s], n_compared = 0;
            struct item *items = calloc(2 * n + 1, sizeof *items);
            uint64_t sum = 0, sum_after = 0;
            for (size_t i = 0; i < n; i++) {
                items[i] = (struct item){unit_random(&seed) % range, i, i * 3};
                sum += items[i].key;
            }
            sort_stable(items, items + n, n, sizeof *items, by_key, &n_compared);
            for (size_t i = 0; i < n; i++) {
                sum_after += items[i].key;
                CHECK("an item stays whole", items[i].more == items[i].arrived * 3);
                if (i > 0)
                    CHECK("rising, and stable", items[i - 1].key < items[i].key ||
                                                    (items[i - 1].key == items[i].key &&
                                                     items[i - 1].arrived < items[i].arrived));
            }
            CHECK("no item is lost", sum == sum_after);
            CHECK("n log n comparisons", n_compared <= n * 24);
            free(items);
        }
    }
}

static void test_indexes_of_four_bytes(void **state)
{
    uint64_t seed = unit_seed(12);
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        uint32_t *keys = calloc(n + 1, sizeof *keys), *order = calloc(2 * n + 2, sizeof *order);
        for (size_t i = 0; i < n; i++) {
            keys[i] = (uint32_t)(unit_random(&seed) % 50);
            order[i] = (uint32_t)i;
        }
        sort_stable(order, order + n + n % 2, n, sizeof *order, by_small_key, keys);
        for (size_t i = 1; i < n; i++)
            CHECK("by key, then as they stood",
                  keys[order[i - 1]] < keys[order[i]] ||
                      (keys[order[i - 1]] == keys[order[i]] && order[i - 1] < order[i]));
        free(keys);
        free(order);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items_rise_and_equal_ones_keep_their_order),
        cmocka_unit_test(test_indexes_of_four_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
