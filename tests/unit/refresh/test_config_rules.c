/* SPDX-License-Identifier: Apache-2.0 */
/* Which listings of a bucket's prefix make a project, and whether a kept copy is what was kept. */
#include "unit.h"

#include "base/mem.h"
#include "refresh/config_int.h"

#define MIB (UINT64_C(1) << 20)

static void test_names(void **state)
{
    (void)state;
    static char longest[256], too_long[257], path[1026];
    memset(longest, 'a', 255);
    memset(too_long, 'a', 256);
    for (size_t i = 0; i < 1025; i++)
        path[i] = i % 100 == 99 ? '/' : 'a';
    static const struct {
        const char *why, *name;
        bool fine;
    } rows[] = {
        {"a file", "offloader.yml", true},
        {"a file below", "datasets/kv.yml", true},
        {"odd but legal", "data/a b+c%20~!'()*;:@&=$,#?[].csv", true},
        {"not ASCII", "data/\xc3\xa9.csv", true},
        {"two dots in a name are a name", "data/a..b", true},
        {"three are one too", ".../x", true},
        {"a hidden file", ".keep", true},
        {"nothing", "", false},
        {"absolute", "/etc/passwd", false},
        {"an empty step", "a//b", false},
        {"a directory that is not empty", "a/", false},
        {"up at the start", "../x", false},
        {"up in the middle", "a/../../x", false},
        {"up at the end", "a/..", false},
        {"only up", "..", false},
        {"here", "./x", false},
        {"a newline", "a\nb", false},
        {"an escape", "a\x1b[2J", false},
        {"delete", "a\x7f", false},
        {"not UTF-8", "a\xff", false},
        {"the longest step", longest, true},
        {"one byte more", too_long, false},
        {"more than 1024 bytes", path, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK(rows[i].why, (config_name_problem(str_from(rows[i].name)) == NULL) == rows[i].fine);
}

static struct object_info object(const char *name, uint64_t size)
{
    return (struct object_info){.name = (char *)(uintptr_t)name, .size_bytes = size};
}

struct listing_row {
    const char *why;
    struct object_info items[4];
    size_t n;
    enum rc rc;
    const char *code;
};

static void test_listings(void **state)
{
    (void)state;
    const struct listing_row rows[] = {
        {"a project", {object("offloader.yml", 9)}, 1, RC_OK, ""},
        {"nothing", {{0}}, 0, RC_NOT_FOUND, "empty"},
        {"only a placeholder", {object("", 0)}, 1, RC_NOT_FOUND, "empty"},
        {"no YAML", {object("a.csv", 9)}, 1, RC_NOT_FOUND, "empty"},
        {"placeholders are passed over",
         {object("", 0), object("datasets/", 0), object("offloader.yml", 1)},
         3,
         RC_OK,
         ""},
        {"a directory's name with bytes is none",
         {object("datasets/", 1), object("o.yml", 1)},
         2,
         RC_INVALID,
         "unsafe_name"},
        {"one bad name refuses all",
         {object("../x", 1), object("o.yml", 1)},
         2,
         RC_INVALID,
         "unsafe_name"},
        {"a file that is a directory too",
         {object("a", 1), object("a-b", 1), object("a/o.yml", 1)},
         3,
         RC_INVALID,
         "unsafe_name"},
        {"exactly 32 MiB", {object("d.bin", 32 * MIB), object("o.yml", 0)}, 2, RC_OK, ""},
        {"a byte more", {object("d.bin", 32 * MIB + 1), object("o.yml", 0)}, 2, RC_LIMIT, "limit"},
        {"a YAML file may be the keys",
         {object("d.bin", 32 * MIB), object("k.yml", 64 * MIB)},
         2,
         RC_OK,
         ""},
        {"no keys file is that large", {object("k.yml", 64 * MIB + 1)}, 1, RC_LIMIT, "limit"},
        {"only one of them",
         {object("a.yml", 33 * MIB), object("k.yml", 33 * MIB)},
         2,
         RC_LIMIT,
         "limit"},
        {"sizes that overflow",
         {object("a.bin", UINT64_MAX), object("o.yml", UINT64_MAX)},
         2,
         RC_LIMIT,
         "limit"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct listing_row row = rows[i];
        struct object_list l = {row.items, row.n};
        struct err err = ERR_INIT;
        CHECK_INT(row.why, config_check_listing(&l, &err), row.rc);
        CHECK_STR(row.why, err.code, row.code);
    }
}

static void test_number_of_objects(void **state)
{
    (void)state;
    struct object_info *items = x_array0(601, sizeof *items);
    char(*names)[16] = x_array0(601, sizeof *names);
    for (size_t i = 0; i < 601; i++) {
        snprintf(names[i], sizeof names[i], i < 100 ? "d%03zu/" : "f%03zu.yml", i);
        items[i] = object(names[i], i < 100 ? 0 : 1);
    }
    struct object_list l = {items, 600};
    struct err err = ERR_INIT;
    CHECK_OK("500 objects and 100 placeholders", config_check_listing(&l, &err), &err);
    l.n_items = 601;
    CHECK_INT("501 objects", config_check_listing(&l, &err), RC_LIMIT);
    mem_free(items);
    mem_free(names);
}

static void test_keys_file(void **state)
{
    (void)state;
    struct object_info items[] = {object("d.bin", 32 * MIB), object("k/k.yml", 40 * MIB)};
    struct object_list l = {items, 2};
    struct err err = ERR_INIT;
    CHECK_OK("the keys file does not count", config_check_bytes(&l, "k/k.yml", &err), &err);
    CHECK_INT("unless it is none", config_check_bytes(&l, NULL, &err), RC_LIMIT);
    CHECK_INT("or another one", config_check_bytes(&l, "k.yml", &err), RC_LIMIT);
}

static void test_listing_hash(void **state)
{
    (void)state;
    struct object_info base = {
        .name = (char[]){"a"}, .size_bytes = 1, .updated_us = 2, .tag = (char[]){"3"}};
    struct object_info other[4] = {base, base, base, base};
    uint8_t want[32], got[32];
    struct object_list l = {&base, 1};
    config_listing_hash("gs://b/p/", &l, want);
    other[0].name = (char[]){"b"};
    other[1].size_bytes = 9;
    other[2].updated_us = 9;
    other[3].tag = (char[]){"4"};
    for (size_t i = 0; i < 4; i++) {
        struct object_list changed = {&other[i], 1};
        config_listing_hash("gs://b/p/", &changed, got);
        CHECK("name, size, time and tag each tell", memcmp(want, got, 32) != 0);
    }
    config_listing_hash("gs://b/q/", &l, got);
    CHECK("so does the place", memcmp(want, got, 32) != 0);
    config_listing_hash("gs://b/p/", &l, got);
    CHECK("the same is the same", memcmp(want, got, 32) == 0);
}

/* ---- the kept copy ---- */

static void put(const char *directory, const char *name, const char *text)
{
    char *path = path_join(directory, name);
    struct err err = ERR_INIT;
    CHECK_OK(name, io_write_file(path, text, strlen(text), 0644, &err), &err);
    mem_free(path);
}

static void test_copy(void **state)
{
    (void)state;
    char *directory = unit_directory();
    char *tree = path_join(directory, "tree"), *below = path_join(tree, "datasets");
    struct err err = ERR_INIT;
    struct object_info items[] = {object("", 0), object("datasets/kv.yml", 3),
                                  object("offloader.yml", 2)};
    struct object_list l = {items, 3};
    struct config_copy c = {0}, read = {0};
    CHECK_OK("a tree", io_mkdir_all(below, 0755, &err), &err);
    put(tree, "offloader.yml", "v1");
    put(tree, "datasets/kv.yml", "abc");
    CHECK_OK("it is read", config_copy_take(tree, &l, &c, &err), &err);
    CHECK_INT("placeholders are no files", c.n_files, 2);
    CHECK_INT("a revision has 16 digits", strlen(c.revision), 16);
    memset(c.source, 7, 32);
    CHECK_OK("recorded", config_copy_write(directory, &c, &err), &err);
    CHECK_OK("and read back", config_copy_read(directory, c.source, &read, &err), &err);
    CHECK_STR("as it was", read.revision, c.revision);
    CHECK_OK("it verifies", config_copy_verify(tree, &read, &err), &err);
    put(tree, "datasets/kv.yml", "abd");
    CHECK_INT("one changed byte", config_copy_verify(tree, &read, &err), RC_CORRUPT);
    put(tree, "datasets/kv.yml", "abc");
    put(tree, "datasets/more.yml", "x");
    CHECK_INT("one file more", config_copy_verify(tree, &read, &err), RC_CORRUPT);
    config_copy_done(&read);
    uint8_t elsewhere[32] = {0};
    CHECK_INT("a copy of another bucket is not taken",
              config_copy_read(directory, elsewhere, &read, &err), RC_NOT_FOUND);
    put(directory, "applied.json", "{}\n00000000\n");
    CHECK_INT("nor one whose record was touched",
              config_copy_read(directory, c.source, &read, &err), RC_NOT_FOUND);
    config_copy_done(&c);
    mem_free(below);
    mem_free(tree);
    unit_remove(directory);
}

static bool is_used(void *arg, const char *directory)
{
    return str_ends(str_from(directory), arg);
}

static void test_tidying(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool stays;
    } rows[] = {{"current", true}, {"before", true},    {"older", false},
                {"read", true},    {"fetch-12", false}, {"applied.json", true}};
    char *directory = unit_directory(), arg[] = "read";
    struct err err = ERR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *path = path_join(directory, rows[i].name);
        CHECK_OK("made", io_mkdir_all(path, 0755, &err), &err);
        mem_free(path);
    }
    config_copy_tidy(directory, &(struct config_keep){"current", "before", is_used, arg});
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *path = path_join(directory, rows[i].name);
        CHECK(rows[i].name, (access(path, F_OK) == 0) == rows[i].stays);
        mem_free(path);
    }
    unit_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_listings),
        cmocka_unit_test(test_number_of_objects),
        cmocka_unit_test(test_keys_file),
        cmocka_unit_test(test_listing_hash),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_tidying),
    };
    return cmocka_run_group_tests_name("config_rules", tests, NULL, NULL);
}
