/* SPDX-License-Identifier: Apache-2.0 */
/* Digests, checksums, random bytes. SHA-256 and HMAC are OpenSSL's. Thread-safe. */
#ifndef OFFLOADER_BASE_HASH_H
#define OFFLOADER_BASE_HASH_H

#include "base/compiler.h"
#include "base/str.h"

#define SHA256_BYTES 32
#define SHA256_HEX_BYTES 65

void sha256(const void *p, size_t n, uint8_t ret[SHA256_BYTES]);
void hmac_sha256(const void *key, size_t key_n, const void *p, size_t n, uint8_t ret[SHA256_BYTES]);

struct sha256_stream; /* opaque, heap */
struct sha256_stream *sha256_new(void);
void sha256_add(struct sha256_stream *s, const void *p, size_t n);
void sha256_finish(struct sha256_stream *s, uint8_t ret[SHA256_BYTES]); /* frees @s */
void sha256_free(struct sha256_stream *s);

/* Castagnoli, hardware where there is one. Start with 0. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* SipHash-2-4, 64 and 128 bits, reference algorithm of Aumasson and Bernstein. */
uint64_t siphash64(const uint8_t key[16], const void *p, size_t n);
void siphash128(const uint8_t key[16], const void *p, size_t n, uint8_t ret[16]);
/* SipHash under the process's own random key. */
uint64_t process_hash(const void *p, size_t n);

bool equal_constant_time(const void *a, const void *b, size_t n);
void random_bytes(void *p, size_t n); /* aborts when the kernel has none */
void hex_encode(const void *p, size_t n, char *ret /* 2n + 1 */);
MUST_CHECK bool hex_decode(struct str s, uint8_t *ret,
                           size_t n); /* lower case, exactly 2n digits */
size_t base64url_encode(const void *p, size_t n,
                        char *ret); /* no padding, NUL; needs 4*((n+2)/3)+1 */
MUST_CHECK bool base64url_decode(struct str s, uint8_t *ret, size_t limit, size_t *ret_n);
size_t base64_encode(const void *p, size_t n, char *ret); /* padded, NUL */
MUST_CHECK bool base64_decode(struct str s, uint8_t *ret, size_t limit, size_t *ret_n);

#endif
