/* SPDX-License-Identifier: Apache-2.0 */
/* Plain https, and what the stores have in common: conditions by tag, ranges, the head of an
 * answer. */
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "markup/markup.h"
#include "objectstore/objectstore_int.h"

void prepared_add(struct prepared *p, const char *name, char *taken_value)
{
    assert(p->n_headers < LIMIT_PREPARED_HEADERS);
    p->headers[p->n_headers++] = (struct net_header){name, taken_value};
}

void prepared_url(struct prepared *p, struct buf *taken_url)
{
    p->url = buf_take_cstr(taken_url, NULL);
    buf_done(taken_url);
}

void prepared_done(struct prepared *p)
{
    for (size_t i = 0; i < p->n_headers; i++) {
        union { /* the values are ours; net's header struct merely borrows them */
            const char *borrowed;
            char *owned;
        } value = {p->headers[i].value};
        mem_free(value.owned);
    }
    mem_free(p->url);
    *p = (struct prepared){0};
}

bool tag_is_etag(const char *tag)
{
    return tag[0] == '"' || strncmp(tag, "W/\"", 3) == 0;
}

bool tag_is_exact(const struct location *l, const char *tag)
{
    return tag && (tag[0] == '"' || (l->kind == LOCATION_GS && !tag_is_etag(tag)));
}

void prepare_etags(const struct ask *a, struct prepared *p)
{
    /* A weak ETag never matches in If-Match: such a pin is checked on the answer (check_pinned). */
    if (a->tag && a->tag[0] == '"')
        prepared_add(p, "if-match", x_strdup(a->tag));
    if (a->unless_tag && tag_is_etag(a->unless_tag))
        prepared_add(p, "if-none-match", x_strdup(a->unless_tag));
}

void prepare_range(const struct ask *a, struct prepared *p)
{
    if (a->has_range)
        prepared_add(
            p, "range",
            x_printf("bytes=%llu-%llu", (unsigned long long)a->from, (unsigned long long)a->to));
}

void https_prepare(const struct objectstore *o, const struct location *l, const struct ask *a,
                   struct prepared *ret)
{
    const struct store_settings *s = &o->settings;
    bool named = (s->gcs_endpoint_is_named && net_url_same_origin(l->key, s->gcs_endpoint)) ||
                 (s->s3_endpoint_is_named && net_url_same_origin(l->key, s->s3_endpoint));
    *ret = (struct prepared){
        .method = a->is_stat ? "HEAD" : "GET",
        .url = x_strdup(l->key),
        .store = MSTORE_HTTPS,
        .reach = named ? NET_REACH_NAMED : NET_REACH_PUBLIC,
    };
    prepare_etags(a, ret);
    if (a->tag && !tag_is_etag(a->tag))
        prepared_add(ret, "if-unmodified-since", x_strdup(a->tag));
    if (a->unless_tag && !tag_is_etag(a->unless_tag))
        prepared_add(ret, "if-modified-since", x_strdup(a->unless_tag));
    prepare_range(a, ret);
}

/* ---- answers ---- */

static char *owned_header(const struct net_response *r, const char *name)
{
    struct str value = net_response_header(r, name);
    return value.n ? x_strndup(value.p, value.n) : NULL;
}

/* Of the whole object: the part after the slash of a Content-Range, else Content-Length. */
uint64_t size_from(const struct net_response *r)
{
    struct str range = net_response_header(r, "content-range");
    struct str length = net_response_header(r, "content-length");
    const char *slash = range.n ? memchr(range.p, '/', range.n) : NULL;
    uint64_t size = 0;
    if (slash &&
        parse_uint64((struct str){slash + 1, (size_t)(range.p + range.n - slash - 1)}, &size))
        return size;
    return r->status != 206 && length.n && parse_uint64(length, &size) ? size : r->body_bytes;
}

static void meta_from_json(const struct net_response *r, struct object_meta *m)
{
    struct arena arena;
    arena_init(&arena, 1u << 20);
    const struct node *root = json_parse((struct str){r->body.p, r->body.n}, &arena, NULL);
    const struct node *size = root ? node_get(root, "size") : NULL;
    const struct node *generation = root ? node_get(root, "generation") : NULL;
    uint64_t bytes = 0;
    if (size && parse_uint64(size->text, &bytes))
        m->size_bytes = bytes;
    if (generation && generation->text.n)
        m->tag = x_strndup(generation->text.p, generation->text.n);
    arena_done(&arena);
}

void meta_from(const struct objectstore *o, const struct location *l, const struct net_response *r,
               bool is_json_stat, struct object_meta *ret)
{
    *ret = (struct object_meta){.unchanged = r->status == 304};
    if (r->status == 304)
        return;
    if (is_json_stat) {
        meta_from_json(r, ret);
        return;
    }
    ret->size_bytes = size_from(r);
    /* By HMAC conditions are ETags, as S3 has them. */
    if (l->kind == LOCATION_GS && gs_is_json(o))
        ret->tag = owned_header(r, "x-goog-generation");
    if (!ret->tag)
        ret->tag = owned_header(r, "etag");
    if (!ret->tag && l->kind == LOCATION_HTTPS)
        ret->tag = owned_header(r, "last-modified");
}

void object_meta_done(struct object_meta *m)
{
    mem_free(m->tag);
    *m = (struct object_meta){0};
}

enum rc check_pinned(const struct location *l, const char *tag, const struct object_meta *m,
                     struct err *err)
{
    /* S3 keeps its word on If-Match, and its listings may spell an ETag in another way. */
    if (!tag || !m->tag || l->kind == LOCATION_S3 || tag_is_etag(tag) != tag_is_etag(m->tag) ||
        strcmp(tag, m->tag) == 0)
        return RC_OK;
    return err_set(err, RC_CONFLICT, "'%s' was replaced meanwhile", l->text);
}

enum rc check_range(const struct location *l, const struct net_response *r, uint64_t from,
                    struct err *err)
{
    struct str range = net_response_header(r, "content-range");
    const char *dash = range.n ? memchr(range.p, '-', range.n) : NULL;
    struct str unit = STR("bytes ");
    uint64_t first = 0;
    if (dash && (size_t)(dash - range.p) > unit.n &&
        str_eq_nocase((struct str){range.p, unit.n}, unit) &&
        parse_uint64((struct str){range.p + unit.n, (size_t)(dash - range.p) - unit.n}, &first) &&
        first == from)
        return RC_OK;
    return err_set(err, RC_CORRUPT, "'%s': other bytes came than were asked for", l->text);
}
