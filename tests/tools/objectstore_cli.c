/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object store client, for tests to drive:
 *   objectstore_cli [--stall-ms N] [--backoff-ms N] [--cancel-ms N] [--anonymous] COMMAND URL ...
 *     list URL LIMIT | get URL | download URL FILE | stat URL | read URL OFFSET BYTES | source URL
 *     many COUNT URL (as many gets of one object at once) | metrics (after the command: --metrics)
 *   --tag T  --unless T  --size N  --sha256 HEX  apply to get, download, stat and read.
 * Results go to standard output (JSON, or the bytes for get and read), errors to standard error as
 * "CLASS code message" with exit status 1.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "markup/markup.h"
#include "net/net.h"
#include "objectstore/objectstore.h"

#define LIMIT_GET_BYTES (256u << 20)
#define LIMIT_MANY 64

struct options {
    struct net_options net;
    int64_t cancel_ms;
    bool anonymous, metrics;
    struct object_request request;
};

static _Atomic bool cancelled;
static _Atomic uint64_t progress_bytes;

static const char *environment(const char *name)
{
    return getenv(name);
}

static int64_t number(const char *text)
{
    int64_t n = 0;
    if (!parse_int64(str_from(text), &n)) {
        fprintf(stderr, "'%s' is no number\n", text);
        exit(2);
    }
    return n;
}

static void on_progress(void *arg, uint64_t bytes)
{
    (void)arg;
    atomic_store(&progress_bytes, bytes);
}

static void *cancel_later(void *arg)
{
    const struct options *o = arg;
    (void)usleep((useconds_t)o->cancel_ms * 1000);
    atomic_store(&cancelled, true);
    return NULL;
}

static int parse_options(char **argv, struct options *o)
{
    int i = 1;
    for (; argv[i] && strncmp(argv[i], "--", 2) == 0; i++) {
        const char *name = argv[i] + 2, *value = argv[i + 1];
        if (strcmp(name, "anonymous") == 0) {
            o->anonymous = true;
            continue;
        }
        if (strcmp(name, "metrics") == 0) {
            o->metrics = true;
            continue;
        }
        i++;
        if (strcmp(name, "stall-ms") == 0)
            o->net.stall_timeout_ms = number(value);
        else if (strcmp(name, "backoff-ms") == 0)
            o->net.backoff_ms = number(value);
        else if (strcmp(name, "connect-ms") == 0)
            o->net.connect_timeout_ms = number(value);
        else if (strcmp(name, "cancel-ms") == 0)
            o->cancel_ms = number(value);
        else if (strcmp(name, "tag") == 0)
            o->request.tag = value;
        else if (strcmp(name, "unless") == 0)
            o->request.unless_tag = value;
        else if (strcmp(name, "size") == 0)
            o->request.has_size = true, o->request.size_bytes = (uint64_t)number(value);
        else if (strcmp(name, "sha256") == 0)
            o->request.has_sha256 = hex_decode(str_from(value), o->request.sha256, 32);
        else
            exit(2);
    }
    return i;
}

static void put_meta(const struct object_meta *m)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 1u << 20);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "size");
    jw_uint(&w, m->size_bytes);
    jw_key(&w, "tag");
    jw_cstr(&w, m->tag);
    jw_key(&w, "unchanged");
    jw_bool(&w, m->unchanged);
    jw_key(&w, "progress");
    jw_uint(&w, atomic_load(&progress_bytes));
    jw_close(&w, '}');
    printf("%s\n", buf_cstr(&b));
    buf_done(&b);
}

static enum rc list(struct objectstore *o, char **args, struct err *err)
{
    struct object_list l = {0};
    enum rc rc = objectstore_list(o, args[0], (size_t)number(args[1]), &cancelled, &l, err);
    struct buf b;
    struct json_writer w;
    if (rc != RC_OK)
        return rc;
    buf_init(&b, 1u << 30);
    jw_init(&w, &b);
    jw_open(&w, '[');
    for (size_t i = 0; i < l.n_items; i++) {
        jw_open(&w, '[');
        jw_cstr(&w, l.items[i].name);
        jw_uint(&w, l.items[i].size_bytes);
        jw_cstr(&w, l.items[i].tag);
        jw_int(&w, l.items[i].updated_us);
        jw_close(&w, ']');
    }
    jw_close(&w, ']');
    printf("%s\n", buf_cstr(&b));
    buf_done(&b);
    object_list_done(&l);
    return RC_OK;
}

