/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cursors. A token is base64url of `body || mac`; the MAC is HMAC-SHA256 cut to 16 bytes over
 * endpoint name, tenant and body, so a token made for another endpoint or tenant does not verify.
 *
 * body: version u8, flags u8, contract hash 16, snapshot fingerprint 16, position u64, limit u64,
 *       n_columns u16 and columns u16 each, params hash 16, [params: as plan.filter_key, u32
 * length], [seek: n u16, then values] A seek position too large for a URL is left out; the page is
 * then found by its offset in the same snapshot, which is the same place at a higher cost. Params
 * too large are left out too and must be sent again.
 */
#include "base/hash.h"
#include "plan/plan_int.h"

#define CURSOR_VERSION 1
#define CURSOR_MAC_BYTES 16
#define CURSOR_HASH_BYTES 16
#define CURSOR_LIMIT_BODY 4400 /* base64 of body and MAC stays below CURSOR_LIMIT_BYTES */
#define CURSOR_LIMIT_PARAMS 2000
enum { CURSOR_HAS_PARAMS = 1, CURSOR_HAS_SEEK = 2 };

static uint8_t secret_key[32];

void cursor_set_secret(const void *secret, size_t n)
{
    hmac_sha256(secret, n, "offloader cursor 1", 18, secret_key);
}

static void make_mac(const struct cursor_binding *b, struct str body, uint8_t ret[CURSOR_MAC_BYTES])
{
    uint8_t inner[32 * 3], outer[32];
    const char *name = b->endpoint->name;
    /* Digests have one length: no two lists of fields look alike. */
    sha256(name, strlen(name), inner);
    sha256(b->tenant.p ? b->tenant.p : "", b->tenant.n, inner + 32);
    sha256(body.p, body.n, inner + 64);
    hmac_sha256(secret_key, sizeof secret_key, inner, sizeof inner, outer);
    memcpy(ret, outer, CURSOR_MAC_BYTES);
}

static void params_hash(const struct plan *plan, uint8_t ret[32])
{
    sha256(plan->filter_key.p, plan->filter_key.n, ret);
}

/* ---- writing ---- */

static void put_value(struct buf *b, const struct value *v)
{
    uint8_t kind = (uint8_t)v->kind;
    uint32_t n;
    buf_put(b, &kind, 1);
    switch (v->kind) {
    case VALUE_NULL:
        return;
    case VALUE_BOOL:
        buf_putc(b, (char)v->boolean);
        return;
    case VALUE_INT:
        buf_put(b, &v->integer, sizeof v->integer);
        return;
    case VALUE_INT128:
        buf_put(b, &v->integer128, sizeof v->integer128);
        return;
    case VALUE_DOUBLE:
        buf_put(b, &v->number, sizeof v->number);
        return;
    case VALUE_TEXT:
        n = (uint32_t)v->text.n;
        buf_put(b, &n, sizeof n);
        buf_put(b, v->text.p, v->text.n);
        return;
    }
}

static void put_seek(struct buf *b, const struct query_result *result)
{
    size_t before = b->n;
    uint16_t n = (uint16_t)result->n_last;
    buf_put(b, &n, sizeof n);
    for (int i = 0; i < result->n_last && b->n <= CURSOR_LIMIT_BODY; i++)
        put_value(b, &result->last[i]);
    if (b->n > CURSOR_LIMIT_BODY || b->failed || result->n_last == 0) {
        b->failed = BUF_FINE;
        b->n = before;
        b->p[1] = (char)(b->p[1] & ~CURSOR_HAS_SEEK);
    }
}

bool cursor_write(const struct cursor_binding *b, const struct plan *plan,
                  const struct query_result *result, uint64_t next_position, struct buf *out)
{
    char room[CURSOR_LIMIT_BODY + 512];
    struct buf body = {.p = room, .capacity = sizeof room, .limit_bytes = sizeof room};
    uint8_t hash[32], mac[CURSOR_MAC_BYTES];
    uint32_t n_params = (uint32_t)plan->filter_key.n;
    bool has_params = n_params <= CURSOR_LIMIT_PARAMS;
    uint16_t n_columns = (uint16_t)plan->n_columns;
    buf_putc(&body, CURSOR_VERSION);
    buf_putc(&body, (char)(CURSOR_HAS_SEEK | (has_params ? CURSOR_HAS_PARAMS : 0)));
    buf_put(&body, b->endpoint->contract_hash, CURSOR_HASH_BYTES);
    buf_put(&body, b->snapshot_fingerprint, CURSOR_HASH_BYTES);
    buf_put(&body, &next_position, sizeof next_position);
    buf_put(&body, &plan->limit, sizeof plan->limit);
    buf_put(&body, &n_columns, sizeof n_columns);
    for (int i = 0; i < plan->n_columns; i++) {
        uint16_t column = (uint16_t)plan->columns[i];
        buf_put(&body, &column, sizeof column);
    }
    params_hash(plan, hash);
    buf_put(&body, hash, CURSOR_HASH_BYTES);
    if (has_params) {
        buf_put(&body, &n_params, sizeof n_params);
        buf_put(&body, plan->filter_key.p, n_params);
    }
    put_seek(&body, result);
    make_mac(b, (struct str){body.p, body.n}, mac);
    buf_put(&body, mac, sizeof mac);
    if (body.failed || !buf_reserve(out, 4 * (body.n / 3 + 2)))
        return false;
    out->n += base64url_encode(body.p, body.n, out->p + out->n);
    return true;
}

