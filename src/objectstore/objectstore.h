/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client for gs://, s3:// and https:// (and local paths behind the same calls), on the HTTP
 * client of net/. It lists, reads whole objects and ranges, asks conditionally, downloads in
 * parallel ranges, and checks what arrived. Retries, credentials, signing and integrity are all
 * below this line; DuckDB and the rest of the program never see the network.
 *
 * Threads: one struct objectstore a process, every call from any thread. Calls block their thread
 * (never a loop's) and end early when @cancelled turns true.
 *
 * Errors: RC_NOT_FOUND (404), RC_DENIED (401, 403, no credentials), RC_UNAVAILABLE (no answer, 429
 * or 5xx after the retries, TLS), RC_CONFLICT (a pinned object was replaced), RC_CORRUPT (size or
 * checksum differs from what was announced), RC_INVALID (a URL that is none, or a place that may
 * not be read), RC_LIMIT, RC_CANCELLED, RC_NO_MEMORY, RC_IO (this disk). Messages name no
 * credential, no signature and no query string.
 */
#ifndef OFFLOADER_OBJECTSTORE_OBJECTSTORE_H
#define OFFLOADER_OBJECTSTORE_OBJECTSTORE_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct objectstore;

/* Reads OFFLOADER_S3_*, OFFLOADER_GCS_*, GOOGLE_APPLICATION_CREDENTIALS, AWS_* and
 * OFFLOADER_ALLOW_LOOPBACK from the environment. @anonymous_by_default: the local trial's (cli.md).
 */
MUST_CHECK enum rc objectstore_new(bool anonymous_by_default, struct objectstore **ret,
                                   struct err *err);
/* As objectstore_new, with an environment (borrowed for good) and client options of the caller's
 * own. */
struct net_options;
MUST_CHECK enum rc objectstore_new_with(const char *(*get)(const char *name),
                                        bool anonymous_by_default,
                                        const struct net_options *options, struct objectstore **ret,
                                        struct err *err);
void objectstore_free(struct objectstore *o);

/* True for gs://, s3://, https:// (and http://, which open calls refuse unless it is allowed). */
bool objectstore_is_url(const char *location);

struct object_info {
    char *name; /* owned; relative to the listed prefix */
    uint64_t size_bytes;
    int64_t updated_us; /* wall clock */
    char *tag;          /* owned; generation (gs) or ETag (s3): pins the object in a later call */
};
struct object_list {           /* owned; object_list_done */
    struct object_info *items; /* sorted by name, bytewise */
    size_t n_items;
};
void object_list_done(struct object_list *l);

/* Everything under @url, a gs:// or s3:// prefix that ends in '/'; pages are followed.
 * RC_LIMIT past @limit_objects. */
MUST_CHECK enum rc objectstore_list(struct objectstore *o, const char *url, size_t limit_objects,
                                    const _Atomic bool *cancelled, struct object_list *ret,
                                    struct err *err);

/* What is asked of one object. Everything borrowed for the call. */
struct object_request {
    const char *url;
    const char *tag;           /* not NULL: exactly this generation or ETag, else RC_CONFLICT */
    const char *unless_tag;    /* not NULL: conditional, "unchanged" when it still has this tag */
    bool has_size, has_sha256; /* what the manifest promises */
    uint64_t size_bytes;
    uint8_t sha256[32];
    const _Atomic bool *cancelled;
    void (*on_progress)(void *arg,
                        uint64_t bytes_done); /* download: any thread, a few times a second */
    void *arg;
};
struct object_meta {     /* owned; object_meta_done */
    uint64_t size_bytes; /* of the whole object */
    char *tag;           /* NULL: the store states none */
    bool unchanged;      /* with unless_tag: nothing was read */
};
void object_meta_done(struct object_meta *m);

/* The whole object into @ret, which carries the limit. @ret_meta may be NULL. */
MUST_CHECK enum rc objectstore_get(struct objectstore *o, const struct object_request *request,
                                   struct buf *ret, struct object_meta *ret_meta, struct err *err);
/* The whole object to @path (created, or replaced): large ones in parallel ranges of one pinned
 * version, written under a temporary name, checked, renamed. Nothing is left behind on failure. */
MUST_CHECK enum rc objectstore_download(struct objectstore *o, const struct object_request *request,
                                        const char *path, struct object_meta *ret_meta,
                                        struct err *err);
/* Size and tag without the body. */
MUST_CHECK enum rc objectstore_stat(struct objectstore *o, const struct object_request *request,
                                    struct object_meta *ret_meta, struct err *err);
/* Exactly @n bytes from @offset; RC_CONFLICT when request->tag is not what is there any more. */
MUST_CHECK enum rc objectstore_read(struct objectstore *o, const struct object_request *request,
                                    uint64_t offset, void *to, size_t n, struct err *err);

/* For doctor: which credential source is in use for @url, in words ("service-account key file",
 * "anonymous"), never its value. @ret at least 128 bytes. Fetches a token when one is needed. */
MUST_CHECK enum rc objectstore_credential_source(struct objectstore *o, const char *url, char *ret,
                                                 size_t n, struct err *err);

#endif
