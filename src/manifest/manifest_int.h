/* SPDX-License-Identifier: Apache-2.0 */
/* For src/manifest and its tests: what parsing shares between its files. */
#ifndef OFFLOADER_MANIFEST_MANIFEST_INT_H
#define OFFLOADER_MANIFEST_MANIFEST_INT_H

#include "manifest/manifest.h"
#include "markup/markup.h"

struct manifest_reader {
    const char *shown_as;
    struct errlist *findings;
    const struct manifest_origin *origin;
};

void manifest_finding(struct manifest_reader *r, const char *path, const char *code,
                      const char *format, ...) PRINTF_LIKE(4, 5);
/*
 * Where the file at @path (as written) is: an absolute local path or a URL, owned. NULL after a
 * finding at @at. Sets @ret_remote.
 */
char *manifest_resolve_path(struct manifest_reader *r, struct str path, const char *at,
                            bool *ret_remote);
/* Host or bucket of a URL; n = 0 when there is none. */
struct str url_authority(struct str url);
bool url_is_remote(struct str s);

#endif
