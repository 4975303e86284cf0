/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every rule of a manifest: each row replaces one member of a valid one and names all findings, as
 * path: code. Then what paths may be, by where the manifest lives.
 */
#include "unit.h"

#include "base/mem.h"
#include "manifest/manifest.h"

static const struct {
    const char *key, *value;
} valid[] = {
    {"dataset_id", "\"kv\""},
    {"snapshot_id", "\"s1\""},
    {"created_at", "\"2026-11-01T00:00:00Z\""},
    {"watermark", "\"2026-11-01T00:00:00+01:00\""},
    {"schema", "[{\"name\":\"id\",\"type\":\"VARCHAR\"},{\"name\":\"n\",\"type\":\"BIGINT\"}]"},
    {"files", "[{\"path\":\"a.csv\",\"format\":\"csv\"}]"},
    {"partition_columns", "[]"},
    {"sort_columns", "[\"id\"]"},
    {"row_count", "3"},
    {"size_bytes", "0"},
    {"producer", "\"p\""},
    {"upstream_run_id", "\"r@1\""},
    {"schema_version", "1"},
    {"data_quality_status", "\"passed\""},
    {"compatibility_policy", "\"exact\""},
};

/* Owned text; @key gets @value instead (NULL: it is left out). */
static char *manifest_with(const char *key, const char *value)
{
    struct buf b;
    bool first = true;
    buf_init(&b, 1 << 16);
    buf_putc(&b, '{');
    for (size_t i = 0; i < ARRAY_LEN(valid); i++) {
        const char *v = key && strcmp(key, valid[i].key) == 0 ? value : valid[i].value;
        if (!v)
            continue;
        buf_printf(&b, "%s\"%s\":%s", first ? "" : ",", valid[i].key, v);
        first = false;
    }
    buf_putc(&b, '}');
    return buf_take_cstr(&b, NULL);
}

/* All findings, owned; "" with a manifest. */
static char *parse(const char *text, const struct manifest_origin *origin)
{
    struct errlist findings = ERRLIST_INIT;
    struct manifest *m = NULL;
    struct err err = ERR_INIT;
    struct buf b;
    enum rc rc = manifest_parse(str_from(text), origin, "kv", &findings, &m, &err);
    CHECK("a manifest exactly when there is no error", (rc == RC_OK) == (m != NULL));
    buf_init(&b, 1 << 16);
    for (size_t i = 0; i < findings.n_items; i++)
        buf_printf(&b, "%s: %s\n", findings.items[i].path, findings.items[i].code);
    errlist_done(&findings);
    manifest_free(m);
    return buf_take_cstr(&b, NULL);
}

static const struct manifest_origin home = {.location = "/srv/project/data/manifest.json",
                                            .project_root = "/srv/project",
                                            .shown_as = "data/manifest.json"};

