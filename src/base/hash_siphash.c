/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash-2-4 with 64 and 128 bits of output, after the description in "SipHash: a fast short-input
 * PRF" (Aumasson and Bernstein, 2012) and its 128-bit extension.
 */
#include <pthread.h>
#include <string.h>

#include "base/hash.h"

struct sip {
    uint64_t a, b, c, d;
};

static inline uint64_t rotate(uint64_t v, int by)
{
    return v << by | v >> (64 - by);
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline void sip_round(struct sip *s)
{
    s->a += s->b;
    s->b = rotate(s->b, 13) ^ s->a;
    s->a = rotate(s->a, 32);
    s->c += s->d;
    s->d = rotate(s->d, 16) ^ s->c;
    s->a += s->d;
    s->d = rotate(s->d, 21) ^ s->a;
    s->c += s->b;
    s->b = rotate(s->b, 17) ^ s->c;
    s->c = rotate(s->c, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
    s->d ^= word;
    sip_round(s);
    sip_round(s);
    s->a ^= word;
}

static inline uint64_t sip_final(struct sip *s)
{
    for (int i = 0; i < 4; i++)
        sip_round(s);
    return s->a ^ s->b ^ s->c ^ s->d;
}

static inline struct sip sip_absorb(const uint8_t key[16], const void *p, size_t n, bool wide)
{
    uint64_t k0 = load64(key), k1 = load64(key + 8);
    struct sip s = {
        .a = UINT64_C(0x736f6d6570736575) ^ k0,
        .b = UINT64_C(0x646f72616e646f6d) ^ k1,
        .c = UINT64_C(0x6c7967656e657261) ^ k0,
        .d = UINT64_C(0x7465646279746573) ^ k1,
    };
    if (wide)
        s.b ^= 0xee;

    const uint8_t *at = p;
    size_t left = n;
    for (; left >= 8; at += 8, left -= 8)
        sip_word(&s, load64(at));
    uint64_t last = (uint64_t)n << 56;
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)at[i] << (8 * i);
    sip_word(&s, last);
    return s;
}

uint64_t siphash64(const uint8_t key[16], const void *p, size_t n)
{
    struct sip s = sip_absorb(key, p, n, false);
    s.c ^= 0xff;
    return sip_final(&s);
}

void siphash128(const uint8_t key[16], const void *p, size_t n, uint8_t ret[16])
{
    struct sip s = sip_absorb(key, p, n, true);
    s.c ^= 0xee;
    uint64_t low = sip_final(&s);
    s.b ^= 0xdd;
    uint64_t high = sip_final(&s);
    for (int i = 0; i < 8; i++) {
        ret[i] = (uint8_t)(low >> (8 * i));
        ret[8 + i] = (uint8_t)(high >> (8 * i));
    }
}

static uint8_t process_key[16];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void draw_process_key(void)
{
    random_bytes(process_key, sizeof(process_key));
}

uint64_t process_hash(const void *p, size_t n)
{
    (void)pthread_once(&process_key_once, draw_process_key); /* cannot fail with these arguments */
    return siphash64(process_key, p, n);
}
