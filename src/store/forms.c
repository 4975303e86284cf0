/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a block's keys are written as when something shorter than their differences stands for them:
 * doubles as decimal numbers where every one of the block is one (the idea of ALP, Afroozeh and
 * others, 2023), integers in steps of a power of ten, ordinals as file and row apart.
 *
 * F1  Every value is decoded as a reader will, and compared, before its block is written this way.
 */
#include "store/codes.h"
#include "store/key.h"
#include "store/writer_int.h"

#define LARGEST_DECIMAL 0x1p52 /* below it a double has room for the half that rounds */

/* @v × 10^@exponent, when that is an integer which divided again gives @v to the bit. */
static bool decimal_of(double v, unsigned exponent, int64_t *ret)
{
    double scaled = v * (double)powers_of_ten[exponent];
    if (!(fabs(scaled) < LARGEST_DECIMAL)) /* not for NaN either */
        return false;
    *ret = (int64_t)(scaled + (scaled < 0 ? -0.5 : 0.5));
    return key_from_decimal(*ret, exponent) == key_from_double(v); /* F1 */
}

/* The least exponent that fits all, by those that come first; false: none does. */
static bool find_exponent(const int64_t *keys, const uint8_t *valid, size_t n, unsigned *ret)
{
    int64_t ignored;
    unsigned exponent = 0;
    for (size_t i = 0; i < n; i++)
        while (valid[i] && !decimal_of(key_to_double(keys[i]), exponent, &ignored))
            if (++exponent > LIMIT_EXPONENT)
                return false;
    *ret = exponent;
    return true;
}

static bool to_decimals(const int64_t *keys, const uint8_t *valid, size_t n, unsigned bits,
                        struct chunk_entry *e, uint64_t *codes)
{
    int64_t least = INT64_MAX, largest = INT64_MIN;
    unsigned exponent;
    if (!find_exponent(keys, valid, n, &exponent))
        return false;
    for (size_t i = 0; i < n; i++) {
        int64_t decimal;
        if (!valid[i])
            continue;
        if (!decimal_of(key_to_double(keys[i]), exponent, &decimal))
            return false; /* fits less of an exponent only */
        least = decimal < least ? decimal : least;
        largest = decimal > largest ? decimal : largest;
        codes[i] = (uint64_t)decimal;
    }
    if (bits_of((uint64_t)largest - (uint64_t)least) >= bits)
        return false;
    for (size_t i = 0; i < n; i++)
        codes[i] = valid[i] ? codes[i] - (uint64_t)least : 0;
    e->base = least;
    e->form = FORM_DECIMAL;
    e->detail = (uint8_t)exponent;
    return true;
}

/* The codes are differences from the base already. */
static bool to_steps(size_t n, struct chunk_entry *e, uint64_t *codes)
{
    unsigned exponent = LIMIT_EXPONENT;
    for (size_t i = 0; i < n && exponent; i++)
        while (codes[i] % powers_of_ten[exponent])
            exponent--;
    if (exponent == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        codes[i] /= powers_of_ten[exponent];
    e->form = FORM_STEPS;
    e->detail = (uint8_t)exponent;
    return true;
}

static bool to_file_and_row(const int64_t *keys, size_t n, unsigned bits, struct chunk_entry *e,
                            uint64_t *codes)
{
    const uint64_t row_mask = (UINT64_C(1) << SPLIT_SHIFT) - 1;
    uint64_t least_row = UINT64_MAX, largest_row = 0;
    uint64_t least_file = (uint64_t)e->min >> SPLIT_SHIFT,
             largest_file = (uint64_t)e->max >> SPLIT_SHIFT;
    for (size_t i = 0; i < n; i++) {
        uint64_t row = (uint64_t)keys[i] & row_mask;
        least_row = row < least_row ? row : least_row;
        largest_row = row > largest_row ? row : largest_row;
    }
    unsigned row_bits = bits_of(largest_row - least_row);
    if (e->min < 0 || bits_of(largest_file - least_file) + row_bits >= bits)
        return false;
    for (size_t i = 0; i < n; i++)
        codes[i] = (((uint64_t)keys[i] >> SPLIT_SHIFT) - least_file) << row_bits |
                   (((uint64_t)keys[i] & row_mask) - least_row);
    e->base = (int64_t)(least_file << SPLIT_SHIFT | least_row);
    e->form = FORM_SPLIT;
    e->detail = (uint8_t)row_bits;
    return true;
}

void choose_form(const struct column_build *c, bool is_ordinal, const int64_t *keys,
                 const uint8_t *valid, size_t n, struct chunk_entry *e, uint64_t *codes)
{
    unsigned bits = bits_of((uint64_t)e->max - (uint64_t)e->min);
    if (bits <= LEAST_BITS_TO_SHORTEN || e->n_nulls == n)
        return;
    bool shorter = c->type == TYPE_DOUBLE ? to_decimals(keys, valid, n, bits, e, codes)
                   : is_ordinal           ? to_file_and_row(keys, n, bits, e, codes)
                   : c->is_text           ? false
                                          : to_steps(n, e, codes);
    if (!shorter && c->type == TYPE_DOUBLE)
        for (size_t i = 0; i < n; i++) /* a try may have left its own */
            codes[i] = valid[i] ? (uint64_t)keys[i] - (uint64_t)e->base : 0;
}
