/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records in a map, oldest dropped past the limit; one mutex, held for no I/O.
 *
 * A wall clock that is set neither forgets answers nor keeps them for ever: see moment.h. A record
 * from a time that is still to come, made before the machine was started anew, counts as of now,
 * and its file says so from then on.
 */
#include "admin/idempotency.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/moment.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "markup/markup.h"

#define LIMIT_RECORD_BYTES (1u << 20)

struct record {
    char name[SHA256_HEX_BYTES]; /* of the key: also the file's name */
    char request[SHA256_HEX_BYTES];
    bool is_running;
    int status;
    char *body;
    struct moment at;
    int64_t since_us; /* the same by boot_us(); before this boot: negative */
    struct record *newer, *older;
};

struct idempotency {
    char *cache_dir, *directory;
    _Atomic bool directory_lasts; /* its name in cache_dir is on disk */
    int64_t ttl_us;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct map records;
    struct record *newest, *oldest;
    size_t n;
};

static void hex_of(struct str s, char ret[SHA256_HEX_BYTES])
{
    uint8_t digest[32];
    sha256(s.p, s.n, digest);
    hex_encode(digest, sizeof digest, ret);
}

static char *path_of(const struct idempotency *i, const char *name)
{
    return x_printf("%s/%s.json", i->directory, name);
}

static void link_newest(struct idempotency *i, struct record *r)
{
    r->older = i->newest;
    if (i->newest)
        i->newest->newer = r;
    else
        i->oldest = r;
    i->newest = r;
    i->n++;
}

/* Out of map, list and memory; the file goes too. */
static void drop(struct idempotency *i, struct record *r)
{
    AUTO(mem_free_auto) char *path = path_of(i, r->name);
    (void)map_remove(&i->records, str_from(r->name));
    if (r->older)
        r->older->newer = r->newer;
    else
        i->oldest = r->newer;
    if (r->newer)
        r->newer->older = r->older;
    else
        i->newest = r->older;
    i->n--;
    (void)unlink(path); /* one in flight has none */
    mem_free(r->body);
    mem_free(r);
}

/* Drops what is too old, and the oldest until there is room for @n_more. */
static void expire(struct idempotency *i, size_t n_more)
{
    int64_t now_us = boot_us();
    while (i->oldest && !i->oldest->is_running &&
           (i->n + n_more > LIMIT_RECORDS || now_us - i->oldest->since_us > i->ttl_us))
        drop(i, i->oldest);
}

static bool read_record(const struct idempotency *i, const char *file, struct record *r)
{
    AUTO(mem_free_auto) char *path = path_join(i->directory, file);
    struct arena arena;
    struct buf text;
    struct err err = ERR_INIT;
    bool fine = false;
    buf_init(&text, LIMIT_RECORD_BYTES);
    arena_init(&arena, 16 * LIMIT_RECORD_BYTES);
    if (io_read_checked(path, &text, &err) == RC_OK) {
        const struct node *root = json_parse((struct str){text.p, text.n}, &arena, &err);
        const struct node *name = node_get(root, "key"), *request = node_get(root, "request");
        const struct node *status = node_get(root, "status"), *body = node_get(root, "body");
        const struct node *at = node_get(root, "at_us"), *boot = node_get(root, "boot");
        const struct node *since = node_get(root, "since_boot_us");
        fine =
            name && request && status && body && at && name->text.n == 64 && request->text.n == 64;
        if (fine) {
            memcpy(r->name, name->text.p, 65);
            memcpy(r->request, request->text.p, 65);
            r->status = (int)status->integer;
            r->at.wall_us = at->integer;
            r->at.boot_us = since ? since->integer : 0;
            if (boot && boot->text.n < sizeof r->at.boot)
                memcpy(r->at.boot, boot->text.p, boot->text.n);
            r->body = x_strndup(body->text.p, body->text.n);
        }
    }
    arena_done(&arena);
    buf_done(&text);
    return fine;
}

static int compare_age(const void *a, const void *b)
{
    const struct record *x = *(struct record *const *)a, *y = *(struct record *const *)b;
    return (x->since_us > y->since_us) - (x->since_us < y->since_us);
}

static void write_record(struct idempotency *i, const char *name, const char *request, int status,
                         struct str body, const struct moment *at)
{
    AUTO(mem_free_auto) char *path = path_of(i, name);
    struct json_writer w;
    struct buf b;
    struct err err = ERR_INIT;
    buf_init(&b, LIMIT_RECORD_BYTES);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "key");
    jw_cstr(&w, name);
    jw_key(&w, "request");
    jw_cstr(&w, request);
    jw_key(&w, "status");
    jw_int(&w, status);
    jw_key(&w, "at_us");
    jw_int(&w, at->wall_us);
    jw_key(&w, "boot");
    jw_cstr(&w, at->boot);
    jw_key(&w, "since_boot_us");
    jw_int(&w, at->boot_us);
    jw_key(&w, "body");
    jw_str(&w, body);
    jw_close(&w, '}');
    if (access(i->directory, F_OK) != 0) /* the cache may be deleted at any time */
        atomic_store(&i->directory_lasts, false);
    enum rc rc = io_mkdir_all(i->directory, 0755, &err);
    /* Here and not at the start: a start waits for no disk that is busy. */
    if (rc == RC_OK && !atomic_load(&i->directory_lasts))
        rc = io_fsync_dir(i->cache_dir, &err);
    if (rc == RC_OK) {
        atomic_store(&i->directory_lasts, true);
        rc = io_write_checked(path, &b, 0600, &err);
    }
    if (rc != RC_OK)
        log_event(LOG_WARN, "idempotency", "an answer cannot be kept across restarts",
                  LF_STR("error", err.message));
    buf_done(&b);
}

