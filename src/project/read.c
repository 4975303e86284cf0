/* SPDX-License-Identifier: Apache-2.0 */
/* Typed access to a YAML tree, with findings. */
#include "project/read.h"

#include <stdarg.h>
#include <stdio.h>

void *read_take(struct reader *r, size_t n, size_t item_bytes)
{
    void *p = arena_try_array(r->arena, n ? n : 1, item_bytes);
    if (!p)
        longjmp(*r->no_memory, 1);
    return p;
}

char *read_copy(struct reader *r, struct str s)
{
    char *p = arena_try_strndup(r->arena, s.p, s.n);
    if (!p)
        longjmp(*r->no_memory, 1);
    return p;
}

const char *read_path(struct reader *r, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(n >= 0);
    char *text = read_take(r, (size_t)n + 1, 1);
    (void)vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

const char *read_join(struct reader *r, const char *path, const char *key)
{
    return *path ? read_path(r, "%s.%s", path, key) : key;
}

PRINTF_LIKE(7, 0)
static void add_finding(struct reader *r, enum finding_severity severity, const struct node *at,
                        const char *path, const char *code, const char *hint, const char *format,
                        va_list args)
{
    char message[512];
    (void)vsnprintf(message, sizeof message, format, args); /* cut: a message is for people */
    size_t n = strlen(message);
    while (!utf8_valid((struct str){message, n})) /* not in the middle of a character */
        message[--n] = 0;
    errlist_add(r->findings, severity, r->file, at ? at->line : 1, at ? at->column : 1, path, code,
                hint, "%s", message);
}

void read_finding(struct reader *r, const struct node *at, const char *path, const char *code,
                  const char *hint, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_finding(r, FINDING_ERROR, at, path, code, hint, format, args);
    va_end(args);
}

void read_warning(struct reader *r, const struct node *at, const char *path, const char *code,
                  const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_finding(r, FINDING_WARNING, at, path, code, NULL, format, args);
    va_end(args);
}

static bool is_known(struct str key, const char *const *known)
{
    for (; *known; known++)
        if (str_is(key, *known))
            return true;
    return false;
}

bool read_map(struct reader *r, const struct node *n, const char *path, const char *const *known)
{
    if (n->kind != NODE_MAP) {
        read_finding(r, n, path, *path ? "invalid_type" : "not_a_map", NULL, "must be a mapping");
        return false;
    }
    size_t n_known = 0;
    while (known[n_known])
        n_known++;
    for (const struct node *child = n->first; child; child = child->next) {
        if (is_known(child->key, known))
            continue;
        const char *nearest = str_nearest(child->key.p, known, n_known);
        struct node at = {.line = child->key_line, .column = child->key_column};
        read_finding(r, &at, read_join(r, path, child->key.p), "unknown_field",
                     nearest ? read_path(r, "did you mean `%s`?", nearest) : NULL,
                     "`%s` is not a field here", child->key.p);
    }
    return true;
}

bool read_list(struct reader *r, const struct node *n, const char *path)
{
    if (n->kind == NODE_LIST)
        return true;
    read_finding(r, n, path, "invalid_type", NULL, "must be a list");
    return false;
}

const struct node *read_get(struct reader *r, const struct node *map, const char *path,
                            const char *key, bool required)
{
    const struct node *n = node_get(map, key);
    if (n && n->kind != NODE_NULL)
        return n;
    if (required)
        read_finding(r, n ? n : map, read_join(r, path, key), "missing", NULL, "`%s` is required",
                     key);
    return NULL;
}

char *read_string(struct reader *r, const struct node *map, const char *path, const char *key,
                  bool required)
{
    const struct node *n = read_get(r, map, path, key, required);
    if (!n)
        return NULL;
    if (n->kind != NODE_STRING) {
        read_finding(r, n, read_join(r, path, key), "invalid_type",
                     n->kind == NODE_LIST || n->kind == NODE_MAP ? NULL : "put it in quotes",
                     "must be a string");
        return NULL;
    }
    return read_copy(r, n->text);
}

bool read_integer(struct reader *r, const struct node *map, const char *path, const char *key,
                  bool required, int64_t *ret)
{
    const struct node *n = read_get(r, map, path, key, required);
    if (!n)
        return false;
    if (n->kind != NODE_INT) {
        read_finding(r, n, read_join(r, path, key), "invalid_type", NULL, "must be an integer");
        return false;
    }
    *ret = n->integer;
    return true;
}

bool read_number(struct reader *r, const struct node *map, const char *path, const char *key,
                 double *ret)
{
    const struct node *n = read_get(r, map, path, key, false);
    if (!n)
        return false;
    if (n->kind != NODE_INT && n->kind != NODE_DOUBLE) {
        read_finding(r, n, read_join(r, path, key), "invalid_type", NULL, "must be a number");
        return false;
    }
    if (!(n->number - n->number == 0)) {
        read_finding(r, n, read_join(r, path, key), "invalid_value", NULL, "must be finite");
        return false;
    }
    *ret = n->number;
    return true;
}

bool read_boolean(struct reader *r, const struct node *map, const char *path, const char *key,
                  bool *ret)
{
    const struct node *n = read_get(r, map, path, key, false);
    if (!n)
        return false;
    if (n->kind != NODE_BOOL) {
        read_finding(r, n, read_join(r, path, key), "invalid_type", NULL, "must be true or false");
        return false;
    }
    *ret = n->boolean;
    return true;
}

int read_word(struct reader *r, const struct node *map, const char *path, const char *key,
              bool required, const char *const *words, int otherwise)
{
    const struct node *n = read_get(r, map, path, key, required);
    if (!n)
        return otherwise;
    if (n->kind == NODE_LIST || n->kind == NODE_MAP) {
        read_finding(r, n, read_join(r, path, key), "invalid_type", NULL, "must be a string");
        return otherwise;
    }
    char allowed[256] = "";
    size_t used = 0;
    for (int i = 0; words[i]; i++) {
        if (str_is(n->text, words[i]) && n->kind == NODE_STRING)
            return i;
        int more = snprintf(allowed + used, sizeof allowed - used, "%s%s", i ? ", " : "", words[i]);
        used = more > 0 && used + (size_t)more < sizeof allowed ? used + (size_t)more : used;
    }
    read_finding(r, n, read_join(r, path, key), "invalid_value", NULL, "must be one of: %s",
                 allowed);
    return otherwise;
}

char *read_name(struct reader *r, const struct node *map, const char *path, const char *key)
{
    const struct node *n = read_get(r, map, path, key, true);
    if (!n)
        return NULL;
    if (n->kind == NODE_LIST || n->kind == NODE_MAP) {
        read_finding(r, n, read_join(r, path, key), "invalid_type", NULL, "must be a string");
        return NULL;
    }
    if (n->kind != NODE_STRING || !str_is_name(n->text)) {
        read_finding(
            r, n, read_join(r, path, key), "unsafe_identifier", NULL,
            "must start with a lower-case letter and hold only a-z, 0-9 and _ (at most 63)");
        return NULL;
    }
    return read_copy(r, n->text);
}

char *read_column(struct reader *r, const struct node *map, const char *path, const char *key)
{
    const struct node *n = read_get(r, map, path, key, true);
    if (!n)
        return NULL;
    if (n->kind == NODE_LIST || n->kind == NODE_MAP) {
        read_finding(r, n, read_join(r, path, key), "invalid_type", NULL, "must be a string");
        return NULL;
    }
    /* `name: 5` and `name: true` are columns somebody has; their text is what counts. */
    if (!str_is_column(n->text)) {
        read_finding(r, n, read_join(r, path, key), "unsafe_identifier", NULL,
                     "must hold only letters, digits and _ (at most 63)");
        return NULL;
    }
    return read_copy(r, n->text);
}