static enum rc get(struct objectstore *o, const struct object_request *q, struct err *err)
{
    struct buf b;
    struct object_meta m = {0};
    buf_init(&b, LIMIT_GET_BYTES);
    enum rc rc = objectstore_get(o, q, &b, &m, err);
    if (rc == RC_OK && m.unchanged)
        printf("unchanged");
    else if (rc == RC_OK)
        (void)fwrite(b.p, 1, b.n, stdout);
    object_meta_done(&m);
    buf_done(&b);
    return rc;
}

struct one {
    struct objectstore *store;
    const struct object_request *request;
    enum rc rc;
    struct err err;
};

static void *get_one(void *arg)
{
    struct one *one = arg;
    struct buf b;
    buf_init(&b, LIMIT_GET_BYTES);
    one->rc = objectstore_get(one->store, one->request, &b, NULL, &one->err);
    buf_done(&b);
    return NULL;
}

static enum rc get_many(struct objectstore *o, const struct object_request *q, size_t n,
                        struct err *err)
{
    static struct one ones[LIMIT_MANY];
    pthread_t threads[LIMIT_MANY];
    enum rc rc = RC_OK;
    if (n > LIMIT_MANY)
        exit(2);
    for (size_t i = 0; i < n; i++) {
        ones[i] = (struct one){.store = o, .request = q};
        if (thread_start(&threads[i], "get", get_one, &ones[i], err) != RC_OK)
            exit(2);
    }
    for (size_t i = 0; i < n; i++) {
        thread_join(threads[i]);
        if (ones[i].rc != RC_OK) {
            rc = ones[i].rc;
            err_copy(err, &ones[i].err);
        }
    }
    return rc;
}

static enum rc run(struct objectstore *o, struct options *options, char **args, struct err *err)
{
    struct object_request *q = &options->request;
    struct object_meta m = {0};
    const char *command = args[0];
    enum rc rc = RC_OK;
    q->url = args[1];
    q->cancelled = &cancelled;
    q->on_progress = on_progress;
    if (strcmp(command, "list") == 0)
        return list(o, args + 1, err);
    if (strcmp(command, "get") == 0)
        return get(o, q, err);
    if (strcmp(command, "many") == 0) {
        q->url = args[2];
        return get_many(o, q, (size_t)number(args[1]), err);
    }
    if (strcmp(command, "source") == 0) {
        char words[128];
        rc = objectstore_credential_source(o, args[1], words, sizeof words, err);
        if (rc == RC_OK)
            printf("%s\n", words);
        return rc;
    }
    if (strcmp(command, "read") == 0) {
        size_t n = (size_t)number(args[3]);
        AUTO(mem_free_auto) char *to = x_alloc(n + 1);
        rc = objectstore_read(o, q, (uint64_t)number(args[2]), to, n, err);
        if (rc == RC_OK)
            (void)fwrite(to, 1, n, stdout);
        return rc;
    }
    if (strcmp(command, "download") == 0)
        rc = objectstore_download(o, q, args[2], &m, err);
    else if (strcmp(command, "stat") == 0)
        rc = objectstore_stat(o, q, &m, err);
    else
        exit(2);
    if (rc == RC_OK)
        put_meta(&m);
    object_meta_done(&m);
    return rc;
}

static void no_gauges(void *arg, enum metric m, struct metrics_writer *w)
{
    (void)arg, (void)m, (void)w;
}

static void put_metrics(void)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    metrics_scrape(&b, no_gauges, NULL);
    fprintf(stderr, "%s", buf_cstr(&b));
    buf_done(&b);
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct objectstore *o = NULL;
    struct err err = ERR_INIT;
    pthread_t canceller;
    (void)argc;
    int at = parse_options(argv, &options);
    metrics_init(NULL);
    enum rc rc = objectstore_new_with(environment, options.anonymous, &options.net, &o, &err);
    if (rc == RC_OK && options.cancel_ms)
        rc = thread_start(&canceller, "cancel", cancel_later, &options, &err);
    if (rc == RC_OK)
        rc = run(o, &options, argv + at, &err);
    if (options.cancel_ms)
        thread_join(canceller);
    objectstore_free(o);
    if (options.metrics)
        put_metrics();
    if (rc != RC_OK)
        fprintf(stderr, "%s %s %s\n", rc_name(rc), *err.code ? err.code : "-", err.message);
    return rc == RC_OK ? 0 : 1;
}
