/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at where the project comes from.
 *
 *   list ─ same as applied ─▶ unchanged
 *     └─ rules ─ fetch each object, pinned ─ list again ─ same ─▶ number, load, check ─▶ news
 *                      ▲─────────── differs, at most 3 times ──┘
 *
 * One caller at a time (refresh sees to it), so nothing here is locked.
 */
#include "refresh/config_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "refresh/config_int.h"
#include "refresh/patience.h"

#define LIMIT_LISTED 5000 /* placeholders come on top of a project's objects */
#define PARALLEL_FETCHES 8
#define LIMIT_RESTARTS 3
#define BOOT_TRIES 3
#define BOOT_PAUSE_MS 500
#define BOOT_NAP_MS 50
#define BOOT_PATIENCE_US INT64_C(10000000) /* with a kept copy at hand */

/* Of a project in a directory: what it says and where it really is. A link may be turned to another
 * directory of the same YAML, whose manifests and data are others. */
struct identity {
    uint8_t fingerprint[32], root[32];
};

struct config_source {
    char *location;  /* a path, or a URL that ends in '/' */
    char *directory; /* <cache_dir>/config */
    struct objectstore *store;
    bool is_bucket;
    _Atomic bool serves_copy;
    _Atomic bool gave_up, is_cancelled; /* the first look: out of patience; not wanted any more */
    _Atomic(const char *) trouble;      /* literal */

    uint8_t seen[32]; /* listing or walk of what is applied */
    bool has_seen;
    struct identity identity;          /* of what is applied (directories) */
    struct config_copy applied, fresh; /* fresh: the last look's, until config_source_applied() */
    uint8_t fresh_seen[32];
    struct identity fresh_identity;
    char previous[17];
    uint8_t refused[32]; /* the listing that was refused last */
    bool has_refused;
    bool failed; /* the last look at a directory, for whatever reason */
    enum rc refused_rc;
    struct err refused_err;
};

static bool is_bucket_url(const char *location)
{
    return str_starts(str_from(location), "gs://") || str_starts(str_from(location), "s3://");
}

struct config_source *config_source_new(const char *location, const char *cache_dir,
                                        struct objectstore *store)
{
    struct config_source *c = x_alloc0(sizeof *c);
    c->is_bucket = is_bucket_url(location);
    c->location = !c->is_bucket || str_ends(str_from(location), "/") ? x_strdup(location)
                                                                     : x_printf("%s/", location);
    c->directory = path_join(cache_dir, "config");
    c->store = store;
    return c;
}

void config_source_free(struct config_source *c)
{
    if (!c)
        return;
    config_copy_done(&c->applied);
    config_copy_done(&c->fresh);
    mem_free(c->location);
    mem_free(c->directory);
    mem_free(c);
}

bool config_source_is_bucket(const struct config_source *c)
{
    return c->is_bucket;
}

bool config_source_serves_copy(const struct config_source *c)
{
    return atomic_load(&c->serves_copy);
}

const char *config_error_class(enum rc rc, const struct err *err)
{
    static const char *const codes[] = {"empty", "limit", "unsafe_name", "changing"};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcmp(err->code, codes[i]) == 0)
            return codes[i];
    switch (rc) {
    case RC_INVALID:
        return "invalid";
    case RC_NOT_FOUND:
        return "not_found";
    case RC_DENIED:
        return "denied";
    case RC_LIMIT:
        return "limit";
    case RC_CORRUPT:
        return "corrupt";
    case RC_CONFLICT:
        return "changing";
    case RC_IO:
    case RC_NO_MEMORY:
        return "disk";
    case RC_OK:
    case RC_TIMEOUT:
    case RC_CANCELLED:
    case RC_BUSY:
    case RC_UNAVAILABLE:
    case RC_INTERNAL:
        return "unreachable";
    }
    return "unreachable";
}

/* ---- fetching a tree ---- */

