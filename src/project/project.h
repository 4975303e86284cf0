/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A project: offloader.yml, datasets, endpoints and keys, read, checked as a whole, and immutable
 * afterwards. config.md is the contract. Loading collects every finding.
 */
#ifndef OFFLOADER_PROJECT_PROJECT_H
#define OFFLOADER_PROJECT_PROJECT_H

#include "base/arena.h"
#include "base/err.h"
#include "base/errlist.h"
#include "base/map.h"
#include "query/query.h"
#include "schema/schema.h"

struct ratio_check { /* max_null_ratio */
    int column;
    double limit;
};
struct column_set {
    int *columns;
    size_t n_columns;
};
struct checks {
    bool has_min_rows, has_max_row_drop, has_max_row_growth, has_min_tenant_ratio, has_max_age;
    uint64_t min_rows;
    double max_row_drop_ratio, max_row_growth_ratio, min_tenant_ratio;
    int64_t max_age_minutes;
    int *not_null;
    size_t n_not_null;
    struct column_set *unique;
    size_t n_unique;
    struct ratio_check *max_null_ratio;
    size_t n_max_null_ratio;
};

enum source_kind { SOURCE_STATIC_MANIFEST, SOURCE_MANIFEST, SOURCE_DATABRICKS };
enum store_kind { STORE_KIND_GS, STORE_KIND_S3 };
struct source {
    enum source_kind kind;
    char *manifest;        /* STATIC: path inside the project; MANIFEST: the URL or absolute path */
    char *bucket, *prefix; /* DATABRICKS; prefix ends in '/' (or is empty) */
    enum store_kind store;
    int64_t interval_seconds; /* default 300; unused for STATIC */
    char **allow;             /* further buckets or hosts */
    size_t n_allow;
};

struct dataset {
    char *id, *description;
    struct schema schema;
    int tenant_column; /* -1: none */
    struct source source;
    struct checks checks;
    /* Physical sort the endpoints call for: tenant first, then the ranked filter columns (at most
     * STORE_LIMIT_SORT_COLUMNS together), and which columns are filtered by eq in requests that
     * the sort does not lead to their rows: posting lists may pay there. */
    int sort_columns[8];
    int n_sort_columns;
    bool *equality_columns;                /* per schema column */
    bool any_local_table, any_remote_scan; /* serving modes of its endpoints */
    int64_t tightest_staleness_minutes;    /* 0: no endpoint has a limit */
    /* SHA-256 over schema and tenant column: when it changes, blue-green (snapshots.md). */
    uint8_t contract_fingerprint[32];
    /* Over contract and sort and equality columns: the physical build a snapshot directory holds.
     */
    uint8_t build_fingerprint[32];
    uint8_t origin_fingerprint[32]; /* over the source mapping */
    uint8_t checks_fingerprint[32]; /* over `checks`: what a snapshot is judged by */
};

enum param_type {
    PARAM_STRING,
    PARAM_INTEGER,
    PARAM_NUMBER,
    PARAM_BOOLEAN,
    PARAM_DATE,
    PARAM_TIMESTAMP,
    PARAM_ENUM
};
struct param_alias {
    char *from, *to;
};
struct param {
    char *name;
    enum param_type type;
    bool required;
    bool has_default;
    char *default_text; /* as if sent; canonical text of the YAML scalar */
    char **enum_values;
    size_t n_enum_values;
    bool has_min, has_max;
    bool bounds_are_integers; /* type integer: compare min_integer/max_integer */
    int64_t min_integer, max_integer;
    double min_number, max_number;
    struct param_alias *aliases;
    size_t n_aliases;
};
struct endpoint_filter {
    int column; /* dataset schema */
    enum filter_op op;
    int param;
};
struct endpoint_output {
    char *as;
    struct query_output query; /* column and aggregate */
    enum query_type type;
};
enum serving_mode { MODE_LOCAL_TABLE, MODE_REMOTE_SCAN };
enum cache_policy { CACHE_NONE, CACHE_SNAPSHOT };

