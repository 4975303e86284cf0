/* SPDX-License-Identifier: Apache-2.0 */
/* How the blocks of a store that queries have read were encoded: for the differential test. */
#ifndef OFFLOADER_TESTS_STORE_ENCODINGS_H
#define OFFLOADER_TESTS_STORE_ENCODINGS_H

#include "store/store.h"

#define N_ENCODINGS 8

/* Adds the blocks of @s that a query has read, by encoding. */
void encodings_add(const struct store *s, uint64_t counts[N_ENCODINGS]);
/* False: of some encoding none was read. */
bool encodings_print(const uint64_t counts[N_ENCODINGS]);

#endif