struct fetch { /* everything borrowed */
    struct objectstore *store;
    const char *url;
    const _Atomic bool *cancelled;
};

/* Only where the sum depends on which file holds the keys. */
static enum rc check_bytes(const struct fetch *f, const struct object_list *l, struct err *err)
{
    struct err unused = ERR_INIT;
    if (config_check_bytes(l, NULL, &unused) == RC_OK)
        return RC_OK;
    AUTO(mem_free_auto) char *url = x_printf("%soffloader.yml", f->url);
    struct object_request request = {.url = url, .cancelled = f->cancelled};
    struct buf text;
    buf_init(&text, LIMIT_YAML_BYTES);
    enum rc rc = objectstore_get(f->store, &request, &text, NULL, err);
    if (rc == RC_OK) {
        AUTO(mem_free_auto) char *keys = project_named((struct str){text.p, text.n}, "keys");
        rc = config_check_bytes(l, keys, err);
    }
    buf_done(&text);
    return rc;
}

static enum rc make_directories(const char *tree, const char *name, struct err *err)
{
    AUTO(mem_free_auto) char *path = path_join(tree, name);
    char *slash = strrchr(path, '/');
    *slash = 0;
    return io_mkdir_all(path, 0700, err);
}

static enum rc fetch_objects(const struct fetch *f, const struct object_list *l, const char *tree,
                             struct err *err)
{
    struct download_options options = {
        .store = f->store, .parallel = PARALLEL_FETCHES, .cancelled = f->cancelled};
    AUTO(mem_free_auto) struct download *items = x_array0(l->n_items + 1, sizeof *items);
    AUTO(mem_free_auto) char **owned = x_array0(2 * l->n_items + 1, sizeof *owned);
    size_t n = 0, n_owned = 0, at = 0;
    enum rc rc = io_mkdir_all(tree, 0700, err);
    for (size_t i = 0; rc == RC_OK && i < l->n_items; i++) {
        const struct object_info *o = &l->items[i];
        if (config_is_placeholder(o))
            continue;
        rc = make_directories(tree, o->name, err);
        owned[n_owned] = x_printf("%s%s", f->url, o->name);
        owned[n_owned + 1] = path_join(tree, o->name);
        items[n++] = (struct download){
            .url = owned[n_owned],
            .path = owned[n_owned + 1],
            .tag = o->tag && *o->tag ? o->tag : NULL,
            .has_size = true,
            .size_bytes = o->size_bytes,
        };
        n_owned += 2;
    }
    if (rc == RC_OK)
        rc = download_all(&options, items, n, &at, err);
    for (size_t i = 0; i < n; i++)
        object_meta_done(&items[i].meta);
    for (size_t i = 0; i < n_owned; i++)
        mem_free(owned[i]);
    return rc;
}

static enum rc list(const struct fetch *f, struct object_list *ret, uint8_t ret_hash[32],
                    struct err *err)
{
    enum rc rc = objectstore_list(f->store, f->url, LIMIT_LISTED, f->cancelled, ret, err);
    if (rc == RC_OK)
        config_listing_hash(f->url, ret, ret_hash);
    return rc;
}

/* One pass over @l; RC_CONFLICT: the bucket moved meanwhile, and @l is the new listing. */
static enum rc fetch_pass(const struct fetch *f, struct object_list *l, uint8_t hash[32],
                          const char *tree, struct err *err)
{
    struct object_list after = {0};
    uint8_t hash_after[32];
    struct err moved = ERR_INIT;
    enum rc rc = config_check_listing(l, err);
    if (rc == RC_OK)
        rc = check_bytes(f, l, err);
    if (rc == RC_OK)
        rc = fetch_objects(f, l, tree, err);
    /* Gone or replaced since it was listed: the new listing tells. */
    bool is_moved = rc == RC_CONFLICT || (rc == RC_NOT_FOUND && !*err->code);
    if (rc != RC_OK && !is_moved)
        return rc;
    moved = *err;
    rc = list(f, &after, hash_after, err);
    if (rc != RC_OK)
        return rc;
    bool same = !is_moved && memcmp(hash, hash_after, 32) == 0;
    object_list_done(l);
    *l = after;
    memcpy(hash, hash_after, 32);
    if (same)
        return RC_OK;
    return err_set_code(err, RC_CONFLICT, "changing", "%s",
                        is_moved ? moved.message : "the bucket changed while it was read");
}

