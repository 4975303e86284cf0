/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of a chunk: `bits` each, whole bytes or packed, and the keys they stand for.
 *
 * Packed numbers lie one after the other, the lowest bit first, as FastLanes and before it Lemire
 * and Boytsov ("Decoding billions of integers per second through vectorization", 2012) pack them,
 * but in the order of the rows: any of them is one load, one shift and one mask away. Eight of them
 * fill whole bytes, so a run is decoded eight at a time with shifts that the compiler knows.
 *
 * P1  A packed number of row r is read as the 8 bytes from r × bits / 8. PACKED_TAIL zeros after
 * the last one keep that within the chunk.
 */
#ifndef OFFLOADER_STORE_CODES_H
#define OFFLOADER_STORE_CODES_H

#include <string.h>

#include "store/format.h"

#define PACKED_TAIL 7
#define LIMIT_PACKED_BITS 56 /* and a shift of up to 7 fit the 64 bits that are loaded */

/* One chunk, ready to read. */
struct chunk_view {
    const uint8_t *validity; /* NULL: no NULLs */
    const uint8_t *values;
    const uint32_t *offsets; /* plain text; NULL: FORM_LENGTHS */
    const char *bytes;
    int64_t base;
    uint64_t mask; /* of a packed number; 0: not packed */
    uint8_t bits;  /* of a number */
    uint8_t form, detail;
    size_t n_rows;
};

/* Bits of the numbers up to @largest. */
static inline unsigned bits_of(uint64_t largest)
{
    return largest ? 64 - (unsigned)__builtin_clzll(largest) : 0;
}

static inline size_t packed_bytes(unsigned bits, size_t n)
{
    return bits ? (n * bits + 7) / 8 + PACKED_TAIL : 0;
}

/* Bytes of @n_rows numbers as @e, not of plain text, says they lie. */
static inline size_t codes_bytes(const struct chunk_entry *e, size_t n_rows)
{
    return e->bits ? packed_bytes(e->bits, n_rows) : n_rows * e->width;
}

static inline size_t validity_bytes(const struct chunk_entry *e, size_t n_rows)
{
    return e->n_nulls ? (n_rows + 63) / 64 * 8 : 0;
}

/* @v on the chunk at @p; of plain text, its numbers alone. */
static inline void codes_view(const struct chunk_entry *e, const uint8_t *p, size_t n_rows,
                              struct chunk_view *v)
{
    v->n_rows = n_rows;
    v->validity = e->n_nulls ? p : NULL;
    v->values = p + validity_bytes(e, n_rows);
    v->base = e->base;
    v->form = e->form;
    v->detail = e->detail;
    v->mask = e->bits ? (UINT64_C(1) << e->bits) - 1 : 0;
    v->bits = e->bits || e->width == WIDTH_TEXT ? e->bits : (uint8_t)(e->width * 8);
}

static inline uint64_t chunk_code(const struct chunk_view *v, size_t row)
{
    const uint8_t *p = v->values;
    uint64_t word;
    if (LIKELY(v->mask)) {
        size_t at = row * v->bits;
        memcpy(&word, p + at / 8, sizeof word); /* P1 */
        return word >> at % 8 & v->mask;
    }
    switch (v->bits) {
    case 0:
        return 0;
    case 8:
        return p[row];
    case 16:
        return ((const uint16_t *)(const void *)p)[row];
    case 32:
        return ((const uint32_t *)(const void *)p)[row];
    default:
        return ((const uint64_t *)(const void *)p)[row];
    }
}

/* The key of a number that is not of FORM_KEYS. */
int64_t form_key(const struct chunk_view *v, uint64_t code);

static inline int64_t chunk_key(const struct chunk_view *v, size_t row)
{
    uint64_t code = chunk_code(v, row);
    return LIKELY(v->form == FORM_KEYS) ? (int64_t)((uint64_t)v->base + code) : form_key(v, code);
}

extern const uint64_t powers_of_ten[LIMIT_EXPONENT + 1];

/* The key of the double that is nearest to @decimal / 10^@exponent. */
static inline int64_t key_from_decimal(int64_t decimal, unsigned exponent)
{
    double v = (double)decimal / (double)powers_of_ten[exponent];
    int64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits < 0 ? bits ^ INT64_MAX : bits;
}

static inline bool chunk_is_null(const struct chunk_view *v, size_t row)
{
    return v->validity && !(v->validity[row / 8] >> (row % 8) & 1);
}

/* Keys of rows [first, first + n), NULLs' too. */
void chunk_keys(const struct chunk_view *v, size_t first, size_t n, int64_t *to);
/* Writes @codes, each under 2^@bits, 1 to LIMIT_PACKED_BITS, into @to, which has zeroed room for
 * codes_bytes(). */
void codes_pack(const uint64_t *codes, size_t n, unsigned bits, uint8_t *to);

#endif
