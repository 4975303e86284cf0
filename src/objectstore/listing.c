/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of listings: GCS's JSON, S3's XML. Both are outside input: malformed ones are refused
 * whole. */
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "markup/markup.h"
#include "net/xml.h"
#include "objectstore/objectstore_int.h"

#define LIMIT_LIST_MEMORY (128u << 20)
#define LIMIT_PAGE_TOKEN_BYTES 8192

static void object_info_done(struct object_info *i)
{
    mem_free(i->name);
    mem_free(i->tag);
}

void object_list_done(struct object_list *l)
{
    for (size_t i = 0; i < l->n_items; i++)
        object_info_done(&l->items[i]);
    mem_free(l->items);
    *l = (struct object_list){0};
}

void listing_done(struct listing *l)
{
    struct object_list items = {l->items, l->n_items};
    object_list_done(&items);
    mem_free(l->next_page);
    *l = (struct listing){0};
}

enum rc listing_add(struct listing *l, struct str prefix, struct str name, uint64_t size_bytes,
                    int64_t updated_us, struct str tag, struct err *err)
{
    if (name.n < prefix.n || (prefix.n && memcmp(name.p, prefix.p, prefix.n) != 0))
        return err_set(err, RC_INVALID, "the listing names an object that is not under the prefix");
    if (name.n > LIMIT_KEY_BYTES || memchr(name.p, 0, name.n))
        return err_set(err, RC_INVALID,
                       "the listing has an object's name of more than %d bytes or with a NUL",
                       LIMIT_KEY_BYTES);
    if (name.n == prefix.n)
        return RC_OK; /* the placeholder of the "directory" itself */
    if (l->n_items == l->capacity) {
        size_t capacity = l->capacity ? l->capacity * 2 : 64;
        struct object_info *items = try_realloc(l->items, capacity * sizeof *items);
        if (!items)
            return err_set(err, RC_NO_MEMORY, "out of memory for a listing");
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->n_items++] = (struct object_info){
        .name = x_strndup(name.p + prefix.n, name.n - prefix.n),
        .size_bytes = size_bytes,
        .updated_us = updated_us,
        .tag = tag.n ? x_strndup(tag.p, tag.n) : NULL,
    };
    return RC_OK;
}

/* ---- the JSON API ---- */

static enum rc add_json_item(struct listing *l, struct str prefix, const struct node *item,
                             struct err *err)
{
    const struct node *name = node_get(item, "name");
    const struct node *size = node_get(item, "size");
    const struct node *updated = node_get(item, "updated");
    const struct node *generation = node_get(item, "generation");
    uint64_t size_bytes = 0;
    int64_t updated_us = 0;
    if (!name || name->kind != NODE_STRING || !size || !parse_uint64(size->text, &size_bytes))
        return err_set(err, RC_INVALID, "the listing has an item without name or size");
    if (updated && !parse_rfc3339(updated->text, &updated_us))
        return err_set(err, RC_INVALID, "the listing has an item whose time is none");
    return listing_add(l, prefix, name->text, size_bytes, updated_us,
                       generation ? generation->text : (struct str){0}, err);
}

static enum rc read_json(const struct node *root, struct str prefix, struct listing *l,
                         struct err *err)
{
    const struct node *items = node_get(root, "items");
    const struct node *next = node_get(root, "nextPageToken");
    if (root->kind != NODE_MAP || (items && items->kind != NODE_LIST) ||
        (next && (next->kind != NODE_STRING || next->text.n > LIMIT_PAGE_TOKEN_BYTES)))
        return err_set(err, RC_INVALID, "the listing is not what the JSON API answers");
    for (const struct node *item = items ? items->first : NULL; item; item = item->next) {
        enum rc rc = item->kind == NODE_MAP
                         ? add_json_item(l, prefix, item, err)
                         : err_set(err, RC_INVALID, "the listing has an item that is none");
        if (rc != RC_OK)
            return rc;
    }
    if (next && next->text.n)
        l->next_page = x_strndup(next->text.p, next->text.n);
    return RC_OK;
}

enum rc listing_parse_json(struct str text, struct str prefix, struct listing *ret, struct err *err)
{
    struct arena arena;
    struct listing l = {0};
    arena_init(&arena, LIMIT_LIST_MEMORY);
    const struct node *root = json_parse(text, &arena, err);
    enum rc rc = root ? read_json(root, prefix, &l, err) : err_prefix(err, "the listing");
    arena_done(&arena);
    if (rc == RC_OK)
        *ret = l;
    else
        listing_done(&l);
    return rc;
}

/* ---- ListObjectsV2 ---- */

