/* SPDX-License-Identifier: Apache-2.0 */
/* keys/keys.yml: who may call what. Only digests of tokens are here. */
#include "base/hash.h"
#include "base/timeutil.h"
#include "project/read.h"

#define LIMIT_KEYS 300000
#define LIMIT_BURST 1000000000

struct key_maps {
    struct map by_id, by_digest;
};

static void hash_read(struct reader *r, const struct node *n, const char *path, struct key *k,
                      bool *ret_good)
{
    const struct node *hash = read_get(r, n, path, "hash", true);
    *ret_good = hash && hash->kind == NODE_STRING && hex_decode(hash->text, k->digest, 32);
    /* 64 digits without a letter look like a number to YAML. */
    if (hash && hash->kind != NODE_LIST && hash->kind != NODE_MAP && !*ret_good)
        *ret_good = hex_decode(hash->text, k->digest, 32);
    if (hash && !*ret_good)
        read_finding(r, hash, read_join(r, path, "hash"), "invalid_value",
                     "`offloader keys hash` makes it from a token",
                     "must be the SHA-256 of the token: 64 lower-case hex digits");
}

static bool tenant_key_read(struct reader *r, const struct node *n, const char *path, struct key *k)
{
    const struct node *tenant = node_get(n, "tenant");
    if (!tenant || tenant->kind == NODE_NULL)
        return true;
    if (tenant->kind != NODE_STRING) {
        read_finding(r, tenant, read_join(r, path, "tenant"), "invalid_type", "put it in quotes",
                     "must be a string");
        return false;
    }
    if (tenant->text.n == 0) {
        read_finding(r, tenant, read_join(r, path, "tenant"), "invalid_value",
                     "leave it out for a key without a tenant", "must not be empty");
        return false;
    }
    k->tenant = read_copy(r, tenant->text);
    return true;
}

static void grants_read(struct reader *r, const struct node *n, const char *path,
                        const struct project *p, struct key *k, bool tenant_is_fine)
{
    const struct node *list = read_get(r, n, path, "endpoints", true);
    const char *at = read_join(r, path, "endpoints");
    bool needs_tenant = false;
    size_t i = 0;
    k->endpoint_bits = read_take(r, p->n_endpoint_words, sizeof *k->endpoint_bits);
    if (!list || !read_list(r, list, at))
        return;
    if (list->n_children == 0)
        read_finding(r, list, at, "missing", NULL, "at least one endpoint is required");
    for (const struct node *item = list->first; item; item = item->next, i++) {
        const struct endpoint *e =
            item->kind == NODE_STRING ? project_endpoint(p, item->text) : NULL;
        if (item->kind == NODE_LIST || item->kind == NODE_MAP) {
            read_finding(r, item, read_path(r, "%s[%zu]", at, i), "invalid_type", NULL,
                         "must be the name of an endpoint");
        } else if (!e) {
            read_finding(r, item, read_path(r, "%s[%zu]", at, i), "unknown_endpoint", NULL,
                         "there is no endpoint `%s`", item->text.p);
        } else {
            k->endpoint_bits[e->ordinal / 64] |= UINT64_C(1) << (e->ordinal % 64);
            needs_tenant |= e->tenant_scoped;
        }
    }
    if (needs_tenant && !k->tenant && tenant_is_fine)
        read_finding(r, n, read_join(r, path, "tenant"), "tenant_required", NULL,
                     "the key is granted a tenant-scoped endpoint");
}

static void expiry_read(struct reader *r, const struct node *n, const char *path, struct key *k)
{
    const struct node *expires = read_get(r, n, path, "expires_at", false);
    if (!expires)
        return;
    k->has_expiry = expires->kind == NODE_STRING && parse_rfc3339(expires->text, &k->expires_at_us);
    if (!k->has_expiry)
        read_finding(r, expires, read_join(r, path, "expires_at"),
                     expires->kind == NODE_STRING ? "invalid_value" : "invalid_type", NULL,
                     "must be an RFC 3339 time such as 2027-01-31T00:00:00Z");
}

