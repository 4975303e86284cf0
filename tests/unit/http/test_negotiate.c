/* SPDX-License-Identifier: Apache-2.0 */
/* Accept, Accept-Encoding, If-None-Match, and that what is compressed reads back. */
#include <zlib.h>
#include <zstd.h>

#include "http/http.h"
#include "unit.h"

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *why, *accept;
        enum http_form want;
    } rows[] = {
        {"none sent", "", FORM_JSON},
        {"anything", "*/*", FORM_JSON},
        {"the highest q", "application/json;q=0.2, text/csv;q=0.3", FORM_CSV},
        {"equal q: the more specific range", "*/*, text/csv", FORM_CSV},
        {"equal q and range: our order", "text/csv, application/x-ndjson", FORM_NDJSON},
        {"a type's own q beats its range's", "application/json;q=0, application/*", FORM_NDJSON},
        {"q=0 refuses", "application/json;q=0", FORM_NONE},
        {"without regard to case", "TEXT/CSV", FORM_CSV},
        {"parameters are skipped", "text/csv; charset=utf-8; q=0.5; header=present", FORM_CSV},
        {"three decimals", "application/json;q=0.999, text/csv;q=1.000", FORM_CSV},
        {"a malformed q counts as 1", "application/json;q=0.5, text/csv;q=x", FORM_CSV},
        {"foreign types", "text/html, image/png", FORM_NONE},
        {"empty items", ",,text/csv,,", FORM_CSV},
        {"a half type", "text/", FORM_NONE},
        {"no type at all", ",", FORM_NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_INT(rows[i].why, http_choose_form(str_from(rows[i].accept)), rows[i].want);
}

static void test_codings(void **state)
{
    (void)state;
    static const struct {
        const char *why, *accept;
        enum http_coding want;
    } rows[] = {
        {"none sent", "", HTTP_IDENTITY},
        {"one", "gzip", HTTP_GZIP},
        {"equal q: br, zstd, gzip", "gzip, zstd, br", HTTP_BROTLI},
        {"the highest q", "br;q=0.4, gzip;q=0.5", HTTP_GZIP},
        {"anything", "*", HTTP_BROTLI},
        {"anything but", "*, br;q=0", HTTP_ZSTD},
        {"nothing", "*;q=0", HTTP_IDENTITY},
        {"identity is liked more", "identity, gzip;q=0.5", HTTP_IDENTITY},
        {"equal to identity: compressed", "identity, gzip", HTTP_GZIP},
        {"the old name of gzip", "x-gzip", HTTP_GZIP},
        {"unknown ones", "deflate, compress, sdch", HTTP_IDENTITY},
        {"without regard to case", "GZip", HTTP_GZIP},
        {"spaces", " gzip ; q = 0 , br ;q=0.1",
         HTTP_GZIP}, /* "q = 0" is no q: it counts as absent */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_INT(rows[i].why, http_choose_coding(str_from(rows[i].accept)), rows[i].want);
}

static void test_etags(void **state)
{
    (void)state;
    static const struct {
        const char *why, *sent;
        bool want;
    } rows[] = {
        {"itself", "W/\"abc\"", true},          {"its strong form", "\"abc\"", true},
        {"in a list", "\"x\" , \"abc\"", true}, {"any", "*", true},
        {"any, with spaces", " * ", true},      {"any among others is a tag", "*, \"x\"", false},
        {"another", "\"abcd\"", false},         {"without quotes", "abc", false},
        {"a prefix", "\"ab\"", false},          {"nothing", "", false},
        {"lower-case w", "w/\"abc\"", false},   {"only W/", "W/", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_INT(rows[i].why, http_etag_matches(str_from(rows[i].sent), STR("W/\"abc\"")),
                  rows[i].want);
}

static void test_compress_reads_back(void **state)
{
    (void)state;
    char text[5000], back[8000];
    struct buf out;
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 7);
    struct str in = {text, sizeof text};
    assert_true(http_compress(HTTP_ZSTD, in, &out));
    assert_int_equal(ZSTD_decompress(back, sizeof back, out.p, out.n), sizeof text);
    assert_memory_equal(back, text, sizeof text);
    assert_true(http_compress(HTTP_GZIP, in, &out));
    z_stream z = {.next_in = (Bytef *)out.p,
                  .avail_in = (uInt)out.n,
                  .next_out = (Bytef *)back,
                  .avail_out = sizeof back};
    assert_int_equal(inflateInit2(&z, 31), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, sizeof text);
    inflateEnd(&z);
    assert_true(http_compress(HTTP_BROTLI, in, &out) && out.n < 100);
    assert_true(http_compress(HTTP_IDENTITY, in, &out) && out.n == sizeof text);
    buf_done(&out);
    buf_init(&out, 16); /* no room: the caller sends it plain */
    assert_false(http_compress(HTTP_ZSTD, in, &out));
    assert_false(http_compress(HTTP_GZIP, in, &out));
    assert_false(http_compress(HTTP_BROTLI, in, &out));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_codings),
        cmocka_unit_test(test_etags),
        cmocka_unit_test(test_compress_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
