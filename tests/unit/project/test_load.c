/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every rule of a project: each row replaces one file of a valid project and names all findings
 * that must come of it, as file:line:column: path: code, one a line.
 */
#include "files.h"

#include "base/errlist.h"
#include "project/project.h"

#define OFFLOADER "offloader.yml"
#define DATASET "datasets/kv.yml"
#define ENDPOINT "endpoints/kv.yml"
#define KEYS "keys.yml"
#define HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const struct {
    const char *name, *text;
} valid[] = {
    {OFFLOADER, "version: 1\nkeys: keys.yml\n"},
    {DATASET, "id: kv\n"
              "manifest: data/manifest.json\n"
              "schema:\n"
              "  - { name: id, type: VARCHAR }\n"
              "  - { name: n, type: BIGINT }\n"
              "  - { name: doc, type: JSON }\n"},
    {ENDPOINT, "name: kv\n"
               "version: 1\n"
               "dataset: kv\n"
               "params: [{ name: id, type: string }, { name: n, type: integer }]\n"
               "query:\n"
               "  select: [{ as: id, column: id }, { as: n, column: n }]\n"
               "  filters: [{ column: id, op: eq, param: id }]\n"
               "columns: [id, n]\n"},
    {KEYS, "keys: [{ id: k, hash: " HASH ", endpoints: [kv], status: active }]\n"},
};

static int setup(void **state)
{
    (void)state;
    directory = unit_directory();
    for (size_t i = 0; i < ARRAY_LEN(valid); i++)
        write_file(valid[i].name, valid[i].text);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unit_remove(directory);
    return 0;
}

/* The findings of the project as it is now, owned; "" when it is valid. */
static char *load(void)
{
    struct errlist findings = ERRLIST_INIT;
    struct project *p = NULL;
    struct err err = ERR_INIT;
    struct buf text;
    enum rc rc = project_load(directory, &findings, &p, &err);
    CHECK("a project comes back exactly when there is no error", (rc == RC_OK) == (p != NULL));
    CHECK("and no error without a finding", (rc == RC_OK) == (findings.n_errors == 0));
    errlist_sort(&findings);
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < findings.n_items; i++) {
        const struct finding *f = &findings.items[i];
        if (f->severity == FINDING_ERROR)
            buf_printf(&text, "%s:%d:%d: %s: %s\n", f->file, f->line, f->column, f->path, f->code);
    }
    errlist_done(&findings);
    project_free(p);
    return buf_take_cstr(&text, NULL);
}

struct row {
    const char *why, *file, *text, *findings;
};

static void run_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        write_file(rows[i].file, rows[i].text);
        AUTO(mem_free_auto) char *got = load();
        CHECK_STR(rows[i].why, got, rows[i].findings);
        for (size_t k = 0; k < ARRAY_LEN(valid); k++)
            write_file(valid[k].name, valid[k].text);
    }
    AUTO(mem_free_auto) char *got = load();
    CHECK_STR("the project without changes is valid", got, "");
}

static void test_offloader(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"version is required", OFFLOADER, "keys: keys.yml\n",
         OFFLOADER ":1:1: version: missing\n"},
        {"version 2 is none", OFFLOADER, "version: 2\n",
         OFFLOADER ":1:10: version: invalid_value\n"},
        {"version is an integer", OFFLOADER, "version: '1'\n",
         OFFLOADER ":1:10: version: invalid_type\n"},
        {"an unknown key", OFFLOADER, "version: 1\nkyes: x\n",
         OFFLOADER ":2:1: kyes: unknown_field\n"},
        {"not a mapping", OFFLOADER, "- 1\n", OFFLOADER ":1:1: : not_a_map\n"},
        {"auth has two words", OFFLOADER, "version: 1\nauth: maybe\n",
         OFFLOADER ":2:7: auth: invalid_value\n"},
        {"a directory outside", OFFLOADER, "version: 1\ndatasets_dir: ../x\n",
         OFFLOADER ":2:15: datasets_dir: unsafe_path\n"},
        {"a syntax error has the parser's place", OFFLOADER, "version: 1\nkeys: [\n",
         OFFLOADER ":3:1: : yaml_error\n"},
        {"a repeated key", OFFLOADER, "version: 1\nversion: 1\n", OFFLOADER ":2:1: : yaml_error\n"},
        {"an anchor", OFFLOADER, "version: &a 1\n", OFFLOADER ":1:13: : yaml_error\n"},
        {"several findings at once", OFFLOADER, "version: 3\nauth: x\nwhat: 1\n",
         OFFLOADER ":1:10: version: invalid_value\n" OFFLOADER
                   ":2:7: auth: invalid_value\n" OFFLOADER ":3:1: what: unknown_field\n"},
    };
    run_rows(rows, ARRAY_LEN(rows));
}

