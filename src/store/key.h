/* SPDX-License-Identifier: Apache-2.0 */
/* Values as 64-bit keys whose signed order is the values' order. NULL has no key. */
#ifndef OFFLOADER_STORE_KEY_H
#define OFFLOADER_STORE_KEY_H

#include <math.h>
#include <string.h>

#include "schema/schema.h"

/* Doubles: the bits, with the lower 63 flipped for negative numbers; NaN above infinity, -0 as 0.
 */
static inline int64_t key_from_double(double v)
{
    int64_t bits;
    if (isnan(v))
        return INT64_MAX;
    if (v == 0)
        return 0;
    memcpy(&bits, &v, sizeof bits);
    return bits < 0 ? bits ^ INT64_MAX : bits;
}

static inline double key_to_double(int64_t key)
{
    double v;
    if (key == INT64_MAX)
        return (double)NAN;
    int64_t bits = key < 0 ? key ^ INT64_MAX : key;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline bool type_is_text(enum column_type t)
{
    return t == TYPE_VARCHAR || t == TYPE_JSON;
}

#endif
