/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers from text, all of it or nothing. Locale plays no part but in strtod(), see below. */
#include <math.h>
#include <stdlib.h>

#include "base/str.h"

/* Longer decimals are refused: the exact form of any double has less than 1,100 characters. */
#define LIMIT_NUMBER_BYTES 1200

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool parse_uint64(struct str s, uint64_t *ret)
{
    if (!s.n)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]) || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *ret = v;
    return true;
}

bool parse_int64(struct str s, int64_t *ret)
{
    bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+')) {
        s.p++;
        s.n--;
    }
    uint64_t magnitude;
    if (!parse_uint64(s, &magnitude))
        return false;
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return false;
    *ret = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

/* What a decimal is made of: sign, digits with at most one point, exponent. */
struct decimal {
    bool negative;
    uint64_t digits;  /* the first DECIMAL_EXACT_DIGITS significant ones */
    int n_digits;     /* significant ones seen */
    int64_t exponent; /* of ten, for digits when n_digits <= DECIMAL_EXACT_DIGITS */
};

#define DECIMAL_EXACT_DIGITS 15    /* any such integer is exact in a double */
#define DECIMAL_EXACT_EXPONENT 22  /* 10^22 is the last exact power */
#define DECIMAL_EXPONENT_MAX 99999 /* far past any double; more digits change nothing */

static bool split_exponent(struct str s, int64_t *ret)
{
    size_t at = 0;
    bool negative = at < s.n && s.p[at] == '-';
    if (at < s.n && (s.p[at] == '-' || s.p[at] == '+'))
        at++;
    if (at == s.n)
        return false;
    int64_t exponent = 0;
    for (; at < s.n; at++) {
        if (!is_digit(s.p[at]))
            return false;
        if (exponent <= DECIMAL_EXPONENT_MAX)
            exponent = exponent * 10 + (s.p[at] - '0');
    }
    *ret = negative ? -exponent : exponent;
    return true;
}

/* `[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?` */
static bool split_decimal(struct str s, struct decimal *d)
{
    *d = (struct decimal){0};
    size_t at = 0;
    if (at < s.n && (s.p[at] == '-' || s.p[at] == '+'))
        d->negative = s.p[at++] == '-';

    size_t digits_at = at;
    bool in_fraction = false;
    int64_t exponent = 0;
    for (; at < s.n; at++) {
        char c = s.p[at];
        if (c == '.' && !in_fraction && at > digits_at) {
            in_fraction = true;
            digits_at = at + 1;
            continue;
        }
        if (!is_digit(c))
            break;
        exponent -= in_fraction;
        if (d->n_digits == 0 && c == '0')
            continue;
        if (++d->n_digits <= DECIMAL_EXACT_DIGITS)
            d->digits = d->digits * 10 + (uint64_t)(c - '0');
    }
    if (at == digits_at)
        return false;
    if (at < s.n) {
        if (s.p[at] != 'e' && s.p[at] != 'E')
            return false;
        int64_t written;
        if (!split_exponent((struct str){s.p + at + 1, s.n - at - 1}, &written))
            return false;
        exponent += written;
    }
    d->exponent = exponent;
    return true;
}

bool parse_double(struct str s, double *ret)
{
    static const double powers[DECIMAL_EXACT_EXPONENT + 1] = {
        1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
    };
    struct decimal d;
    if (s.n > LIMIT_NUMBER_BYTES || !split_decimal(s, &d))
        return false;

    /* Both operands exact, one rounding: the result is the nearest double (Clinger 1990). */
    if (d.n_digits <= DECIMAL_EXACT_DIGITS && d.exponent >= -DECIMAL_EXACT_EXPONENT &&
        d.exponent <= DECIMAL_EXACT_EXPONENT) {
        double v = (double)d.digits;
        v = d.exponent < 0 ? v / powers[-d.exponent] : v * powers[d.exponent];
        *ret = d.negative ? -v : v;
        return true;
    }

    /* The program never calls setlocale(), so that strtod() reads the C locale's point. */
    char text[LIMIT_NUMBER_BYTES + 1];
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    double v = strtod(text, NULL);
    if (!isfinite(v))
        return false;
    *ret = v;
    return true;
}

bool parse_size_bytes(struct str s, uint64_t *ret)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        {"", 1},
        {"B", 1},
        {"KB", UINT64_C(1000)},
        {"MB", UINT64_C(1000000)},
        {"GB", UINT64_C(1000000000)},
        {"TB", UINT64_C(1000000000000)},
        {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20},
        {"GiB", UINT64_C(1) << 30},
        {"TiB", UINT64_C(1) << 40},
    };
    size_t n_digits = 0;
    while (n_digits < s.n && is_digit(s.p[n_digits]))
        n_digits++;
    uint64_t count;
    if (!parse_uint64((struct str){s.p, n_digits}, &count))
        return false;
    struct str unit = {s.p + n_digits, s.n - n_digits};
    if (unit.n > 1 && unit.p[0] == ' ') {
        unit.p++;
        unit.n--;
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t bytes;
        if (!str_is(unit, units[i].name))
            continue;
        if (__builtin_mul_overflow(count, units[i].bytes, &bytes))
            return false;
        *ret = bytes;
        return true;
    }
    return false;
}
