/* SPDX-License-Identifier: Apache-2.0 */
/* An endpoint's `params` and `combinations`. */
#include "project/read.h"

#define LIMIT_PARAMS 64
#define LIMIT_COMBINATIONS 4096

static const char *const type_words[] = {"string", "integer",   "number", "boolean",
                                         "date",   "timestamp", "enum",   NULL};

static void enum_read(struct reader *r, const struct node *n, const char *path, struct param *p)
{
    const struct node *list = read_get(r, n, path, "enum", p->type == PARAM_ENUM);
    size_t i = 0;
    if (!list)
        return;
    const char *at = read_join(r, path, "enum");
    if (p->type != PARAM_ENUM) {
        read_finding(r, list, at, "invalid_value", NULL, "only a param of type enum has a list");
        return;
    }
    if (!read_list(r, list, at))
        return;
    if (list->n_children == 0)
        read_finding(r, list, at, "missing", NULL, "at least one value is required");
    p->enum_values = read_take(r, list->n_children, sizeof *p->enum_values);
    for (const struct node *item = list->first; item; item = item->next, i++) {
        if (item->kind != NODE_STRING)
            read_finding(r, item, read_path(r, "%s[%zu]", at, i), "invalid_type",
                         "put it in quotes", "must be a string");
        else
            p->enum_values[p->n_enum_values++] = read_copy(r, item->text);
    }
}

static bool is_enum_value(const struct param *p, struct str s)
{
    for (size_t i = 0; i < p->n_enum_values; i++)
        if (str_is(s, p->enum_values[i]))
            return true;
    return false;
}

static void aliases_read(struct reader *r, const struct node *n, const char *path, struct param *p)
{
    const struct node *map = read_get(r, n, path, "aliases", false);
    if (!map)
        return;
    const char *at = read_join(r, path, "aliases");
    if (p->type != PARAM_STRING && p->type != PARAM_ENUM) {
        read_finding(r, map, at, "invalid_value", NULL, "only string and enum params have aliases");
        return;
    }
    if (map->kind != NODE_MAP) {
        read_finding(r, map, at, "invalid_type", NULL, "must map text to text");
        return;
    }
    p->aliases = read_take(r, map->n_children, sizeof *p->aliases);
    for (const struct node *item = map->first; item; item = item->next) {
        const char *item_at = read_path(r, "%s.%s", at, item->key.p);
        if (item->kind != NODE_STRING)
            read_finding(r, item, item_at, "invalid_type", "put it in quotes", "must be a string");
        else if (p->type == PARAM_ENUM && !is_enum_value(p, item->text))
            read_finding(r, item, item_at, "invalid_value", NULL, "`%s` is not in the enum",
                         item->text.p);
        else
            p->aliases[p->n_aliases++] =
                (struct param_alias){read_copy(r, item->key), read_copy(r, item->text)};
    }
}

static void bound_read(struct reader *r, const struct node *n, const char *path, const char *key,
                       const struct param *p, bool *has, int64_t *integer, double *number)
{
    const struct node *bound = read_get(r, n, path, key, false);
    if (!bound)
        return;
    if (p->type != PARAM_INTEGER && p->type != PARAM_NUMBER) {
        read_finding(r, bound, read_join(r, path, key), "invalid_value", NULL,
                     "only integer and number params have bounds");
    } else if (p->type == PARAM_INTEGER) {
        *has = read_integer(r, n, path, key, false, integer);
    } else {
        *has = read_number(r, n, path, key, number);
    }
}

static void bounds_read(struct reader *r, const struct node *n, const char *path, struct param *p)
{
    p->bounds_are_integers = p->type == PARAM_INTEGER;
    bound_read(r, n, path, "min", p, &p->has_min, &p->min_integer, &p->min_number);
    bound_read(r, n, path, "max", p, &p->has_max, &p->max_integer, &p->max_number);
    if (p->has_min && p->has_max &&
        (p->bounds_are_integers ? p->min_integer > p->max_integer : p->min_number > p->max_number))
        read_finding(r, node_get(n, "max"), read_join(r, path, "max"), "invalid_value", NULL,
                     "is less than `min`");
}

static bool default_has_kind(enum param_type type, enum node_kind kind)
{
    if (kind == NODE_STRING)
        return true; /* "60" for an integer: its text is what counts */
    switch (type) {
    case PARAM_INTEGER:
        return kind == NODE_INT;
    case PARAM_NUMBER:
        return kind == NODE_INT || kind == NODE_DOUBLE;
    case PARAM_BOOLEAN:
        return kind == NODE_BOOL;
    case PARAM_STRING:
    case PARAM_DATE:
    case PARAM_TIMESTAMP:
    case PARAM_ENUM:
        return false;
    }
    return false;
}