#define SCHEMA                                                                                     \
    "schema: [{ name: id, type: VARCHAR }, { name: n, type: BIGINT }, { name: doc, type: JSON "    \
    "}]\n"

static void test_datasets(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"neither manifest nor source", DATASET, "id: kv\n" SCHEMA,
         DATASET ":1:1: manifest: missing\n"},
        {"both", DATASET,
         "id: kv\nmanifest: m.json\nsource: { type: manifest, url: 'https://h/m.json' }\n" SCHEMA,
         DATASET ":3:9: source: conflicting_origin\n"},
        {"a name that is no name", DATASET, "id: Kv\nmanifest: m.json\n" SCHEMA,
         DATASET ":1:5: id: unsafe_identifier\n" ENDPOINT ":3:10: dataset: unknown_dataset\n"},
        {"names that differ in case only", DATASET,
         "id: kv\nmanifest: m.json\nschema: [{ name: id, type: VARCHAR }, { name: ID, type: BIGINT "
         "},"
         " { name: n, type: BIGINT }]\n",
         DATASET ":3:47: schema[1].name: duplicate_column\n"},
        {"a type that is none", DATASET,
         "id: kv\nmanifest: m.json\nschema: [{ name: id, type: VARCHAR }, { name: n, type: bigint "
         "}]\n",
         DATASET ":3:56: schema[1].type: unsupported_type\n"},
        {"an empty schema", DATASET, "id: kv\nmanifest: m.json\nschema: []\n",
         DATASET ":3:9: schema: missing\n" ENDPOINT
                 ":6:30: query.select[0].column: unknown_column\n" ENDPOINT
                 ":6:53: query.select[1].column: unknown_column\n" ENDPOINT
                 ":7:23: query.filters[0].column: unknown_column\n"},
        {"a tenant column that is not there", DATASET,
         "id: kv\nmanifest: m.json\ntenant_column: x\n" SCHEMA,
         DATASET ":3:16: tenant_column: unknown_column\n"},
        {"a tenant column of JSON", DATASET,
         "id: kv\nmanifest: m.json\ntenant_column: doc\n" SCHEMA,
         DATASET ":3:16: tenant_column: type_mismatch\n" ENDPOINT ":1:1: tenant: missing\n" KEYS
                 ":1:8: keys[0].tenant: tenant_required\n"},
        {"a tenant dataset needs tenant endpoints", DATASET,
         "id: kv\nmanifest: m.json\ntenant_column: n\n" SCHEMA,
         ENDPOINT ":1:1: tenant: missing\n" KEYS ":1:8: keys[0].tenant: tenant_required\n"},
        {"an unknown source", DATASET, "id: kv\nsource: { type: ftp }\n" SCHEMA,
         DATASET ":2:17: source.type: invalid_value\n"},
        {"databricks needs a bucket", DATASET,
         "id: kv\nsource: { type: databricks, prefix: p }\n" SCHEMA,
         DATASET ":2:9: source.bucket: missing\n"},
        {"an interval of nothing", DATASET,
         "id: kv\nsource: { type: manifest, url: 'https://h/m', interval_seconds: 0 }\n" SCHEMA,
         DATASET ":2:65: source.interval_seconds: invalid_value\n"},
        {"a check on a column that is not there", DATASET,
         "id: kv\nmanifest: m.json\nchecks: { not_null: [nope] }\n" SCHEMA,
         DATASET ":3:22: checks.not_null[0]: unknown_column\n"},
        {"a ratio past 1", DATASET,
         "id: kv\nmanifest: m.json\nchecks: { max_row_drop_ratio: 1.5 }\n" SCHEMA,
         DATASET ":3:31: checks.max_row_drop_ratio: invalid_value\n"},
    };
    run_rows(rows, ARRAY_LEN(rows));
}

#define E "name: kv\nversion: 1\ndataset: kv\n"
#define Q "query: { select: [{ as: id, column: id }, { as: n, column: n }] }\n"
#define C "columns: [id, n]\n"