/* ---- reading ---- */

struct cursor_reader {
    const uint8_t *p, *end;
    bool failed;
};

static const void *take(struct cursor_reader *r, size_t n)
{
    static const uint8_t zeros[64];
    const uint8_t *p = r->p;
    if (r->failed || (size_t)(r->end - r->p) < n) {
        r->failed = true;
        return n <= sizeof zeros ? zeros : NULL;
    }
    r->p += n;
    return p;
}

static uint16_t take_u16(struct cursor_reader *r)
{
    uint16_t v;
    memcpy(&v, take(r, sizeof v), sizeof v);
    return v;
}

static uint32_t take_u32(struct cursor_reader *r)
{
    uint32_t v;
    memcpy(&v, take(r, sizeof v), sizeof v);
    return v;
}

static uint64_t take_u64(struct cursor_reader *r)
{
    uint64_t v;
    memcpy(&v, take(r, sizeof v), sizeof v);
    return v;
}

static void take_value(struct cursor_reader *r, struct value *ret)
{
    uint8_t kind;
    memcpy(&kind, take(r, 1), 1);
    *ret = (struct value){.kind = (enum value_kind)kind};
    if (kind == VALUE_BOOL)
        ret->boolean = *(const uint8_t *)take(r, 1) != 0;
    else if (kind == VALUE_INT)
        memcpy(&ret->integer, take(r, sizeof ret->integer), sizeof ret->integer);
    else if (kind == VALUE_INT128)
        memcpy(&ret->integer128, take(r, sizeof ret->integer128), sizeof ret->integer128);
    else if (kind == VALUE_DOUBLE)
        memcpy(&ret->number, take(r, sizeof ret->number), sizeof ret->number);
    else if (kind == VALUE_TEXT) {
        uint32_t n = take_u32(r);
        ret->text = (struct str){take(r, n), n};
    } else if (kind != VALUE_NULL)
        r->failed = true;
}

static enum rc refuse(char *message, const char *why)
{
    size_t n = strlen(why);
    assert(n < PLAN_MESSAGE_BYTES);
    memcpy(message, why, n + 1);
    return RC_INVALID;
}

/* Params out of a filter key: the same bytes build.c writes, checked again as if sent. */
static bool restore_params(struct cursor_reader *key, struct arena *arena, struct plan *plan)
{
    const struct endpoint *e = plan->shape->endpoint;
    for (size_t i = 0; i < e->n_params && !key->failed; i++) {
        plan->present[i] = *(const uint8_t *)take(key, 1) == 1;
        if (!plan->present[i])
            continue;
        uint32_t n = take_u32(key);
        const char *text = take(key, n);
        struct param plain = e->params[i];
        plain.n_aliases = 0; /* the text is canonical: an alias must not map it once more */
        if (key->failed ||
            param_check(&plain, (struct str){text, n}, arena, &plan->values[i]) != PARAM_FINE)
            return false;
    }
    return !key->failed && key->p == key->end;
}

static bool same_columns(const struct plan *plan, const uint16_t *columns, int n)
{
    if (plan->n_columns != n)
        return false;
    for (int i = 0; i < n; i++)
        if (plan->columns[i] != columns[i])
            return false;
    return true;
}

static enum rc restore_columns(struct cursor_reader *r, struct arena *arena, struct plan *plan,
                               char *message)
{
    uint16_t columns[QUERY_LIMIT_OUTPUTS];
    int n = take_u16(r), n_outputs = (int)plan->shape->endpoint->n_outputs;
    if (n < 1 || n > n_outputs)
        return refuse(message, "param `cursor` is not a cursor of this endpoint");
    for (int i = 0; i < n; i++) {
        columns[i] = take_u16(r);
        if (columns[i] >= n_outputs)
            return refuse(message, "param `cursor` is not a cursor of this endpoint");
    }
    if (plan->sent_columns)
        return same_columns(plan, columns, n)
                   ? RC_OK
                   : refuse(message, "param `columns` is not what the cursor was made with");
    bool *wanted = arena_try_array(arena, (size_t)n_outputs, sizeof *wanted);
    if (!wanted)
        return RC_NO_MEMORY;
    plan->n_columns = n;
    for (int i = 0; i < n; i++) {
        plan->columns[i] = columns[i];
        wanted[columns[i]] = true;
    }
    plan->query.wanted = wanted;
    return RC_OK;
}

