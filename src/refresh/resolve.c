/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a source to a manifest. The cheapest question that the source can answer (a stat, a
 * conditional request, a listing) decides whether anything is read.
 */
#include <stdio.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "refresh/refresh_int.h"
#include "refresh/remote.h"

#define LIMIT_MARKER_BYTES (32u << 20)

static void add_stat(struct sha256_stream *hash, const char *path)
{
    struct stat st;
    int64_t facts[7] = {-1};
    if (stat(path, &st) == 0) {
        facts[0] = st.st_mtim.tv_sec;
        facts[1] = st.st_mtim.tv_nsec;
        facts[2] = st.st_size;
        facts[3] = (int64_t)st.st_ino;
        facts[4] = (int64_t)st.st_dev;
        facts[5] = st.st_ctim.tv_sec; /* a tool may put the others back */
        facts[6] = st.st_ctim.tv_nsec;
    }
    sha256_add(hash, path, strlen(path) + 1);
    sha256_add(hash, facts, sizeof facts);
}

enum rc first_finding(const struct errlist *findings, struct err *err)
{
    for (size_t i = 0; i < findings->n_items; i++) {
        const struct finding *f = &findings->items[i];
        if (f->severity == FINDING_ERROR)
            return err_set_code(err, RC_INVALID, f->code, "%s%s%s", f->path, *f->path ? ": " : "",
                                f->message);
    }
    return RC_OK;
}

