/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the column types, and which type may be read as which. */
#include "schema/schema.h"

#include "base/mem.h"

static const char *const type_names[N_COLUMN_TYPES] = {
    [TYPE_DATE] = "DATE",       [TYPE_TIMESTAMP] = "TIMESTAMP", [TYPE_VARCHAR] = "VARCHAR",
    [TYPE_INTEGER] = "INTEGER", [TYPE_BIGINT] = "BIGINT",       [TYPE_DOUBLE] = "DOUBLE",
    [TYPE_BOOLEAN] = "BOOLEAN", [TYPE_JSON] = "JSON",
};

const char *column_type_name(enum column_type type)
{
    return type_names[type];
}

bool column_type_parse(struct str name, enum column_type *ret)
{
    for (size_t i = 0; i < N_COLUMN_TYPES; i++) {
        if (str_is(name, type_names[i])) {
            *ret = (enum column_type)i;
            return true;
        }
    }
    return false;
}

int schema_find(const struct schema *s, struct str name)
{
    for (size_t i = 0; i < s->n_columns; i++)
        if (str_is(name, s->columns[i].name))
            return (int)i;
    return -1;
}

bool column_type_widens(enum column_type snapshot, enum column_type contract)
{
    if (snapshot == contract)
        return true;
    if (contract == TYPE_INTEGER)
        return snapshot == TYPE_BIGINT || snapshot == TYPE_DOUBLE;
    return contract == TYPE_BIGINT && snapshot == TYPE_DOUBLE;
}

void schema_done(struct schema *s)
{
    for (size_t i = 0; i < s->n_columns; i++)
        mem_free(s->columns[i].name);
    mem_free(s->columns);
    *s = (struct schema){0};
}

void schema_copy(struct schema *to, const struct schema *from)
{
    assert(from->n_columns <= LIMIT_COLUMNS);
    struct schema copy = {x_array0(from->n_columns ? from->n_columns : 1, sizeof(struct column)),
                          from->n_columns};
    for (size_t i = 0; i < from->n_columns; i++)
        copy.columns[i] = (struct column){x_strdup(from->columns[i].name), from->columns[i].type};
    *to = copy;
}

bool schema_equal(const struct schema *a, const struct schema *b)
{
    if (a->n_columns != b->n_columns)
        return false;
    for (size_t i = 0; i < a->n_columns; i++)
        if (a->columns[i].type != b->columns[i].type ||
            strcmp(a->columns[i].name, b->columns[i].name) != 0)
            return false;
    return true;
}
