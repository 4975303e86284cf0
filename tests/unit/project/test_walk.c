/* SPDX-License-Identifier: Apache-2.0 */
/* Which changes of a project's files a walk tells, wherever they are and whatever their names. */
#include "files.h"

#include "project/project.h"

static void write_in(const char *project, const char *name, const char *text)
{
    AUTO(mem_free_auto) char *path = path_join(project, name);
    write_file(path, text);
}

/* A project directory of its own, whose `keys` is @keys. */
static char *make_project(const char *name, const char *keys)
{
    AUTO(mem_free_auto) char *text = x_printf("version: 1\nkeys: %s\n"
                                              "datasets_dir: .parts/datasets\n"
                                              "endpoints_dir: parts/.endpoints\n",
                                              keys);
    write_in(name, "offloader.yml", text);
    write_in(name, "keys/keys.yml", "keys: []\n");
    write_in(name, "keys/plain", "keys: []\n");
    write_in(name, "keys/.hidden.yml", "keys: []\n");
    write_in(name, "other/deep/more.yml", "a: 1\n");
    write_in(name, ".parts/datasets/kv.yml", "id: kv\n");
    write_in(name, "parts/.endpoints/kv.yaml", "name: kv\n");
    return path_join(directory, name);
}

static void walk(const char *path, uint8_t ret[32])
{
    struct err err = ERR_INIT;
    CHECK_OK(path, project_walk_fingerprint(path, ret, &err), &err);
}

static bool is_seen(const char *project, const char *name)
{
    uint8_t before[32], after[32];
    AUTO(mem_free_auto) char *path = path_join(directory, project);
    walk(path, before);
    write_in(project, name, "changed: true\n");
    walk(path, after);
    return memcmp(before, after, 32) != 0;
}

static void test_what_is_seen(void **state)
{
    (void)state;
    static const struct {
        const char *why, *keys, *changed;
        bool seen;
    } rows[] = {
        {"the project file", "keys/keys.yml", "offloader.yml", true},
        {"any YAML below it", "keys/keys.yml", "other/deep/more.yml", true},
        {"one that is new", "keys/keys.yml", "other/new.yaml", true},
        {"data are looked at by their datasets", "keys/keys.yml", "data/rows.csv", false},
        {"what is hidden and not named", "keys/keys.yml", ".git/config.yml", false},
        {"the keys file", "keys/keys.yml", "keys/keys.yml", true},
        {"without a suffix", "keys/plain", "keys/plain", true},
        {"the same file when it is not the one", "keys/keys.yml", "keys/plain", false},
        {"of a hidden name", "keys/.hidden.yml", "keys/.hidden.yml", true},
        {"not there until now", "keys/later", "keys/later", true},
        {"a hidden directory of datasets", "keys/keys.yml", ".parts/datasets/kv.yml", true},
        {"of endpoints", "keys/keys.yml", "parts/.endpoints/kv.yaml", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(mem_free_auto) char *name = x_printf("project%zu", i);
        AUTO(mem_free_auto) char *path = make_project(name, rows[i].keys);
        CHECK_INT(rows[i].why, is_seen(name, rows[i].changed), rows[i].seen);
    }
}

static void test_keys_elsewhere(void **state)
{
    (void)state;
    uint8_t before[32], after[32], gone[32];
    write_file("secrets/keys", "keys: []\n");
    AUTO(mem_free_auto) char *keys = path_join(directory, "secrets/keys");
    AUTO(mem_free_auto) char *project = make_project("elsewhere", keys);
    walk(project, before);
    write_file("secrets/other", "keys: []\n");
    walk(project, after);
    CHECK("nothing else beside them", memcmp(before, after, 32) == 0);
    write_file("secrets/keys", "keys: [1]\n");
    walk(project, after);
    CHECK("a mounted secret that changes", memcmp(before, after, 32) != 0);
    CHECK_INT("removes it", unlink(keys), 0);
    walk(project, gone);
    CHECK("or goes", memcmp(after, gone, 32) != 0);
}

static void link_to(const char *target, const char *name)
{
    AUTO(mem_free_auto) char *path = path_join(directory, name);
    (void)unlink(path);
    CHECK_INT(name, symlink(target, path), 0);
}

static void test_links(void **state)
{
    (void)state;
    uint8_t first[32], second[32], changed[32], by_file[32];
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *one = make_project("one", "keys/keys.yml");
    mem_free(make_project("two", "keys/keys.yml"));
    AUTO(mem_free_auto) char *current = path_join(directory, "current");
    link_to("one", "current");
    walk(current, first);
    walk(one, second);
    CHECK("a link is where it leads", memcmp(first, second, 32) == 0);
    link_to("two", "current");
    walk(current, second);
    CHECK("and is seen when it is turned", memcmp(first, second, 32) != 0);
    /* Only the project file is linked: what it belongs to is beside the file itself. */
    AUTO(mem_free_auto) char *etc = path_join(directory, "etc");
    CHECK_OK("a place", io_mkdir_all(etc, 0700, &err), &err);
    link_to("../one/offloader.yml", "etc/offloader.yml");
    AUTO(mem_free_auto) char *file = path_join(directory, "etc/offloader.yml");
    walk(etc, first);
    walk(file, by_file);
    CHECK("directory or file", memcmp(first, by_file, 32) == 0);
    write_in("one", "other/deep/more.yml", "changed: true\n");
    walk(etc, changed);
    CHECK("the files of the real directory count", memcmp(first, changed, 32) != 0);
}

static void test_not_there(void **state)
{
    (void)state;
    uint8_t hash[32] = {7};
    struct err err = ERR_INIT;
    CHECK_INT("no project", project_walk_fingerprint(directory, hash, &err), RC_IO);
    CHECK("the output is untouched", hash[0] == 7);
}

static int setup(void **state)
{
    (void)state;
    directory = unit_directory();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unit_remove(directory);
    return 0;
}

static void test_named(void **state)
{
    (void)state;
    AUTO(mem_free_auto) char *keys = project_named(STR("version: 1\nkeys: k/k.yml\n"), "keys");
    CHECK_STR("found in the project file", keys, "k/k.yml");
    CHECK("none", project_named(STR("version: 1\n"), "keys") == NULL);
    CHECK("a list is no path", project_named(STR("keys: [a]\n"), "keys") == NULL);
    CHECK("no YAML", project_named(STR("a: ["), "keys") == NULL);
    CHECK("no mapping", project_named(STR("[]"), "keys") == NULL);
}

int main(void)
{
#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(test_what_is_seen), IN_DIRECTORY(test_keys_elsewhere),
        IN_DIRECTORY(test_links),        IN_DIRECTORY(test_not_there),
        cmocka_unit_test(test_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
