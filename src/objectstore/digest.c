/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Integrity: what a store announces of an object (GCS crc32c and md5Hash, S3 x-amz-checksum-*) and
 * what the manifest promises, against the bytes that came. Checksums of multipart uploads ("...-3")
 * cover the parts' checksums, not the bytes: they are passed over.
 */
#include <openssl/evp.h>
#include <string.h>
#include <zlib.h>

#include "base/arena.h"
#include "base/io.h"
#include "base/mem.h"
#include "markup/markup.h"
#include "objectstore/objectstore_int.h"

#define READ_BYTES (256u << 10)

static const struct {
    enum checksum_kind kind;
    const char *name, *header; /* S3's header; NULL: GCS only */
    size_t n_bytes;
} kinds[] = {
    {CHECKSUM_SHA256, "sha256", "x-amz-checksum-sha256", 32},
    {CHECKSUM_CRC64NVME, "crc64nvme", "x-amz-checksum-crc64nvme", 8},
    {CHECKSUM_CRC32C, "crc32c", "x-amz-checksum-crc32c", 4},
    {CHECKSUM_SHA1, "sha1", "x-amz-checksum-sha1", 20},
    {CHECKSUM_CRC32, "crc32", "x-amz-checksum-crc32", 4},
    {CHECKSUM_MD5, "md5", NULL, 16},
};

const char *checksum_name(enum checksum_kind kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return "none";
}

static void announce(struct announced *a, enum checksum_kind kind, struct str base64)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t n = 0;
        uint8_t bytes[SHA256_BYTES + 2];
        if (kinds[i].kind != kind || !base64_decode(base64, bytes, sizeof bytes, &n) ||
            n != kinds[i].n_bytes)
            continue;
        a->kind = kind;
        memcpy(a->checksum, bytes, n);
    }
}

/* x-goog-hash comes once with a list or once for each checksum; crc32c is the cheaper one. */
static void announce_goog(struct announced *a, const struct net_response *r)
{
    static const char name[] = "x-goog-hash: ";
    struct str head = {r->head.p, r->head.n};
    for (size_t at = 0; at < head.n;) {
        const char *line = head.p + at;
        const char *end = memchr(line, '\n', head.n - at);
        struct str rest = {line, (size_t)(end - line)};
        at += rest.n + 1;
        if (!str_starts(rest, name))
            continue;
        rest = (struct str){rest.p + sizeof name - 1, rest.n - (sizeof name - 1)};
        while (rest.n) {
            const char *comma = memchr(rest.p, ',', rest.n);
            struct str one = {rest.p, comma ? (size_t)(comma - rest.p) : rest.n};
            rest = comma ? (struct str){comma + 1, rest.n - one.n - 1} : (struct str){0};
            one = str_trim(one);
            if (str_starts(one, "crc32c="))
                announce(a, CHECKSUM_CRC32C, (struct str){one.p + 7, one.n - 7});
            else if (str_starts(one, "md5=") && a->kind == CHECKSUM_NONE)
                announce(a, CHECKSUM_MD5, (struct str){one.p + 4, one.n - 4});
        }
    }
}

static void announce_json(struct announced *a, const struct net_response *r)
{
    struct arena arena;
    arena_init(&arena, 1u << 20);
    const struct node *root = json_parse((struct str){r->body.p, r->body.n}, &arena, NULL);
    const struct node *md5 = root ? node_get(root, "md5Hash") : NULL;
    const struct node *crc = root ? node_get(root, "crc32c") : NULL;
    const struct node *size = root ? node_get(root, "size") : NULL;
    const struct node *encoding = root ? node_get(root, "contentEncoding") : NULL;
    bool is_packed = encoding && str_is(encoding->text, "gzip");
    if (md5 && md5->kind == NODE_STRING && !is_packed)
        announce(a, CHECKSUM_MD5, md5->text);
    if (crc && crc->kind == NODE_STRING && !is_packed)
        announce(a, CHECKSUM_CRC32C, crc->text);
    a->has_size = size && !is_packed && parse_uint64(size->text, &a->size_bytes);
    arena_done(&arena);
}

