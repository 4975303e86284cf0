/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wide form: limb i weighs 2^(32 i + LOW_EXPONENT); limbs are signed 64-bit, so that 2^30
 * additions need no carry. LOW_EXPONENT leaves 110 bits below the smallest double, which is where
 * the quotient of an average keeps the digits that decide its rounding.
 */
#include "query/exact_sum.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

#define N_LIMBS 72
#define LOW_EXPONENT (-1184)
#define CARRY_AFTER (1u << 30)
#define HUGE_EXPONENT 0x7d0 /* biased: two-sum of such numbers could overflow */

struct exact_wide {
    int64_t limbs[N_LIMBS];
    uint32_t n_added;
};

static void carry(int64_t *limbs)
{
    for (int i = 0; i + 1 < N_LIMBS; i++) {
        int64_t over = limbs[i] >> 32; /* arithmetic: floor */
        limbs[i] -= over * (INT64_C(1) << 32);
        limbs[i + 1] += over;
    }
}

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static void wide_add(struct exact_wide *w, double v)
{
    uint64_t bits = bits_of(v), mantissa = bits & ((UINT64_C(1) << 52) - 1);
    int exponent = (int)(bits >> 52 & 0x7ff);
    if (exponent)
        mantissa |= UINT64_C(1) << 52;
    else
        exponent = 1;
    int at = exponent - 1075 - LOW_EXPONENT;
    unsigned __int128 shifted = (unsigned __int128)mantissa << (at % 32);
    int64_t sign = bits >> 63 ? -1 : 1;
    for (int i = at / 32; shifted; i++, shifted >>= 32)
        w->limbs[i] += sign * (int64_t)(uint32_t)shifted;
    if (++w->n_added == CARRY_AFTER) {
        carry(w->limbs);
        w->n_added = 0;
    }
}

static bool widen(struct exact_sum *s)
{
    if (s->wide)
        return true;
    s->wide = try_alloc0(sizeof *s->wide);
    if (!s->wide)
        return false;
    for (int i = 0; i < s->n_parts; i++)
        wide_add(s->wide, s->parts[i]);
    s->n_parts = 0;
    return true;
}

static bool is_huge(double v)
{
    return (bits_of(v) >> 52 & 0x7ff) >= HUGE_EXPONENT;
}

/* Knuth's two-sum: a + b exactly as *a (rounded) and the returned rest. */
static double two_sum(double *a, double b)
{
    double sum = *a + b, b_part = sum - *a, a_part = sum - b_part;
    double rest = (*a - a_part) + (b - b_part);
    *a = sum;
    return rest;
}

static void note_special(struct exact_sum *s, double v)
{
    if (isnan(v))
        s->has_nan = true;
    else if (v > 0)
        s->has_plus_infinity = true;
    else
        s->has_minus_infinity = true;
}

bool exact_sum_add(struct exact_sum *s, double v)
{
    if (UNLIKELY(!isfinite(v))) {
        note_special(s, v);
        return true;
    }
    if (UNLIKELY(s->wide || is_huge(v))) {
        if (!widen(s))
            return false;
        wide_add(s->wide, v);
        return true;
    }
    /* Grow-expansion: v passes through the parts from small to large; what is left over stays. */
    int n = 0;
    for (int i = 0; i < s->n_parts; i++) {
        double rest = two_sum(&v, s->parts[i]);
        if (rest != 0)
            s->parts[n++] = rest;
    }
    if (UNLIKELY(n == EXACT_PARTS || is_huge(v))) {
        s->n_parts = (uint8_t)n;
        if (!widen(s))
            return false;
        wide_add(s->wide, v);
        return true;
    }
    if (v != 0)
        s->parts[n++] = v;
    s->n_parts = (uint8_t)n;
    return true;
}

bool exact_sum_merge(struct exact_sum *into, const struct exact_sum *from)
{
    into->has_nan |= from->has_nan;
    into->has_plus_infinity |= from->has_plus_infinity;
    into->has_minus_infinity |= from->has_minus_infinity;
    for (int i = 0; i < from->n_parts; i++)
        if (!exact_sum_add(into, from->parts[i]))
            return false;
    if (!from->wide)
        return true;
    if (!widen(into))
        return false;
    struct exact_wide copy = *from->wide;
    carry(copy.limbs);
    carry(into->wide->limbs);
    for (int i = 0; i < N_LIMBS; i++)
        into->wide->limbs[i] += copy.limbs[i];
    into->wide->n_added = 1;
    return true;
}

/* ---- rounding ---- */