/* The whole tree, all of one moment. @l and @hash: the listing to begin with, then the one that
 * counts. */
static enum rc fetch_tree(const struct fetch *f, struct object_list *l, uint8_t hash[32],
                          const char *tree, struct err *err)
{
    enum rc rc = RC_CONFLICT;
    for (int i = 0; rc == RC_CONFLICT && i <= LIMIT_RESTARTS; i++) {
        rc = io_remove_tree(tree, err);
        if (rc == RC_OK)
            rc = fetch_pass(f, l, hash, tree, err);
    }
    return rc;
}

enum rc config_fetch_once(struct objectstore *store, const char *url, const char *directory,
                          size_t *ret_objects, struct err *err)
{
    AUTO(mem_free_auto) char *whole =
        str_ends(str_from(url), "/") ? x_strdup(url) : x_printf("%s/", url);
    struct fetch f = {store, whole, NULL};
    struct object_list l = {0};
    uint8_t hash[32];
    enum rc rc = list(&f, &l, hash, err);
    if (rc == RC_OK)
        rc = fetch_tree(&f, &l, hash, directory, err);
    *ret_objects = 0;
    for (size_t i = 0; i < l.n_items; i++)
        *ret_objects += !config_is_placeholder(&l.items[i]);
    object_list_done(&l);
    return rc;
}

/* ---- a revision: fetched, numbered, loaded ---- */

static char *tree_of(const struct config_source *c, const char *revision)
{
    return path_join(c->directory, revision);
}

/* In a project from a bucket nothing outside its tree is read: no symbolic link is there, so paths
 * tell. */
enum rc config_load_tree(const char *tree, struct errlist *findings, struct project **ret,
                         struct err *err)
{
    enum rc rc = project_load(tree, findings, ret, err);
    if (rc != RC_OK || !(*ret)->keys_path)
        return rc;
    size_t n = strlen((*ret)->root);
    if (strncmp((*ret)->keys_path, (*ret)->root, n) == 0 && (*ret)->keys_path[n] == '/')
        return RC_OK;
    errlist_add(findings, FINDING_ERROR, "offloader.yml", 0, 0, "keys", "unsafe_path", NULL,
                "must be inside the project: this one comes from a bucket");
    project_free(*ret);
    *ret = NULL;
    return err_set_code(err, RC_INVALID, "invalid_project", "`keys` leaves the project");
}

/* Gives a fetched tree its final name; a tree of that name with the same contents is as good. */
static enum rc settle_tree(const struct config_source *c, const char *tree, struct err *err)
{
    AUTO(mem_free_auto) char *target = tree_of(c, c->fresh.revision);
    struct err unused = ERR_INIT;
    if (config_copy_verify(target, &c->fresh, &unused) == RC_OK)
        return io_remove_tree(tree, err);
    enum rc rc = io_remove_tree(target, err);
    if (rc == RC_OK)
        rc = io_rename(tree, target, err);
    return rc == RC_OK ? io_fsync_dir(c->directory, err) : rc;
}

