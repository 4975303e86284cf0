/* SPDX-License-Identifier: Apache-2.0 */
/* A kept compressed body with a fresh end reads back as the whole, for each coding and odd sizes.
 */
#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

#include "serve/serve_int.h"
#include "unit.h"

#define ROOM (1 << 20)

static size_t unpack(enum http_coding coding, const struct buf *in, char *out)
{
    size_t n = ROOM;
    z_stream z = {.next_in = (Bytef *)in->p,
                  .avail_in = (uInt)in->n,
                  .next_out = (Bytef *)out,
                  .avail_out = ROOM};
    switch (coding) {
    case HTTP_GZIP: /* inflate checks CRC and length */
        assert_int_equal(inflateInit2(&z, 31), Z_OK);
        assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
        assert_int_equal(z.avail_in, 0);
        inflateEnd(&z);
        return z.total_out;
    case HTTP_ZSTD:
        n = ZSTD_decompress(out, ROOM, in->p, in->n);
        assert_false(ZSTD_isError(n));
        return n;
    case HTTP_BROTLI:
        assert_int_equal(BrotliDecoderDecompress(in->n, (const uint8_t *)in->p, &n, (uint8_t *)out),
                         BROTLI_DECODER_RESULT_SUCCESS);
        return n;
    case HTTP_IDENTITY:
        memcpy(out, in->p, in->n);
        return in->n;
    }
    return 0;
}

static void fill(char *to, size_t n, uint64_t *random, bool is_noise)
{
    for (size_t i = 0; i < n; i++)
        to[i] = is_noise ? (char)unit_random(random) : "abcdefg,\"0123"[unit_random(random) % 13];
}

static void test_every_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,     1,     2,     100,    1023,   65534,
                                   65535, 65536, 65537, 131070, 131071, 200000};
    static char data[300000], tail[300000], back[ROOM];
    uint64_t random = unit_seed(20261125);
    for (enum http_coding coding = HTTP_IDENTITY; coding <= HTTP_BROTLI; coding++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
                struct buf packed, out;
                buf_init(&packed, 4 * ROOM);
                buf_init(&out, 4 * ROOM);
                fill(data, sizes[i], &random, i % 2);
                fill(tail, sizes[k], &random, k % 2);
                for (int turn = 0; turn < 2; turn++) { /* the kept part serves more than once */
                    if (turn == 0)
                        assert_true(splice_pack(coding, STR("{\"data\":"),
                                                (struct str){data, sizes[i]}, &packed));
                    buf_reset(&out);
                    assert_true(splice_finish(coding, (struct str){packed.p, packed.n},
                                              (struct str){tail, sizes[k]}, &out));
                    CHECK_INT("length", unpack(coding, &out, back), 8 + sizes[i] + sizes[k]);
                    assert_memory_equal(back, "{\"data\":", 8);
                    assert_memory_equal(back + 8, data, sizes[i]);
                    assert_memory_equal(back + 8 + sizes[i], tail, sizes[k]);
                    tail[0] ^= 1;
                }
                buf_done(&packed);
                buf_done(&out);
            }
}

static void test_no_room(void **state)
{
    (void)state;
    static char data[100000];
    uint64_t random = 1;
    fill(data, sizeof data, &random, true);
    for (enum http_coding coding = HTTP_GZIP; coding <= HTTP_BROTLI; coding++) {
        struct buf packed;
        buf_init(&packed, 5000);
        CHECK("more than its limit",
              !splice_pack(coding, STR(""), (struct str){data, sizeof data}, &packed));
        buf_done(&packed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_size),
                                       cmocka_unit_test(test_no_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