static void test_endpoints(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"an unknown dataset", ENDPOINT, "name: kv\nversion: 1\ndataset: other\n" Q C,
         ENDPOINT ":3:10: dataset: unknown_dataset\n"},
        {"version 0", ENDPOINT, "name: kv\nversion: 0\ndataset: kv\n" Q C,
         ENDPOINT ":2:10: version: invalid_value\n"},
        {"a tenant where none is", ENDPOINT, E "tenant: { column: id }\n" Q C,
         ENDPOINT ":4:9: tenant: tenant_forbidden\n"},
        {"a column too many", ENDPOINT, E Q "columns: [id, n, x]\n",
         ENDPOINT ":5:18: columns[2]: column_not_selected\n"},
        {"a column missing", ENDPOINT, E Q "columns: [id]\n",
         ENDPOINT ":5:10: columns: column_not_allowlisted\n"},
        {"a reserved param", ENDPOINT, E "params: [{ name: limit, type: integer }]\n" Q C,
         ENDPOINT ":4:18: params[0].name: reserved_name\n"},
        {"a param twice", ENDPOINT,
         E "params: [{ name: a, type: string }, { name: a, type: string }]\n" Q C,
         ENDPOINT ":4:45: params[1].name: duplicate_param\n"},
        {"an enum without a list", ENDPOINT, E "params: [{ name: a, type: enum }]\n" Q C,
         ENDPOINT ":4:10: params[0].enum: missing\n"},
        {"a default below the minimum", ENDPOINT,
         E "params: [{ name: a, type: integer, min: 5, default: 4 }]\n" Q C,
         ENDPOINT ":4:53: params[0].default: invalid_default\n"},
        {"a default of another type", ENDPOINT,
         E "params: [{ name: a, type: date, default: 2026-02-30 }]\n" Q C,
         ENDPOINT ":4:42: params[0].default: invalid_default\n"},
        {"a combination of an unknown param", ENDPOINT, E "combinations: [[a]]\n" Q C,
         ENDPOINT ":4:17: combinations[0][0]: unknown_param\n"},
        {"sum over text", ENDPOINT,
         E "query: { select: [{ as: id, column: id, agg: sum }, { as: n, column: n }], group_by: "
           "[n] }\n" C,
         ENDPOINT ":4:46: query.select[0].agg: invalid_agg_type\n"},
        {"an aggregate over JSON", ENDPOINT,
         E "query: { select: [{ as: id, column: doc, agg: count }, { as: n, column: n }], "
           "group_by: [n] }\n" C,
         ENDPOINT ":4:47: query.select[0].agg: invalid_agg_on_json\n"},
        {"an aggregate without group_by", ENDPOINT,
         E "query: { select: [{ as: id, column: id, agg: max }, { as: n, column: n }] }\n" C,
         ENDPOINT ":4:8: query.group_by: missing_group_by\n"},
        {"an output that is not grouped", ENDPOINT,
         E "query: { select: [{ as: id, column: id }, { as: n, column: n, agg: sum }, { as: m, "
           "column: n }],"
           " group_by: [id] }\ncolumns: [id, n, m]\n",
         ENDPOINT ":4:75: query.select[2]: ungrouped_column\n"},
        {"a filter on an unknown param", ENDPOINT,
         E "query: { select: [{ as: id, column: id }, { as: n, column: n }],"
           " filters: [{ column: id, op: eq, param: x }] }\n" C,
         ENDPOINT ":4:105: query.filters[0].param: unknown_param\n"},
        {"a number against text", ENDPOINT,
         E "params: [{ name: a, type: integer }]\nquery: { select: [{ as: id, column: id }, { as: "
           "n, column:"
           " n }], filters: [{ column: id, op: gte, param: a }] }\n" C,
         ENDPOINT ":5:106: query.filters[0].param: type_mismatch\n"},
        {"an order by nothing selected", ENDPOINT,
         E "query: { select: [{ as: id, column: id }, { as: n, column: n }],"
           " order_by: [{ column: x, dir: asc }] }\n" C,
         ENDPOINT ":4:87: query.order_by[0].column: unknown_column\n"},
        {"a default above the maximum", ENDPOINT,
         E Q C "pagination: { default_limit: 20, max_limit: 10 }\n",
         ENDPOINT ":6:30: pagination.default_limit: invalid_value\n"},
        {"a cache policy that is none", ENDPOINT, E Q C "cache: { policy: always }\n",
         ENDPOINT ":6:18: cache.policy: invalid_value\n"},
    };
    run_rows(rows, ARRAY_LEN(rows));
}

/* @before, and a list of outputs o0, o1, ... in @open and @close. */
static void put_outputs(struct buf *b, const char *before, const char *open, const char *close,
                        int n)
{
    buf_put_cstr(b, before);
    for (int i = 0; i < n; i++)
        buf_printf(b, "%s%so%d%s", i ? ", " : "[", open, i, close);
    buf_put_literal(b, "]\n");
}

