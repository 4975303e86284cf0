/* SPDX-License-Identifier: Apache-2.0 */
/* Which transaction of an export is the snapshot, and what it is made of. */
#include "unit.h"

#include "refresh/remote.h"

#define URL "gs://bucket/prod/g/"

static struct dataset dataset(void)
{
    static char name[] = "id";
    static struct column columns[] = {{.name = name, .type = TYPE_VARCHAR}};
    static char id[] = "g";
    struct dataset d = {.id = id};
    d.schema.columns = columns;
    d.schema.n_columns = 1;
    return d;
}

#define OBJECT(n, t)                                                                               \
    {                                                                                              \
        .name = (char[]){n}, .size_bytes = 7, .updated_us = (t), .tag = (char[])                   \
        {                                                                                          \
            "41"                                                                                   \
        }                                                                                          \
    }

struct newest_row {
    const char *why, *want; /* NULL: none */
    struct object_info items[4];
    size_t n;
};

static void test_newest(void **state)
{
    (void)state;
    struct newest_row rows[] = {
        {"nothing is there", NULL, {{0}}, 0},
        {"parts alone are no commit", NULL, {OBJECT("part-0.parquet", 9)}, 1},
        {"one commit", "_committed_1", {OBJECT("_committed_1", 1)}, 1},
        {"the later one by time, not by name",
         "_committed_1",
         {OBJECT("_committed_1", 5), OBJECT("_committed_9", 4)},
         2},
        {"by name when the times are the same",
         "_committed_9",
         {OBJECT("_committed_1", 5), OBJECT("_committed_9", 5)},
         2},
        {"a vacuum never counts, however new",
         "_committed_1",
         {OBJECT("_committed_1", 1), OBJECT("_committed_vacuum77", 9)},
         2},
        {"nor one with nothing behind it", NULL, {OBJECT("_committed_vacuum", 9)}, 1},
        {"a start is no commit", NULL, {OBJECT("_started_1", 9)}, 1},
        {"a marker needs an id", NULL, {OBJECT("_committed_", 9)}, 1},
        {"a marker in a directory below belongs to another export",
         "_committed_1",
         {OBJECT("_committed_1", 1), OBJECT("sub/_committed_2", 9)},
         2},
        {"nor does a name with a slash after the id", NULL, {OBJECT("_committed_2/x", 9)}, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct object_list l = {rows[i].items, rows[i].n};
        const struct object_info *o = databricks_newest(&l);
        if (!rows[i].want)
            CHECK(rows[i].why, o == NULL);
        else
            CHECK_STR(rows[i].why, o ? o->name : NULL, rows[i].want);
    }
}

struct marker_row {
    const char *why, *marker, *text;
    enum rc rc;
    const char *code;
    size_t n_files; /* 0 with RC_OK: no snapshot */
};

static void test_manifest(void **state)
{
    (void)state;
    static const struct marker_row rows[] = {
        {"one part", "_committed_5", "{\"added\":[\"a.parquet\"],\"removed\":[]}", RC_OK, "", 1},
        {"two parts", "_committed_5", "{\"added\":[\"a.parquet\",\"b.parquet\"]}", RC_OK, "", 2},
        {"nothing added is no snapshot", "_committed_5", "{\"added\":[]}", RC_OK, "", 0},
        {"a part that is not there", "_committed_5", "{\"added\":[\"c.parquet\"]}", RC_INVALID,
         "missing_file", 0},
        {"a directory", "_committed_5", "{\"added\":[\"x/a.parquet\"]}", RC_CORRUPT,
         "invalid_marker", 0},
        {"a step up", "_committed_5", "{\"added\":[\"..\"]}", RC_CORRUPT, "invalid_marker", 0},
        {"another bucket", "_committed_5", "{\"added\":[\"gs://o/a\"]}", RC_CORRUPT,
         "invalid_marker", 0},
        {"no list", "_committed_5", "{\"added\":\"a.parquet\"}", RC_CORRUPT, "invalid_marker", 0},
        {"cut short", "_committed_5", "{\"added\":[\"a.par", RC_CORRUPT, "invalid_marker", 0},
        {"empty", "_committed_5", "", RC_CORRUPT, "invalid_marker", 0},
        {"an id that no snapshot may have", "_committed_a b", "{\"added\":[\"a.parquet\"]}",
         RC_CORRUPT, "invalid_marker", 0},
    };
    struct object_info items[] = {OBJECT("_committed_5", 1), OBJECT("a.parquet", 2),
                                  OBJECT("b.parquet", 3)};
    struct object_list l = {items, 3};
    struct dataset d = dataset();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct object_info marker = {.name = (char *)(uintptr_t)rows[i].marker, .updated_us = 1234};
        struct manifest *m = NULL;
        struct err err = ERR_INIT;
        enum rc rc = databricks_manifest(&d, URL, &l, &marker, str_from(rows[i].text), &m, &err);
        CHECK_INT(rows[i].why, rc, rows[i].rc);
        CHECK_STR(rows[i].why, err.code, rows[i].code);
        CHECK_INT(rows[i].why, m ? m->n_files : 0, rows[i].n_files);
        manifest_free(m);
    }
}

static void test_what_a_part_is(void **state)
{
    (void)state;
    struct object_info items[] = {OBJECT("_committed_5", 1), OBJECT("a.parquet", 2)};
    struct object_list l = {items, 2};
    struct dataset d = dataset();
    struct manifest *m = NULL;
    struct err err = ERR_INIT;
    CHECK_OK(
        "it parses",
        databricks_manifest(&d, URL, &l, &items[0], STR("{\"added\":[\"a.parquet\"]}"), &m, &err),
        &err);
    CHECK_STR("named by the transaction", m->snapshot_id, "tid_5");
    CHECK_STR("one half of the model tag", m->producer, "databricks");
    CHECK_STR("the other", m->upstream_run_id, "5");
    CHECK_INT("the watermark is the marker's time", m->watermark_us, 1);
    CHECK_INT("so is created_at", m->created_at_us, 1);
    CHECK("rows are not known", !m->has_row_count);
    CHECK_STR("where it is", m->files[0].location, URL "a.parquet");
    CHECK_STR("pinned to the listed version", m->files[0].etag, "41");
    CHECK("and size", m->files[0].has_size_bytes && m->files[0].size_bytes == 7);
    CHECK("of the dataset's schema", schema_equal(&m->schema, &d.schema));
    manifest_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newest),
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_what_a_part_is),
    };
    return cmocka_run_group_tests_name("databricks", tests, NULL, NULL);
}
