/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside objectstore/: a location is where an object is, an ask what one request wants of it. Each
 * store turns both into a URL and headers (gs.c, s3.c); send.c adds credentials; everything above
 * is common.
 */
#ifndef OFFLOADER_OBJECTSTORE_OBJECTSTORE_INT_H
#define OFFLOADER_OBJECTSTORE_OBJECTSTORE_INT_H

#include "base/hash.h"
#include "net/credentials.h"
#include "net/net.h"
#include "objectstore/objectstore.h"

#define STORE_RETRIES 3
#define LIMIT_KEY_BYTES 1024
#define LIMIT_BUCKET_BYTES 222
#define LIMIT_LIST_PAGE_BYTES (16u << 20)
#define LIMIT_LIST_PAGES 10000
#define PARALLEL_FROM_BYTES (UINT64_C(16) << 20)
#define PART_BYTES (UINT64_C(8) << 20)
#define PARALLEL_PARTS 6

/* ---- settings.c: the environment ---- */

enum gcs_auth { GCS_AUTH_NONE, GCS_AUTH_BEARER, GCS_AUTH_HMAC };

struct store_settings { /* strings owned */
    char *gcs_endpoint; /* no slash at the end */
    bool gcs_endpoint_is_named;
    enum gcs_auth gcs_auth;
    char *gcs_token, *gcs_metadata_url, *gcs_key_file; /* NULL when not set */
    char *s3_endpoint; /* scheme://host[:port][/path], no slash at the end */
    bool s3_endpoint_is_named;
    bool s3_path_style;
    bool s3_chain;
    char *s3_region;
    char *s3_key_id, *s3_secret, *s3_session_token; /* NULL when not set; see keys_apply() */
    bool allow_loopback;
};
MUST_CHECK enum rc settings_from(const char *(*get)(const char *name), bool anonymous_by_default,
                                 struct store_settings *ret, struct err *err);
void store_settings_done(struct store_settings *s);

struct objectstore {
    struct net *net;
    struct store_settings settings;
    struct gcs_tokens *tokens; /* GCS_AUTH_BEARER only */
    struct aws_chain *chain;   /* s3_chain only */
};

/* ---- location.c ---- */

enum location_kind { LOCATION_GS, LOCATION_S3, LOCATION_HTTPS, LOCATION_LOCAL };

struct location { /* owned; location_done */
    enum location_kind kind;
    char *text;   /* what may be shown: no query, no user */
    char *bucket; /* gs, s3 */
    char *key;    /* gs, s3: raw; https: the URL; local: the path */
};
MUST_CHECK enum rc location_parse(const char *url, struct location *ret, struct err *err);
void location_done(struct location *l);

/* ---- one request ---- */

struct ask {
    bool is_stat;
    const char *tag, *unless_tag; /* NULL: not asked */
    bool has_range;
    uint64_t from, to; /* with has_range; @to is the last byte */
};

#define LIMIT_PREPARED_HEADERS 8
struct prepared { /* owned; prepared_done */
    const char *method;
    char *url; /* NULL: there was no memory for it; store_send says so */
    struct net_header headers[LIMIT_PREPARED_HEADERS]; /* values owned */
    size_t n_headers;
    enum net_reach reach;
    enum metrics_store store;
};
void prepared_add(struct prepared *p, const char *name, char *taken_value);
void prepared_url(struct prepared *p, struct buf *taken_url); /* NULL when memory was short */
void prepared_done(struct prepared *p);

void gs_prepare(const struct objectstore *o, const struct location *l, const struct ask *a,
                struct prepared *ret);
void gs_prepare_list(const struct objectstore *o, const struct location *l, const char *page_token,
                     struct prepared *ret);
void s3_prepare(const struct objectstore *o, const struct location *l, const struct ask *a,
                struct prepared *ret);
void s3_prepare_list(const struct objectstore *o, const struct location *l, const char *page_token,
                     struct prepared *ret);
void https_prepare(const struct objectstore *o, const struct location *l, const struct ask *a,
                   struct prepared *ret);
/* A tag is an ETag (quoted, maybe weak) or, for gs, a generation; https may have a Last-Modified.
 */
bool tag_is_etag(const char *tag);
/* No two versions have it. A weak ETag may outlast a change, and so may a Last-Modified, for a
 * second. @tag may be NULL. */
bool tag_is_exact(const struct location *l, const char *tag);
void prepare_etags(const struct ask *a, struct prepared *p);
void prepare_range(const struct ask *a, struct prepared *p);

/* True when gs:// is asked by the JSON API, false when by HMAC and the XML API. */
bool gs_is_json(const struct objectstore *o);

