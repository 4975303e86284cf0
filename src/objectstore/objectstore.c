/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls: list, get, stat, read. Downloads are in download.c. */
#include "objectstore/objectstore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "objectstore/objectstore_int.h"

static const char *from_environment(const char *name)
{
    return getenv(name);
}

enum rc objectstore_new_with(const char *(*get)(const char *name), bool anonymous_by_default,
                             const struct net_options *options, struct objectstore **ret,
                             struct err *err)
{
    struct objectstore *o = x_alloc0(sizeof *o);
    struct net_options net_options = *options;
    enum rc rc = settings_from(get, anonymous_by_default, &o->settings, err);
    net_options.allow_loopback = o->settings.allow_loopback;
    if (rc == RC_OK)
        rc = net_new(&net_options, &o->net, err);
    if (rc != RC_OK) {
        objectstore_free(o);
        return rc;
    }
    const struct store_settings *s = &o->settings;
    if (s->gcs_auth == GCS_AUTH_BEARER)
        o->tokens = gcs_tokens_new(o->net, &(struct gcs_token_options){
                                               .token = s->gcs_token,
                                               .metadata_url = s->gcs_metadata_url,
                                               .key_file = s->gcs_key_file,
                                           });
    if (s->s3_chain)
        o->chain = aws_chain_new(o->net, get);
    *ret = o;
    return RC_OK;
}

enum rc objectstore_new(bool anonymous_by_default, struct objectstore **ret, struct err *err)
{
    return objectstore_new_with(from_environment, anonymous_by_default, &(struct net_options){0},
                                ret, err);
}

void objectstore_free(struct objectstore *o)
{
    if (!o)
        return;
    gcs_tokens_free(o->tokens);
    aws_chain_free(o->chain);
    net_free(o->net);
    store_settings_done(&o->settings);
    mem_free(o);
}

/* ---- list ---- */

static enum rc fetch_page(struct objectstore *o, const struct location *l, const char *page_token,
                          const _Atomic bool *cancelled, struct listing *ret, struct err *err)
{
    bool is_json = l->kind == LOCATION_GS && gs_is_json(o);
    struct prepared p;
    struct net_response r = {0};
    if (is_json)
        gs_prepare_list(o, l, page_token, &p);
    else
        s3_prepare_list(o, l, page_token, &p);
    enum rc rc = store_send(o, l, &p, NULL, LIMIT_LIST_PAGE_BYTES, cancelled, &r, err);
    prepared_done(&p);
    if (rc != RC_OK)
        return rc;
    rc = store_check_status(o, l, &r, err);
    struct str text = {r.body.p, r.body.n};
    if (rc == RC_OK) {
        rc = is_json ? listing_parse_json(text, str_from(l->key), ret, err)
                     : listing_parse_xml(text, str_from(l->key), ret, err);
        if (rc == RC_INVALID)
            rc = err_set_code(err, RC_CORRUPT, "malformed_listing", "'%.300s': %.500s", l->text,
                              err->message);
    }
    net_response_done(&r);
    return rc;
}

/* A page that cannot be read was cut or garbled on its way: it is asked for again, like a 5xx. */
static enum rc fetch_page_patiently(struct objectstore *o, const struct location *l,
                                    const char *page_token, const _Atomic bool *cancelled,
                                    struct listing *ret, struct err *err)
{
    for (int nth = 1;; nth++) {
        struct err why = ERR_INIT;
        enum rc rc = fetch_page(o, l, page_token, cancelled, ret, &why);
        if (rc == RC_CORRUPT && nth <= STORE_RETRIES &&
            net_pause_before_retry(o->net, nth, cancelled)) {
            metrics_object_store_retry(l->kind == LOCATION_GS ? MSTORE_GS : MSTORE_S3);
            continue;
        }
        if (rc != RC_OK)
            err_copy(err, &why);
        return rc;
    }
}

