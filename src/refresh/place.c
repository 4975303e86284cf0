/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the bytes of a snapshot's files are while it is built: local ones stay where they are,
 * remote ones are downloaded into the build's own directory, which goes with the build whatever
 * happens. Each remote file ends up pinned: tag and size of the version that was read stand in the
 * manifest.
 */
#include <stdio.h>

#include "base/io.h"
#include "base/mem.h"
#include "refresh/refresh_int.h"
#include "refresh/remote.h"

#define PARALLEL_DOWNLOADS                                                                         \
    4 /* objects of one dataset at once; the client has a limit per host too */

struct placing {
    struct build *build;
    const struct manifest *manifest;
    uint64_t local_bytes, total_bytes;
    size_t n_local;
};

static void on_download(void *arg, size_t files_done, uint64_t bytes_done)
{
    struct placing *p = arg;
    struct ingest_progress progress = {
        .files_done = files_done,
        .files_total = p->manifest->n_files - p->n_local,
        .rows_total = p->manifest->has_row_count ? p->manifest->row_count : 0,
        .bytes_done = bytes_done,
        .bytes_total = p->total_bytes,
    };
    build_progress(p->build, BUILD_DOWNLOADING, &progress);
}

/* A file that is not there, or not as the manifest says, is the manifest's fault. */
static enum rc blame_file(const struct data_file *f, enum rc rc, bool *ret_reachable,
                          struct err *err)
{
    *ret_reachable =
        rc != RC_UNAVAILABLE && rc != RC_DENIED && rc != RC_TIMEOUT && rc != RC_NOT_FOUND;
    if (rc == RC_CANCELLED || rc == RC_IO || rc == RC_NO_MEMORY)
        return rc;
    /* Of a pinned part the size is the listing's, so another one is no fault of the manifest. */
    if (rc == RC_CORRUPT && strcmp(err->code, "size_mismatch") == 0 && !f->etag)
        return err_set_code(err, RC_INVALID, "size_mismatch", "%s: %s", f->path, err->message);
    if (rc == RC_NOT_FOUND)
        return err_set_code(err, RC_INVALID, "missing_file", "%s: the file does not exist",
                            f->path);
    return blame_source(rc, err); /* its message names the object */
}

/* What came, for those that read the file where it is. */
static enum rc pin(struct data_file *f, const struct object_meta *meta, struct err *err)
{
    if (f->has_size_bytes && f->size_bytes != meta->size_bytes)
        return err_set_code(
            err, RC_INVALID, "size_mismatch", "%s: has %llu bytes, the manifest says %llu", f->path,
            (unsigned long long)meta->size_bytes, (unsigned long long)f->size_bytes);
    f->has_size_bytes = true;
    f->size_bytes = meta->size_bytes;
    if (!f->etag && meta->tag && *meta->tag)
        f->etag = x_strdup(meta->tag);
    return RC_OK;
}

static enum rc fetch(struct placing *p, struct manifest *m, struct download *items, size_t *files,
                     size_t n, bool only_stat, bool *ret_reachable, struct err *err)
{
    struct state *s = p->build->state;
    size_t at = 0;
    struct download_options options = {
        .store = s->refresh->options.store,
        .parallel = PARALLEL_DOWNLOADS,
        .cancelled = &s->cancelled,
        .on_progress = only_stat ? NULL : on_download,
        .arg = p,
        .only_stat = only_stat,
    };
    enum rc rc = download_all(&options, items, n, &at, err);
    if (rc != RC_OK)
        rc = blame_file(&m->files[files[at]], rc, ret_reachable, err);
    for (size_t i = 0; i < n; i++) {
        if (rc == RC_OK)
            rc = pin(&m->files[files[i]], &items[i].meta, err);
        object_meta_done(&items[i].meta);
    }
    return rc;
}

static size_t count_remote(struct placing *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->manifest->n_files; i++) {
        const struct data_file *f = &p->manifest->files[i];
        n += f->remote;
        p->total_bytes += f->remote && f->has_size_bytes ? f->size_bytes : 0;
    }
    p->n_local = p->manifest->n_files - n;
    return n;
}

enum rc place_files(struct build *b, struct manifest *m, const char *directory, bool only_stat,
                    char **ret_paths, bool *ret_reachable, struct err *err)
{
    struct placing p = {.build = b, .manifest = m};
    size_t n_remote = count_remote(&p), n = 0;
    AUTO(mem_free_auto) struct download *items = x_array0(n_remote + 1, sizeof *items);
    AUTO(mem_free_auto) size_t *files = x_array0(n_remote + 1, sizeof *files);
    for (size_t i = 0; i < m->n_files; i++) {
        struct data_file *f = &m->files[i];
        if (!f->remote) {
            ret_paths[i] = x_strdup(f->location);
            continue;
        }
        if (!only_stat)
            ret_paths[i] =
                x_printf("%s/%zu.%s", directory, i, f->format == FILE_CSV ? "csv" : "parquet");
        files[n] = i;
        items[n++] = (struct download){
            .url = f->location,
            .tag = f->etag,
            .path = ret_paths[i],
            .has_size = f->has_size_bytes,
            .size_bytes = f->size_bytes,
        };
    }
    enum rc rc = only_stat || n == 0 ? RC_OK : io_mkdir_all(directory, 0755, err);
    return rc == RC_OK && n > 0 ? fetch(&p, m, items, files, n, only_stat, ret_reachable, err) : rc;
}

bool probe_source(struct state *s, const struct engine_source *source)
{
    for (size_t i = 0; i < source->n_files; i++) {
        if (!source->files[i].is_remote)
            continue;
        struct object_request request = {.url = source->files[i].location,
                                         .cancelled = &s->cancelled};
        struct object_meta meta = {0};
        struct err err = ERR_INIT;
        enum rc rc = objectstore_stat(s->refresh->options.store, &request, &meta, &err);
        object_meta_done(&meta);
        return rc == RC_OK || rc == RC_CANCELLED;
    }
    return true;
}
