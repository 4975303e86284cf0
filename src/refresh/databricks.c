/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Databricks export: part files and transactional markers under one prefix. What counts is the
 * newest marker `_committed_<tid>` and the parts it adds; parts of other transactions, also ones
 * still being written, are not looked at.
 */
#include "base/mem.h"
#include "refresh/remote.h"

#define MARKER "_committed_"
#define VACUUM_MARKER "_committed_vacuum"

static bool is_data_commit(struct str name)
{
    return str_starts(name, MARKER) && name.n > strlen(MARKER) &&
           !str_starts(name, VACUUM_MARKER) && !memchr(name.p, '/', name.n);
}

const struct object_info *databricks_newest(const struct object_list *listed)
{
    const struct object_info *newest = NULL;
    for (size_t i = 0; i < listed->n_items; i++) {
        const struct object_info *o = &listed->items[i];
        if (!is_data_commit(str_from(o->name)))
            continue;
        if (!newest || o->updated_us > newest->updated_us ||
            (o->updated_us == newest->updated_us && strcmp(o->name, newest->name) > 0))
            newest = o;
    }
    return newest;
}

/* The listing is sorted by name. */
static const struct object_info *find_object(const struct object_list *l, const char *name)
{
    size_t low = 0, high = l->n_items;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(l->items[middle].name, name);
        if (order == 0)
            return &l->items[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* A transaction id becomes part of the snapshot's id, so it has that alphabet. */
static bool is_transaction_id(struct str s)
{
    if (s.n == 0 || s.n > 190)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              memchr(":_.-", c, 4)))
            return false;
    }
    return true;
}

static enum rc add_part(struct manifest *m, const char *url, const struct object_list *listed,
                        const char *name, struct err *err)
{
    const struct object_info *o = find_object(listed, name);
    if (!o)
        return err_set_code(err, RC_INVALID, "missing_file",
                            "the marker adds %s, which is not there", name);
    m->files[m->n_files++] = (struct data_file){
        .path = x_strdup(name),
        .location = x_printf("%s%s", url, name),
        .remote = true,
        .format = FILE_PARQUET,
        .has_size_bytes = true,
        .size_bytes = o->size_bytes,
        .etag = o->tag && *o->tag ? x_strdup(o->tag) : NULL,
    };
    m->size_bytes += o->size_bytes;
    return RC_OK;
}

static struct manifest *new_manifest(const struct dataset *d, const struct object_info *marker,
                                     const char *tid)
{
    struct manifest *m = x_alloc0(sizeof *m);
    m->dataset_id = x_strdup(d->id);
    m->snapshot_id = x_printf("tid_%s", tid);
    m->created_at_us = m->watermark_us = marker->updated_us;
    schema_copy(&m->schema, &d->schema);
    m->producer = x_strdup("databricks");
    m->upstream_run_id = x_strdup(tid);
    m->schema_version = 1;
    m->quality = QUALITY_PASSED;
    m->compatibility = COMPAT_ADDITIVE_ONLY;
    return m;
}

enum rc databricks_manifest(const struct dataset *d, const char *url,
                            const struct object_list *listed, const struct object_info *marker,
                            struct str text, struct manifest **ret, struct err *err)
{
    const char *tid = marker->name + strlen(MARKER);
    char **names = NULL;
    size_t n = 0;
    *ret = NULL;
    if (!is_transaction_id(str_from(tid)))
        return err_set_code(err, RC_CORRUPT, "invalid_marker",
                            "the newest marker's name is not _committed_ and a transaction id");
    /* A half-written marker is the store's or the export's bad moment, not bad data: tried again.
     */
    if (commit_marker_parse(text, &names, &n, err) != RC_OK)
        return err_set_code(err, RC_CORRUPT, "invalid_marker", "%s: %s", marker->name,
                            err->message);
    struct manifest *m = NULL;
    enum rc rc = RC_OK;
    if (n > 0) {
        m = new_manifest(d, marker, tid);
        m->files = x_array0(n, sizeof *m->files);
    }
    for (size_t i = 0; i < n; i++) {
        if (rc == RC_OK)
            rc = add_part(m, url, listed, names[i], err);
        mem_free(names[i]);
    }
    mem_free(names);
    if (rc != RC_OK) {
        manifest_free(m);
        return rc;
    }
    *ret = m;
    return RC_OK;
}