static enum rc fetch_revision(struct config_source *c, const struct fetch *f, struct object_list *l,
                              uint8_t hash[32], struct err *err)
{
    char dice[17];
    uint8_t random[8];
    struct err tidy = ERR_INIT;
    random_bytes(random, sizeof random);
    hex_encode(random, sizeof random, dice);
    AUTO(mem_free_auto) char *tree = x_printf("%s/fetch-%s", c->directory, dice);
    enum rc rc = fetch_tree(f, l, hash, tree, err);
    config_copy_done(&c->fresh);
    if (rc == RC_OK)
        rc = config_copy_take(tree, l, &c->fresh, err);
    if (rc == RC_OK) {
        memcpy(c->fresh.listing, hash, 32);
        sha256(c->location, strlen(c->location), c->fresh.source);
        rc = settle_tree(c, tree, err);
    }
    IGNORE(io_remove_tree(tree, &tidy)); /* the next tidying removes it in any case */
    return rc;
}

static void refuse(struct config_source *c, const uint8_t hash[32], enum rc rc,
                   const struct err *err)
{
    /* Only what is wrong with the objects themselves: trouble on the way may be gone next time. */
    c->has_refused = rc == RC_INVALID || rc == RC_LIMIT || (rc == RC_NOT_FOUND && *err->code);
    if (!c->has_refused)
        return;
    memcpy(c->refused, hash, 32);
    c->refused_rc = rc;
    c->refused_err = *err;
}

static enum rc repeat_refusal(const struct config_source *c, struct config_news *ret,
                              struct err *err)
{
    ret->is_repeat = true;
    err_copy(err, &c->refused_err);
    return c->refused_rc;
}

static enum rc look_at_bucket(struct config_source *c, bool is_tick, const _Atomic bool *cancelled,
                              struct errlist *findings, struct config_news *ret, struct err *err)
{
    struct fetch f = {c->store, c->location, cancelled};
    struct object_list l = {0};
    struct err tidy = ERR_INIT;
    uint8_t hash[32];
    enum rc rc = list(&f, &l, hash, err);
    if (rc == RC_OK && is_tick && c->has_refused && memcmp(hash, c->refused, 32) == 0) {
        object_list_done(&l);
        return repeat_refusal(c, ret, err);
    }
    if (rc != RC_OK || (c->has_seen && memcmp(hash, c->seen, 32) == 0)) {
        object_list_done(&l);
        c->has_refused = c->has_refused && rc != RC_OK;
        return rc;
    }
    rc = fetch_revision(c, &f, &l, hash, err);
    object_list_done(&l);
    if (rc == RC_OK && strcmp(c->fresh.revision, c->applied.revision) == 0) {
        memcpy(c->seen, hash, 32); /* other times or generations of the same bytes */
        c->has_refused = false;
        return RC_OK;
    }
    AUTO(mem_free_auto) char *tree = rc == RC_OK ? tree_of(c, c->fresh.revision) : NULL;
    if (rc == RC_OK)
        rc = config_load_tree(tree, findings, &ret->project, err);
    if (rc == RC_OK) {
        memcpy(c->fresh_seen, hash, 32);
        c->has_refused = false;
        return RC_OK;
    }
    refuse(c, hash, rc, err);
    if (tree && strcmp(c->fresh.revision, c->previous) != 0)
        IGNORE(io_remove_tree(tree, &tidy)); /* nobody reads it; the next tidying tries again */
    return rc;
}