static void test_members(void **state)
{
    (void)state;
    static const struct {
        const char *why, *key, *value, *findings;
    } rows[] = {
        {"another dataset", "dataset_id", "\"other\"", "dataset_id: dataset_mismatch\n"},
        {"no name", "dataset_id", "\"K V\"", "dataset_id: unsafe_identifier\n"},
        {"an id with a space", "snapshot_id", "\"s 1\"", "snapshot_id: invalid_snapshot_id\n"},
        {"an empty id", "snapshot_id", "\"\"", "snapshot_id: invalid_snapshot_id\n"},
        {"an id of another type", "snapshot_id", "5", "snapshot_id: invalid_type\n"},
        {"no offset", "created_at", "\"2026-11-01T00:00:00\"", "created_at: invalid_timestamp\n"},
        {"no real date", "watermark", "\"2026-02-30T00:00:00Z\"", "watermark: invalid_timestamp\n"},
        {"an empty schema", "schema", "[]", "schema: missing\nsort_columns: unknown_column\n"},
        {"a type that is none", "schema", "[{\"name\":\"id\",\"type\":\"TEXT\"}]",
         "schema[0].type: unsupported_type\n"},
        {"a column twice", "schema",
         "[{\"name\":\"id\",\"type\":\"DATE\"},{\"name\":\"ID\",\"type\":\"DATE\"}]",
         "schema: duplicate_column\n"},
        {"a column name with a dash", "schema",
         "[{\"name\":\"id\",\"type\":\"DATE\"},{\"name\":\"a-b\",\"type\":\"DATE\"}]",
         "schema[1].name: unsafe_identifier\n"},
        {"no files", "files", "[]", "files: missing\n"},
        {"a format that is none", "files", "[{\"path\":\"a.orc\",\"format\":\"orc\"}]",
         "files[0].format: unsupported_type\n"},
        {"a short digest", "files", "[{\"path\":\"a.csv\",\"format\":\"csv\",\"sha256\":\"ab\"}]",
         "files[0].sha256: invalid_value\n"},
        {"a negative size", "files", "[{\"path\":\"a.csv\",\"format\":\"csv\",\"size_bytes\":-1}]",
         "files[0].size_bytes: invalid_value\n"},
        {"a sort column that is not there", "sort_columns", "[\"x\"]",
         "sort_columns: unknown_column\n"},
        {"half a row", "row_count", "1.5", "row_count: invalid_value\n"},
        {"fewer than none", "row_count", "-1", "row_count: invalid_value\n"},
        {"a number as text", "size_bytes", "\"5\"", "size_bytes: invalid_type\n"},
        {"no producer", "producer", "\"\"", "producer: invalid_value\n"},
        {"a line break in the run", "upstream_run_id", "\"a\\nb\"",
         "upstream_run_id: invalid_value\n"},
        {"version 0", "schema_version", "0", "schema_version: invalid_value\n"},
        {"a status that is none", "data_quality_status", "\"good\"",
         "data_quality_status: invalid_value\n"},
        {"a policy that is none", "compatibility_policy", "\"any\"",
         "compatibility_policy: invalid_compatibility_policy\n"},
        {"a number past int64 elsewhere is a producer's own", "extra", "1", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(mem_free_auto) char *text = manifest_with(rows[i].key, rows[i].value);
        AUTO(mem_free_auto) char *got = parse(text, &home);
        CHECK_STR(rows[i].why, got, rows[i].findings);
    }
    for (size_t i = 0; i < ARRAY_LEN(valid); i++) {
        AUTO(mem_free_auto) char *text = manifest_with(valid[i].key, NULL);
        AUTO(mem_free_auto) char *got = parse(text, &home);
        AUTO(mem_free_auto) char *want = x_printf("%s: missing\n", valid[i].key);
        CHECK("each key is required", strstr(got, want) != NULL);
    }
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text, *findings;
    } rows[] = {
        {"no JSON", "{", ": invalid_json\n"},
        {"nothing", "", ": invalid_json\n"},
        {"no object", "[]", ": not_a_map\n"},
        {"a key twice", "{\"a\":1,\"a\":2}", ": invalid_json\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(mem_free_auto) char *got = parse(rows[i].text, &home);
        CHECK_STR(rows[i].why, got, rows[i].findings);
    }
    char id[201];
    manifest_peek_id(STR("{\"snapshot_id\":\"s-9\",\"files\":5}"), id);
    CHECK_STR("the id of a wrong manifest", id, "s-9");
    manifest_peek_id(STR("{\"snapshot_id\":\"s 9\"}"), id);
    CHECK_STR("an id that is none", id, "");
}

static void test_paths(void **state)
{
    (void)state;
    static const struct manifest_origin bucket = {.location = "gs://bucket/a/manifest.json",
                                                  .shown_as = "manifest.json"};
    static const char *const others[] = {"other"};
    static const struct manifest_origin allowing = {.location = "gs://bucket/a/manifest.json",
                                                    .shown_as = "manifest.json",
                                                    .allow = others,
                                                    .n_allow = 1};
    static const struct manifest_origin alone = {.location = "/srv/data/manifest.json",
                                                 .shown_as = "manifest.json"};
    static const struct {
        const char *why;
        const struct manifest_origin *origin;
        const char *path;
        bool fine;
    } rows[] = {
        {"beside the manifest", &home, "a.csv", true},
        {"below it", &home, "x/a.csv", true},
        {"up, within the project", &home, "../other/a.csv", false},
        {"out of the project", &home, "../../etc/passwd", false},
        {"absolute, from a project", &home, "/etc/passwd", false},
        {"absolute, from an absolute path", &alone, "/srv/other/a.csv", true},
        {"empty", &home, "", false},
        {"a control character", &home, "a\\u0007b", false},
        {"file:", &home, "file:///etc/passwd", false},
        {"http is the network's to refuse", &home, "http://host/a.csv", true},
        {"the same bucket", &bucket, "gs://bucket/b/a.csv", true},
        {"beside it", &bucket, "a.csv", true},
        {"up in a bucket", &bucket, "../a.csv", false},
        {"another bucket", &bucket, "gs://other/a.csv", false},
        {"another bucket that is allowed", &allowing, "gs://other/a.csv", true},
        {"a bucket whose name begins the same", &bucket, "gs://bucket2/a.csv", false},
        {"another store", &bucket, "s3://bucket/a.csv", false},
        {"a user in the URL", &bucket, "https://user@bucket/a.csv", false},
        {"absolute in a bucket", &bucket, "/a.csv", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(mem_free_auto) char *files =
            x_printf("[{\"path\":\"%s\",\"format\":\"csv\"}]", rows[i].path);
        AUTO(mem_free_auto) char *text = manifest_with("files", files);
        AUTO(mem_free_auto) char *got = parse(text, rows[i].origin);
        CHECK_INT(rows[i].why, *got == 0, rows[i].fine);
    }
}

static void test_symbolic_links(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    char *directory = unit_directory();
    AUTO(mem_free_auto) char *root = path_join(directory, "project");
    AUTO(mem_free_auto) char *outside = path_join(directory, "outside.csv");
    AUTO(mem_free_auto) char *link = path_join(root, "link.csv");
    AUTO(mem_free_auto) char *location = path_join(root, "manifest.json");
    CHECK_OK("a project", io_mkdir_all(root, 0700, &err), &err);
    CHECK_OK("a file outside", io_write_file(outside, "x", 1, 0600, &err), &err);
    assert_int_equal(symlink(outside, link), 0);
    const struct manifest_origin origin = {
        .location = location, .project_root = root, .shown_as = "manifest.json"};
    AUTO(mem_free_auto) char *text =
        manifest_with("files", "[{\"path\":\"link.csv\",\"format\":\"csv\"}]");
    AUTO(mem_free_auto) char *got = parse(text, &origin);
    CHECK_STR("a link that leads out", got, "files[0].path: unsafe_path\n");
    unit_remove(directory);
}

static char id[] = "id", n[] = "n", extra[] = "x";
static const struct {
    const char *why, *policy, *quality;
    struct column columns[3];
    size_t n_columns;
    const char *findings;
} contract_rows[] = {
    {"equal", "\"exact\"", "\"passed\"", {{id, TYPE_VARCHAR}, {n, TYPE_BIGINT}}, 2, ""},
    {"the contract is narrower",
     "\"exact\"",
     "\"passed\"",
     {{id, TYPE_VARCHAR}, {n, TYPE_INTEGER}},
     2,
     ""},
    {"the contract is wider",
     "\"exact\"",
     "\"passed\"",
     {{id, TYPE_VARCHAR}, {n, TYPE_DOUBLE}},
     2,
     "incompatible_schema\n"},
    {"a column is missing",
     "\"additive_only\"",
     "\"passed\"",
     {{id, TYPE_VARCHAR}, {n, TYPE_BIGINT}, {extra, TYPE_DATE}},
     3,
     "incompatible_schema\n"},
    {"one more, additive", "\"additive_only\"", "\"passed\"", {{id, TYPE_VARCHAR}}, 1, ""},
    {"one more, exact",
     "\"exact\"",
     "\"passed\"",
     {{id, TYPE_VARCHAR}},
     1,
     "incompatible_schema\n"},
    {"failed quality",
     "\"exact\"",
     "\"failed\"",
     {{id, TYPE_VARCHAR}, {n, TYPE_BIGINT}},
     2,
     "data_quality_failed\n"},
    {"a quality warning",
     "\"exact\"",
     "\"warning\"",
     {{id, TYPE_VARCHAR}, {n, TYPE_BIGINT}},
     2,
     ""},
};

static void test_contract(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(contract_rows); i++) {
        struct dataset d = {.id = id,
                            .schema = {(struct column *)(uintptr_t)contract_rows[i].columns,
                                       contract_rows[i].n_columns},
                            .tenant_column = -1};
        struct errlist findings = ERRLIST_INIT;
        struct manifest *m = NULL;
        struct err err = ERR_INIT;
        AUTO(mem_free_auto) char *with_policy =
            manifest_with("compatibility_policy", contract_rows[i].policy);
        AUTO(mem_free_auto) char *with_quality =
            manifest_with("data_quality_status", contract_rows[i].quality);
        const char *text =
            strcmp(contract_rows[i].quality, "\"passed\"") ? with_quality : with_policy;
        CHECK_OK(contract_rows[i].why,
                 manifest_parse(str_from(text), &home, NULL, &findings, &m, &err), &err);
        manifest_check_contract(m, &d, "manifest.json", &findings);
        char got[256] = "";
        for (size_t k = 0; k < findings.n_items; k++)
            snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s\n", findings.items[k].code);
        CHECK_STR(contract_rows[i].why, got, contract_rows[i].findings);
        errlist_done(&findings);
        manifest_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),  cmocka_unit_test(test_texts),
        cmocka_unit_test(test_paths),    cmocka_unit_test(test_symbolic_links),
        cmocka_unit_test(test_contract),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
