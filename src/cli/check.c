/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest on disk, checked as far as its files allow. */
#include "cli/check.h"

#include "base/io.h"
#include "base/mem.h"
#include "engine/engine.h"

static bool has_local_parquet(const struct manifest *m)
{
    bool any = false;
    for (size_t i = 0; i < m->n_files; i++) {
        if (m->files[i].remote)
            return false; /* remote files are trusted until they are read */
        any |= m->files[i].format == FILE_PARQUET;
    }
    return any;
}

static enum rc check_parquet(const struct manifest *m, const char *shown_as,
                             struct errlist *findings, struct err *err)
{
    AUTO(mem_free_auto) const char **paths = x_array0(m->n_files, sizeof *paths);
    for (size_t i = 0; i < m->n_files; i++)
        paths[i] = m->files[i].location;
    return engine_inspect(m, paths, NULL, shown_as, findings, NULL, err);
}

bool check_manifest(const char *path, const char *project_root, const struct dataset *dataset,
                    const char *shown_as, struct errlist *findings)
{
    struct manifest_origin origin = {
        .location = path, .project_root = project_root, .shown_as = shown_as};
    struct manifest *m = NULL;
    struct err err = ERR_INIT;
    struct buf text;
    size_t errors_before = findings->n_errors;
    buf_init(&text, LIMIT_MANIFEST_BYTES);
    enum rc rc = io_read_file(path, &text, &err);
    bool exists = rc != RC_NOT_FOUND;
    if (rc == RC_OK)
        rc = manifest_parse((struct str){text.p, text.n}, &origin, dataset ? dataset->id : NULL,
                            findings, &m, &err);
    if (rc == RC_OK) {
        manifest_check_local_files(m, true, shown_as, findings);
        if (dataset)
            manifest_check_contract(m, dataset, shown_as, findings);
    }
    if (rc == RC_OK && findings->n_errors == errors_before && has_local_parquet(m))
        rc = check_parquet(m, shown_as, findings, &err);
    if (exists && rc != RC_OK && findings->n_errors == errors_before)
        errlist_add(findings, FINDING_ERROR, shown_as, 0, 0, "",
                    rc == RC_LIMIT ? "file_too_large" : "unreadable_file", NULL, "%s", err.message);
    manifest_free(m);
    buf_done(&text);
    return exists;
}
