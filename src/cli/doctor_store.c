/* SPDX-License-Identifier: Apache-2.0 */
/* Which object stores the project needs, with what credentials, and what those may list and read.
 */
#include <stdio.h>

#include "base/io.h"
#include "base/mem.h"
#include "cli/doctor.h"
#include "manifest/manifest.h"
#include "net/net.h"

#define LISTED_AT_MOST 1000
#define LIMIT_PLACES 256

struct place {
    char *url;      /* owned; a bucket's prefix that ends in '/', or an object */
    const char *of; /* borrowed: what needs it */
};
struct places {
    struct place items[LIMIT_PLACES];
    size_t n;
};

/* A bucket's, to be listed: what is behind https:// can only be read. */
static bool is_prefix(const char *url)
{
    return str_ends(str_from(url), "/") && !str_starts(str_from(url), "http");
}

/* Once for each bucket or host and kind. */
static void add_place(struct places *p, const char *url, const char *of)
{
    size_t root = strcspn(url, ":") + 3;
    root += strcspn(url + root, "/");
    for (size_t i = 0; i < p->n; i++)
        if (strncmp(p->items[i].url, url, root + 1) == 0 &&
            is_prefix(p->items[i].url) == is_prefix(url))
            return;
    if (p->n < LIMIT_PLACES)
        p->items[p->n++] = (struct place){x_strdup(url), of};
}

static void add_files(struct places *p, const struct project *project, const struct dataset *d)
{
    AUTO(mem_free_auto) char *path = path_join(project->root, d->source.manifest);
    struct errlist findings = ERRLIST_INIT;
    struct manifest_origin origin = {
        .location = path, .project_root = project->root, .shown_as = "manifest"};
    struct manifest *m = NULL;
    struct err err = ERR_INIT;
    struct buf text;
    buf_init(&text, LIMIT_MANIFEST_BYTES);
    if (io_read_file(path, &text, &err) == RC_OK &&
        manifest_parse((struct str){text.p, text.n}, &origin, d->id, &findings, &m, &err) == RC_OK)
        for (size_t i = 0; i < m->n_files; i++)
            if (m->files[i].remote)
                add_place(p, m->files[i].location, d->id);
    manifest_free(m);
    errlist_done(&findings);
    buf_done(&text);
}

static void gather(struct doctor *d, struct places *p)
{
    const char *config = d->settings.config;
    if (config && objectstore_is_url(config)) {
        AUTO(mem_free_auto) char *url =
            str_ends(str_from(config), "/") ? x_strdup(config) : x_printf("%s/", config);
        add_place(p, url, "the project");
    }
    for (size_t i = 0; d->project && i < d->project->n_datasets; i++) {
        const struct dataset *dataset = &d->project->datasets[i];
        const struct source *s = &dataset->source;
        if (s->kind == SOURCE_DATABRICKS) {
            AUTO(mem_free_auto) char *url = x_printf(
                "%s://%s/%s", s->store == STORE_KIND_S3 ? "s3" : "gs", s->bucket, s->prefix);
            add_place(p, url, dataset->id);
        } else if (s->kind == SOURCE_MANIFEST && objectstore_is_url(s->manifest)) {
            add_place(p, s->manifest, dataset->id);
        } else if (s->kind == SOURCE_STATIC_MANIFEST) {
            add_files(p, d->project, dataset);
        }
    }
}

static const char *help_for(enum rc rc, const char *url, bool listing)
{
    bool gs = str_starts(str_from(url), "gs://"), s3 = str_starts(str_from(url), "s3://");
    if (rc == RC_DENIED && gs)
        return listing
                   ? "grant storage.objects.list on the bucket (roles/storage.objectViewer), or "
                     "set "
                     "OFFLOADER_GCS_AUTH"
                   : "grant storage.objects.get on the bucket (roles/storage.objectViewer), or set "
                     "OFFLOADER_GCS_AUTH";
    if (rc == RC_DENIED && s3)
        return listing ? "allow s3:ListBucket on the bucket to these credentials; set "
                         "OFFLOADER_S3_KEY_ID "
                         "and OFFLOADER_S3_SECRET, or OFFLOADER_S3_AUTH=chain"
                       : "allow s3:GetObject on the objects to these credentials; set "
                         "OFFLOADER_S3_KEY_ID "
                         "and OFFLOADER_S3_SECRET, or OFFLOADER_S3_AUTH=chain";
    if (rc == RC_NOT_FOUND)
        return "look at the spelling of bucket and path, and that something has been published";
    if (rc == RC_UNAVAILABLE)
        return "look at name resolution, the firewall, and OFFLOADER_GCS_ENDPOINT or "
               "OFFLOADER_S3_ENDPOINT";
    if (rc == RC_INVALID)
        return "link-local and loopback addresses and plain http are refused: see "
               "OFFLOADER_ALLOW_LOOPBACK";
    return NULL;
}

