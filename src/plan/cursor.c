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
#include "query/value_bytes.h"

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

static void put_seek(struct buf *b, const struct query_result *result)
{
    size_t before = b->n;
    bytes_put_u16(b, (uint16_t)result->n_last);
    for (int i = 0; i < result->n_last && b->n <= CURSOR_LIMIT_BODY; i++)
        bytes_put_value(b, &result->last[i]);
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
    bool has_params = plan->filter_key.n <= CURSOR_LIMIT_PARAMS;
    buf_putc(&body, CURSOR_VERSION);
    buf_putc(&body, (char)(CURSOR_HAS_SEEK | (has_params ? CURSOR_HAS_PARAMS : 0)));
    buf_put(&body, b->endpoint->contract_hash, CURSOR_HASH_BYTES);
    buf_put(&body, b->snapshot_fingerprint, CURSOR_HASH_BYTES);
    bytes_put_u64(&body, next_position);
    bytes_put_u64(&body, plan->limit);
    bytes_put_u16(&body, (uint16_t)plan->n_columns);
    for (int i = 0; i < plan->n_columns; i++)
        bytes_put_u16(&body, (uint16_t)plan->columns[i]);
    params_hash(plan, hash);
    buf_put(&body, hash, CURSOR_HASH_BYTES);
    if (has_params)
        bytes_put_text(&body, plan->filter_key);
    put_seek(&body, result);
    make_mac(b, (struct str){body.p, body.n}, mac);
    buf_put(&body, mac, sizeof mac);
    if (body.failed || !buf_reserve(out, 4 * (body.n / 3 + 2)))
        return false;
    out->n += base64url_encode(body.p, body.n, out->p + out->n);
    return true;
}

/* ---- reading ---- */

static enum rc refuse(char *message, const char *why)
{
    size_t n = strlen(why);
    assert(n < PLAN_MESSAGE_BYTES);
    memcpy(message, why, n + 1);
    return RC_INVALID;
}

/* Params out of a filter key: the same bytes build.c writes, checked again as if sent. */
static bool restore_params(struct bytes_in *key, struct arena *arena, struct plan *plan)
{
    const struct endpoint *e = plan->shape->endpoint;
    for (size_t i = 0; i < e->n_params && !key->failed; i++) {
        plan->present[i] = bytes_get_u8(key) == 1;
        if (!plan->present[i])
            continue;
        struct str text = bytes_get_text(key);
        struct param plain = e->params[i];
        plain.n_aliases = 0; /* the text is canonical: an alias must not map it once more */
        if (key->failed || param_check(&plain, text, arena, &plan->values[i]) != PARAM_FINE)
            return false;
    }
    return !key->failed && key->at == key->n;
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

static enum rc restore_columns(struct bytes_in *r, struct arena *arena, struct plan *plan,
                               char *message)
{
    uint16_t columns[QUERY_LIMIT_OUTPUTS];
    int n = bytes_get_u16(r), n_outputs = (int)plan->shape->endpoint->n_outputs;
    if (n < 1 || n > n_outputs)
        return refuse(message, "param `cursor` is not a cursor of this endpoint");
    for (int i = 0; i < n; i++) {
        columns[i] = bytes_get_u16(r);
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

static enum rc restore_filters(struct bytes_in *r, int flags, struct arena *arena,
                               struct plan *plan, char *message)
{
    uint8_t hash[CURSOR_HASH_BYTES], sent_hash[32];
    bytes_get(r, hash, sizeof hash);
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
    struct str key = bytes_get_text(r);
    if (plan->sent_params || r->failed)
        return RC_OK;
    return restore_params(&(struct bytes_in){.p = key.p, .n = key.n}, arena, plan)
               ? RC_OK
               : refuse(message, "param `cursor` is not a cursor of this endpoint");
}

static enum rc restore_seek(struct bytes_in *r, struct arena *arena, struct plan *plan)
{
    int n = bytes_get_u16(r);
    if (n < 1 || n > QUERY_LIMIT_OUTPUTS + 1)
        return RC_INVALID;
    struct value *seek = arena_try_array(arena, (size_t)n, sizeof *seek);
    if (!seek)
        return RC_NO_MEMORY;
    for (int i = 0; i < n; i++)
        bytes_get_value(r, &seek[i]);
    plan->query.has_seek = true;
    plan->query.seek = seek;
    plan->query.n_seek = n;
    return RC_OK;
}

static enum rc restore(struct bytes_in *r, const struct cursor_binding *b, struct arena *arena,
                       struct plan *plan, uint8_t ret_fingerprint[32], char *message)
{
    uint8_t version = bytes_get_u8(r), contract[CURSOR_HASH_BYTES];
    int flags = bytes_get_u8(r);
    bytes_get(r, contract, sizeof contract);
    if (version != CURSOR_VERSION ||
        memcmp(contract, b->endpoint->contract_hash, CURSOR_HASH_BYTES) != 0)
        return RC_CONFLICT;
    memset(ret_fingerprint, 0, 32);
    bytes_get(r, ret_fingerprint, CURSOR_HASH_BYTES);
    plan->position = bytes_get_u64(r);
    uint64_t limit = bytes_get_u64(r);
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
    if (r->failed || r->at != r->n || limit < 1 || limit > (uint64_t)b->endpoint->max_limit)
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
    return restore(&(struct bytes_in){.p = (const char *)bytes, .n = n}, b, arena, plan,
                   ret_fingerprint, ret_message);
}