/* A directory is read where it is; a walk before and after tells whether a push came in between. */
static enum rc look_at_directory(struct config_source *c, bool is_tick, struct errlist *findings,
                                 struct config_news *ret, struct err *err)
{
    uint8_t after[32];
    struct err unused = ERR_INIT;
    memset(c->fresh_seen, 0, sizeof c->fresh_seen); /* a walk that fails is like no other */
    bool walked = project_walk_fingerprint(c->location, c->fresh_seen, &unused) == RC_OK;
    if (is_tick && walked && c->has_refused && memcmp(c->fresh_seen, c->refused, 32) == 0)
        return repeat_refusal(c, ret, err);
    if (is_tick && walked && c->has_seen && !c->failed && memcmp(c->fresh_seen, c->seen, 32) == 0)
        return RC_OK;
    enum rc rc = RC_OK;
    for (int i = 0; i <= LIMIT_RESTARTS; i++) {
        rc = project_load(c->location, findings, &ret->project, err);
        bool moved = walked && project_walk_fingerprint(c->location, after, &unused) == RC_OK &&
                     memcmp(after, c->fresh_seen, 32) != 0;
        if (!moved)
            break;
        errlist_done(findings);
        project_free(TAKE(ret->project));
        memcpy(c->fresh_seen, after, 32);
        rc = err_set_code(
            err, RC_CONFLICT, "changing",
            "the project changed %d times while it was read; the next look tries again", i + 1);
    }
    c->failed = rc != RC_OK;
    c->has_refused = false;
    if (rc != RC_OK) {
        refuse(c, c->fresh_seen, rc, err);
        return rc;
    }
    const struct project *p = ret->project;
    memcpy(c->fresh_identity.fingerprint, p->fingerprint, 32);
    sha256(p->root, strlen(p->root), c->fresh_identity.root);
    if (c->has_seen && memcmp(&c->fresh_identity, &c->identity, sizeof c->identity) == 0) {
        memcpy(c->seen, c->fresh_seen, 32);
        project_free(TAKE(ret->project));
    }
    return RC_OK;
}

/* ---- looking ---- */

static void tell_revision(const struct config_source *c, struct config_news *ret)
{
    const struct identity *identity = ret->project ? &c->fresh_identity : &c->identity;
    if (c->is_bucket)
        (void)snprintf(ret->revision, sizeof ret->revision, "%s",
                       ret->project ? c->fresh.revision : c->applied.revision);
    else
        hex_encode(identity->fingerprint, 8, ret->revision);
}

enum rc config_source_look(struct config_source *c, bool is_tick, const _Atomic bool *cancelled,
                           struct errlist *findings, struct config_news *ret, struct err *err)
{
    *ret = (struct config_news){0};
    enum rc rc = c->is_bucket ? look_at_bucket(c, is_tick, cancelled, findings, ret, err)
                              : look_at_directory(c, is_tick, findings, ret, err);
    tell_revision(c, ret);
    if (rc == RC_OK)
        atomic_store(&c->serves_copy, false);
    return rc;
}

void config_source_applied(struct config_source *c,
                           bool (*is_used)(void *arg, const char *directory), void *arg)
{
    struct err err = ERR_INIT;
    memcpy(c->seen, c->fresh_seen, 32);
    c->identity = c->fresh_identity;
    c->has_seen = true;
    if (c->is_bucket && *c->fresh.revision) {
        memcpy(c->previous, c->applied.revision, sizeof c->previous);
        config_copy_done(&c->applied);
        c->applied = c->fresh;
        c->fresh = (struct config_copy){0};
        if (config_copy_write(c->directory, &c->applied, &err) != RC_OK)
            log_event(LOG_WARN, "config",
                      "the project's copy cannot be kept; a start without the bucket would fail",
                      LF_STR("error", err.message));
    }
    if (c->is_bucket)
        config_copy_tidy(c->directory,
                         &(struct config_keep){c->applied.revision, c->previous, is_used, arg});
}

/* ---- the first look ---- */

static bool is_transient(enum rc rc)
{
    return rc == RC_UNAVAILABLE || rc == RC_TIMEOUT || rc == RC_CORRUPT || rc == RC_CONFLICT;
}

static void pause_before(const struct config_source *c, int try)
{
    uint32_t dice;
    random_bytes(&dice, sizeof dice);
    int64_t ms = ((int64_t)BOOT_PAUSE_MS << try) * (int64_t)(768 + dice % 512) / 1024;
    for (; ms > 0 && !atomic_load(&c->gave_up); ms -= BOOT_NAP_MS)
        (void)nanosleep(&(struct timespec){0, BOOT_NAP_MS * 1000000}, NULL);
}