static enum rc restore_filters(struct cursor_reader *r, int flags, struct arena *arena,
                               struct plan *plan, char *message)
{
    const uint8_t *hash = take(r, CURSOR_HASH_BYTES);
    uint8_t sent_hash[32];
    if (plan->sent_params) {
        params_hash(plan, sent_hash);
        if (!equal_constant_time(sent_hash, hash, CURSOR_HASH_BYTES))
            return refuse(message, "the params are not those the cursor was made with");
    }
    if (!(flags & CURSOR_HAS_PARAMS)) {
        if (plan->sent_params)
            return RC_OK;
        params_hash(plan, sent_hash);
        return equal_constant_time(sent_hash, hash, CURSOR_HASH_BYTES)
                   ? RC_OK
                   : refuse(message, "this cursor needs the params it was made with");
    }
    uint32_t n = take_u32(r);
    const uint8_t *key = take(r, n);
    if (plan->sent_params || r->failed)
        return RC_OK;
    return restore_params(&(struct cursor_reader){key, key + n, false}, arena, plan)
               ? RC_OK
               : refuse(message, "param `cursor` is not a cursor of this endpoint");
}

static enum rc restore_seek(struct cursor_reader *r, struct arena *arena, struct plan *plan)
{
    int n = take_u16(r);
    if (n < 1 || n > QUERY_LIMIT_OUTPUTS + 1)
        return RC_INVALID;
    struct value *seek = arena_try_array(arena, (size_t)n, sizeof *seek);
    if (!seek)
        return RC_NO_MEMORY;
    for (int i = 0; i < n; i++)
        take_value(r, &seek[i]);
    plan->query.has_seek = true;
    plan->query.seek = seek;
    plan->query.n_seek = n;
    return RC_OK;
}

static enum rc restore(struct cursor_reader *r, const struct cursor_binding *b, struct arena *arena,
                       struct plan *plan, uint8_t ret_fingerprint[32], char *message)
{
    uint8_t version = *(const uint8_t *)take(r, 1);
    int flags = *(const uint8_t *)take(r, 1);
    const uint8_t *contract = take(r, CURSOR_HASH_BYTES);
    if (version != CURSOR_VERSION ||
        memcmp(contract, b->endpoint->contract_hash, CURSOR_HASH_BYTES) != 0)
        return RC_CONFLICT;
    memset(ret_fingerprint, 0, 32);
    memcpy(ret_fingerprint, take(r, CURSOR_HASH_BYTES), CURSOR_HASH_BYTES);
    plan->position = take_u64(r);
    uint64_t limit = take_u64(r);
    if (plan->sent_limit && plan->limit != limit)
        return refuse(message, "param `limit` is not what the cursor was made with");
    plan->limit = limit;
    enum rc rc = restore_columns(r, arena, plan, message);
    if (rc == RC_OK)
        rc = restore_filters(r, flags, arena, plan, message);
    if (rc == RC_OK && (flags & CURSOR_HAS_SEEK))
        rc = restore_seek(r, arena, plan);
    if (rc != RC_OK)
        return rc;
    if (r->failed || r->p != r->end || limit < 1 || limit > (uint64_t)b->endpoint->max_limit)
        return refuse(message, "param `cursor` is not a cursor of this endpoint");
    return plan_build(arena, plan);
}

enum rc cursor_open(const struct cursor_binding *b, struct arena *arena, struct plan *plan,
                    uint8_t ret_fingerprint[32], char ret_message[PLAN_MESSAGE_BYTES])
{
    uint8_t mac[CURSOR_MAC_BYTES];
    size_t n = 0;
    uint8_t *bytes = arena_try(arena, CURSOR_LIMIT_BYTES);
    if (!bytes)
        return RC_NO_MEMORY;
    if (!base64url_decode(plan->cursor, bytes, CURSOR_LIMIT_BYTES, &n) || n <= CURSOR_MAC_BYTES)
        return refuse(ret_message, "param `cursor` is not a cursor of this endpoint");
    n -= CURSOR_MAC_BYTES;
    make_mac(b, (struct str){(const char *)bytes, n}, mac);
    if (!equal_constant_time(mac, bytes + n, sizeof mac))
        return refuse(ret_message, "param `cursor` is not a cursor of this endpoint");
    return restore(&(struct cursor_reader){bytes, bytes + n, false}, b, arena, plan,
                   ret_fingerprint, ret_message);
}
