/* SPDX-License-Identifier: Apache-2.0 */
/* For src/refresh and its tests: revisions of a bucket project on this disk (config_copy.c). */
#ifndef OFFLOADER_REFRESH_CONFIG_INT_H
#define OFFLOADER_REFRESH_CONFIG_INT_H

#include "refresh/config_source.h"
#include "refresh/remote.h"

struct config_file {
    char *name; /* owned; relative to the tree */
    uint64_t size_bytes;
    uint8_t sha256[32];
};
struct config_copy {                 /* owned; config_copy_done */
    char revision[17];               /* over names and contents; "" when there is none */
    uint8_t source[32], listing[32]; /* of the URL; of the listing it was fetched by */
    struct config_file *files;
    size_t n_files;
};
void config_copy_done(struct config_copy *c);
/* Reads the fetched files of @l in @directory: digests and the revision. They are on disk after it.
 */
MUST_CHECK enum rc config_copy_take(const char *directory, const struct object_list *l,
                                    struct config_copy *ret, struct err *err);
/* applied.json in @directory, <cache_dir>/config. */
MUST_CHECK enum rc config_copy_write(const char *directory, const struct config_copy *c,
                                     struct err *err);
/* RC_NOT_FOUND: none is kept of @source, or its record does not verify. */
MUST_CHECK enum rc config_copy_read(const char *directory, const uint8_t source[32],
                                    struct config_copy *ret, struct err *err);
/* Are @tree's files exactly those of @c? */
MUST_CHECK enum rc config_copy_verify(const char *tree, const struct config_copy *c,
                                      struct err *err);

struct config_keep {
    const char *revision, *previous;                   /* "" when there is none */
    bool (*is_used)(void *arg, const char *directory); /* may be NULL */
    void *arg;
};
void config_copy_tidy(const char *directory, const struct config_keep *keep);

#endif
