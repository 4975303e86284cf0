/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the project's files come from: a directory, or everything under a bucket's prefix, which is
 * fetched whole into <cache_dir>/config/<revision>/ and read there (snapshots.md, Project from a
 * bucket). The last revision that was applied is kept, and serves when the bucket is away at boot,
 * or holds one that is refused.
 *
 * Threads: any, but one at a time, from a look to what is made of it (config_source_applied);
 * config_source_serves_copy(), _boot_trouble() and _cancel_boot() at any time. Looks block on the
 * network.
 */
#ifndef OFFLOADER_REFRESH_CONFIG_SOURCE_H
#define OFFLOADER_REFRESH_CONFIG_SOURCE_H

#include "objectstore/objectstore.h"
#include "project/project.h"

struct config_source;

/* @location: offloader.yml, its directory, gs://bucket/prefix or s3://bucket/prefix. @store may be
 * NULL for a path. Both borrowed for good. */
struct config_source *config_source_new(const char *location, const char *cache_dir,
                                        struct objectstore *store);
void config_source_free(struct config_source *c);
bool config_source_is_bucket(const struct config_source *c);
/* True while a kept copy serves because nothing was taken from the bucket since the start. */
bool config_source_serves_copy(const struct config_source *c);

struct config_news {
    struct project *project;  /* owned; NULL: nothing changed */
    bool is_repeat;           /* of an error: nothing moved since it was told in full */
    char revision[17];        /* of the project, or of what is applied */
    const char *copy_because; /* boot: of which error class the kept copy serves; else NULL */
};

/* The first look, with tries for transient trouble; RC_OK with the kept copy when it comes to
 * nothing. Findings are of every project that was looked at. RC_INVALID: it, or its listing, breaks
 * a rule, and there is no copy. RC_CANCELLED: by config_source_cancel_boot(). @err names the place;
 * config_error_class() does not. */
MUST_CHECK enum rc config_source_boot(struct config_source *c, struct errlist *findings,
                                      struct config_news *ret, struct err *err);
void config_source_cancel_boot(struct config_source *c);
/* The error class of the first look's last try, while it goes on; NULL: none. Literal. */
const char *config_source_boot_trouble(const struct config_source *c);
/*
 * What is there now. @is_tick: a look by the clock, which reads nothing when nothing moved since
 * the last look, also when that was refused (the same error comes back).
 */
MUST_CHECK enum rc config_source_look(struct config_source *c, bool is_tick,
                                      const _Atomic bool *cancelled, struct errlist *findings,
                                      struct config_news *ret, struct err *err);
/* What the last look brought is served now: it becomes the kept copy. Older revisions go, except
 * the one before and those that @is_used says are still read. */
void config_source_applied(struct config_source *c,
                           bool (*is_used)(void *arg, const char *directory), void *arg);
/* One word that names no place: unreachable, denied, not_found, empty, limit, unsafe_name,
 * changing, corrupt, invalid, disk. */
const char *config_error_class(enum rc rc, const struct err *err);

/* For `doctor` and `validate`: one fetch of the bucket project at @url into @directory (exists,
 * empty), under the same rules. *ret_objects: how many files it has. */
MUST_CHECK enum rc config_fetch_once(struct objectstore *store, const char *url,
                                     const char *directory, size_t *ret_objects, struct err *err);

/* project_load() of such a tree: nothing outside it is read, so `keys` is inside. */
MUST_CHECK enum rc config_load_tree(const char *tree, struct errlist *findings,
                                    struct project **ret, struct err *err);

#endif
