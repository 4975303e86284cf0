/* SPDX-License-Identifier: Apache-2.0 */
/* Announced checksums, of each kind, against published values for "123456789" and "". */
#include <fcntl.h>

#include "base/mem.h"
#include "objectstore/objectstore_int.h"
#include "unit.h"

static struct net_response answer(const char *head)
{
    struct net_response r = {.status = 200};
    buf_init(&r.head, 4096);
    buf_init(&r.body, 4096);
    buf_put_cstr(&r.head, head);
    return r;
}

static char gs_text[] = "gs://b/k", s3_text[] = "s3://b/k";
static const struct location gs = {.kind = LOCATION_GS, .text = gs_text};
static const struct location s3 = {.kind = LOCATION_S3, .text = s3_text};

static const struct {
    const char *why;
    const struct location *l;
    const char *head;
    enum checksum_kind kind;
    const char *body;
    enum rc rc;
} rows[] = {
    {"nothing announced", &s3, "etag: \"x\"\n", CHECKSUM_NONE, "123456789", RC_OK},
    {"length", &s3, "content-length: 9\n", CHECKSUM_NONE, "123456789", RC_OK},
    {"another length", &s3, "content-length: 8\n", CHECKSUM_NONE, "123456789", RC_CORRUPT},
    {"crc32c", &s3, "x-amz-checksum-crc32c: 4waSgw==\n", CHECKSUM_CRC32C, "123456789", RC_OK},
    {"crc32c of something else", &s3, "x-amz-checksum-crc32c: 4waSgw==\n", CHECKSUM_CRC32C,
     "12345678X", RC_CORRUPT},
    {"crc32", &s3, "x-amz-checksum-crc32: y/Q5Jg==\n", CHECKSUM_CRC32, "123456789", RC_OK},
    {"crc32 of something else", &s3, "x-amz-checksum-crc32: y/Q5Jg==\n", CHECKSUM_CRC32, "",
     RC_CORRUPT},
    {"crc64nvme", &s3, "x-amz-checksum-crc64nvme: rosUhgp5mIg=\n", CHECKSUM_CRC64NVME, "123456789",
     RC_OK},
    {"crc64nvme of something else", &s3, "x-amz-checksum-crc64nvme: rosUhgp5mIg=\n",
     CHECKSUM_CRC64NVME, "1", RC_CORRUPT},
    {"sha1", &s3, "x-amz-checksum-sha1: 98O8HYCOBHMq32eZZczDTKeuNEE=\n", CHECKSUM_SHA1, "123456789",
     RC_OK},
    {"sha1 of nothing", &s3, "x-amz-checksum-sha1: 2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n", CHECKSUM_SHA1,
     "", RC_OK},
    {"sha256 of nothing", &s3,
     "x-amz-checksum-sha256: 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", CHECKSUM_SHA256, "",
     RC_OK},
    {"the strongest counts", &s3,
     "x-amz-checksum-crc32: AAAAAA==\nx-amz-checksum-sha256: "
     "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
     CHECKSUM_SHA256, "", RC_OK},
    {"of parts, not of bytes", &s3, "x-amz-checksum-crc32c: 4waSgw==-3\n", CHECKSUM_NONE, "x",
     RC_OK},
    {"too short", &s3, "x-amz-checksum-crc32c: 4waS\n", CHECKSUM_NONE, "x", RC_OK},
    {"not base64", &s3, "x-amz-checksum-crc32c: ?\n", CHECKSUM_NONE, "x", RC_OK},
    {"gs does not speak of x-amz", &gs, "x-amz-checksum-crc32c: AAAAAA==\n", CHECKSUM_NONE, "x",
     RC_OK},
    {"both in one line", &gs, "x-goog-hash: crc32c=4waSgw==,md5=JfnnlDI7RTiF9RgfG2JNCw==\n",
     CHECKSUM_CRC32C, "123456789", RC_OK},
    {"both, md5 first", &gs, "x-goog-hash: md5=JfnnlDI7RTiF9RgfG2JNCw==, crc32c=4waSgw==\n",
     CHECKSUM_CRC32C, "123456789", RC_OK},
    {"a line for each", &gs,
     "x-goog-hash: md5=JfnnlDI7RTiF9RgfG2JNCw==\nx-goog-hash: crc32c=4waSgw==\n", CHECKSUM_CRC32C,
     "123456789", RC_OK},
    {"md5 alone", &gs, "x-goog-hash: md5=JfnnlDI7RTiF9RgfG2JNCw==\n", CHECKSUM_MD5, "123456789",
     RC_OK},
    {"md5 of something else", &gs, "x-goog-hash: md5=JfnnlDI7RTiF9RgfG2JNCw==\n", CHECKSUM_MD5, "x",
     RC_CORRUPT},
    {"unpacked on its way", &gs,
     "x-goog-stored-content-encoding: gzip\nx-goog-hash: crc32c=AAAAAA==\n", CHECKSUM_NONE, "x",
     RC_OK},
    {"stored as it is", &gs,
     "x-goog-stored-content-encoding: identity\nx-goog-hash: crc32c=AAAAAA==\n", CHECKSUM_CRC32C,
     "x", RC_CORRUPT},
};

static void test_bytes_and_file(void **state)
{
    (void)state;
    char *directory = unit_directory();
    AUTO(mem_free_auto) char *path = path_join(directory, "f");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(fd_auto) int fd = -1;
        struct net_response r = answer(rows[i].head);
        struct announced a;
        struct err err = ERR_INIT;
        announced_from(rows[i].l, &r, false, &a);
        CHECK_INT(rows[i].why, a.kind, rows[i].kind);
        CHECK_INT(rows[i].why, announced_check_bytes(&a, rows[i].l, str_from(rows[i].body), &err),
                  rows[i].rc);
        CHECK_OK(rows[i].why, io_write_file(path, rows[i].body, strlen(rows[i].body), 0600, &err),
                 &err);
        CHECK_OK(rows[i].why, io_open(path, O_RDONLY, 0, &fd, &err), &err);
        CHECK_INT(rows[i].why, announced_check_file(&a, rows[i].l, fd, path, NULL, &err),
                  rows[i].rc);
        net_response_done(&r);
    }
    unit_remove(directory);
}

static void test_promises(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    struct object_request q = {.has_size = true, .size_bytes = 9};
    struct announced a = {.has_size = true, .size_bytes = 9};
    CHECK_INT("the same size", announced_merge(&q, &gs, &a, &err), RC_OK);
    q.size_bytes = 10;
    CHECK_INT("another size", announced_merge(&q, &gs, &a, &err), RC_CORRUPT);
    CHECK_STR("its code", err.code, "size_mismatch");
    a = (struct announced){0};
    CHECK_INT("only the promise", announced_merge(&q, &gs, &a, &err), RC_OK);
    CHECK_INT("it is kept", announced_check_bytes(&a, &gs, STR("123456789"), &err), RC_CORRUPT);
    q = (struct object_request){.has_sha256 = true};
    sha256("123456789", 9, q.sha256);
    a = (struct announced){0};
    CHECK_INT("a promised sha256", announced_merge(&q, &gs, &a, &err), RC_OK);
    CHECK_INT("holds", announced_check_bytes(&a, &gs, STR("123456789"), &err), RC_OK);
    CHECK_INT("does not", announced_check_bytes(&a, &gs, STR("123456780"), &err), RC_CORRUPT);
    CHECK_STR("its code", err.code, "checksum_mismatch");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_and_file),
        cmocka_unit_test(test_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