static void default_read(struct reader *r, const struct node *n, const char *path, struct param *p)
{
    const struct node *value = read_get(r, n, path, "default", false);
    struct param_value checked;
    if (!value)
        return;
    const char *at = read_join(r, path, "default");
    struct str text =
        value->kind == NODE_BOOL ? (value->boolean ? STR("true") : STR("false")) : value->text;
    if (!default_has_kind(p->type, value->kind)) {
        read_finding(r, value, at, "invalid_default", NULL, "must be of type %s",
                     type_words[p->type]);
        return;
    }
    if (param_check(p, text, r->arena, &checked) != PARAM_FINE) {
        read_finding(r, value, at, "invalid_default", NULL,
                     "does not satisfy the param's own type, enum or bounds");
        return;
    }
    p->has_default = true;
    p->default_text = read_copy(r, text);
}

static void param_read(struct reader *r, const struct node *n, const char *path, struct endpoint *e)
{
    static const char *const known[] = {"name", "type", "required", "default", "enum",
                                        "min",  "max",  "aliases",  NULL};
    static const char *const reserved[] = {"limit", "offset", "columns", "cursor"};
    struct param p = {0};
    if (!read_map(r, n, path, known))
        return;
    p.name = read_name(r, n, path, "name");
    int type = read_word(r, n, path, "type", true, type_words, -1);
    (void)read_boolean(r, n, path, "required", &p.required);
    if (type >= 0) {
        p.type = (enum param_type)type;
        enum_read(r, n, path, &p);
        aliases_read(r, n, path, &p);
        bounds_read(r, n, path, &p);
        default_read(r, n, path, &p);
    }
    if (!p.name)
        return;
    const struct node *name_at = node_get(n, "name");
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (str_is(str_from(p.name), reserved[i]))
            read_finding(r, name_at, read_join(r, path, "name"), "reserved_name", NULL,
                         "`%s` is a param of every endpoint", p.name);
    for (size_t i = 0; i < e->n_params; i++) {
        if (str_is(str_from(p.name), e->params[i].name)) {
            read_finding(r, name_at, read_join(r, path, "name"), "duplicate_param", NULL,
                         "`%s` stands twice", p.name);
            return;
        }
    }
    e->params[e->n_params++] = p;
}

static void combination_read(struct reader *r, const struct node *list, const char *path,
                             struct endpoint *e)
{
    uint64_t set = 0;
    size_t i = 0;
    if (!read_list(r, list, path))
        return;
    for (const struct node *item = list->first; item; item = item->next, i++) {
        const char *at = read_path(r, "%s[%zu]", path, i);
        size_t found = e->n_params;
        if (item->kind != NODE_STRING) {
            read_finding(r, item, at, "invalid_type", NULL, "must be the name of a param");
            continue;
        }
        for (size_t j = 0; j < e->n_params; j++)
            if (str_is(item->text, e->params[j].name))
                found = j;
        if (found == e->n_params)
            read_finding(r, item, at, "unknown_param", NULL, "`%s` is not declared", item->text.p);
        else if (set >> found & 1)
            read_finding(r, item, at, "duplicate_param", NULL, "`%s` stands twice", item->text.p);
        else
            set |= UINT64_C(1) << found;
    }
    e->combinations[e->n_combinations++] = set;
}

/* A combination without a required param can never be sent. */
static void combinations_check_required(struct reader *r, const struct node *list,
                                        const struct endpoint *e)
{
    for (size_t i = 0; i < e->n_params; i++)
        for (size_t j = 0; j < e->n_combinations; j++)
            if (e->params[i].required && !e->params[i].has_default &&
                !(e->combinations[j] >> i & 1))
                read_warning(r, node_at(list, j), read_path(r, "combinations[%zu]", j),
                             "missing_required_param",
                             "leaves out `%s`, which is required: no request can use it",
                             e->params[i].name);
}

void params_read(struct reader *r, const struct node *root, struct endpoint *e)
{
    const struct node *list = read_get(r, root, "", "params", false);
    size_t i = 0;
    if (list && read_list(r, list, "params")) {
        if (list->n_children > LIMIT_PARAMS) {
            read_finding(r, list, "params", "invalid_value", NULL, "has more than %d params",
                         LIMIT_PARAMS);
            return;
        }
        e->params = read_take(r, list->n_children, sizeof *e->params);
        for (const struct node *item = list->first; item; item = item->next, i++)
            param_read(r, item, read_path(r, "params[%zu]", i), e);
    }
    list = read_get(r, root, "", "combinations", false);
    if (!list || !read_list(r, list, "combinations"))
        return;
    if (list->n_children > LIMIT_COMBINATIONS) {
        read_finding(r, list, "combinations", "invalid_value", NULL, "has more than %d items",
                     LIMIT_COMBINATIONS);
        return;
    }
    e->combinations = read_take(r, list->n_children, sizeof *e->combinations);
    i = 0;
    for (const struct node *item = list->first; item; item = item->next, i++)
        combination_read(r, item, read_path(r, "combinations[%zu]", i), e);
    combinations_check_required(r, list, e);
}
