/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested columns as JSON: DuckDB's to_json(), after what it writes otherwise than we do was put
 * into our forms in place, however deep it lies.
 */
#include "engine/nested.h"

#include <stdio.h>

#include "engine/child.h"

/* ---- dates and times, at any depth ---- */

bool nested_is_timestamp(duckdb_type t)
{
    return t == DUCKDB_TYPE_TIMESTAMP || t == DUCKDB_TYPE_TIMESTAMP_S ||
           t == DUCKDB_TYPE_TIMESTAMP_MS || t == DUCKDB_TYPE_TIMESTAMP_NS ||
           t == DUCKDB_TYPE_TIMESTAMP_TZ;
}

bool nested_is(duckdb_type t)
{
    return t == DUCKDB_TYPE_STRUCT || t == DUCKDB_TYPE_MAP || t == DUCKDB_TYPE_LIST ||
           t == DUCKDB_TYPE_ARRAY;
}

/* DuckDB cuts nanoseconds towards 1970, so that a time before it would move to the next microsecond.
 */
void nested_put_timestamp(struct buf *b, duckdb_type t, const char *of)
{
    if (t == DUCKDB_TYPE_TIMESTAMP_NS)
        buf_printf(b,
                   "CASE WHEN isfinite(%s) AND epoch_ns(%s) %% 1000 < 0 "
                   "THEN CAST(%s AS TIMESTAMP) - INTERVAL 1 MICROSECOND "
                   "ELSE CAST(%s AS TIMESTAMP) END",
                   of, of, of, of);
    else
        buf_printf(b, "CAST(%s AS TIMESTAMP)", of);
}

void nested_put_beyond(struct buf *b, bool is_date, const char *of)
{
    if (is_date)
        buf_printf(b, "(isinf(%s) OR %s < DATE '0001-01-01' OR %s > DATE '9999-12-31')", of, of,
                   of);
    else
        buf_printf(
            b,
            "(isinf(CAST(%s AS TIMESTAMP)) OR CAST(%s AS TIMESTAMP) < TIMESTAMP '0001-01-01' OR "
            "CAST(%s AS TIMESTAMP) >= TIMESTAMP '9999-12-31' + INTERVAL 1 DAY)",
            of, of, of);
}

/* ---- what a type holds ---- */

typedef bool (*type_test)(duckdb_type t);

static bool is_floating(duckdb_type t)
{
    return t == DUCKDB_TYPE_FLOAT || t == DUCKDB_TYPE_DOUBLE;
}

static bool is_reformed(duckdb_type t)
{
    return nested_is_timestamp(t) || is_floating(t);
}

static bool is_dated(duckdb_type t)
{
    return nested_is_timestamp(t) || t == DUCKDB_TYPE_DATE;
}

static bool holds(duckdb_logical_type type, type_test is);

static bool child_holds(duckdb_logical_type child, type_test is)
{
    bool found = holds(child, is);
    duckdb_destroy_logical_type(&child);
    return found;
}

static bool holds(duckdb_logical_type type, type_test is)
{
    duckdb_type t = duckdb_get_type_id(type);
    bool found = is(t);
    if (t == DUCKDB_TYPE_LIST)
        found = child_holds(duckdb_list_type_child_type(type), is);
    else if (t == DUCKDB_TYPE_ARRAY)
        found = child_holds(duckdb_array_type_child_type(type), is);
    else if (t == DUCKDB_TYPE_MAP)
        found = child_holds(duckdb_map_type_value_type(type), is) ||
                child_holds(duckdb_map_type_key_type(type), is);
    else if (t == DUCKDB_TYPE_STRUCT)
        for (idx_t i = 0; !found && i < duckdb_struct_type_child_count(type); i++)
            found = child_holds(duckdb_struct_type_child_type(type, i), is);
    return found;
}

/* @path becomes the expression of a field of the struct @of. */
static void init_field(struct buf *path, const char *of, idx_t i)
{
    buf_init(path, SIZE_MAX);
    buf_printf(path, "struct_extract_at(%s, %llu)", of, (unsigned long long)i + 1);
}

/* ---- the value ---- */

/* @of is the expression of the value; @depth names the lambda's variable. */
static void put_nested(struct buf *b, duckdb_logical_type type, const char *of, int depth);

static bool has_nameless_field(duckdb_logical_type type)
{
    bool found = false;
    for (idx_t i = 0; !found && i < duckdb_struct_type_child_count(type); i++) {
        char *name = duckdb_struct_type_child_name(type, i);
        found = !*name;
        duckdb_free(name);
    }
    return found;
}

static void put_struct(struct buf *b, duckdb_logical_type type, const char *of, int depth)
{
    bool is_packed = !has_nameless_field(type); /* no SQL names it; the slower object has it */
    buf_printf(b, "CASE WHEN %s IS NULL THEN NULL ELSE %s(", of,
               is_packed ? "struct_pack" : "json_object");
    for (idx_t i = 0; i < duckdb_struct_type_child_count(type); i++) {
        char *name = duckdb_struct_type_child_name(type, i);
        duckdb_logical_type child = duckdb_struct_type_child_type(type, i);
        struct buf path;
        init_field(&path, of, i);
        if (i)
            buf_putc(b, ',');
        if (is_packed)
            sql_put_name(b, name);
        else
            sql_put_text(b, name);
        buf_put_cstr(b, is_packed ? " := " : ", ");
        put_nested(b, child, buf_cstr(&path), depth);
        buf_done(&path);
        duckdb_destroy_logical_type(&child);
        duckdb_free(name);
    }
    buf_put_literal(b, ") END");
}

