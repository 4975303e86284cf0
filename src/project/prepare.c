/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows from a valid project: the physical sort of each dataset, fingerprints that decide
 * what a reload has to rebuild, and the table that finds a key by the digest of its token.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "project/read.h"

#define LIMIT_RANKED_COLUMNS 4

struct ranked {
    int column;
    size_t n_endpoints;
    bool has_eq;
    const char *name;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->n_endpoints != y->n_endpoints)
        return x->n_endpoints > y->n_endpoints ? -1 : 1;
    if (x->has_eq != y->has_eq)
        return x->has_eq ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Counts an endpoint once for each column it filters on. */
static void rank_endpoint(const struct endpoint *e, struct ranked *ranked)
{
    for (size_t i = 0; i < e->n_filters; i++) {
        bool counted = false;
        for (size_t j = 0; j < i; j++)
            counted |= e->filters[j].column == e->filters[i].column;
        ranked[e->filters[i].column].n_endpoints += !counted;
        ranked[e->filters[i].column].has_eq |= e->filters[i].op == FILTER_EQ;
    }
}

/* Do all requests of @e have one value for @column? */
static bool is_always_bound(const struct dataset *d, const struct endpoint *e, int column)
{
    bool bound = e->tenant_scoped && column == d->tenant_column;
    for (size_t i = 0; i < e->n_filters; i++) {
        const struct param *p = &e->params[e->filters[i].param];
        bound |= e->filters[i].column == column && e->filters[i].op == FILTER_EQ &&
                 (p->required || p->has_default);
    }
    return bound;
}

/* Is there a request of @e that the sort does not lead to the rows of one value of @column? */
static bool passes_by_the_sort(const struct dataset *d, const struct endpoint *e, int column)
{
    for (int i = 0; i < d->n_sort_columns; i++) {
        if (d->sort_columns[i] == column)
            return false;
        if (!is_always_bound(d, e, d->sort_columns[i]))
            return true;
    }
    return true;
}

/* Posting lists are worth their bytes only where the sort does not find the rows as well. */
static void mark_equality_columns(struct dataset *d, const struct endpoint *e)
{
    if (e->serving_mode != MODE_LOCAL_TABLE)
        return;
    for (size_t i = 0; i < e->n_filters; i++) {
        int column = e->filters[i].column;
        if (e->filters[i].op == FILTER_EQ)
            d->equality_columns[column] |= passes_by_the_sort(d, e, column);
    }
}

static void prepare_dataset(struct reader *r, struct project *p, int index)
{
    struct dataset *d = &p->datasets[index];
    struct ranked *ranked = read_take(r, d->schema.n_columns, sizeof *ranked);
    d->equality_columns = read_take(r, d->schema.n_columns, sizeof *d->equality_columns);
    for (size_t i = 0; i < d->schema.n_columns; i++)
        ranked[i] = (struct ranked){.column = (int)i, .name = d->schema.columns[i].name};
    for (size_t i = 0; i < p->n_endpoints; i++) {
        const struct endpoint *e = &p->endpoints[i];
        if (e->dataset != index)
            continue;
        rank_endpoint(e, ranked);
        d->any_local_table |= e->serving_mode == MODE_LOCAL_TABLE;
        d->any_remote_scan |= e->serving_mode == MODE_REMOTE_SCAN;
        if (e->max_staleness_minutes && (!d->tightest_staleness_minutes ||
                                         e->max_staleness_minutes < d->tightest_staleness_minutes))
            d->tightest_staleness_minutes = e->max_staleness_minutes;
    }
    if (d->tenant_column >= 0)
        d->sort_columns[d->n_sort_columns++] = d->tenant_column;
    qsort(ranked, d->schema.n_columns, sizeof *ranked, compare_ranked);
    for (size_t i = 0; i < d->schema.n_columns && i < LIMIT_RANKED_COLUMNS; i++)
        if (ranked[i].n_endpoints)
            d->sort_columns[d->n_sort_columns++] = ranked[i].column;
    for (size_t i = 0; i < p->n_endpoints; i++)
        if (p->endpoints[i].dataset == index)
            mark_equality_columns(d, &p->endpoints[i]);
}