/* What was just read gets its age, and a file that says it if that had to change. */
static void age(struct idempotency *i, struct record *r, const struct moment *now)
{
    if (moment_is_to_come(&r->at, now)) {
        int64_t wall_us = r->at.wall_us; /* stays: it is now's that may be wrong */
        r->at = *now;
        r->at.wall_us = wall_us;
        write_record(i, r->name, r->request, r->status, str_from(r->body), &r->at);
    }
    r->since_us = now->boot_us - moment_age_us(&r->at, now);
}

static void load(struct idempotency *i)
{
    char **names = NULL;
    size_t n = 0, n_read = 0;
    struct err err = ERR_INIT;
    if (io_list_dir(i->directory, &names, &n, &err) != RC_OK)
        return;
    const struct moment now = moment_now();
    AUTO(mem_free_auto) struct record **read = x_array0(n + 1, sizeof *read);
    for (size_t at = 0; at < n; at++) {
        struct record *r = x_alloc0(sizeof *r);
        /* A temporary name is a write that a crash cut short. */
        if (str_ends(str_from(names[at]), ".json") && read_record(i, names[at], r)) {
            age(i, r, &now);
            read[n_read++] = r;
        } else {
            AUTO(mem_free_auto) char *path = path_join(i->directory, names[at]);
            (void)unlink(path);
            mem_free(r);
        }
    }
    qsort(read, n_read, sizeof *read, compare_age);
    for (size_t at = 0; at < n_read; at++) {
        if (map_put(&i->records, str_from(read[at]->name), read[at], NULL)) {
            link_newest(i, read[at]);
        } else {
            mem_free(read[at]->body);
            mem_free(read[at]);
        }
    }
    io_free_names(names, n);
    expire(i, 0);
}

enum rc idempotency_new(const char *cache_dir, int64_t ttl_hours, struct idempotency **ret,
                        struct err *err)
{
    struct idempotency *i = x_alloc0(sizeof *i);
    i->cache_dir = x_strdup(cache_dir);
    i->directory = path_join(cache_dir, "idempotency");
    i->ttl_us = ttl_hours * INT64_C(3600000000);
    mutex_init(&i->lock);
    cond_init(&i->changed);
    enum rc rc = io_mkdir_all(i->directory, 0755, err);
    if (rc != RC_OK) {
        idempotency_free(i);
        return rc;
    }
    load(i);
    *ret = i;
    return RC_OK;
}

void idempotency_free(struct idempotency *i)
{
    if (!i)
        return;
    while (i->newest) {
        struct record *r = i->newest;
        i->newest = r->older;
        mem_free(r->body);
        mem_free(r);
    }
    map_done(&i->records);
    cond_done(&i->changed);
    mutex_done(&i->lock);
    mem_free(i->directory);
    mem_free(i->cache_dir);
    mem_free(i);
}

enum idempotency_outcome idempotency_begin(struct idempotency *i, struct str key,
                                           struct str request, bool waits, int *ret_status,
                                           char **ret_body)
{
    char name[SHA256_HEX_BYTES], digest[SHA256_HEX_BYTES];
    hex_of(key, name);
    hex_of(request, digest);
    LOCKED(&i->lock);
    expire(i, 0);
    struct record *r;
    while ((r = map_get(&i->records, str_from(name))) != NULL && r->is_running && waits &&
           strcmp(r->request, digest) == 0)
        cond_wait(&i->changed, &i->lock);
    if (r && strcmp(r->request, digest) != 0)
        return IDEMPOTENCY_MISMATCH;
    if (r && r->is_running)
        return IDEMPOTENCY_RUNNING;
    if (r) {
        *ret_status = r->status;
        *ret_body = x_strdup(r->body);
        return IDEMPOTENCY_STORED;
    }
    expire(i, 1);
    r = x_alloc0(sizeof *r);
    memcpy(r->name, name, sizeof r->name);
    memcpy(r->request, digest, sizeof r->request);
    r->is_running = true;
    r->at = moment_now();
    r->since_us = r->at.boot_us;
    if (!map_put(&i->records, str_from(r->name), r, NULL)) {
        mem_free(r);
        return IDEMPOTENCY_RUNNING; /* no memory: the caller is asked to try again */
    }
    link_newest(i, r);
    return IDEMPOTENCY_FRESH;
}

void idempotency_finish(struct idempotency *i, struct str key, int status, struct str body)
{
    char name[SHA256_HEX_BYTES], request[SHA256_HEX_BYTES] = "";
    hex_of(key, name);
    mutex_lock(&i->lock);
    struct record *r = map_get(&i->records, str_from(name));
    struct moment at = {0};
    if (r) {
        memcpy(request, r->request, sizeof request);
        at = r->at;
    }
    mutex_unlock(&i->lock);
    if (!r)
        return;
    /* On disk before anybody is told: an answer that was given is given again after a crash too. */
    write_record(i, name, request, status, body, &at);
    mutex_lock(&i->lock);
    r = map_get(&i->records, str_from(name));
    if (r) {
        r->status = status;
        r->body = x_strndup(body.p, body.n);
        r->is_running = false;
    }
    cond_broadcast(&i->changed);
    mutex_unlock(&i->lock);
}

void idempotency_forget(struct idempotency *i, struct str key)
{
    char name[SHA256_HEX_BYTES];
    hex_of(key, name);
    LOCKED(&i->lock);
    struct record *r = map_get(&i->records, str_from(name));
    if (r)
        drop(i, r);
    cond_broadcast(&i->changed);
}