struct endpoint {
    char *name, *owner, *description;
    int64_t version;
    int dataset; /* index into project.datasets */
    enum serving_mode serving_mode;
    bool tenant_scoped;
    int64_t max_staleness_minutes; /* 0: none */
    struct param *params;
    size_t n_params;
    uint64_t *combinations; /* bit i: params[i]; at most 64 params */
    size_t n_combinations;
    struct endpoint_output *outputs; /* select order */
    size_t n_outputs;
    int *group_by; /* outputs, in SELECT order (sorted) */
    size_t n_group_by;
    bool grouped;
    struct endpoint_filter *filters;
    size_t n_filters;
    struct query_order *order_by;
    size_t n_order_by;
    int64_t default_limit, max_limit;
    enum cache_policy cache;
    bool integers_as_strings;
    uint8_t contract_hash[32]; /* over everything that shapes an answer, for ETags and cursors */
    int ordinal;               /* index into project.endpoints; metrics use the name */
};

enum key_status { KEY_ACTIVE, KEY_REVOKED };
struct key {
    char *id;
    uint8_t digest[32];      /* SHA-256 of the token */
    char *tenant;            /* NULL: none */
    uint64_t *endpoint_bits; /* bit per project endpoint */
    enum key_status status;
    bool has_expiry;
    int64_t expires_at_us;
    bool has_rate_limit;
    double requests_per_second;
    int64_t burst;
};

struct project {
    struct arena arena; /* owns everything below */
    char *root;         /* absolute directory */
    char *file;         /* absolute path of offloader.yml */
    char *keys_path;    /* absolute path of the keys file; NULL: none */
    bool auth_required;
    char *object_store_mode; /* NULL: none */
    struct dataset *datasets;
    size_t n_datasets;
    struct endpoint *endpoints;
    size_t n_endpoints;
    struct map endpoint_by_name; /* -> struct endpoint * */
    struct key *keys;
    size_t n_keys;
    size_t n_endpoint_words; /* words in key.endpoint_bits */
    /* Open-addressed by the first 8 bytes of the digest, 2^n slots: index + 1 into keys, 0 empty.
     */
    uint32_t *key_slots;
    size_t n_key_slots;
    char config_version[21]; /* `version` of offloader.yml, for metrics and docs */
    uint8_t fingerprint[32]; /* SHA-256 over every file: the revision */
};

/*
 * Loads and checks the project at @path (offloader.yml or its directory). Findings of both
 * severities are appended to @findings; the project comes back only when there is no error finding.
 * Manifests are not looked at (validate does that beside). Errors in @err are for what is no
 * finding (memory). Keys file may be an absolute path.
 */
#define LIMIT_PROJECT_FILES 10000 /* of one directory */
#define LIMIT_PROJECT_MEMORY_BYTES (UINT64_C(2) << 30)
MUST_CHECK enum rc project_load(const char *path, struct errlist *findings, struct project **ret,
                                struct err *err);
/* The same for one dataset's file by itself: a project of that dataset and no endpoint, for
 * `manifest validate`. Nothing is prepared for serving. */
MUST_CHECK enum rc project_load_dataset(const char *path, struct errlist *findings,
                                        struct project **ret, struct err *err);
void project_free(struct project *p);
const struct endpoint *project_endpoint(const struct project *p, struct str name);
const struct dataset *project_dataset(const struct project *p, struct str id);
/* The key whose digest equals (compared in constant time), NULL when there is none. */
const struct key *project_key(const struct project *p, const uint8_t digest[32]);
static inline bool key_may_call(const struct key *k, const struct endpoint *e)
{
    return (k->endpoint_bits[e->ordinal / 64] >> (e->ordinal % 64)) & 1;
}
/* SHA-256 over where the project at @path really is and (path, mtime, size, inode) of every file
 * that makes it, its keys file wherever that is, for change detection. */
MUST_CHECK enum rc project_walk_fingerprint(const char *path, uint8_t ret[32], struct err *err);
/* The string that @offloader_yml has at @key, owned; NULL: none, or it is not YAML. */
char *project_named(struct str offloader_yml, const char *key);

/* Shared by the planner and the validator: text of a value, as sent, into a column's comparison
 * type. False: does not satisfy the param (type, enum, bounds). @scratch holds repaired text. */
enum param_problem { PARAM_FINE, PARAM_BAD_TYPE, PARAM_BAD_ENUM, PARAM_BELOW_MIN, PARAM_ABOVE_MAX };
struct param_value {
    struct str text; /* canonical text: after aliases and repairs; cache keys and cursors use it */
    union {
        int64_t integer; /* INTEGER, DATE (days), TIMESTAMP (us) */
        double number;
        bool boolean;
    };
};
enum param_problem param_check(const struct param *p, struct str sent, struct arena *arena,
                               struct param_value *ret);

#endif