struct xml_listing {
    struct listing *l;
    struct str prefix;
    bool is_result, is_encoded, is_truncated;
    char *next; /* owned */
    /* of the <Contents> that is open */
    struct buf key, tag;
    bool has_key, has_size;
    uint64_t size_bytes;
    int64_t updated_us;
};

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* encoding-type=url: form encoding, '+' is a space. */
static void put_decoded(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        int high = i + 2 < s.n && s.p[i] == '%' ? hex(s.p[i + 1]) : -1;
        int low = high >= 0 ? hex(s.p[i + 2]) : -1;
        if (low >= 0) {
            buf_putc(b, (char)(high << 4 | low));
            i += 2;
        } else {
            buf_putc(b, s.p[i] == '+' ? ' ' : s.p[i]);
        }
    }
}

static enum rc on_contents(struct xml_listing *x, const char *name, struct str text,
                           struct err *err)
{
    if (strcmp(name, "Key") == 0) {
        buf_put_str(&x->key, text);
        x->has_key = true;
    } else if (strcmp(name, "Size") == 0) {
        x->has_size = parse_uint64(text, &x->size_bytes);
        if (!x->has_size)
            return err_set(err, RC_INVALID, "the listing has an item without a size");
    } else if (strcmp(name, "LastModified") == 0) {
        if (!parse_rfc3339(text, &x->updated_us))
            return err_set(err, RC_INVALID, "the listing has an item whose time is none");
    } else if (strcmp(name, "ETag") == 0) {
        /* As the header spells it; some servers leave out the quotes. */
        bool quoted = text.n && text.p[0] == '"';
        if (!quoted && text.n)
            buf_putc(&x->tag, '"');
        buf_put_str(&x->tag, text);
        if (!quoted && text.n)
            buf_putc(&x->tag, '"');
    }
    return RC_OK;
}

static enum rc on_text(void *arg, const char *parent, const char *name, struct str text,
                       struct err *err)
{
    struct xml_listing *x = arg;
    if (strcmp(parent, "Contents") == 0)
        return on_contents(x, name, text, err);
    if (strcmp(parent, "ListBucketResult") != 0)
        return RC_OK;
    if (strcmp(name, "EncodingType") == 0) {
        x->is_encoded = str_is(text, "url");
    } else if (strcmp(name, "IsTruncated") == 0) {
        x->is_truncated = str_is(text, "true");
    } else if (strcmp(name, "NextContinuationToken") == 0 && text.n) {
        mem_free(x->next);
        x->next = x_strndup(text.p, text.n);
    }
    return RC_OK;
}

static enum rc on_element_end(void *arg, const char *name, struct err *err)
{
    struct xml_listing *x = arg;
    if (strcmp(name, "ListBucketResult") == 0)
        x->is_result = true;
    if (strcmp(name, "Contents") != 0)
        return RC_OK;
    if (!x->has_key || !x->has_size || x->key.failed || x->tag.failed)
        return err_set(err, RC_INVALID, "the listing has an item without key or size");
    enum rc rc = listing_add(x->l, (struct str){0}, (struct str){x->key.p, x->key.n}, x->size_bytes,
                             x->updated_us, (struct str){x->tag.p, x->tag.n}, err);
    buf_reset(&x->key);
    buf_reset(&x->tag);
    x->has_key = x->has_size = false;
    x->updated_us = 0;
    return rc;
}

/* Whether keys are encoded may be said after them: they are decoded, and cut to the prefix, at the
 * end. */
static enum rc settle(struct xml_listing *x, struct listing *raw, struct listing *l,
                      struct err *err)
{
    struct buf name;
    enum rc rc = RC_OK;
    buf_init(&name, LIMIT_XML_TEXT_BYTES);
    for (size_t i = 0; i < raw->n_items && rc == RC_OK; i++) {
        const struct object_info *o = &raw->items[i];
        buf_reset(&name);
        if (x->is_encoded)
            put_decoded(&name, str_from(o->name));
        else
            buf_put_cstr(&name, o->name);
        rc = listing_add(l, x->prefix, (struct str){name.p, name.n}, o->size_bytes, o->updated_us,
                         str_from(o->tag), err);
    }
    buf_done(&name);
    if (rc == RC_OK && x->is_truncated && !x->next)
        rc = err_set(err, RC_INVALID, "the listing goes on but does not say where");
    if (rc == RC_OK && x->is_truncated)
        l->next_page = TAKE(x->next);
    return rc;
}

enum rc listing_parse_xml(struct str text, struct str prefix, struct listing *ret, struct err *err)
{
    struct listing raw = {0}, l = {0};
    struct xml_listing x = {.l = &raw, .prefix = prefix};
    const struct xml_events events = {on_text, on_element_end, &x};
    buf_init(&x.key, LIMIT_XML_TEXT_BYTES);
    buf_init(&x.tag, 1024);
    enum rc rc = xml_walk(text, &events, err);
    if (rc == RC_OK && !x.is_result)
        rc = err_set(err, RC_INVALID, "the listing is not what ListObjectsV2 answers");
    if (rc == RC_OK)
        rc = settle(&x, &raw, &l, err);
    buf_done(&x.key);
    buf_done(&x.tag);
    mem_free(x.next);
    listing_done(&raw);
    if (rc == RC_OK)
        *ret = l;
    else
        listing_done(&l);
    return rc;
}
