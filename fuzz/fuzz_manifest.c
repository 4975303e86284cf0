/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A manifest from anywhere: whatever it says, findings or a manifest come back, and no file that is
 * accepted lies outside what its origin may name.
 */
#include <assert.h>
#include <string.h>

#include "fuzz.h"
#include "manifest/manifest.h"

static void parse(struct str text, const struct manifest_origin *origin)
{
    struct errlist findings = ERRLIST_INIT;
    struct manifest *m = NULL;
    struct err err = ERR_INIT;
    enum rc rc = manifest_parse(text, origin, "kv", &findings, &m, &err);
    assert((rc == RC_OK) == (m != NULL) && (rc == RC_OK) == (findings.n_errors == 0));
    for (size_t i = 0; i < findings.n_items; i++)
        assert(findings.items[i].code && findings.items[i].message[0]);
    for (size_t i = 0; m && i < m->n_files; i++) {
        const char *location = m->files[i].location;
        assert(location && !strpbrk(location, "\n\r"));
        if (origin->project_root && !m->files[i].remote)
            assert(strncmp(location, origin->project_root, strlen(origin->project_root)) == 0);
        if (strncmp(origin->location, "gs://", 5) == 0)
            assert(m->files[i].remote && strncmp(location, "gs://bucket/", 12) == 0);
    }
    char id[201];
    manifest_peek_id(text, id);
    assert(!m || strcmp(id, m->snapshot_id) == 0);
    manifest_free(m);
    errlist_done(&findings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct manifest_origin local = {.location = "/srv/project/data/manifest.json",
                                                 .project_root = "/srv/project",
                                                 .shown_as = "data/manifest.json"};
    static const struct manifest_origin bucket = {.location = "gs://bucket/a/manifest.json",
                                                  .shown_as = "manifest.json"};
    parse((struct str){(const char *)data, n}, &local);
    parse((struct str){(const char *)data, n}, &bucket);
    return 0;
}