static enum rc parse(const struct resolve_job *j, const char *location, struct str text,
                     struct manifest **ret, struct err *err)
{
    const struct dataset *d = j->dataset;
    bool in_project = d->source.kind == SOURCE_STATIC_MANIFEST;
    struct errlist findings = ERRLIST_INIT;
    struct manifest_origin origin = {
        .location = location,
        .project_root = in_project ? j->project->root : NULL,
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

/* ---- a manifest on this disk ---- */

static enum rc resolve_local(const struct resolve_job *j, struct resolved *ret, struct err *err)
{
    struct buf text;
    AUTO(mem_free_auto) char *path = path_join(j->project->root, j->dataset->source.manifest);
    struct sha256_stream *hash = sha256_new();
    add_stat(hash, path);
    sha256_finish(hash, ret->seen);
    ret->is_untouched = j->seen && memcmp(j->seen, ret->seen, 32) == 0;
    if (ret->is_untouched)
        return RC_OK;
    buf_init(&text, LIMIT_MANIFEST_BYTES);
    enum rc rc = io_read_file(path, &text, err);
    if (rc == RC_NOT_FOUND)
        rc = err_set_code(err, RC_INVALID, "missing_file", "the manifest does not exist");
    else if (rc == RC_LIMIT)
        rc = err_set_code(err, RC_INVALID, "invalid_value", "the manifest is larger than 32 MiB");
    else if (rc == RC_OK)
        rc = parse(j, path, (struct str){text.p, text.n}, &ret->manifest, err);
    if (text.n)
        manifest_peek_id((struct str){text.p, text.n}, ret->snapshot_id);
    buf_done(&text);
    return rc;
}

/* ---- a manifest at a URL ---- */

static void see_text(const char *url, struct str text, uint8_t ret[32])
{
    struct sha256_stream *hash = sha256_new();
    sha256_add(hash, url, strlen(url) + 1);
    sha256_add(hash, text.p, text.n);
    sha256_finish(hash, ret);
}

static void remember(struct source_memory *memory, const char *url, const char *tag)
{
    source_memory_done(memory);
    if (!tag || !*tag)
        return;
    memory->url = x_strdup(url);
    memory->tag = x_strdup(tag);
}

void source_memory_done(struct source_memory *memory)
{
    mem_free(memory->url);
    mem_free(memory->tag);
    *memory = (struct source_memory){0};
}

static enum rc resolve_url(const struct resolve_job *j, struct resolved *ret, struct err *err)
{
    const char *url = j->dataset->source.manifest;
    bool knows = j->seen && j->memory->tag && strcmp(j->memory->url, url) == 0;
    struct object_request request = {
        .url = url,
        .unless_tag = knows ? j->memory->tag : NULL,
        .cancelled = j->cancelled,
    };
    struct object_meta meta = {0};
    struct buf text;
    buf_init(&text, LIMIT_MANIFEST_BYTES);
    enum rc rc = objectstore_get(j->store, &request, &text, &meta, err);
    if (rc != RC_OK)
        source_memory_done(j->memory);
    if (rc == RC_OK && meta.unchanged) {
        memcpy(ret->seen, j->seen, 32);
        ret->is_untouched = true;
    } else if (rc == RC_OK) {
        struct str read = {text.p, text.n};
        see_text(url, read, ret->seen);
        remember(j->memory, url, meta.tag);
        ret->is_untouched = j->seen && memcmp(j->seen, ret->seen, 32) == 0;
        if (!ret->is_untouched) {
            manifest_peek_id(read, ret->snapshot_id);
            rc = parse(j, url, read, &ret->manifest, err);
        }
    } else if (rc == RC_NOT_FOUND) {
        rc = err_set_code(err, RC_INVALID, "missing_file", "the manifest does not exist");
    } else if (rc == RC_LIMIT) {
        rc = err_set_code(err, RC_INVALID, "invalid_value", "the manifest is larger than 32 MiB");
    } else {
        rc = blame_source(rc, err);
    }
    object_meta_done(&meta);
    buf_done(&text);
    return rc;
}

/* ---- the newest commit under a prefix ---- */

static void see_object(const char *url, const struct object_info *o, uint8_t ret[32])
{
    struct sha256_stream *hash = sha256_new();
    sha256_add(hash, url, strlen(url) + 1);
    sha256_add(hash, o->name, strlen(o->name) + 1);
    sha256_add(hash, &o->updated_us, sizeof o->updated_us);
    sha256_add(hash, &o->size_bytes, sizeof o->size_bytes);
    if (o->tag)
        sha256_add(hash, o->tag, strlen(o->tag) + 1);
    sha256_finish(hash, ret);
}

static enum rc read_marker(const struct resolve_job *j, const char *url,
                           const struct object_list *listed, const struct object_info *marker,
                           struct resolved *ret, struct err *err)
{
    AUTO(mem_free_auto) char *marker_url = x_printf("%s%s", url, marker->name);
    struct object_request request = {
        .url = marker_url,
        .tag = marker->tag && *marker->tag ? marker->tag : NULL,
        .cancelled = j->cancelled,
    };
    struct buf text;
    buf_init(&text, LIMIT_MARKER_BYTES);
    enum rc rc = objectstore_get(j->store, &request, &text, NULL, err);
    if (rc != RC_OK) {
        rc = blame_source(rc, err);
    } else {
        rc = databricks_manifest(j->dataset, url, listed, marker, (struct str){text.p, text.n},
                                 &ret->manifest, err);
        (void)snprintf(ret->snapshot_id, sizeof ret->snapshot_id, "tid_%.190s",
                       marker->name + strlen("_committed_"));
    }
    buf_done(&text);
    return rc;
}

static enum rc resolve_databricks(const struct resolve_job *j, struct resolved *ret,
                                  struct err *err)
{
    const struct source *s = &j->dataset->source;
    AUTO(mem_free_auto) char *url =
        x_printf("%s://%s/%s", s->store == STORE_KIND_S3 ? "s3" : "gs", s->bucket, s->prefix);
    struct object_list listed = {0};
    enum rc rc = objectstore_list(j->store, url, LIMIT_SOURCE_OBJECTS, j->cancelled, &listed, err);
    if (rc != RC_OK)
        return blame_source(rc, err);
    const struct object_info *marker = databricks_newest(&listed);
    if (marker) {
        see_object(url, marker, ret->seen);
        ret->is_untouched = j->seen && memcmp(j->seen, ret->seen, 32) == 0;
        if (!ret->is_untouched)
            rc = read_marker(j, url, &listed, marker, ret, err);
    }
    object_list_done(&listed);
    if (rc == RC_OK && !j->has_active && !ret->manifest && !ret->is_untouched)
        rc = err_set_code(err, RC_UNAVAILABLE, "no_snapshot",
                          "no data commit has been published under the prefix yet");
    return rc;
}

/* ---- all of them ---- */

enum rc blame_source(enum rc rc, struct err *err)
{
    static const struct {
        enum rc rc;
        const char *code;
    } codes[] = {
        {RC_UNAVAILABLE, "source_unreachable"},
        {RC_NOT_FOUND, "source_unreachable"},
        {RC_TIMEOUT, "source_unreachable"},
        {RC_DENIED, "source_denied"},
        {RC_CONFLICT, "source_changed"},
        {RC_CORRUPT, "source_corrupt"},
        {RC_LIMIT, "source_limit"},
        {RC_INVALID, "source_refused"},
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (rc == codes[i].rc && !*err->code)
            return err_set_code(err, rc, codes[i].code, "%s", err->message);
    return rc;
}

enum rc resolve_manifest(const struct resolve_job *j, struct resolved *ret, struct err *err)
{
    const struct source *s = &j->dataset->source;
    enum rc rc;
    *ret = (struct resolved){.reachable = true};
    if (s->kind == SOURCE_DATABRICKS)
        rc = resolve_databricks(j, ret, err);
    else if (s->kind == SOURCE_MANIFEST && objectstore_is_url(s->manifest))
        rc = resolve_url(j, ret, err);
    else
        rc = resolve_local(j, ret, err);
    ret->has_seen = rc == RC_OK || rc == RC_INVALID;
    ret->reachable = rc == RC_OK || rc == RC_CORRUPT || strcmp(err->code, "no_snapshot") == 0 ||
                     (rc == RC_INVALID && strcmp(err->code, "missing_file") != 0);
    return rc;
}