/* What was applied last, from this disk, whatever the bucket holds now. */
static enum rc load_copy(struct config_source *c, struct errlist *findings, struct config_news *ret,
                         struct err *err)
{
    AUTO(mem_free_auto) char *tree = tree_of(c, c->applied.revision);
    config_copy_done(&c->fresh); /* of a revision that was refused */
    enum rc rc = config_load_tree(tree, findings, &ret->project, err);
    if (rc != RC_OK)
        return rc;
    memcpy(c->fresh_seen, c->applied.listing, 32);
    (void)snprintf(ret->revision, sizeof ret->revision, "%s", c->applied.revision);
    return RC_OK;
}

/* The kept copy, when there is one that verifies: what it was fetched by counts as seen. */
static void find_copy(struct config_source *c)
{
    uint8_t source[32];
    struct err err = ERR_INIT;
    sha256(c->location, strlen(c->location), source);
    if (config_copy_read(c->directory, source, &c->applied, &err) != RC_OK)
        return;
    AUTO(mem_free_auto) char *tree = tree_of(c, c->applied.revision);
    if (config_copy_verify(tree, &c->applied, &err) == RC_OK) {
        memcpy(c->seen, c->applied.listing, 32);
        c->has_seen = true;
        return;
    }
    log_event(LOG_WARN, "config", "the kept copy of the project is not used",
              LF_STR("error", err.message));
    config_copy_done(&c->applied);
}

/* The first look, several times if need be; with a copy to fall back on not for long. */
static enum rc try_bucket(struct config_source *c, struct errlist *findings,
                          struct config_news *ret, struct err *err)
{
    struct patience patience;
    enum rc rc = RC_UNAVAILABLE;
    patience_begin(&patience, c->has_seen ? BOOT_PATIENCE_US : INT64_MAX / 2, &c->gave_up);
    for (int try = 0; try < BOOT_TRIES; try++) {
        if (try > 0)
            pause_before(c, try - 1);
        rc = config_source_look(c, false, &c->gave_up, findings, ret, err);
        if (rc == RC_CANCELLED && !atomic_load(&c->is_cancelled))
            rc = err_set(err, RC_UNAVAILABLE, "the bucket does not answer in time");
        if (!is_transient(rc) || atomic_load(&c->gave_up))
            break;
        atomic_store(&c->trouble, config_error_class(rc, err));
        log_event(LOG_WARN, "config", "the project's bucket cannot be read", LF_INT("try", try + 1),
                  LF_STR("error", err->message));
    }
    patience_end(&patience);
    atomic_store(&c->trouble, NULL);
    return rc;
}

void config_source_cancel_boot(struct config_source *c)
{
    atomic_store(&c->is_cancelled, true);
    atomic_store(&c->gave_up, true);
}

const char *config_source_boot_trouble(const struct config_source *c)
{
    return atomic_load(&c->trouble);
}

static enum rc boot_from_bucket(struct config_source *c, struct errlist *findings,
                                struct config_news *ret, struct err *err)
{
    enum rc rc = io_mkdir_all(c->directory, 0700, err);
    if (rc != RC_OK)
        return rc;
    find_copy(c);
    rc = try_bucket(c, findings, ret, err);
    if (rc == RC_OK && !ret->project)
        return load_copy(c, findings, ret, err); /* nothing moved since it was fetched */
    if (!c->has_seen || rc == RC_OK || rc == RC_CANCELLED)
        return rc;
    log_event(
        LOG_ERROR, "config",
        "the bucket's project is not used: serving from the copy of the revision applied last",
        LF_STR("revision", c->applied.revision), LF_STR("error", err->message));
    ret->copy_because = config_error_class(rc, err);
    rc = load_copy(c, findings, ret, err);
    atomic_store(&c->serves_copy, rc == RC_OK);
    return rc;
}

enum rc config_source_boot(struct config_source *c, struct errlist *findings,
                           struct config_news *ret, struct err *err)
{
    if (c->is_bucket)
        return boot_from_bucket(c, findings, ret, err);
    return config_source_look(c, false, NULL, findings, ret, err);
}
