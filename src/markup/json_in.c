/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text into the same tree as YAML's, by jansson; strict, without duplicate keys. */
#include <jansson.h>

#include "base/mem.h"
#include "markup/markup.h"

struct json_builder {
    struct arena *arena;
    bool no_memory, too_deep;
};

static struct str copy_text(struct json_builder *b, const char *p, size_t n)
{
    char *copy = arena_try_strndup(b->arena, p, n);
    if (!copy) {
        b->no_memory = true;
        return STR("");
    }
    return (struct str){copy, n};
}

static struct node *convert(struct json_builder *b, json_t *j, int depth);

static void add_child(struct node *parent, struct node **last, struct node *child)
{
    if (!child)
        return;
    if (*last)
        (*last)->next = child;
    else
        parent->first = child;
    *last = child;
    parent->n_children++;
}

static void convert_children(struct json_builder *b, json_t *j, struct node *n, int depth)
{
    struct node *last = NULL;
    const char *key;
    json_t *value;
    size_t i;
    if (n->kind == NODE_MAP) {
        json_object_foreach(j, key, value)
        {
            struct node *child = convert(b, value, depth + 1);
            if (!child)
                return;
            child->key = copy_text(b, key, strlen(key));
            add_child(n, &last, child);
        }
        return;
    }
    json_array_foreach(j, i, value)
    {
        struct node *child = convert(b, value, depth + 1);
        if (!child)
            return;
        add_child(n, &last, child);
    }
}

static void convert_number(struct json_builder *b, json_t *j, struct node *n)
{
    char text[40];
    if (json_is_integer(j)) {
        n->kind = NODE_INT;
        n->integer = json_integer_value(j);
        n->number = (double)n->integer;
        snprintf(text, sizeof text, "%lld", (long long)n->integer);
    } else {
        n->kind = NODE_DOUBLE;
        n->number = json_real_value(j);
        snprintf(text, sizeof text, "%.17g", n->number);
    }
    n->text = copy_text(b, text, strlen(text));
}

static struct node *convert(struct json_builder *b, json_t *j, int depth)
{
    if (depth > LIMIT_JSON_DEPTH) {
        b->too_deep = true;
        return NULL;
    }
    struct node *n = arena_try(b->arena, sizeof *n);
    if (!n) {
        b->no_memory = true;
        return NULL;
    }
    n->text = STR("");
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        n->kind = NODE_MAP;
        convert_children(b, j, n, depth);
        break;
    case JSON_ARRAY:
        n->kind = NODE_LIST;
        convert_children(b, j, n, depth);
        break;
    case JSON_STRING:
        n->kind = NODE_STRING;
        n->text = copy_text(b, json_string_value(j), json_string_length(j));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        convert_number(b, j, n);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        n->kind = NODE_BOOL;
        n->boolean = json_is_true(j);
        n->text = n->boolean ? STR("true") : STR("false");
        break;
    case JSON_NULL:
        n->kind = NODE_NULL;
        n->text = STR("null");
        break;
    }
    return b->no_memory || b->too_deep ? NULL : n;
}

struct node *json_parse(struct str text, struct arena *arena, struct err *err)
{
    json_error_t problem;
    json_t *j = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
                           &problem);
    if (!j) {
        (void)err_set_code(err, RC_INVALID, "invalid_json", "line %d column %d: %s", problem.line,
                           problem.column, problem.text);
        return NULL;
    }
    struct json_builder b = {.arena = arena};
    struct node *n = convert(&b, j, 1);
    json_decref(j);
    if (b.too_deep)
        (void)err_set_code(err, RC_INVALID, "invalid_json",
                           "line 1 column 1: nested deeper than %d levels", LIMIT_JSON_DEPTH);
    else if (!n)
        (void)err_set(err, RC_NO_MEMORY, "the JSON text needs more memory than is allowed");
    return n;
}

const struct node *node_get(const struct node *map, const char *key)
{
    if (!map || map->kind != NODE_MAP)
        return NULL;
    for (const struct node *child = map->first; child; child = child->next)
        if (str_is(child->key, key))
            return child;
    return NULL;
}

const struct node *node_at(const struct node *list, size_t at)
{
    const struct node *child = list ? list->first : NULL;
    while (child && at--)
        child = child->next;
    return child;
}