/* What orders groups has a limit of its own: a position is its outputs, those that group again. */
static void test_wide_groups(void **state)
{
    static const struct {
        const char *why;
        int n_groups, n_order;
        const char *findings;
    } rows[] = {
        {"256 outputs group", 256, 1, ""},
        {"257 values are a position", 129, 128, ""},
        {"258 are too many", 129, 129, ENDPOINT ":7:13: query.order_by: invalid_value\n"},
        {"most that outputs allow", 256, 256, ENDPOINT ":7:13: query.order_by: invalid_value\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        buf_put_literal(&b, "name: kv\nversion: 1\ndataset: kv\nquery:\n");
        put_outputs(&b, "  select: ", "{ as: ", ", column: id }", rows[i].n_groups);
        put_outputs(&b, "  group_by: ", "", "", rows[i].n_groups);
        put_outputs(&b, "  order_by: ", "{ column: ", ", dir: asc }", rows[i].n_order);
        put_outputs(&b, "columns: ", "", "", rows[i].n_groups);
        write_file(ENDPOINT, buf_cstr(&b));
        AUTO(mem_free_auto) char *got = load();
        CHECK_STR(rows[i].why, got, rows[i].findings);
        buf_done(&b);
    }
}

static void test_keys(void **state)
{
    (void)state;
#define K(rest) "keys:\n  - { id: k, hash: " HASH ", " rest " }\n"
    static const struct row rows[] = {
        {"an unknown endpoint", KEYS, K("endpoints: [nope], status: active"),
         KEYS ":2:98: keys[0].endpoints[0]: unknown_endpoint\n"},
        {"no endpoints", KEYS, K("endpoints: [], status: active"),
         KEYS ":2:97: keys[0].endpoints: missing\n"},
        {"a status that is none", KEYS, K("endpoints: [kv], status: on"),
         KEYS ":2:111: keys[0].status: invalid_value\n"},
        {"an expiry without offset", KEYS,
         K("endpoints: [kv], status: active, expires_at: '2027-01-01T00:00:00'"),
         KEYS ":2:131: keys[0].expires_at: invalid_value\n"},
        {"a hash of other letters", KEYS,
         "keys: [{ id: k, hash: ABC, endpoints: [kv], status: active }]\n",
         KEYS ":1:23: keys[0].hash: invalid_value\n"},
        {"an id twice", KEYS,
         "keys:\n  - { id: k, hash: " HASH
         ", endpoints: [kv], status: active }\n  - { id: k, hash: "
         "a3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, endpoints: [kv], "
         "status: "
         "active }\n",
         KEYS ":3:11: keys[1].id: duplicate_key\n"},
        {"a burst of nothing", KEYS,
         K("endpoints: [kv], status: active, rate_limit: { requests_per_second: 1, burst: 0 }"),
         KEYS ":2:164: keys[0].rate_limit.burst: invalid_value\n"},
    };
    run_rows(rows, ARRAY_LEN(rows));
}

static void test_whole_projects(void **state)
{
    (void)state;
    write_file("datasets/other.yaml", valid[1].text);
    AUTO(mem_free_auto) char *twice = load();
    CHECK_STR("a dataset twice, in the later file", twice,
              "datasets/other.yaml:1:5: id: duplicate_dataset\n");
    write_file("datasets/other.yaml", "id: other\nmanifest: m.json\n" SCHEMA);
    write_file("datasets/notes.txt", "not: [yaml");
    AUTO(mem_free_auto) char *ignored = load();
    CHECK_STR("other files are not looked at", ignored, "");
    write_file("endpoints/z.yml", valid[2].text);
    write_file(KEYS, "keys: 5\n");
    AUTO(mem_free_auto) char *all = load();
    CHECK_STR("findings of every file at once", all,
              "endpoints/z.yml:1:7: name: duplicate_endpoint\n" KEYS ":1:7: keys: invalid_type\n");
}

static void test_memory_is_given_back(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth < 60; nth++) {
        struct errlist findings = ERRLIST_INIT;
        struct project *p = NULL;
        struct err err = ERR_INIT;
        mem_fail_nth(nth, false);
        enum rc rc = project_load(directory, &findings, &p, &err);
        mem_fail_nth(0, false);
        CHECK("whole, or nothing and a reason", rc == RC_OK ? p != NULL : !p && err.rc == rc);
        errlist_done(&findings);
        project_free(p);
    }
}

int main(void)
{
#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(test_offloader),
        IN_DIRECTORY(test_datasets),
        IN_DIRECTORY(test_endpoints),
        IN_DIRECTORY(test_wide_groups),
        IN_DIRECTORY(test_keys),
        IN_DIRECTORY(test_whole_projects),
        IN_DIRECTORY(test_memory_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
