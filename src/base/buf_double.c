/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doubles as ECMAScript writes them. The digits come from the C library, shortest first: correct,
 * and about a microsecond a value. A serving store that prepares text at ingest needs no more; a
 * table-driven writer can replace shortest_digits() alone.
 */
#include "base/buf.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* "d.ddde±xx" with the fewest digits that read back to @v > 0. */
static void shortest_digits(double v, char digits[24], int *ret_n, int *ret_exponent)
{
    char text[40];
    int precision = 0;
    do {
        (void)snprintf(text, sizeof(text), "%.*e", precision, v); /* fits: at most 25 bytes */
        precision++;
    } while (precision < 17 && strtod(text, NULL) != v);
    const char *e = strchr(text, 'e');
    assert(e);
    int n = 0;
    for (const char *p = text; p < e; p++)
        if (*p != '.')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    *ret_n = n;
    *ret_exponent = (int)strtol(e + 1, NULL, 10);
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
