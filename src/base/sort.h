/* SPDX-License-Identifier: Apache-2.0 */
/* A sort that takes its scratch memory from the caller: glibc's qsort_r allocates past 1 KiB, and a
 * request allocates nothing. */
#ifndef OFFLOADER_BASE_SORT_H
#define OFFLOADER_BASE_SORT_H

#include <stddef.h>

/*
 * Sorts @n items of @item_bytes by @compare, stable, in n log n comparisons: insertion sort of
 * short runs, then bottom-up merges (Knuth, The Art of Computer Programming, vol. 3, 5.2.4).
 * @scratch has room for @n items too and holds nothing afterwards. Both are 8-aligned.
 */
void sort_stable(void *items, void *scratch, size_t n, size_t item_bytes,
                 int (*compare)(const void *a, const void *b, void *arg), void *arg);

#endif