static void rate_limit_read(struct reader *r, const struct node *n, const char *path, struct key *k)
{
    static const char *const known[] = {"requests_per_second", "burst", NULL};
    const struct node *limit = read_get(r, n, path, "rate_limit", false);
    const char *at = read_join(r, path, "rate_limit");
    if (!limit || !read_map(r, limit, at, known))
        return;
    bool has_rate = read_get(r, limit, at, "requests_per_second", true) &&
                    read_number(r, limit, at, "requests_per_second", &k->requests_per_second);
    if (has_rate && !(k->requests_per_second > 0 && k->requests_per_second <= 1e6)) {
        read_finding(r, node_get(limit, "requests_per_second"),
                     read_join(r, at, "requests_per_second"), "invalid_value", NULL,
                     "must be greater than 0 and at most 1000000");
        has_rate = false;
    }
    bool has_burst = read_integer(r, limit, at, "burst", true, &k->burst);
    if (has_burst && (k->burst < 1 || k->burst > LIMIT_BURST))
        read_finding(r, node_get(limit, "burst"), read_join(r, at, "burst"), "invalid_value", NULL,
                     "must be 1 or greater");
    k->has_rate_limit = has_rate && has_burst;
}

static void key_read(struct reader *r, const struct node *n, const char *path, struct project *p,
                     struct key_maps *maps)
{
    static const char *const known[] = {"id",     "hash",       "tenant",     "endpoints",
                                        "status", "expires_at", "rate_limit", NULL};
    static const char *const statuses[] = {"active", "revoked", NULL};
    bool good_hash = false;
    void *old = NULL;
    if (!read_map(r, n, path, known))
        return;
    struct key *k = &p->keys[p->n_keys];
    *k = (struct key){.id = read_name(r, n, path, "id")};
    hash_read(r, n, path, k, &good_hash);
    bool tenant_is_fine = tenant_key_read(r, n, path, k);
    grants_read(r, n, path, p, k, tenant_is_fine);
    k->status = (enum key_status)read_word(r, n, path, "status", true, statuses, KEY_REVOKED);
    expiry_read(r, n, path, k);
    rate_limit_read(r, n, path, k);
    if (k->id && map_get(&maps->by_id, str_from(k->id)))
        read_finding(r, node_get(n, "id"), read_join(r, path, "id"), "duplicate_key", NULL,
                     "`%s` stands twice", k->id);
    else if (k->id && !map_put(&maps->by_id, str_from(k->id), k, &old))
        longjmp(*r->no_memory, 1);
    struct str digest = {(const char *)k->digest, 32};
    if (good_hash && map_get(&maps->by_digest, digest))
        read_finding(r, node_get(n, "hash"), read_join(r, path, "hash"), "duplicate_key", NULL,
                     "another key has the same token");
    else if (good_hash && !map_put(&maps->by_digest, digest, k, &old))
        longjmp(*r->no_memory, 1);
    p->n_keys++;
}

static void keys_read_all(struct reader *r, const struct node *list, struct project *p,
                          struct key_maps *maps)
{
    size_t i = 0;
    for (const struct node *item = list->first; item; item = item->next, i++)
        key_read(r, item, read_path(r, "keys[%zu]", i), p, maps);
}

void keys_read(struct reader *r, const struct node *root, struct project *p)
{
    static const char *const known[] = {"keys", NULL};
    struct key_maps maps = {0};
    jmp_buf *const outer = r->no_memory;
    jmp_buf here;
    if (!read_map(r, root, "", known))
        return;
    const struct node *list = read_get(r, root, "", "keys", true);
    if (!list || !read_list(r, list, "keys"))
        return;
    if (list->n_children > LIMIT_KEYS) {
        read_finding(r, list, "keys", "invalid_value", NULL, "has more than %d keys", LIMIT_KEYS);
        return;
    }
    p->keys = read_take(r, list->n_children, sizeof *p->keys);
    /* The maps live outside the arena: let go of them before the load unwinds. */
    if (setjmp(here) == 0) {
        r->no_memory = &here;
        keys_read_all(r, list, p, &maps);
        r->no_memory = outer;
    }
    map_done(&maps.by_id);
    map_done(&maps.by_digest);
    if (r->no_memory != outer) {
        r->no_memory = outer;
        longjmp(*outer, 1);
    }
}
