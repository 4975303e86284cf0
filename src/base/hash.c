/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256, HMAC, random bytes, text forms of bytes.
 *
 * OpenSSL's SHA256_Init/Update/Final are used although deprecated: they are its only SHA-256 that
 * neither looks an algorithm up nor allocates per call (EVP_Q_digest does both), and every request
 * hashes a token.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/hash.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

_Static_assert(SHA256_BYTES == SHA256_DIGEST_LENGTH, "the digest is 32 bytes");

struct sha256_stream {
    SHA256_CTX ctx;
};

static void sha256_step(int ok)
{
    if (UNLIKELY(!ok))
        abort(); /* libcrypto's own SHA-256 fails on no input */
}

void sha256(const void *p, size_t n, uint8_t ret[SHA256_BYTES])
{
    SHA256_CTX ctx;
    sha256_step(SHA256_Init(&ctx));
    sha256_step(SHA256_Update(&ctx, p, n));
    sha256_step(SHA256_Final(ret, &ctx));
}

/* RFC 2104. */
void hmac_sha256(const void *key, size_t key_n, const void *p, size_t n, uint8_t ret[SHA256_BYTES])
{
    uint8_t inner_key[SHA256_CBLOCK] = {0}, outer_key[SHA256_CBLOCK];
    if (key_n > SHA256_CBLOCK)
        sha256(key, key_n, inner_key);
    else if (key_n)
        memcpy(inner_key, key, key_n);
    for (size_t i = 0; i < SHA256_CBLOCK; i++) {
        outer_key[i] = inner_key[i] ^ 0x5c;
        inner_key[i] ^= 0x36;
    }

    uint8_t inner[SHA256_BYTES];
    SHA256_CTX ctx;
    sha256_step(SHA256_Init(&ctx));
    sha256_step(SHA256_Update(&ctx, inner_key, sizeof(inner_key)));
    sha256_step(SHA256_Update(&ctx, p, n));
    sha256_step(SHA256_Final(inner, &ctx));

    sha256_step(SHA256_Init(&ctx));
    sha256_step(SHA256_Update(&ctx, outer_key, sizeof(outer_key)));
    sha256_step(SHA256_Update(&ctx, inner, sizeof(inner)));
    sha256_step(SHA256_Final(ret, &ctx));

    OPENSSL_cleanse(inner_key, sizeof(inner_key));
    OPENSSL_cleanse(outer_key, sizeof(outer_key));
}

struct sha256_stream *sha256_new(void)
{
    struct sha256_stream *s = x_alloc0(sizeof(*s));
    sha256_step(SHA256_Init(&s->ctx));
    return s;
}

void sha256_add(struct sha256_stream *s, const void *p, size_t n)
{
    sha256_step(SHA256_Update(&s->ctx, p, n));
}

void sha256_finish(struct sha256_stream *s, uint8_t ret[SHA256_BYTES])
{
    sha256_step(SHA256_Final(ret, &s->ctx));
    sha256_free(s);
}

void sha256_free(struct sha256_stream *s)
{
    mem_free(s);
}

bool equal_constant_time(const void *a, const void *b, size_t n)
{
    const uint8_t *p = a, *q = b;
    uint64_t differs = 0, v, w;
    for (; n >= sizeof v; p += sizeof v, q += sizeof w, n -= sizeof v) {
        memcpy(&v, p, sizeof v);
        memcpy(&w, q, sizeof w);
        differs |= v ^ w;
    }
    for (; n; n--)
        differs |= (uint64_t)(*p++ ^ *q++);
    __asm__("" : "+r"(differs)); /* the compiler must not see that one difference decides */
    return differs == 0;
}

void random_bytes(void *p, size_t n)
{
    uint8_t *at = p;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            abort(); /* without randomness keys and cursors would be forgeable */
        }
        at += got;
        n -= (size_t)got;
    }
}

/* ---- hex --------------------------------------------------------------------------------------*/

void hex_encode(const void *p, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = p;
    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[bytes[i] >> 4];
        ret[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret[2 * n] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool hex_decode(struct str s, uint8_t *ret, size_t n)
{
    if (s.n / 2 != n || s.n % 2)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (hex_value(s.p[i]) < 0)
            return false;
    }
    for (size_t i = 0; i < n; i++)
        ret[i] =
            (uint8_t)((unsigned)hex_value(s.p[2 * i]) << 4 | (unsigned)hex_value(s.p[2 * i + 1]));
    return true;
}

/* ---- base64 -----------------------------------------------------------------------------------*/

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char BASE64URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode64(const char *alphabet, bool padded, const uint8_t *bytes, size_t n, char *ret)
{
    char *out = ret;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t group = (uint32_t)bytes[i] << 16;
        if (left > 1)
            group |= (uint32_t)bytes[i + 1] << 8;
        if (left > 2)
            group |= bytes[i + 2];
        *out++ = alphabet[group >> 18];
        *out++ = alphabet[group >> 12 & 63];
        if (left > 1)
            *out++ = alphabet[group >> 6 & 63];
        else if (padded)
            *out++ = '=';
        if (left > 2)
            *out++ = alphabet[group & 63];
        else if (padded)
            *out++ = '=';
    }
    *out = '\0';
    return (size_t)(out - ret);
}

static int value64(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    if (c == (url ? '_' : '/'))
        return 63;
    return -1;
}

/* Strict: no stray characters, and unused bits of the last character must be zero, so that one
 * value has one spelling. @s is without padding. */
static bool decode64(struct str s, bool url, uint8_t *ret, size_t limit, size_t *ret_n)
{
    if (s.n % 4 == 1)
        return false;
    size_t n = s.n / 4 * 3 + (s.n % 4 ? s.n % 4 - 1 : 0);
    if (n > limit)
        return false;

    uint32_t bits = 0;
    int n_bits = 0;
    size_t at = 0;
    for (size_t i = 0; i < s.n; i++) {
        int value = value64(s.p[i], url);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            ret[at++] = (uint8_t)(bits >> n_bits);
            bits &= (1u << n_bits) - 1;
        }
    }
    if (bits)
        return false;
    assert(at == n);
    *ret_n = n;
    return true;
}

size_t base64url_encode(const void *p, size_t n, char *ret)
{
    return encode64(BASE64URL, false, p, n, ret);
}

bool base64url_decode(struct str s, uint8_t *ret, size_t limit, size_t *ret_n)
{
    return decode64(s, true, ret, limit, ret_n);
}

size_t base64_encode(const void *p, size_t n, char *ret)
{
    return encode64(BASE64, true, p, n, ret);
}

bool base64_decode(struct str s, uint8_t *ret, size_t limit, size_t *ret_n)
{
    if (s.n % 4)
        return false;
    if (s.n && s.p[s.n - 1] == '=')
        s.n -= s.p[s.n - 2] == '=' ? 2 : 1;
    return decode64(s, false, ret, limit, ret_n);
}