/* ---- fingerprints: SHA-256 over length-prefixed fields, so that no two lists look alike ---- */

static void add_bytes(struct sha256_stream *s, const void *p, size_t n)
{
    uint64_t length = n;
    sha256_add(s, &length, sizeof length);
    sha256_add(s, p, n);
}

static void add_text(struct sha256_stream *s, const char *text)
{
    add_bytes(s, text ? text : "", text ? strlen(text) : 0);
}

static void add_integer(struct sha256_stream *s, int64_t v)
{
    add_bytes(s, &v, sizeof v);
}

static void add_limit(struct sha256_stream *s, bool has, double limit)
{
    add_integer(s, has);
    add_bytes(s, &limit, sizeof limit);
}

static void fingerprint_checks(struct dataset *d)
{
    const struct checks *c = &d->checks;
    struct sha256_stream *s = sha256_new();
    add_text(s, "checks 1");
    add_integer(s, c->has_min_rows);
    add_integer(s, (int64_t)c->min_rows);
    add_integer(s, c->has_max_age);
    add_integer(s, c->max_age_minutes);
    add_limit(s, c->has_max_row_drop, c->max_row_drop_ratio);
    add_limit(s, c->has_max_row_growth, c->max_row_growth_ratio);
    add_limit(s, c->has_min_tenant_ratio, c->min_tenant_ratio);
    add_integer(s, (int64_t)c->n_not_null);
    for (size_t i = 0; i < c->n_not_null; i++)
        add_integer(s, c->not_null[i]);
    add_integer(s, (int64_t)c->n_unique);
    for (size_t i = 0; i < c->n_unique; i++)
        add_bytes(s, c->unique[i].columns, c->unique[i].n_columns * sizeof *c->unique[i].columns);
    for (size_t i = 0; i < c->n_max_null_ratio; i++) {
        add_integer(s, c->max_null_ratio[i].column);
        add_limit(s, true, c->max_null_ratio[i].limit);
    }
    sha256_finish(s, d->checks_fingerprint);
}

static void fingerprint_dataset(struct dataset *d)
{
    struct sha256_stream *s = sha256_new();
    add_text(s, "contract 1");
    add_integer(s, (int64_t)d->schema.n_columns);
    for (size_t i = 0; i < d->schema.n_columns; i++) {
        add_text(s, d->schema.columns[i].name);
        add_integer(s, d->schema.columns[i].type);
    }
    add_integer(s, d->tenant_column);
    sha256_finish(s, d->contract_fingerprint);

    s = sha256_new();
    add_text(s, "build 1");
    add_bytes(s, d->contract_fingerprint, sizeof d->contract_fingerprint);
    for (int i = 0; i < d->n_sort_columns; i++)
        add_integer(s, d->sort_columns[i]);
    for (size_t i = 0; i < d->schema.n_columns; i++)
        add_integer(s, d->equality_columns[i]);
    add_integer(s, d->any_local_table);
    if (d->any_remote_scan)
        add_text(s, "files"); /* only then: builds without them stay the ones they were */
    sha256_finish(s, d->build_fingerprint);

    s = sha256_new();
    add_text(s, "origin 1");
    add_integer(s, d->source.kind);
    add_text(s, d->source.manifest);
    add_text(s, d->source.bucket);
    add_text(s, d->source.prefix);
    add_integer(s, d->source.store);
    for (size_t i = 0; i < d->source.n_allow; i++)
        add_text(s, d->source.allow[i]);
    sha256_finish(s, d->origin_fingerprint);

    fingerprint_checks(d);
}