static void put_list(struct buf *b, duckdb_logical_type child, const char *of, int depth)
{
    char variable[16];
    (void)snprintf(variable, sizeof variable, "e%d", depth);
    buf_printf(b, "list_transform(%s, lambda %s: ", of, variable);
    put_nested(b, child, variable, depth + 1);
    buf_putc(b, ')');
    duckdb_destroy_logical_type(&child);
}

static void put_map(struct buf *b, duckdb_logical_type type, const char *of, int depth)
{
    char key[32], value[32];
    duckdb_logical_type key_type = duckdb_map_type_key_type(type);
    duckdb_logical_type value_type = duckdb_map_type_value_type(type);
    (void)snprintf(key, sizeof key, "e%d.key", depth);
    (void)snprintf(value, sizeof value, "e%d.value", depth);
    buf_printf(b,
               "map_from_entries(list_transform(map_entries(%s), lambda e%d: struct_pack(k := ", of,
               depth);
    if (holds(key_type, nested_is_timestamp))
        put_nested(b, key_type, key, depth + 1);
    else /* a number that is not finite is a word there, as every key */
        buf_put_cstr(b, key);
    buf_put_literal(b, ", v := ");
    put_nested(b, value_type, value, depth + 1);
    buf_put_literal(b, ")))");
    duckdb_destroy_logical_type(&key_type);
    duckdb_destroy_logical_type(&value_type);
}

static void put_nested(struct buf *b, duckdb_logical_type type, const char *of, int depth)
{
    duckdb_type t = duckdb_get_type_id(type);
    if (nested_is_timestamp(t)) {
        buf_put_literal(b, "strftime(");
        nested_put_timestamp(b, t, of);
        buf_put_literal(b, ", '%Y-%m-%dT%H:%M:%S.%f')");
    } else if (is_floating(t)) {
        buf_printf(b, "CASE WHEN isfinite(%s) THEN %s END", of, of);
    } else if (!holds(type, is_reformed)) {
        buf_put_cstr(b, of);
    } else if (t == DUCKDB_TYPE_STRUCT) {
        put_struct(b, type, of, depth);
    } else if (t == DUCKDB_TYPE_MAP) {
        put_map(b, type, of, depth);
    } else if (t == DUCKDB_TYPE_LIST) {
        put_list(b, duckdb_list_type_child_type(type), of, depth);
    } else {
        put_list(b, duckdb_array_type_child_type(type), of, depth);
    }
}

void nested_put_json(struct buf *b, duckdb_logical_type type, const char *of)
{
    buf_put_literal(b, "CAST(to_json(");
    put_nested(b, type, of, 0);
    buf_put_literal(b, ") AS VARCHAR)");
}

/* ---- the condition under which it has no form ---- */

/* NULL is as good as false here: the conditions are only ORed. */
static void put_misfit(struct buf *b, duckdb_logical_type type, const char *of, int depth);

static void put_misfit_field(struct buf *b, duckdb_logical_type type, idx_t i, const char *of,
                             int depth)
{
    duckdb_logical_type child = duckdb_struct_type_child_type(type, i);
    struct buf path;
    init_field(&path, of, i);
    put_misfit(b, child, buf_cstr(&path), depth);
    buf_done(&path);
    duckdb_destroy_logical_type(&child);
}

/* Of the list @of, whose elements have the parts @types, called @names behind the element. */
static void put_misfit_elements(struct buf *b, duckdb_logical_type *types, const char *const *names,
                                int n, const char *of, int depth)
{
    buf_printf(b, "len(list_filter(%s, lambda e%d: ", of, depth);
    for (int i = 0; i < n; i++) {
        char part[32];
        (void)snprintf(part, sizeof part, "e%d%s", depth, names[i]);
        buf_put_cstr(b, i ? " OR " : "");
        put_misfit(b, types[i], part, depth + 1);
        duckdb_destroy_logical_type(&types[i]);
    }
    buf_put_literal(b, ")) > 0");
}

static void put_misfit(struct buf *b, duckdb_logical_type type, const char *of, int depth)
{
    static const char *const element[] = {""}, *const entry[] = {".key", ".value"};
    duckdb_type t = duckdb_get_type_id(type);
    if (is_dated(t)) {
        nested_put_beyond(b, t == DUCKDB_TYPE_DATE, of);
    } else if (!holds(type, is_dated)) {
        buf_put_literal(b, "false");
    } else if (t == DUCKDB_TYPE_STRUCT) {
        for (idx_t i = 0; i < duckdb_struct_type_child_count(type); i++) {
            buf_put_cstr(b, i ? " OR " : "(");
            put_misfit_field(b, type, i, of, depth);
        }
        buf_putc(b, ')');
    } else if (t == DUCKDB_TYPE_MAP) {
        duckdb_logical_type types[] = {duckdb_map_type_key_type(type),
                                       duckdb_map_type_value_type(type)};
        struct buf entries;
        buf_init(&entries, SIZE_MAX);
        buf_printf(&entries, "map_entries(%s)", of);
        put_misfit_elements(b, types, entry, 2, buf_cstr(&entries), depth);
        buf_done(&entries);
    } else {
        duckdb_logical_type child = t == DUCKDB_TYPE_LIST ? duckdb_list_type_child_type(type)
                                                          : duckdb_array_type_child_type(type);
        put_misfit_elements(b, &child, element, 1, of, depth);
    }
}

bool nested_put_misfit(struct buf *b, duckdb_logical_type type, const char *of)
{
    if (!nested_is(duckdb_get_type_id(type)) || !holds(type, is_dated))
        return false;
    put_misfit(b, type, of, 0);
    return true;
}
