/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C: the CPU's instruction where it has one, else eight table look-ups a step
 * ("slicing-by-8", Kounavis and Berry 2005). Which one is found out once; both are tested against
 * each other.
 */
#include <pthread.h>
#include <string.h>

#include "base/hash.h"
#include "base/hash_int.h"

#define CRC32C_POLYNOMIAL UINT32_C(0x82f63b78) /* reflected */

static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void fill_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
        table[0][byte] = crc;
    }
    for (int step = 1; step < 8; step++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t former = table[step - 1][byte];
            table[step][byte] = former >> 8 ^ table[0][former & 255];
        }
    }
}

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n)
{
    (void)pthread_once(&table_once, fill_table); /* cannot fail with these arguments */
    const uint8_t *at = p;
    crc = ~crc;
    for (; n >= 8; at += 8, n -= 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                              (uint32_t)at[3] << 24);
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^
              table[4][low >> 24] ^ table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^
              table[0][at[7]];
    }
    for (; n; at++, n--)
        crc = crc >> 8 ^ table[0][(crc ^ *at) & 255];
    return ~crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(uint32_t crc, const void *p,
                                                                     size_t n)
{
    const uint8_t *at = p;
    uint64_t wide = ~crc;
    for (; n >= 8; at += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; n; at++, n--)
        crc = _mm_crc32_u8(crc, *at);
    return ~crc;
}

#elif defined(__aarch64__)

#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>

static bool has_instruction(void)
{
    return getauxval(AT_HWCAP) & HWCAP_CRC32;
}

__attribute__((target("+crc"))) static uint32_t crc32c_instruction(uint32_t crc, const void *p,
                                                                   size_t n)
{
    const uint8_t *at = p;
    crc = ~crc;
    for (; n >= 8; at += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        crc = __crc32cd(crc, word);
    }
    for (; n; at++, n--)
        crc = __crc32cb(crc, *at);
    return ~crc;
}

#else

static bool has_instruction(void)
{
    return false;
}

static uint32_t crc32c_instruction(uint32_t crc, const void *p, size_t n)
{
    return crc32c_portable(crc, p, n);
}

#endif

static uint32_t (*chosen)(uint32_t, const void *, size_t);
static pthread_once_t chosen_once = PTHREAD_ONCE_INIT;

static void choose(void)
{
    chosen = has_instruction() ? crc32c_instruction : crc32c_portable;
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    (void)pthread_once(&chosen_once, choose); /* cannot fail with these arguments */
    return chosen(crc, p, n);
}