/* True when the static keys are those of @l's store. HMAC keys are Google's: not for AWS. */
bool keys_apply(const struct objectstore *o, const struct location *l);

/* Sends with credentials, once more after a refused token; any status is RC_OK. */
MUST_CHECK enum rc store_send(struct objectstore *o, const struct location *l,
                              const struct prepared *p, const struct net_sink *sink,
                              size_t limit_body_bytes, const _Atomic bool *cancelled,
                              struct net_response *ret, struct err *err);
/* The same for one object; a status that is no success (or 304, when asked) is an error. */
MUST_CHECK enum rc store_ask(struct objectstore *o, const struct location *l, const struct ask *a,
                             const struct net_sink *sink, const _Atomic bool *cancelled,
                             struct net_response *ret, struct err *err);
/* net_check_status with the store's own error code and advice added. */
MUST_CHECK enum rc store_check_status(const struct objectstore *o, const struct location *l,
                                      const struct net_response *r, struct err *err);

/* ---- listings ---- */

struct listing { /* one page; owned; listing_done */
    struct object_info *items;
    size_t n_items, capacity;
    char *next_page; /* NULL: the last */
};
void listing_done(struct listing *l);
/* Adds one; @name is a whole key that must begin with @prefix. Takes nothing. */
MUST_CHECK enum rc listing_add(struct listing *l, struct str prefix, struct str name,
                               uint64_t size_bytes, int64_t updated_us, struct str tag,
                               struct err *err);
/* A page of the JSON API, of ListObjectsV2. RC_INVALID when it is malformed. */
MUST_CHECK enum rc listing_parse_json(struct str text, struct str prefix, struct listing *ret,
                                      struct err *err);
MUST_CHECK enum rc listing_parse_xml(struct str text, struct str prefix, struct listing *ret,
                                     struct err *err);

/* ---- digest.c: what arrived against what was announced ---- */

enum checksum_kind {
    CHECKSUM_NONE,
    CHECKSUM_CRC32C,
    CHECKSUM_MD5,
    CHECKSUM_CRC32,
    CHECKSUM_CRC64NVME,
    CHECKSUM_SHA1,
    CHECKSUM_SHA256
};

struct announced {
    bool has_size, has_sha256;
    uint64_t size_bytes;
    uint8_t sha256[SHA256_BYTES]; /* the manifest's */
    enum checksum_kind kind;      /* the store's */
    uint8_t checksum[SHA256_BYTES];
};
/* What the head of an answer (or a stat's body, for gs) says of the whole object. */
void announced_from(const struct location *l, const struct net_response *r, bool is_json_stat,
                    struct announced *a);
/* The caller's own promise; a size that differs from the store's word is RC_CORRUPT. */
MUST_CHECK enum rc announced_merge(const struct object_request *q, const struct location *l,
                                   struct announced *a, struct err *err);
MUST_CHECK enum rc announced_check_bytes(const struct announced *a, const struct location *l,
                                         struct str bytes, struct err *err);
MUST_CHECK enum rc announced_check_file(const struct announced *a, const struct location *l, int fd,
                                        const char *path, const _Atomic bool *cancelled,
                                        struct err *err);
const char *checksum_name(enum checksum_kind kind);

/* Fills @ret from an answer. @is_json_stat: the body is the JSON API's object resource. */
void meta_from(const struct objectstore *o, const struct location *l, const struct net_response *r,
               bool is_json_stat, struct object_meta *ret);
/* Of the whole object, as the head of an answer says; else the bytes that came. */
uint64_t size_from(const struct net_response *r);
/* A server that ignores a condition answers with another version: RC_CONFLICT. */
MUST_CHECK enum rc check_pinned(const struct location *l, const char *tag,
                                const struct object_meta *m, struct err *err);
/* That a 206 begins with byte @from, else RC_CORRUPT. */
MUST_CHECK enum rc check_range(const struct location *l, const struct net_response *r,
                               uint64_t from, struct err *err);

/* ---- local.c ---- */

MUST_CHECK enum rc local_stat(const struct location *l, const struct object_request *q,
                              struct object_meta *ret, struct err *err);
MUST_CHECK enum rc local_get(const struct location *l, const struct object_request *q,
                             struct buf *ret, struct object_meta *ret_meta, struct err *err);
MUST_CHECK enum rc local_copy(const struct location *l, const struct object_request *q, int fd,
                              const char *path, struct object_meta *ret_meta, struct err *err);
MUST_CHECK enum rc local_read(const struct location *l, const struct object_request *q,
                              uint64_t offset, void *to, size_t n, struct err *err);

#endif