/* GCS unpacks objects stored as gzip on their way: size and checksum are of what is stored. */
static bool is_transcoded(const struct net_response *r)
{
    struct str stored = net_response_header(r, "x-goog-stored-content-encoding");
    return stored.n && !str_is(stored, "identity") && !net_response_header(r, "content-encoding").n;
}

void announced_from(const struct location *l, const struct net_response *r, bool is_json_stat,
                    struct announced *a)
{
    *a = (struct announced){0};
    if (is_json_stat) {
        announce_json(a, r);
        return;
    }
    if (is_transcoded(r))
        return;
    a->has_size = r->status == 206 || net_response_header(r, "content-length").n > 0;
    a->size_bytes = size_from(r);
    if (l->kind == LOCATION_GS)
        announce_goog(a, r);
    for (size_t i = 0; l->kind == LOCATION_S3 && r->status == 200 && i < ARRAY_LEN(kinds); i++)
        if (kinds[i].header && a->kind == CHECKSUM_NONE)
            announce(a, kinds[i].kind, net_response_header(r, kinds[i].header));
}

enum rc announced_merge(const struct object_request *q, const struct location *l,
                        struct announced *a, struct err *err)
{
    if (q->has_size && a->has_size && q->size_bytes != a->size_bytes)
        return err_set_code(err, RC_CORRUPT, "size_mismatch", "'%s' has %llu bytes, not %llu",
                            l->text, (unsigned long long)a->size_bytes,
                            (unsigned long long)q->size_bytes);
    if (q->has_size) {
        a->has_size = true;
        a->size_bytes = q->size_bytes;
    }
    if (q->has_sha256) {
        a->has_sha256 = true;
        memcpy(a->sha256, q->sha256, SHA256_BYTES);
    }
    return RC_OK;
}

/* ---- computing ---- */

/* CRC-64/NVME: polynomial 0xad93d23594c93659, reflected, all ones in and out. */
static uint64_t crc64nvme(uint64_t crc, const void *bytes, size_t n)
{
    static const uint64_t reflected = UINT64_C(0x9a6c9329ac4bc9b5);
    const uint8_t *p = bytes;
    uint64_t table[256];
    for (unsigned i = 0; i < 256; i++) {
        uint64_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ reflected : c >> 1;
        table[i] = c;
    }
    crc = ~crc;
    for (size_t i = 0; i < n; i++)
        crc = table[(crc ^ p[i]) & 255] ^ crc >> 8;
    return ~crc;
}

struct digester {
    const struct announced *a;
    uint64_t n_bytes, crc64;
    uint32_t crc;
    EVP_MD_CTX *evp;
    struct sha256_stream *sha256;
};

static enum rc digester_init(struct digester *d, const struct announced *a, struct err *err)
{
    const EVP_MD *md = a->kind == CHECKSUM_MD5      ? EVP_md5()
                       : a->kind == CHECKSUM_SHA1   ? EVP_sha1()
                       : a->kind == CHECKSUM_SHA256 ? EVP_sha256()
                                                    : NULL;
    *d = (struct digester){.a = a};
    if (a->has_sha256)
        d->sha256 = sha256_new();
    if (!md)
        return RC_OK;
    d->evp = EVP_MD_CTX_new();
    if (d->evp && EVP_DigestInit_ex(d->evp, md, NULL) == 1)
        return RC_OK;
    EVP_MD_CTX_free(d->evp);
    sha256_free(d->sha256);
    return err_set(err, RC_UNAVAILABLE, "OpenSSL has no %s", checksum_name(a->kind));
}

static void digester_add(struct digester *d, const void *p, size_t n)
{
    d->n_bytes += n;
    if (d->sha256)
        sha256_add(d->sha256, p, n);
    switch (d->a->kind) {
    case CHECKSUM_NONE:
        break;
    case CHECKSUM_CRC32C:
        d->crc = crc32c(d->crc, p, n);
        break;
    case CHECKSUM_CRC32:
        d->crc = (uint32_t)crc32_z(d->crc, p, n);
        break;
    case CHECKSUM_CRC64NVME:
        d->crc64 = crc64nvme(d->crc64, p, n);
        break;
    case CHECKSUM_MD5:
    case CHECKSUM_SHA1:
    case CHECKSUM_SHA256:
        (void)EVP_DigestUpdate(d->evp, p, n); /* fails only when it was not initialized */
        break;
    }
}

