/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compressed answers from a cache: `data` is compressed once and kept, `meta` differs in every
 * answer. A packed blob is a stream that was flushed to a byte boundary; each answer appends its
 * tail to it as stored (uncompressed) blocks and the stream's end, which costs a copy instead of a
 * compression.
 *
 *  gzip    RFC 1952/1951: deflate ends in a sync flush; then stored blocks, CRC-32 and length of
 * the whole (the blob's last 8 bytes keep CRC and length of its part, joined by crc32_combine) zstd
 * RFC 8878: one frame without content size or checksum; then raw blocks, the last one marked brotli
 * RFC 7932: flushed; then uncompressed meta-blocks and an empty last one
 */
#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include "serve/serve_int.h"

#define GZIP_LEVEL 5
#define ZSTD_LEVEL 3
#define BROTLI_LEVEL 4
#define BROTLI_WINDOW 22
#define STORED_BLOCK_LIMIT 65535u /* deflate's; also within brotli's 4-nibble length */

/* ---- gzip ---- */

static bool gzip_part(z_stream *z, struct str in, int flush, struct buf *out)
{
    z->next_in = (Bytef *)(uintptr_t)in.p; /* zlib reads only */
    z->avail_in = (uInt)in.n;
    do {
        if (!buf_reserve(out, 4096 + in.n / 2))
            return false;
        z->next_out = (Bytef *)out->p + out->n;
        z->avail_out = (uInt)(out->capacity - out->n);
        if (deflate(z, flush) == Z_STREAM_ERROR)
            return false;
        out->n = (size_t)((char *)z->next_out - out->p);
    } while (z->avail_out == 0 || z->avail_in > 0);
    return true;
}

static bool gzip_pack(struct str head, struct str data, struct buf *out)
{
    z_stream z = {0};
    if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    bool fine = gzip_part(&z, head, Z_NO_FLUSH, out) && gzip_part(&z, data, Z_SYNC_FLUSH, out);
    (void)deflateEnd(&z); /* data error: the stream was left open on purpose */
    uint32_t facts[2];
    facts[0] =
        (uint32_t)crc32_z(crc32_z(0, (const Bytef *)head.p, head.n), (const Bytef *)data.p, data.n);
    facts[1] = (uint32_t)(head.n + data.n);
    buf_put(out, facts, sizeof facts);
    return fine && !out->failed;
}

static void put_le32(struct buf *b, uint32_t v)
{
    uint8_t bytes[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    buf_put(b, bytes, sizeof bytes);
}

static void gzip_finish(struct str packed, struct str tail, struct buf *out)
{
    uint32_t facts[2];
    size_t n = packed.n - sizeof facts, at = 0;
    memcpy(facts, packed.p + n, sizeof facts);
    buf_put(out, packed.p, n);
    do {
        uint32_t part =
            tail.n - at > STORED_BLOCK_LIMIT ? STORED_BLOCK_LIMIT : (uint32_t)(tail.n - at);
        bool is_last = at + part == tail.n;
        uint8_t block[5] = {is_last, (uint8_t)part, (uint8_t)(part >> 8), (uint8_t)~part,
                            (uint8_t)(~part >> 8)};
        buf_put(out, block, sizeof block);
        buf_put(out, tail.p + at, part);
        at += part;
    } while (at < tail.n);
    uLong crc = crc32_z(0, (const Bytef *)tail.p, tail.n);
    put_le32(out, (uint32_t)crc32_combine(facts[0], crc, (z_off_t)tail.n));
    put_le32(out, facts[1] + (uint32_t)tail.n);
}

/* ---- zstd ---- */

static bool zstd_part(ZSTD_CCtx *c, struct str in, ZSTD_EndDirective directive, struct buf *out)
{
    ZSTD_inBuffer source = {in.p, in.n, 0};
    size_t left;
    do {
        if (!buf_reserve(out, ZSTD_CStreamOutSize()))
            return false;
        ZSTD_outBuffer target = {out->p + out->n, out->capacity - out->n, 0};
        left = ZSTD_compressStream2(c, &target, &source, directive);
        out->n += target.pos;
        if (ZSTD_isError(left))
            return false;
    } while (source.pos < source.size || (directive != ZSTD_e_continue && left != 0));
    return true;
}

static bool zstd_pack(struct str head, struct str data, struct buf *out)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    bool fine = c != NULL;
    fine = fine && !ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, ZSTD_LEVEL)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0)) &&
           zstd_part(c, head, ZSTD_e_continue, out) && zstd_part(c, data, ZSTD_e_flush, out);
    (void)ZSTD_freeCCtx(c);
    return fine;
}

