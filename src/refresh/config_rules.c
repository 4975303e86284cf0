/* SPDX-License-Identifier: Apache-2.0 */
/* Which listings of a bucket's prefix make a project, decided before anything is downloaded. */
#include <limits.h>

#include "base/hash.h"
#include "refresh/remote.h"

#define LIMIT_NAME_BYTES 1024
#define LIMIT_KEYS_TREE_BYTES (UINT64_C(64) << 20)

bool config_is_placeholder(const struct object_info *o)
{
    struct str name = str_from(o->name);
    return o->size_bytes == 0 && (name.n == 0 || str_ends(name, "/"));
}

const char *config_name_problem(struct str name)
{
    if (name.n == 0)
        return "is empty";
    if (name.n > LIMIT_NAME_BYTES)
        return "is longer than 1024 bytes";
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f)
            return "holds a control character";
    if (!utf8_valid(name))
        return "is not UTF-8";
    for (size_t i = 0; i <= name.n;) {
        const char *step = name.p + i;
        const char *slash = memchr(step, '/', name.n - i);
        size_t n = slash ? (size_t)(slash - step) : name.n - i;
        if (n == 0)
            return "has an empty step: it begins or ends with `/` or holds `//`";
        if ((n == 1 && step[0] == '.') || (n == 2 && step[0] == '.' && step[1] == '.'))
            return "has a step `.` or `..`";
        if (n > NAME_MAX)
            return "has a step of more than 255 bytes";
        i += n + 1;
    }
    return NULL;
}

static bool is_yaml(struct str name)
{
    return str_ends(name, ".yml") || str_ends(name, ".yaml");
}

/* Sorted by name, `a`, `a-b`, `a/b`: what would be a file and a directory is not always adjacent.
 */
static bool is_also_directory(const struct object_list *l, size_t at)
{
    struct str name = str_from(l->items[at].name);
    for (size_t i = at + 1; i < l->n_items && str_starts(str_from(l->items[i].name), name.p); i++)
        if (l->items[i].name[name.n] == '/' && !config_is_placeholder(&l->items[i]))
            return true;
    return false;
}

static enum rc check_names(const struct object_list *l, struct err *err)
{
    for (size_t i = 0; i < l->n_items; i++) {
        if (config_is_placeholder(&l->items[i]))
            continue;
        const char *problem = config_name_problem(str_from(l->items[i].name));
        if (!problem && is_also_directory(l, i))
            problem = "is a file and a directory";
        if (problem)
            return err_set_code(err, RC_INVALID, "unsafe_name",
                                "an object's name %s, so the whole revision is refused: %.200s",
                                problem, l->items[i].name);
    }
    return RC_OK;
}

enum rc config_check_listing(const struct object_list *l, struct err *err)
{
    size_t n = 0;
    uint64_t total = 0, largest_yaml = 0;
    bool has_yaml = false;
    enum rc rc = check_names(l, err);
    for (size_t i = 0; rc == RC_OK && i < l->n_items; i++) {
        const struct object_info *o = &l->items[i];
        if (config_is_placeholder(o))
            continue;
        n++;
        if (__builtin_add_overflow(total, o->size_bytes, &total))
            total = UINT64_MAX;
        if (!is_yaml(str_from(o->name)))
            continue;
        has_yaml = true;
        if (o->size_bytes > largest_yaml && o->size_bytes <= LIMIT_KEYS_TREE_BYTES)
            largest_yaml = o->size_bytes;
    }
    if (rc != RC_OK)
        return rc;
    if (n == 0)
        return err_set_code(err, RC_NOT_FOUND, "empty", "there is nothing under the prefix");
    if (n > LIMIT_CONFIG_OBJECTS)
        return err_set_code(err, RC_LIMIT, "limit",
                            "there are %zu objects under the prefix; a project has at most %d", n,
                            LIMIT_CONFIG_OBJECTS);
    if (!has_yaml)
        return err_set_code(err, RC_NOT_FOUND, "empty", "there is no YAML file under the prefix");
    /* One YAML file may hold the keys. */
    if (total - largest_yaml > LIMIT_CONFIG_BYTES)
        return err_set_code(
            err, RC_LIMIT, "limit",
            "the objects under the prefix have more than 32 MiB besides a keys file");
    return RC_OK;
}

enum rc config_check_bytes(const struct object_list *l, const char *keys, struct err *err)
{
    uint64_t total = 0;
    for (size_t i = 0; i < l->n_items; i++)
        if (!keys || strcmp(l->items[i].name, keys) != 0)
            total += l->items[i].size_bytes; /* no overflow: config_check_listing has been here */
    if (total > LIMIT_CONFIG_BYTES)
        return err_set_code(
            err, RC_LIMIT, "limit",
            "the objects under the prefix have more than 32 MiB besides the keys file");
    return RC_OK;
}

void config_listing_hash(const char *url, const struct object_list *l, uint8_t ret[32])
{
    struct sha256_stream *hash = sha256_new();
    sha256_add(hash, url, strlen(url) + 1);
    for (size_t i = 0; i < l->n_items; i++) {
        const struct object_info *o = &l->items[i];
        const char *tag = o->tag ? o->tag : "";
        sha256_add(hash, o->name, strlen(o->name) + 1);
        sha256_add(hash, &o->size_bytes, sizeof o->size_bytes);
        sha256_add(hash, &o->updated_us, sizeof o->updated_us);
        sha256_add(hash, tag, strlen(tag) + 1);
    }
    sha256_finish(hash, ret);
}
