/* SPDX-License-Identifier: Apache-2.0 */
/* Digests and text forms against published vectors. */
#include "unit.h"

#include "base/hash.h"
#include "base/hash_int.h"
#include "base/mem.h"

static void check_hex(const char *why, const uint8_t *got, size_t n, const char *want)
{
    char hex[129];
    hex_encode(got, n, hex);
    CHECK_STR(why, hex, want);
}

static void test_sha256(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text, *digest;
    } rows[] = {
        /* FIPS 180-2 */
        {"empty", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"two blocks", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t digest[SHA256_BYTES];
        sha256(rows[i].text, strlen(rows[i].text), digest);
        check_hex(rows[i].why, digest, sizeof(digest), rows[i].digest);
        struct sha256_stream *s = sha256_new();
        for (const char *p = rows[i].text; *p; p++)
            sha256_add(s, p, 1);
        sha256_finish(s, digest);
        check_hex("byte by byte", digest, sizeof(digest), rows[i].digest);
    }
    sha256_free(NULL);
}

static void test_hmac(void **state)
{
    (void)state;
    uint8_t key[131], mac[SHA256_BYTES];
    /* RFC 4231, cases 2, 6 and 1 */
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
    check_hex("a short key", mac, 32,
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    static const char text[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    hmac_sha256(key, sizeof(key), text, sizeof(text) - 1, mac);
    check_hex("a key longer than a block", mac, 32,
              "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    memset(key, 0x0b, 20);
    hmac_sha256(key, 20, "Hi There", 8, mac);
    check_hex("20 bytes", mac, 32,
              "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
}

static void test_crc32c(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    CHECK_INT("the check value", crc32c(0, "123456789", 9), 0xe3069283);
    CHECK_INT("empty", crc32c(0, "", 0), 0);
    memset(bytes, 0, 32);
    CHECK_INT("32 zeros (RFC 3720)", crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    CHECK_INT("32 ones (RFC 3720)", crc32c(0, bytes, 32), 0x62a8ab43);
    uint64_t seed = unit_seed(3);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)unit_random(&seed);
    for (size_t from = 0; from < 16; from++) {
        for (size_t n = 0; from + n <= 200; n++)
            CHECK_INT("with and without the instruction, at every alignment",
                      crc32c(5, bytes + from, n), crc32c_portable(5, bytes + from, n));
    }
    uint32_t crc = 0;
    for (size_t at = 0; at < sizeof(bytes); at += 7)
        crc = crc32c(crc, bytes + at, sizeof(bytes) - at < 7 ? sizeof(bytes) - at : 7);
    CHECK_INT("in pieces", crc, crc32c(0, bytes, sizeof(bytes)));
}

static void test_siphash(void **state)
{
    (void)state;
    uint8_t key[16], in[64];
    for (size_t i = 0; i < 16; i++)
        key[i] = (uint8_t)i;
    for (size_t i = 0; i < 64; i++)
        in[i] = (uint8_t)i;
    /* Aumasson and Bernstein's reference: 0, 8 and 15 bytes of input */
    CHECK("empty", siphash64(key, in, 0) == UINT64_C(0x726fdb47dd0e0e31));
    CHECK("8 bytes", siphash64(key, in, 8) == UINT64_C(0x93f5f5799a932462));
    CHECK("15 bytes", siphash64(key, in, 15) == UINT64_C(0xa129ca6149be45e5));
    uint8_t wide[16];
    siphash128(key, in, 0, wide);
    check_hex("128 bits of nothing", wide, 16, "a3817f04ba25a8e66df67214c7550293");
    siphash128(key, in, 1, wide);
    check_hex("128 bits of one byte", wide, 16, "da87c1d86b99af44347659119b22fc45");
    CHECK("the process's key is steady", process_hash("a", 1) == process_hash("a", 1));
    CHECK("and tells inputs apart", process_hash("a", 1) != process_hash("b", 1));
}

static void test_text_forms(void **state)
{
    (void)state;
    uint8_t raw[8];
    char text[32];
    CHECK("hex",
          hex_decode(STR("00ff7a"), raw, 3) && raw[0] == 0 && raw[1] == 255 && raw[2] == 0x7a);
    CHECK("upper case hex is refused", !hex_decode(STR("FF"), raw, 1));
    CHECK("an odd digit", !hex_decode(STR("fff"), raw, 1));
    CHECK("too long", !hex_decode(STR("ffff"), raw, 1));
    CHECK("no digit", !hex_decode(STR("fg"), raw, 1));

    static const struct {
        const char *why, *plain, *base64, *base64url;
    } rows[] = {
        /* RFC 4648, section 10, and the two letters that differ */
        {"empty", "", "", ""},
        {"one", "f", "Zg==", "Zg"},
        {"two", "fo", "Zm8=", "Zm8"},
        {"three", "foo", "Zm9v", "Zm9v"},
        {"four", "foob", "Zm9vYg==", "Zm9vYg"},
        {"five", "fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"62 and 63", "\xfb\xff", "+/8=", "-_8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n = strlen(rows[i].plain), got = 99;
        CHECK_INT(rows[i].why, base64_encode(rows[i].plain, n, text), strlen(rows[i].base64));
        CHECK_STR(rows[i].why, text, rows[i].base64);
        CHECK(rows[i].why, base64_decode(str_from(text), raw, sizeof(raw), &got) && got == n &&
                               memcmp(raw, rows[i].plain, n) == 0);
        CHECK_INT(rows[i].why, base64url_encode(rows[i].plain, n, text), strlen(rows[i].base64url));
        CHECK_STR(rows[i].why, text, rows[i].base64url);
        CHECK(rows[i].why, base64url_decode(str_from(text), raw, sizeof(raw), &got) && got == n &&
                               memcmp(raw, rows[i].plain, n) == 0);
    }
    size_t got;
    CHECK("one letter alone", !base64url_decode(STR("Z"), raw, sizeof(raw), &got));
    CHECK("padding where none is written", !base64url_decode(STR("Zg=="), raw, sizeof(raw), &got));
    CHECK("bits that are not zero behind the end",
          !base64url_decode(STR("Zh"), raw, sizeof(raw), &got));
    CHECK("a letter of the other alphabet", !base64url_decode(STR("+/8"), raw, sizeof(raw), &got));
    CHECK("more than there is room for", !base64url_decode(STR("Zm9vYg"), raw, 3, &got));
    CHECK("a space", !base64_decode(STR("Zg= "), raw, sizeof(raw), &got));
}

static void test_constant_time(void **state)
{
    (void)state;
    CHECK("equal", equal_constant_time("abc", "abc", 3));
    CHECK("the first byte differs", !equal_constant_time("abc", "xbc", 3));
    CHECK("the last byte differs", !equal_constant_time("abc", "abx", 3));
    CHECK("nothing equals nothing", equal_constant_time("a", "b", 0));
    uint8_t a[32] = {0}, b[32] = {0};
    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    CHECK("two draws differ", memcmp(a, b, sizeof(a)) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),     cmocka_unit_test(test_hmac),
        cmocka_unit_test(test_crc32c),     cmocka_unit_test(test_siphash),
        cmocka_unit_test(test_text_forms), cmocka_unit_test(test_constant_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