static void zstd_finish(struct str packed, struct str tail, struct buf *out)
{
    size_t at = 0;
    buf_put_str(out, packed);
    do {
        uint32_t part =
            tail.n - at > STORED_BLOCK_LIMIT ? STORED_BLOCK_LIMIT : (uint32_t)(tail.n - at);
        uint32_t block = part << 3 | (at + part == tail.n); /* size, type 0 (raw), last */
        uint8_t bytes[3] = {(uint8_t)block, (uint8_t)(block >> 8), (uint8_t)(block >> 16)};
        buf_put(out, bytes, sizeof bytes);
        buf_put(out, tail.p + at, part);
        at += part;
    } while (at < tail.n);
}

/* ---- brotli ---- */

static bool brotli_part(BrotliEncoderState *s, struct str in, BrotliEncoderOperation operation,
                        struct buf *out)
{
    const uint8_t *next_in = (const uint8_t *)in.p;
    size_t left_in = in.n;
    do {
        if (!buf_reserve(out, 4096 + in.n / 2))
            return false;
        uint8_t *next_out = (uint8_t *)out->p + out->n;
        size_t left_out = out->capacity - out->n;
        if (!BrotliEncoderCompressStream(s, operation, &left_in, &next_in, &left_out, &next_out,
                                         NULL))
            return false;
        out->n = out->capacity - left_out;
    } while (left_in > 0 || BrotliEncoderHasMoreOutput(s));
    return true;
}

static bool brotli_pack(struct str head, struct str data, struct buf *out)
{
    BrotliEncoderState *s = BrotliEncoderCreateInstance(NULL, NULL, NULL);
    if (!s)
        return false;
    (void)BrotliEncoderSetParameter(s, BROTLI_PARAM_QUALITY, BROTLI_LEVEL);
    (void)BrotliEncoderSetParameter(s, BROTLI_PARAM_LGWIN, BROTLI_WINDOW);
    bool fine = brotli_part(s, head, BROTLI_OPERATION_PROCESS, out) &&
                brotli_part(s, data, BROTLI_OPERATION_FLUSH, out);
    BrotliEncoderDestroyInstance(s);
    return fine;
}

static void brotli_finish(struct str packed, struct str tail, struct buf *out)
{
    buf_put_str(out, packed);
    for (size_t at = 0; at < tail.n;) {
        uint32_t part =
            tail.n - at > STORED_BLOCK_LIMIT ? STORED_BLOCK_LIMIT : (uint32_t)(tail.n - at);
        /* ISLAST 0, MNIBBLES 00 (four), MLEN - 1 in 16 bits, ISUNCOMPRESSED 1, padding */
        uint32_t header = (part - 1) << 3 | 1u << 19;
        uint8_t bytes[3] = {(uint8_t)header, (uint8_t)(header >> 8), (uint8_t)(header >> 16)};
        buf_put(out, bytes, sizeof bytes);
        buf_put(out, tail.p + at, part);
        at += part;
    }
    buf_putc(out, 0x03); /* ISLAST 1, ISLASTEMPTY 1 */
}

bool splice_pack(enum http_coding coding, struct str head, struct str data, struct buf *out)
{
    switch (coding) {
    case HTTP_GZIP:
        return gzip_pack(head, data, out);
    case HTTP_ZSTD:
        return zstd_pack(head, data, out);
    case HTTP_BROTLI:
        return brotli_pack(head, data, out);
    case HTTP_IDENTITY:
        buf_put_str(out, head);
        buf_put_str(out, data);
        return !out->failed;
    }
    return false;
}

bool splice_finish(enum http_coding coding, struct str packed, struct str tail, struct buf *out)
{
    switch (coding) {
    case HTTP_GZIP:
        gzip_finish(packed, tail, out);
        break;
    case HTTP_ZSTD:
        zstd_finish(packed, tail, out);
        break;
    case HTTP_BROTLI:
        brotli_finish(packed, tail, out);
        break;
    case HTTP_IDENTITY:
        buf_put_str(out, packed);
        buf_put_str(out, tail);
        break;
    }
    return !out->failed;
}