static int by_name(const void *a, const void *b)
{
    const struct object_info *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static enum rc take_page(struct object_list *all, struct listing *page, size_t limit_objects,
                         const struct location *l, struct err *err)
{
    if (page->n_items > limit_objects - all->n_items)
        return err_set(err, RC_LIMIT, "'%s' has more than %zu objects", l->text, limit_objects);
    if (page->n_items == 0)
        return RC_OK;
    struct object_info *items =
        try_realloc(all->items, (all->n_items + page->n_items) * sizeof *items);
    if (!items)
        return err_set(err, RC_NO_MEMORY, "out of memory for a listing");
    memcpy(items + all->n_items, page->items, page->n_items * sizeof *items);
    all->items = items;
    all->n_items += page->n_items;
    page->n_items = 0; /* moved */
    return RC_OK;
}

static enum rc list_all(struct objectstore *o, const struct location *l, size_t limit_objects,
                        const _Atomic bool *cancelled, struct object_list *all, struct err *err)
{
    AUTO(mem_free_auto) char *token = NULL;
    for (int n_pages = 0; n_pages < LIMIT_LIST_PAGES; n_pages++) {
        struct listing page = {0};
        enum rc rc = fetch_page_patiently(o, l, token, cancelled, &page, err);
        if (rc == RC_OK)
            rc = take_page(all, &page, limit_objects, l, err);
        char *next = TAKE(page.next_page);
        listing_done(&page);
        if (rc != RC_OK || !next) {
            mem_free(next);
            return rc;
        }
        if (token && strcmp(token, next) == 0) {
            mem_free(next);
            break;
        }
        mem_free(token);
        token = next;
    }
    return err_set(err, RC_CORRUPT, "'%s': the listing does not come to an end", l->text);
}

static enum rc check_order(struct object_list *l, const struct location *where, struct err *err)
{
    if (l->n_items)
        qsort(l->items, l->n_items, sizeof *l->items, by_name);
    for (size_t i = 1; i < l->n_items; i++)
        if (strcmp(l->items[i - 1].name, l->items[i].name) == 0)
            return err_set(err, RC_CORRUPT, "'%s': the listing names an object twice", where->text);
    return RC_OK;
}

enum rc objectstore_list(struct objectstore *o, const char *url, size_t limit_objects,
                         const _Atomic bool *cancelled, struct object_list *ret, struct err *err)
{
    struct location l;
    struct object_list all = {0};
    enum rc rc = location_parse(url, &l, err);
    if (rc != RC_OK)
        return rc;
    bool is_bucket = l.kind == LOCATION_GS || l.kind == LOCATION_S3;
    if (!is_bucket || (*l.key && l.key[strlen(l.key) - 1] != '/'))
        rc = err_set(err, RC_INVALID, "'%s' is not a gs:// or s3:// prefix that ends in '/'",
                     l.text);
    if (rc == RC_OK)
        rc = list_all(o, &l, limit_objects, cancelled, &all, err);
    if (rc == RC_OK)
        rc = check_order(&all, &l, err);
    if (rc == RC_OK)
        *ret = all;
    else
        object_list_done(&all);
    location_done(&l);
    return rc;
}

/* ---- whole objects ---- */

struct get_sink {
    struct buf *to;
    size_t n_before;
    const struct location *l;
};

static enum rc on_get_start(void *arg, const struct net_response *head, struct err *err)
{
    struct get_sink *s = arg;
    uint64_t n = 0;
    s->to->n = s->n_before;
    /* Refused by its announced length, before it is read. */
    if (parse_uint64(net_response_header(head, "content-length"), &n) &&
        n > s->to->limit_bytes - s->n_before)
        return err_set(err, RC_LIMIT, "'%s' has %llu bytes, more than the limit of %zu", s->l->text,
                       (unsigned long long)n, s->to->limit_bytes);
    return RC_OK;
}

static enum rc on_get_body(void *arg, const void *p, size_t n, struct err *err)
{
    struct get_sink *s = arg;
    buf_put(s->to, p, n);
    enum rc rc = buf_rc(s->to);
    if (rc == RC_NO_MEMORY)
        return err_set(err, rc, "out of memory for '%s'", s->l->text);
    return rc == RC_OK ? rc
                       : err_set(err, rc, "'%s' has more than the limit of %zu bytes", s->l->text,
                                 s->to->limit_bytes);
}

static enum rc get_remote(struct objectstore *o, const struct location *l,
                          const struct object_request *q, struct buf *to, struct object_meta *m,
                          struct err *err)
{
    const struct ask a = {.tag = q->tag, .unless_tag = q->unless_tag};
    struct get_sink s = {to, to->n, l};
    const struct net_sink sink = {on_get_start, on_get_body, &s};
    struct net_response r = {0};
    struct announced announced;
    enum rc rc = store_ask(o, l, &a, &sink, q->cancelled, &r, err);
    if (rc != RC_OK)
        return rc;
    meta_from(o, l, &r, false, m);
    announced_from(l, &r, false, &announced);
    net_response_done(&r);
    if (m->unchanged)
        return RC_OK;
    rc = check_pinned(l, q->tag, m, err);
    if (rc == RC_OK)
        rc = announced_merge(q, l, &announced, err);
    if (rc == RC_OK)
        rc = announced_check_bytes(&announced, l,
                                   (struct str){to->p + s.n_before, to->n - s.n_before}, err);
    return rc;
}

enum rc objectstore_get(struct objectstore *o, const struct object_request *request,
                        struct buf *ret, struct object_meta *ret_meta, struct err *err)
{
    struct location l;
    struct object_meta m = {0};
    size_t n_before = ret->n;
    enum rc rc = location_parse(request->url, &l, err);
    if (rc != RC_OK)
        return rc;
    rc = l.kind == LOCATION_LOCAL ? local_get(&l, request, ret, &m, err)
                                  : get_remote(o, &l, request, ret, &m, err);
    location_done(&l);
    if (rc == RC_OK && ret_meta)
        *ret_meta = m;
    else
        object_meta_done(&m);
    if (rc != RC_OK) {
        ret->n = n_before;
        ret->failed = BUF_FINE;
    }
    return rc;
}

enum rc objectstore_stat(struct objectstore *o, const struct object_request *request,
                         struct object_meta *ret_meta, struct err *err)
{
    struct location l;
    struct object_meta m = {0};
    enum rc rc = location_parse(request->url, &l, err);
    if (rc != RC_OK)
        return rc;
    if (l.kind == LOCATION_LOCAL) {
        rc = local_stat(&l, request, &m, err);
    } else {
        const struct ask a = {
            .is_stat = true, .tag = request->tag, .unless_tag = request->unless_tag};
        struct net_response r = {0};
        rc = store_ask(o, &l, &a, NULL, request->cancelled, &r, err);
        if (rc == RC_OK)
            meta_from(o, &l, &r, l.kind == LOCATION_GS && gs_is_json(o), &m);
        net_response_done(&r);
        if (rc == RC_OK && !m.unchanged)
            rc = check_pinned(&l, request->tag, &m, err);
    }
    location_done(&l);
    if (rc == RC_OK)
        *ret_meta = m;
    else
        object_meta_done(&m);
    return rc;
}

/* ---- a range ---- */

struct read_sink {
    const struct objectstore *o;
    const struct location *l;
    const struct object_request *request;
    uint64_t offset;
    char *to;
    size_t n, n_done;
    uint64_t skip; /* of a server that answers with the whole object */
};

static enum rc on_read_start(void *arg, const struct net_response *head, struct err *err)
{
    struct read_sink *s = arg;
    struct object_meta m;
    meta_from(s->o, s->l, head, false, &m);
    enum rc rc = check_pinned(s->l, s->request->tag, &m, err);
    object_meta_done(&m);
    if (rc == RC_OK && head->status == 206)
        rc = check_range(s->l, head, s->offset, err);
    s->n_done = 0;
    s->skip = head->status == 206 ? 0 : s->offset;
    return rc;
}

static enum rc on_read_body(void *arg, const void *p, size_t n, struct err *err)
{
    struct read_sink *s = arg;
    (void)err;
    size_t skip = s->skip < n ? (size_t)s->skip : n;
    s->skip -= skip;
    n -= skip;
    size_t room = s->n - s->n_done;
    if (n > room)
        n = room;
    memcpy(s->to + s->n_done, (const char *)p + skip, n);
    s->n_done += n;
    return RC_OK;
}

static enum rc read_remote(struct objectstore *o, const struct location *l,
                           const struct object_request *q, uint64_t offset, void *to, size_t n,
                           struct err *err)
{
    const struct ask a = {.tag = q->tag, .has_range = true, .from = offset, .to = offset + n - 1};
    struct read_sink s = {.o = o, .l = l, .request = q, .offset = offset, .to = to, .n = n};
    const struct net_sink sink = {on_read_start, on_read_body, &s};
    struct net_response r = {0};
    enum rc rc = store_ask(o, l, &a, &sink, q->cancelled, &r, err);
    net_response_done(&r);
    if (rc == RC_OK && s.n_done < n)
        return err_set(err, RC_CORRUPT, "'%s' ends before byte %llu", l->text,
                       (unsigned long long)offset + n);
    return rc;
}

enum rc objectstore_read(struct objectstore *o, const struct object_request *request,
                         uint64_t offset, void *to, size_t n, struct err *err)
{
    struct location l;
    if (n == 0)
        return RC_OK;
    enum rc rc = location_parse(request->url, &l, err);
    if (rc != RC_OK)
        return rc;
    rc = l.kind == LOCATION_LOCAL ? local_read(&l, request, offset, to, n, err)
                                  : read_remote(o, &l, request, offset, to, n, err);
    location_done(&l);
    return rc;
}

/* ---- doctor ---- */

static const char *s3_source(const struct objectstore *o)
{
    return o->settings.s3_session_token ? "OFFLOADER_S3_KEY_ID, temporary (session token)"
                                        : "OFFLOADER_S3_KEY_ID";
}

enum rc objectstore_credential_source(struct objectstore *o, const char *url, char *ret, size_t n,
                                      struct err *err)
{
    struct location l;
    const char *words = "anonymous";
    enum rc rc = location_parse(url, &l, err);
    if (rc != RC_OK)
        return rc;
    bool signs = l.kind == LOCATION_S3 || (l.kind == LOCATION_GS && !gs_is_json(o));
    if (l.kind == LOCATION_GS && o->tokens) {
        AUTO(mem_free_auto) char *token = NULL;
        rc = gcs_tokens_get(o->tokens, NULL, NULL, &token, err);
        words = gcs_tokens_source(o->tokens);
    } else if (signs && o->chain) {
        struct aws_credentials c = {0};
        rc = aws_chain_get(o->chain, NULL, NULL, &c, err);
        words = rc == RC_OK ? c.source : words;
        aws_credentials_done(&c);
    } else if (keys_apply(o, &l)) {
        words = s3_source(o);
    } else if (l.kind == LOCATION_LOCAL) {
        words = "none needed";
    }
    location_done(&l);
    if (rc == RC_OK)
        (void)snprintf(ret, n, "%s", words);
    return rc;
}
