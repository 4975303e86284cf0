/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doubles as ECMAScript writes them: the fewest digits that read back, the nearest of those.
 *
 * The digits come from Raffaele Giulietti's Schubfach (2018, revised 2022). Around v = c * 2^q lies
 * the interval of reals that read back as v; its ends and v are scaled by a power of ten so that
 * the interval holds a few integers. One of them that ends in 0 is shorter by a digit and wins;
 * otherwise the nearest does. The scaled values are kept in quarters, rounded to odd, which decides
 * every comparison exactly with 128-bit powers.
 */
#include "base/buf.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define POW10_FIRST (-292)
#define POW10_LAST 324

static const struct {
    uint64_t high, low;
} pow10_table[] = {
#include "base/pow10_table.h"
};
_Static_assert(ARRAY_LEN(pow10_table) == POW10_LAST - POW10_FIRST + 1, "every power once");

#define SIGNIFICAND_BITS 52
#define HIDDEN_BIT (UINT64_C(1) << SIGNIFICAND_BITS)
#define EXPONENT_BIAS 1075

struct decimal {
    uint64_t digits;
    int exponent; /* v = digits * 10^exponent */
};

/* floor(log10(2^q)), or of 3/4 * 2^q, for every exponent of a double. */
static int floor_log10_pow2(int q, bool three_quarters)
{
    return (q * 1262611 - (three_quarters ? 524031 : 0)) >> 22;
}

static int floor_log2_pow10(int k)
{
    return (k * 1741647) >> 19;
}

/* The upper 64 bits of the 192-bit product, the last bit set when any below it is. */
static uint64_t round_to_odd(uint64_t high, uint64_t low, uint64_t c)
{
    unsigned __int128 x = (unsigned __int128)low * c;
    unsigned __int128 y = (unsigned __int128)high * c + (uint64_t)(x >> 64);
    return (uint64_t)(y >> 64) | ((uint64_t)y > 1);
}

static struct decimal shortest(uint64_t c, int q, bool lower_is_closer)
{
    bool is_odd = c & 1; /* the ends of the interval read back as v only when c is even */
    int k = floor_log10_pow2(q, lower_is_closer);
    int shift = q + floor_log2_pow10(-k) + 1;
    uint64_t high = pow10_table[-k - POW10_FIRST].high, low = pow10_table[-k - POW10_FIRST].low;
    uint64_t left = round_to_odd(high, low, (4 * c - 2 + lower_is_closer) << shift) + is_odd;
    uint64_t middle = round_to_odd(high, low, (4 * c) << shift);
    uint64_t right = round_to_odd(high, low, (4 * c + 2) << shift) - is_odd;

    uint64_t s = middle / 4;
    if (s >= 10) {
        uint64_t tens = s / 10;
        bool down_fits = left <= 40 * tens, up_fits = 40 * tens + 40 <= right;
        if (down_fits != up_fits)
            return (struct decimal){tens + up_fits, k + 1};
    }
    bool down_fits = left <= 4 * s, up_fits = 4 * s + 4 <= right;
    if (down_fits != up_fits)
        return (struct decimal){s + up_fits, k};
    uint64_t half = 4 * s + 2;
    bool up = middle > half || (middle == half && (s & 1));
    return (struct decimal){s + up, k};
}

/* @v > 0 and finite. */
static struct decimal decimal_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    uint64_t significand = bits & (HIDDEN_BIT - 1);
    int exponent = (int)(bits >> SIGNIFICAND_BITS);
    if (exponent == 0)
        return shortest(significand, 1 - EXPONENT_BIAS, false);
    uint64_t c = significand | HIDDEN_BIT;
    int q = exponent - EXPONENT_BIAS;
    if (q <= 0 && q > -(SIGNIFICAND_BITS + 1) && (c & ((UINT64_C(1) << -q) - 1)) == 0)
        return (struct decimal){c >> -q, 0}; /* an integer below 2^53: its own digits */
    return shortest(c, q, significand == 0 && exponent > 1);
}

/* The digits without zeros at the end; *ret_exponent is that of the first digit. */
static void shortest_digits(double v, char digits[24], int *ret_n, int *ret_exponent)
{
    struct decimal d = decimal_of(v);
    char *end = digits + 24, *begin = end;
    for (; d.digits % 10 == 0; d.exponent++)
        d.digits /= 10;
    for (uint64_t rest = d.digits; rest; rest /= 10)
        *--begin = (char)('0' + rest % 10);
    *ret_n = (int)(end - begin);
    *ret_exponent = d.exponent + *ret_n - 1;
    memmove(digits, begin, (size_t)*ret_n);
}

static void put_zeros(struct buf *b, int n)
{
    for (int i = 0; i < n; i++)
        buf_putc(b, '0');
}

/* ECMA-262, Number::toString: n is the position of the decimal point relative to the digits. */
void buf_put_double(struct buf *b, double v)
{
    assert(isfinite(v));
    if (v == 0) {
        buf_putc(b, '0');
        return;
    }
    if (v < 0) {
        buf_putc(b, '-');
        v = -v;
    }
    char digits[24];
    int k, exponent;
    shortest_digits(v, digits, &k, &exponent);
    int n = exponent + 1;
    if (n > 21 || n < -5) {
        buf_putc(b, digits[0]);
        if (k > 1) {
            buf_putc(b, '.');
            buf_put(b, digits + 1, (size_t)k - 1);
        }
        buf_put_cstr(b, exponent < 0 ? "e-" : "e+");
        buf_put_uint64(b, (uint64_t)(exponent < 0 ? -exponent : exponent));
    } else if (n <= 0) {
        buf_put_literal(b, "0.");
        put_zeros(b, -n);
        buf_put(b, digits, (size_t)k);
    } else if (k <= n) {
        buf_put(b, digits, (size_t)k);
        put_zeros(b, n - k);
    } else {
        buf_put(b, digits, (size_t)n);
        buf_putc(b, '.');
        buf_put(b, digits + n, (size_t)(k - n));
    }
}