/* A signed URL's query string is a credential; in a bucket's, `?` is a byte of the name. Owned. */
static char *shown(const char *url)
{
    return str_starts(str_from(url), "http") ? net_url_display(url) : x_strdup(url);
}

static void tell_read(struct doctor *d, const char *url)
{
    AUTO(mem_free_auto) char *place = shown(url);
    struct object_request request = {.url = url};
    struct object_meta meta = {0};
    struct err err = ERR_INIT;
    enum rc rc = objectstore_stat(d->store, &request, &meta, &err);
    if (rc == RC_OK)
        doctor_say(d, "store", DOCTOR_OK, NULL, "%s: may be read (%llu bytes)", place,
                   (unsigned long long)meta.size_bytes);
    else
        doctor_say(d, "store", DOCTOR_FAIL, help_for(rc, url, false), "cannot be read: %s",
                   err.message);
    object_meta_done(&meta);
}

static const struct object_info *first_object(const struct object_list *l)
{
    for (size_t i = 0; i < l->n_items; i++)
        if (l->items[i].size_bytes > 0)
            return &l->items[i];
    return NULL;
}

static void tell_prefix(struct doctor *d, const char *url)
{
    struct object_list l = {0};
    struct err err = ERR_INIT;
    enum rc rc = objectstore_list(d->store, url, LISTED_AT_MOST, NULL, &l, &err);
    const struct object_info *o = first_object(&l);
    if (rc == RC_LIMIT) {
        doctor_say(d, "store", DOCTOR_OK, NULL, "%s: may be listed (more than %d objects)", url,
                   LISTED_AT_MOST);
    } else if (rc != RC_OK) {
        doctor_say(d, "store", DOCTOR_FAIL, help_for(rc, url, true), "cannot be listed: %s",
                   err.message);
    } else if (l.n_items == 0) {
        doctor_say(d, "store", DOCTOR_WARN, "look at the spelling of the prefix, or publish first",
                   "%s: may be listed, but holds nothing", url);
    } else {
        doctor_say(d, "store", DOCTOR_OK, NULL, "%s: may be listed (%zu objects)", url, l.n_items);
    }
    if (rc == RC_OK && o) {
        AUTO(mem_free_auto) char *object = x_printf("%s%s", url, o->name);
        tell_read(d, object);
    }
    object_list_done(&l);
}

static void tell_place(struct doctor *d, const struct place *p)
{
    char source[256] = "";
    struct err err = ERR_INIT;
    if (objectstore_credential_source(d->store, p->url, source, sizeof source, &err) != RC_OK) {
        doctor_say(d, "store", DOCTOR_FAIL,
                   "see docs/guide/buckets.md for where credentials may come from",
                   "credentials for %s: %s", p->of, err.message);
        return;
    }
    doctor_say(d, "store", DOCTOR_OK, NULL, "credentials for %s: %s", p->of, source);
    if (is_prefix(p->url))
        tell_prefix(d, p->url);
    else
        tell_read(d, p->url);
}

void doctor_stores(struct doctor *d)
{
    struct places *p = x_alloc0(sizeof *p);
    gather(d, p);
    if (p->n == 0)
        doctor_say(d, "store", DOCTOR_OK, NULL, "no object store is used");
    for (size_t i = 0; i < p->n; i++) {
        tell_place(d, &p->items[i]);
        mem_free(p->items[i].url);
    }
    mem_free(p);
}