/* The store's kind of checksum of what was added. */
static void digester_checksum(struct digester *d, uint8_t ret[EVP_MAX_MD_SIZE])
{
    if (d->evp) {
        (void)EVP_DigestFinal_ex(d->evp, ret, NULL); /* as above */
        return;
    }
    uint64_t v = d->a->kind == CHECKSUM_CRC64NVME ? d->crc64 : (uint64_t)d->crc << 32;
    for (int i = 0; i < 8; i++)
        ret[i] = (uint8_t)(v >> (56 - 8 * i));
}

static size_t checksum_bytes(enum checksum_kind kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (kinds[i].kind == kind)
            return kinds[i].n_bytes;
    return 0;
}

static enum rc digester_finish(struct digester *d, const struct location *l, struct err *err)
{
    const struct announced *a = d->a;
    uint8_t sum[EVP_MAX_MD_SIZE] = {0}, sha[SHA256_BYTES] = {0};
    digester_checksum(d, sum);
    EVP_MD_CTX_free(d->evp);
    if (d->sha256)
        sha256_finish(d->sha256, sha);
    if (a->has_size && d->n_bytes != a->size_bytes)
        return err_set_code(err, RC_CORRUPT, "size_mismatch", "'%s': %llu bytes came, not %llu",
                            l->text, (unsigned long long)d->n_bytes,
                            (unsigned long long)a->size_bytes);
    if (memcmp(sum, a->checksum, checksum_bytes(a->kind)) != 0)
        return err_set_code(err, RC_CORRUPT, "checksum_mismatch",
                            "'%s': the bytes do not have the %s that the store announced", l->text,
                            checksum_name(a->kind));
    if (a->has_sha256 && memcmp(sha, a->sha256, SHA256_BYTES) != 0)
        return err_set_code(err, RC_CORRUPT, "checksum_mismatch",
                            "'%s': the bytes do not have the promised sha256", l->text);
    return RC_OK;
}

enum rc announced_check_bytes(const struct announced *a, const struct location *l, struct str bytes,
                              struct err *err)
{
    struct digester d;
    enum rc rc = digester_init(&d, a, err);
    if (rc != RC_OK)
        return rc;
    digester_add(&d, bytes.p, bytes.n);
    return digester_finish(&d, l, err);
}

enum rc announced_check_file(const struct announced *a, const struct location *l, int fd,
                             const char *path, const _Atomic bool *cancelled, struct err *err)
{
    struct stat st;
    struct digester d;
    if (fstat(fd, &st) != 0)
        return err_set(err, RC_IO, "cannot look at '%s'", path);
    if (a->kind == CHECKSUM_NONE && !a->has_sha256 &&
        (!a->has_size || (uint64_t)st.st_size == a->size_bytes))
        return RC_OK;
    AUTO(mem_free_auto) char *block = x_alloc(READ_BYTES);
    enum rc rc = digester_init(&d, a, err);
    uint64_t size = (uint64_t)st.st_size;
    if (rc != RC_OK)
        return rc;
    for (uint64_t at = 0; at < size && rc == RC_OK;) {
        size_t n = size - at < READ_BYTES ? (size_t)(size - at) : READ_BYTES;
        if (cancelled && atomic_load_explicit(cancelled, memory_order_relaxed))
            rc = err_set(err, RC_CANCELLED, "cancelled");
        else
            rc = io_pread_all(fd, block, n, at, path, err);
        if (rc == RC_OK)
            digester_add(&d, block, n);
        at += n;
    }
    if (rc == RC_OK)
        return digester_finish(&d, l, err);
    EVP_MD_CTX_free(d.evp);
    sha256_free(d.sha256);
    return rc;
}
