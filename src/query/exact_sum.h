/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sums of doubles that do not depend on the order of addition: the exact sum, rounded once.
 *
 * A sum is held as a few doubles whose exact total is the sum so far (Shewchuk's expansions, 1997);
 * when they no longer suffice it moves to a fixed-point number that covers every double (a
 * superaccumulator after Kulisch). NaN and infinities follow IEEE addition.
 */
#ifndef OFFLOADER_QUERY_EXACT_SUM_H
#define OFFLOADER_QUERY_EXACT_SUM_H

#include "base/compiler.h"

#define EXACT_PARTS 4

struct exact_wide;
struct exact_sum { /* all zero: an empty sum */
    double parts[EXACT_PARTS];
    struct exact_wide *wide; /* owned; NULL until needed */
    uint8_t n_parts;
    bool has_nan, has_plus_infinity, has_minus_infinity;
};

/* False: out of memory (a move to the wide form failed). */
MUST_CHECK bool exact_sum_add(struct exact_sum *s, double v);
MUST_CHECK bool exact_sum_merge(struct exact_sum *into, const struct exact_sum *from);
double exact_sum_value(const struct exact_sum *s);
/* The exact sum divided by @count, rounded once; @count > 0. */
double exact_sum_average(const struct exact_sum *s, uint64_t count);
void exact_sum_done(struct exact_sum *s);
/* @sum / @count rounded once to a double; @count > 0. */
double exact_average_int128(__int128 sum, uint64_t count);

#endif