static void hash_params(struct sha256_stream *s, const struct endpoint *e)
{
    add_integer(s, (int64_t)e->n_params);
    for (size_t i = 0; i < e->n_params; i++) {
        const struct param *p = &e->params[i];
        add_text(s, p->name);
        add_integer(s, p->type);
        add_integer(s, p->required);
        add_integer(s, p->has_default);
        add_text(s, p->default_text);
        for (size_t j = 0; j < p->n_enum_values; j++)
            add_text(s, p->enum_values[j]);
        for (size_t j = 0; j < p->n_aliases; j++) {
            add_text(s, p->aliases[j].from);
            add_text(s, p->aliases[j].to);
        }
    }
    for (size_t i = 0; i < e->n_combinations; i++)
        add_integer(s, (int64_t)e->combinations[i]);
}

static void hash_endpoint(struct endpoint *e, const struct dataset *d)
{
    struct sha256_stream *s = sha256_new();
    add_text(s, "endpoint 1");
    add_text(s, e->name);
    add_integer(s, e->version);
    add_text(s, d->id);
    add_bytes(s, d->contract_fingerprint, sizeof d->contract_fingerprint);
    hash_params(s, e);
    add_integer(s, (int64_t)e->n_outputs);
    for (size_t i = 0; i < e->n_outputs; i++) {
        add_text(s, e->outputs[i].as);
        add_integer(s, e->outputs[i].query.column);
        add_integer(s, e->outputs[i].query.aggregate);
    }
    for (size_t i = 0; i < e->n_group_by; i++)
        add_integer(s, e->group_by[i]);
    add_integer(s, (int64_t)e->n_filters);
    for (size_t i = 0; i < e->n_filters; i++) {
        add_integer(s, e->filters[i].column);
        add_integer(s, e->filters[i].op);
        add_integer(s, e->filters[i].param);
    }
    for (size_t i = 0; i < e->n_order_by; i++) {
        add_integer(s, e->order_by[i].output);
        add_integer(s, e->order_by[i].descending);
    }
    add_integer(s, e->default_limit);
    add_integer(s, e->max_limit);
    add_integer(s, e->integers_as_strings);
    sha256_finish(s, e->contract_hash);
}

static void prepare_keys(struct reader *r, struct project *p)
{
    p->n_key_slots = 16;
    while (p->n_key_slots < p->n_keys * 2)
        p->n_key_slots *= 2;
    p->key_slots = read_take(r, p->n_key_slots, sizeof *p->key_slots);
    for (size_t i = 0; i < p->n_keys; i++) {
        uint64_t at;
        memcpy(&at, p->keys[i].digest, sizeof at);
        at &= p->n_key_slots - 1;
        while (p->key_slots[at])
            at = (at + 1) & (p->n_key_slots - 1);
        p->key_slots[at] = (uint32_t)i + 1;
    }
}

void project_prepare(struct reader *r, struct project *p)
{
    for (size_t i = 0; i < p->n_datasets; i++) {
        prepare_dataset(r, p, (int)i);
        fingerprint_dataset(&p->datasets[i]);
    }
    for (size_t i = 0; i < p->n_endpoints; i++)
        hash_endpoint(&p->endpoints[i], &p->datasets[p->endpoints[i].dataset]);
    prepare_keys(r, p);
}

/* ---- lookups ---- */

const struct endpoint *project_endpoint(const struct project *p, struct str name)
{
    return map_get(&p->endpoint_by_name, name);
}

const struct dataset *project_dataset(const struct project *p, struct str id)
{
    for (size_t i = 0; i < p->n_datasets; i++)
        if (str_is(id, p->datasets[i].id))
            return &p->datasets[i];
    return NULL;
}

const struct key *project_key(const struct project *p, const uint8_t digest[32])
{
    uint64_t at;
    if (p->n_keys == 0)
        return NULL;
    memcpy(&at, digest, sizeof at);
    for (at &= p->n_key_slots - 1; p->key_slots[at]; at = (at + 1) & (p->n_key_slots - 1)) {
        const struct key *k = &p->keys[p->key_slots[at] - 1];
        if (equal_constant_time(k->digest, digest, 32))
            return k;
    }
    return NULL;
}
