/* SPDX-License-Identifier: Apache-2.0 */
/* From a source to a manifest. A look at the files (names, times, sizes) decides whether to read.
 */
#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "refresh/refresh_int.h"

#define SETTLED_US INT64_C(2000000)

static void add_stat(struct sha256_stream *hash, const char *path)
{
    struct stat st;
    int64_t facts[5] = {-1};
    if (stat(path, &st) == 0) {
        facts[0] = st.st_mtim.tv_sec;
        facts[1] = st.st_mtim.tv_nsec;
        facts[2] = st.st_size;
        facts[3] = (int64_t)st.st_ino;
        facts[4] = (int64_t)st.st_dev;
    }
    sha256_add(hash, path, strlen(path) + 1);
    sha256_add(hash, facts, sizeof facts);
}

static void look(const char *manifest_path, const struct manifest *m, uint8_t ret[32])
{
    struct sha256_stream *hash = sha256_new();
    struct stat st;
    add_stat(hash, manifest_path);
    for (size_t i = 0; m && i < m->n_files; i++)
        if (!m->files[i].remote)
            add_stat(hash, m->files[i].location);
    sha256_finish(hash, ret);
    /* File times are coarse: what was written a moment ago may change again and look the same. */
    if (stat(manifest_path, &st) == 0 &&
        wall_us() - st.st_mtim.tv_sec * INT64_C(1000000) < SETTLED_US)
        random_bytes(ret, 32);
}

static enum rc first_finding(const struct errlist *findings, struct err *err)
{
    for (size_t i = 0; i < findings->n_items; i++) {
        const struct finding *f = &findings->items[i];
        if (f->severity == FINDING_ERROR)
            return err_set_code(err, RC_INVALID, f->code, "%s%s%s", f->path, *f->path ? ": " : "",
                                f->message);
    }
    return RC_OK;
}

static enum rc parse(const struct project *p, const struct dataset *d, const char *path,
                     struct str text, struct manifest **ret, struct err *err)
{
    bool in_project = d->source.kind == SOURCE_STATIC_MANIFEST;
    struct errlist findings = ERRLIST_INIT;
    struct manifest_origin origin = {
        .location = path,
        .project_root = in_project ? p->root : NULL,
        .allow = (const char *const *)d->source.allow,
        .n_allow = d->source.n_allow,
        .shown_as = "manifest",
    };
    enum rc rc = manifest_parse(text, &origin, d->id, &findings, ret, err);
    if (rc == RC_OK) {
        manifest_check_contract(*ret, d, "manifest", &findings);
        manifest_check_local_files(*ret, false, "manifest", &findings);
    }
    enum rc found = first_finding(&findings, err);
    errlist_done(&findings);
    if (rc == RC_OK && found != RC_OK) {
        manifest_free(*ret);
        *ret = NULL;
    }
    return rc == RC_OK ? found : rc;
}

enum rc resolve_manifest(const struct project *p, const struct dataset *d, const uint8_t *seen,
                         struct manifest **ret, char ret_id[201], uint8_t ret_seen[32],
                         struct err *err)
{
    struct buf text;
    *ret = NULL;
    ret_id[0] = 0;
    if (d->source.kind == SOURCE_DATABRICKS ||
        (d->source.kind == SOURCE_MANIFEST && d->source.manifest[0] != '/'))
        return err_set_code(err, RC_UNAVAILABLE, "source_unreachable",
                            "this version reads local manifests only, not object stores");
    AUTO(mem_free_auto) char *path = path_join(p->root, d->source.manifest); /* absolute wins */
    look(path, NULL, ret_seen);
    if (seen && memcmp(seen, ret_seen, 32) == 0)
        return RC_OK;
    buf_init(&text, LIMIT_MANIFEST_BYTES);
    enum rc rc = io_read_file(path, &text, err);
    if (rc == RC_NOT_FOUND)
        rc = err_set_code(err, RC_INVALID, "missing_file", "the manifest does not exist");
    else if (rc == RC_LIMIT)
        rc = err_set_code(err, RC_INVALID, "invalid_value", "the manifest is larger than 32 MiB");
    else if (rc == RC_OK)
        rc = parse(p, d, path, (struct str){text.p, text.n}, ret, err);
    if (text.n)
        manifest_peek_id((struct str){text.p, text.n}, ret_id);
    buf_done(&text);
    return rc;
}