/* Carried limbs to sign and magnitude; true: negative. */
static bool take_sign(int64_t *limbs)
{
    carry(limbs);
    if (limbs[N_LIMBS - 1] >= 0)
        return false;
    for (int i = 0; i < N_LIMBS; i++)
        limbs[i] = -limbs[i];
    carry(limbs);
    return true;
}

static bool bit_at(const int64_t *limbs, int at)
{
    return at >= 0 && (limbs[at / 32] >> (at % 32) & 1);
}

static bool any_below(const int64_t *limbs, int at)
{
    if (at <= 0)
        return false;
    for (int i = 0; i < at / 32; i++)
        if (limbs[i])
            return true;
    return (limbs[at / 32] & ((INT64_C(1) << (at % 32)) - 1)) != 0;
}

/* Round half to even; @rest: something non-zero lies below the last limb. */
static double round_magnitude(const int64_t *limbs, bool rest)
{
    int top = N_LIMBS - 1;
    while (top >= 0 && limbs[top] == 0)
        top--;
    if (top < 0)
        return 0;
    int high = top * 32 + 63 - __builtin_clzll((unsigned long long)limbs[top]);
    int low = high - 52, least = -1074 - LOW_EXPONENT;
    if (low < least)
        low = least;
    uint64_t mantissa = 0;
    for (int at = high; at >= low; at--)
        mantissa = mantissa << 1 | bit_at(limbs, at);
    bool half = bit_at(limbs, low - 1);
    bool below = rest || any_below(limbs, low - 1);
    mantissa += half && (below || (mantissa & 1));
    return ldexp((double)mantissa, low + LOW_EXPONENT);
}

/* Long division by a 64-bit count, from the top limb down; true: there was a remainder. */
static bool divide(int64_t *limbs, uint64_t count)
{
    unsigned __int128 remainder = 0;
    for (int i = N_LIMBS - 1; i >= 0; i--) {
        unsigned __int128 part = remainder << 32 | (uint32_t)limbs[i];
        limbs[i] = (int64_t)(uint64_t)(part / count);
        remainder = part % count;
    }
    return remainder != 0;
}

static bool special_value(const struct exact_sum *s, double *ret)
{
    if (s->has_nan || (s->has_plus_infinity && s->has_minus_infinity))
        *ret = (double)NAN;
    else if (s->has_plus_infinity || s->has_minus_infinity)
        *ret = s->has_plus_infinity ? (double)INFINITY : -(double)INFINITY;
    else
        return false;
    return true;
}

static void to_wide(const struct exact_sum *s, struct exact_wide *ret)
{
    if (s->wide)
        *ret = *s->wide;
    else
        memset(ret, 0, sizeof *ret);
    for (int i = 0; i < s->n_parts; i++)
        wide_add(ret, s->parts[i]);
}

double exact_sum_value(const struct exact_sum *s)
{
    double v = 0;
    struct exact_wide w;
    if (special_value(s, &v))
        return v;
    if (!s->wide && s->n_parts <= 1)
        return s->n_parts ? s->parts[0] : 0;
    if (!s->wide && s->n_parts == 2) /* one rounded addition of two exact parts */
        return s->parts[0] + s->parts[1];
    to_wide(s, &w);
    bool negative = take_sign(w.limbs);
    v = round_magnitude(w.limbs, false);
    return negative ? -v : v;
}

double exact_sum_average(const struct exact_sum *s, uint64_t count)
{
    double v = 0;
    struct exact_wide w;
    if (special_value(s, &v))
        return v;
    if (!s->wide && s->n_parts <= 1 && count < UINT64_C(1) << 53) /* one rounded division */
        return s->n_parts ? s->parts[0] / (double)count : 0;
    to_wide(s, &w);
    bool negative = take_sign(w.limbs);
    bool rest = divide(w.limbs, count);
    v = round_magnitude(w.limbs, rest);
    return negative ? -v : v;
}

double exact_average_int128(__int128 sum, uint64_t count)
{
    struct exact_wide w = {{0}, 0};
    bool negative = sum < 0;
    unsigned __int128 magnitude = negative ? -(unsigned __int128)sum : (unsigned __int128)sum;
    if (magnitude < (unsigned __int128)1 << 53 && count < UINT64_C(1) << 53) {
        double v = (double)(uint64_t)magnitude / (double)count;
        return negative ? -v : v;
    }
    for (int i = -LOW_EXPONENT / 32; magnitude; i++, magnitude >>= 32)
        w.limbs[i] = (int64_t)(uint32_t)magnitude;
    bool rest = divide(w.limbs, count);
    double v = round_magnitude(w.limbs, rest);
    return negative ? -v : v;
}

void exact_sum_done(struct exact_sum *s)
{
    mem_free(s->wide);
    *s = (struct exact_sum){.wide = NULL};
}
