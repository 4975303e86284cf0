/* SPDX-License-Identifier: Apache-2.0 */
/* For src/refresh and its tests: what is decided about objects in a bucket, without asking one. */
#ifndef OFFLOADER_REFRESH_REMOTE_H
#define OFFLOADER_REFRESH_REMOTE_H

#include "base/errlist.h"
#include "manifest/manifest.h"
#include "markup/markup.h"
#include "objectstore/objectstore.h"

/* ---- databricks.c ---- */

#define LIMIT_SOURCE_OBJECTS 1000000 /* under one databricks prefix */

/* The newest data commit by (updated, name); NULL: there is none. Vacuum markers never count. */
const struct object_info *databricks_newest(const struct object_list *listed);
/*
 * The snapshot that @marker (its text @text) describes, each part pinned to what @listed says of
 * it. RC_OK with *ret NULL: it adds nothing. RC_CORRUPT (invalid_marker): it is no marker.
 * RC_INVALID (missing_file): it names a part that is not there. @url is the prefix.
 */
MUST_CHECK enum rc databricks_manifest(const struct dataset *d, const char *url,
                                       const struct object_list *listed,
                                       const struct object_info *marker, struct str text,
                                       struct manifest **ret, struct err *err);

/* ---- download.c: several objects at once ---- */

struct download {                 /* one object; strings are borrowed for the call */
    const char *url, *tag, *path; /* tag NULL: whatever version there is */
    bool has_size;
    uint64_t size_bytes;
    struct object_meta meta; /* out, when it went well; the caller's to free */
    _Atomic uint64_t bytes_done;
};
struct download_options {
    struct objectstore *store;
    int parallel; /* objects at once */
    const _Atomic bool *cancelled;
    /* On the calling thread, a few times a second. NULL: none. */
    void (*on_progress)(void *arg, size_t files_done, uint64_t bytes_done);
    void *arg;
    bool only_stat; /* size and tag, nothing is written */
};
/* All or an error, the first one, with the others stopped; *ret_at is the object it is about. */
MUST_CHECK enum rc download_all(const struct download_options *options, struct download *items,
                                size_t n, size_t *ret_at, struct err *err);

/* ---- config_rules.c: which listings make a project ---- */

#define LIMIT_CONFIG_OBJECTS 500
#define LIMIT_CONFIG_BYTES (UINT64_C(32) << 20) /* besides the keys file */

/* Zero bytes and a name that ends in '/' (or the prefix itself): a console's picture of a
 * directory. */
bool config_is_placeholder(const struct object_info *o);
/* NULL: fine. Else why this name may not become a path. */
const char *config_name_problem(struct str name);
/*
 * Names, their number, and the sum of sizes, as far as they can be judged without knowing which
 * file holds the keys: RC_INVALID (unsafe_name), RC_LIMIT, RC_NOT_FOUND (nothing there, or no
 * YAML).
 */
MUST_CHECK enum rc config_check_listing(const struct object_list *l, struct err *err);
/* The sum without @keys (relative to the project; NULL: none). RC_LIMIT. */
MUST_CHECK enum rc config_check_bytes(const struct object_list *l, const char *keys,
                                      struct err *err);
/* What a listing looks like: SHA-256 over name, size, time and tag of each object. */
void config_listing_hash(const char *url, const struct object_list *l, uint8_t ret[32]);

#endif
