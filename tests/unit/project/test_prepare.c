/* SPDX-License-Identifier: Apache-2.0 */
/* What endpoints make of a dataset's build: its sort, and the columns that may get posting lists.
 */
#include "files.h"

#include "base/errlist.h"
#include "project/project.h"

static void write_dataset(bool has_tenant)
{
    AUTO(mem_free_auto) char *text = x_printf("id: d\nmanifest: data/manifest.json\n%sschema:\n"
                                              "  - { name: tenant, type: VARCHAR }\n"
                                              "  - { name: a, type: INTEGER }\n"
                                              "  - { name: b, type: INTEGER }\n"
                                              "  - { name: c, type: INTEGER }\n",
                                              has_tenant ? "tenant_column: tenant\n" : "");
    write_file("datasets/d.yml", text);
}

static void write_endpoint(const char *name, const char *mode, bool is_scoped, const char *filters)
{
    AUTO(mem_free_auto) char *path = x_printf("endpoints/%s.yml", name);
    AUTO(mem_free_auto) char *text =
        x_printf("name: %s\nversion: 1\ndataset: d\nserving_mode: %s\n%s"
                 "params:\n"
                 "  - { name: must, type: integer, required: true }\n"
                 "  - { name: may, type: integer }\n"
                 "  - { name: usual, type: integer, default: 3 }\n"
                 "query:\n  select: [{ as: a, column: a }]\n  filters: [%s]\ncolumns: [a]\n",
                 name, mode, is_scoped ? "tenant: { column: tenant }\n" : "", filters);
    write_file(path, text);
}

static struct project *load_written(const char *why)
{
    struct errlist findings = ERRLIST_INIT;
    struct project *p = NULL;
    struct err err = ERR_INIT;
    enum rc rc = project_load(directory, &findings, &p, &err);
    if (rc != RC_OK)
        fail_msg("%s: %s", why, findings.n_items ? findings.items[0].message : "?");
    errlist_done(&findings);
    return p;
}

#define MUST(column) "{ column: " column ", op: eq, param: must }"
#define MAY(column) "{ column: " column ", op: eq, param: may }"
#define USUAL(column) "{ column: " column ", op: eq, param: usual }"
#define FROM(column) "{ column: " column ", op: gte, param: must }"

static void test_posting_lists_stand_where_the_sort_does_not_lead(void **state)
{
    static const struct {
        bool is_scoped;
        const char *mode, *first, *second; /* filters of two endpoints; NULL: only one */
        const char *sort, *posting, *why;
    } rows[] = {
        {true, "local_table", MUST("a"), NULL, "tenant a", "", "tenant and a are the prefix"},
        {true, "local_table", MAY("a"), NULL, "tenant a", "", "also when a may be left out"},
        {false, "local_table", MUST("a"), NULL, "a", "", "the first of the sort"},
        {true, "local_table", MUST("a") ", " MAY("b"), NULL, "tenant a b", "",
         "b after two that are always bound"},
        {true, "local_table", MAY("a") ", " MUST("b"), NULL, "tenant a b", "b",
         "b when a is left out"},
        {true, "local_table", USUAL("a") ", " MUST("b"), NULL, "tenant a b", "",
         "a default binds too"},
        {true, "local_table", FROM("a") ", " MUST("b"), NULL, "tenant b a", "",
         "an equality sorts before a range"},
        {true, "local_table", MUST("a"), MUST("b"), "tenant a b", "b",
         "one that asks for b alone passes by a"},
        {false, "local_table", MUST("a"), MUST("b"), "a b", "b", "also without a tenant"},
        {true, "remote_scan", MUST("a"), MUST("b"), "tenant a b", "",
         "files that are read in place have no posting lists"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf sort, posting;
        directory = unit_directory();
        write_file("offloader.yml", "version: 1\nkeys: keys.yml\n");
        write_file("keys.yml", "keys: []\n");
        write_dataset(rows[i].is_scoped);
        write_endpoint("first", rows[i].mode, rows[i].is_scoped, rows[i].first);
        if (rows[i].second)
            write_endpoint("second", rows[i].mode, rows[i].is_scoped, rows[i].second);
        struct project *p = load_written(rows[i].why);
        buf_init(&sort, 1000);
        buf_init(&posting, 1000);
        const struct dataset *d = &p->datasets[0];
        for (int k = 0; k < d->n_sort_columns; k++)
            buf_printf(&sort, "%s%s", k ? " " : "", d->schema.columns[d->sort_columns[k]].name);
        for (size_t k = 0; k < d->schema.n_columns; k++)
            if (d->equality_columns[k])
                buf_printf(&posting, "%s%s", posting.n ? " " : "", d->schema.columns[k].name);
        CHECK_STR(rows[i].why, buf_cstr(&sort), rows[i].sort);
        CHECK_STR(rows[i].why, buf_cstr(&posting), rows[i].posting);
        buf_done(&sort);
        buf_done(&posting);
        project_free(p);
        unit_remove(directory);
    }
}

/* Modes of two endpoints with the same filter; NULL: only one. */
static void build_of(const char *first, const char *second, uint8_t ret[32])
{
    directory = unit_directory();
    write_file("offloader.yml", "version: 1\nauth: none\n");
    write_dataset(false);
    write_endpoint("first", first, false, MUST("a"));
    if (second)
        write_endpoint("second", second, false, MUST("a"));
    struct project *p = load_written(first);
    memcpy(ret, p->datasets[0].build_fingerprint, 32);
    project_free(p);
    unit_remove(directory);
}

static void test_a_mode_that_comes_is_another_build(void **state)
{
    static const char local[] = "local_table", remote[] = "remote_scan";
    static const struct {
        const char *before[2], *after[2];
        bool is_same;
        const char *why;
    } rows[] = {
        {{local}, {local, local}, true, "one more of its mode needs nothing new"},
        {{remote}, {remote, remote}, true, "nor here"},
        {{local}, {local, remote}, false, "the files are to be remembered"},
        {{remote}, {local, remote}, false, "the rows are to be stored"},
        {{local}, {remote}, false, "one mode for the other"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t before[32], after[32];
        build_of(rows[i].before[0], rows[i].before[1], before);
        build_of(rows[i].after[0], rows[i].after[1], after);
        CHECK(rows[i].why, (memcmp(before, after, 32) == 0) == rows[i].is_same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posting_lists_stand_where_the_sort_does_not_lead),
        cmocka_unit_test(test_a_mode_that_comes_is_another_build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
