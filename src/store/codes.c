/* SPDX-License-Identifier: Apache-2.0 */
/* Packing numbers, and decoding runs of them. */
#include "store/codes.h"

const uint64_t powers_of_ten[LIMIT_EXPONENT + 1] = {
    1,
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
};

int64_t form_key(const struct chunk_view *v, uint64_t code)
{
    uint64_t base = (uint64_t)v->base;
    switch ((enum chunk_form)v->form) {
    case FORM_DECIMAL:
        return key_from_decimal((int64_t)(base + code), v->detail);
    case FORM_STEPS:
        return (int64_t)(base + code * powers_of_ten[v->detail]);
    case FORM_SPLIT:
        return (int64_t)(base + (code >> v->detail << SPLIT_SHIFT) +
                         (code & ((UINT64_C(1) << v->detail) - 1)));
    case FORM_KEYS:
    case FORM_LENGTHS: /* no keys */
    case N_FORMS:
        break;
    }
    return (int64_t)(base + code);
}

/* Eight numbers fill @bits bytes. @bits is a constant wherever this is called, so that the inner
 * loop becomes loads, shifts and masks without a variable in them. */
static ALWAYS_INLINE void unpack_eights(const uint8_t *p, size_t n, unsigned bits, uint64_t base,
                                        int64_t *to)
{
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    for (size_t i = 0; i < n; i++, p += bits, to += 8) {
        for (unsigned k = 0; k < 8; k++) {
            uint64_t word;
            memcpy(&word, p + k * bits / 8, sizeof word); /* P1 */
            to[k] = (int64_t)(base + (word >> k * bits % 8 & mask));
        }
    }
}

#define UNPACK(b)                                                                                  \
    case (b):                                                                                      \
        unpack_eights(p, n, (b), base, to);                                                        \
        break;
#define UNPACK_7(b)                                                                                \
    UNPACK(b)                                                                                      \
    UNPACK((b) + 1)                                                                                \
    UNPACK((b) + 2) UNPACK((b) + 3) UNPACK((b) + 4) UNPACK((b) + 5) UNPACK((b) + 6)

static void unpack(const uint8_t *p, size_t n, unsigned bits, uint64_t base, int64_t *to)
{
    switch (bits) {
        UNPACK_7(1)
        UNPACK_7(8)
        UNPACK_7(15)
        UNPACK_7(22)
        UNPACK_7(29)
        UNPACK_7(36)
        UNPACK_7(43)
        UNPACK_7(50)
    }
}

/* Numbers of FORM_KEYS with base 0, in place, to the keys of the chunk's form. */
static void numbers_to_keys(const struct chunk_view *v, size_t n, int64_t *to)
{
    if (v->form == FORM_DECIMAL)
        for (size_t i = 0; i < n; i++)
            to[i] = key_from_decimal((int64_t)((uint64_t)v->base + (uint64_t)to[i]), v->detail);
    else
        for (size_t i = 0; i < n; i++)
            to[i] = form_key(v, (uint64_t)to[i]);
}

static void load_packed(const struct chunk_view *v, size_t first, size_t n, int64_t *to)
{
    size_t i = 0, n_head = (8 - first % 8) % 8;
    for (; i < n && i < n_head; i++)
        to[i] = chunk_key(v, first + i);
    size_t n_eights = (n - i) / 8;
    unpack(v->values + (first + i) / 8 * v->bits, n_eights, v->bits, (uint64_t)v->base, to + i);
    for (i += n_eights * 8; i < n; i++)
        to[i] = chunk_key(v, first + i);
}

#define LOAD_WIDTH(type)                                                                           \
    do {                                                                                           \
        const type *p = (const type *)(const void *)v->values + first;                             \
        for (size_t i = 0; i < n; i++)                                                             \
            to[i] = (int64_t)(base + p[i]);                                                        \
    } while (0)

static void load_numbers(const struct chunk_view *v, size_t first, size_t n, int64_t *to)
{
    uint64_t base = (uint64_t)v->base;
    if (v->mask) {
        load_packed(v, first, n, to);
        return;
    }
    switch (v->bits) {
    case 0:
        for (size_t i = 0; i < n; i++)
            to[i] = v->base;
        break;
    case 8:
        LOAD_WIDTH(uint8_t);
        break;
    case 16:
        LOAD_WIDTH(uint16_t);
        break;
    case 32:
        LOAD_WIDTH(uint32_t);
        break;
    default:
        LOAD_WIDTH(uint64_t);
        break;
    }
}

void chunk_keys(const struct chunk_view *v, size_t first, size_t n, int64_t *to)
{
    if (LIKELY(v->form == FORM_KEYS)) {
        load_numbers(v, first, n, to);
        return;
    }
    struct chunk_view numbers = *v;
    numbers.base = 0;
    numbers.form = FORM_KEYS;
    load_numbers(&numbers, first, n, to);
    numbers_to_keys(v, n, to);
}

void codes_pack(const uint64_t *codes, size_t n, unsigned bits, uint8_t *to)
{
    uint64_t word = 0;
    unsigned filled = 0; /* bits of it */
    for (size_t i = 0; i < n; i++) {
        word |= codes[i] << filled;
        filled += bits;
        if (filled < 64)
            continue;
        memcpy(to, &word, sizeof word);
        to += sizeof word;
        filled -= 64;
        word = filled ? codes[i] >> (bits - filled) : 0;
    }
    memcpy(to, &word, (filled + 7) / 8);
}
