/* SPDX-License-Identifier: Apache-2.0 */
/* Merge sort in the caller's memory. */
#include "base/sort.h"

#include <stdbool.h>
#include <string.h>

#define RUN_ITEMS 8

struct sort {
    size_t item_bytes;
    int (*compare)(const void *a, const void *b, void *arg);
    void *arg;
};

/* Runs of 4 and 8 bytes are what the store sorts; a constant size makes the copy one instruction.
 */
static void copy_item(const struct sort *s, char *to, const char *from)
{
    if (s->item_bytes == 4)
        memcpy(to, from, 4);
    else if (s->item_bytes == 8)
        memcpy(to, from, 8);
    else
        memcpy(to, from, s->item_bytes);
}

/* @spare: room for one item. */
static void sort_run(const struct sort *s, char *items, size_t n, char *spare)
{
    for (size_t i = 1; i < n; i++) {
        char *here = items + i * s->item_bytes;
        if (s->compare(here - s->item_bytes, here, s->arg) <= 0)
            continue;
        copy_item(s, spare, here);
        do {
            copy_item(s, here, here - s->item_bytes);
            here -= s->item_bytes;
        } while (here > items && s->compare(here - s->item_bytes, spare, s->arg) > 0);
        copy_item(s, here, spare);
    }
}

/* [from, middle) and [middle, end) of @items into the same place of @to. */
static void merge(const struct sort *s, const char *items, char *to, size_t from, size_t middle,
                  size_t end)
{
    const char *a = items + from * s->item_bytes, *a_end = items + middle * s->item_bytes;
    const char *b = a_end, *b_end = items + end * s->item_bytes;
    to += from * s->item_bytes;
    if (b == b_end || s->compare(b - s->item_bytes, b, s->arg) <= 0) { /* in order already */
        memcpy(to, a, (size_t)(b_end - a));
        return;
    }
    while (a < a_end && b < b_end) {
        bool takes_b = s->compare(a, b, s->arg) > 0;
        copy_item(s, to, takes_b ? b : a);
        to += s->item_bytes;
        if (takes_b)
            b += s->item_bytes;
        else
            a += s->item_bytes;
    }
    memcpy(to, a < a_end ? a : b, (size_t)(a < a_end ? a_end - a : b_end - b));
}

void sort_stable(void *items, void *scratch, size_t n, size_t item_bytes,
                 int (*compare)(const void *a, const void *b, void *arg), void *arg)
{
    const struct sort s = {item_bytes, compare, arg};
    char *from = items, *to = scratch;
    for (size_t i = 0; i < n; i += RUN_ITEMS)
        sort_run(&s, from + i * item_bytes, n - i < RUN_ITEMS ? n - i : RUN_ITEMS, to);
    for (size_t width = RUN_ITEMS; width < n; width *= 2) {
        for (size_t i = 0; i < n; i += 2 * width) {
            size_t middle = n - i < width ? n : i + width;
            size_t end = n - middle < width ? n : middle + width;
            merge(&s, from, to, i, middle, end);
        }
        char *other = from;
        from = to;
        to = other;
    }
    if (from != items && n)
        memcpy(items, from, n * item_bytes);
}
