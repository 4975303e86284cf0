/* SPDX-License-Identifier: Apache-2.0 */
/* A table and its requests as the files a user would have: YAML, CSV or Parquet, a manifest. */
#include <ctype.h>
#include <stdio.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "differential.h"
#include "markup/markup.h"

#define LIMIT_PAGE 200

static const char *const aggregates[] = {"", "sum", "avg", "min", "max", "count"};
static const char *const ops[] = {"eq", "gte", "lte"};

void project_put_text(struct buf *b, enum column_type type, const struct value *v)
{
    switch (type) {
    case TYPE_DATE:
        buf_put_date(b, (int32_t)v->integer);
        return;
    case TYPE_TIMESTAMP:
        buf_put_timestamp(b, v->integer);
        return;
    case TYPE_INTEGER:
    case TYPE_BIGINT:
        buf_put_int64(b, v->integer);
        return;
    case TYPE_DOUBLE:
        buf_put_double(b, v->number);
        return;
    case TYPE_BOOLEAN:
        buf_put_cstr(b, v->boolean ? "true" : "false");
        return;
    case TYPE_VARCHAR:
    case TYPE_JSON:
        buf_put_str(b, v->text);
        return;
    }
}

static enum rc write_file(const char *directory, const char *name, struct buf *b, struct err *err)
{
    AUTO(mem_free_auto) char *path = path_join(directory, name);
    assert(!b->failed);
    enum rc rc = io_write_file(path, b->p, b->n, 0644, err);
    buf_reset(b);
    return rc;
}

/* ---- data ---- */

static void put_csv(struct buf *b, const struct table *t, size_t from, size_t to)
{
    for (size_t i = 0; i < t->schema.n_columns; i++)
        buf_printf(b, "%s%s", i ? "," : "", t->names[i]);
    buf_put_literal(b, "\r\n");
    for (size_t row = from; row < to; row++) {
        for (size_t i = 0; i < t->schema.n_columns; i++) {
            const struct value *v = table_cell(t, row, (int)i);
            if (i)
                buf_putc(b, ',');
            if (v->kind == VALUE_TEXT) {
                buf_putc(b, '"');
                for (size_t j = 0; j < v->text.n; j++) {
                    if (v->text.p[j] == '"')
                        buf_putc(b, '"');
                    buf_putc(b, v->text.p[j]);
                }
                buf_putc(b, '"');
            } else if (v->kind != VALUE_NULL) {
                project_put_text(b, t->columns[i].type, v);
            }
        }
        buf_put_literal(b, "\r\n");
    }
}

/* JSON as text, and nested values of the kinds that have a form of their own in it. */
static void put_json_column(struct buf *sql, size_t which, size_t column)
{
    switch (which) {
    case 0:
        buf_printf(sql, "c%zu", column);
        return;
    case 1:
        buf_printf(sql, "[c%zu, NULL]", column);
        return;
    case 2:
        buf_printf(sql, "{'k': c%zu, 'n': ord, 'x': 0.1}", column);
        return;
    case 3:
        buf_printf(sql,
                   "CASE WHEN c%zu IS NOT NULL THEN MAP {c%zu: "
                   "{'at': make_timestamp_ns((ord & 1048575) * 77777777 - 5000000000), "
                   "'day': DATE '1969-12-30' + CAST(ord %% 9 AS INTEGER)}} END",
                   column, column);
        return;
    default:
        buf_printf(sql,
                   "CASE WHEN c%zu IS NOT NULL THEN [{'x': ['nan'::FLOAT, ord]::FLOAT[2], "
                   "'at': TIMESTAMPTZ '1969-12-31 23:59:59.999999+00'}] END",
                   column);
        return;
    }
}

/* A column as a producer may have written it: of another type that agrees, cut to what fits it.
 * Both executors read the same file, so it does not matter what is lost here. */
static void put_parquet_column(struct buf *sql, struct chance *c, enum column_type type,
                               size_t column)
{
    static const char *const types[N_COLUMN_TYPES][5] = {
        [TYPE_DATE] = {"DATE"},
        [TYPE_TIMESTAMP] = {"TIMESTAMP", "TIMESTAMP_MS", "TIMESTAMP_NS",
                            "TIMESTAMP WITH TIME ZONE"},
        [TYPE_VARCHAR] = {"VARCHAR", "ENUM ('a', 'A', 'one', 'key-1', 'key-2', '0', '')", "UUID"},
        [TYPE_INTEGER] = {"INTEGER", "SMALLINT", "TINYINT", "UTINYINT", "USMALLINT"},
        [TYPE_BIGINT] = {"BIGINT", "UINTEGER", "INTEGER"},
        [TYPE_DOUBLE] = {"DOUBLE", "FLOAT", "DECIMAL(18,3)", "DECIMAL(38,1)", "DECIMAL(38,18)"},
        [TYPE_BOOLEAN] = {"BOOLEAN"},
        [TYPE_JSON] = {"text", "list", "struct", "map", "array"},
    };
    size_t n = 0;
    while (n < ARRAY_LEN(types[type]) && types[type][n])
        n++;
    size_t which = chance_is(c, 60) ? 0 : chance_below(c, n);
    if (type == TYPE_TIMESTAMP && which > 0) /* nanoseconds reach from 1677 to 2262 only */
        buf_printf(sql,
                   "CASE WHEN c%zu BETWEEN TIMESTAMP '1700-01-01' AND TIMESTAMP '2200-01-01' THEN "
                   "CAST(c%zu AS %s) END",
                   column, column, types[type][which]);
    else if (type == TYPE_VARCHAR && which == 2) /* no text of ours is one */
        buf_printf(sql, "CAST(md5(c%zu) AS UUID)", column);
    else if (type != TYPE_JSON)
        buf_printf(sql, "TRY_CAST(c%zu AS %s)", column, types[type][which]);
    else
        put_json_column(sql, which, column);
}

static enum rc write_parquet(const struct table *t, struct chance *c, duckdb_connection connection,
                             const char *path, size_t file, struct err *err)
{
    struct buf sql;
    buf_init(&sql, SIZE_MAX);
    buf_put_literal(&sql, "COPY (SELECT ");
    for (size_t i = 0; i < t->schema.n_columns; i++) {
        buf_put_cstr(&sql, i ? ", " : "");
        put_parquet_column(&sql, c, t->columns[i].type, i);
        buf_printf(&sql, " AS %s", t->names[i]);
    }
    buf_printf(&sql, " FROM t WHERE ord >> 40 = %zu ORDER BY ord) TO '%s' (FORMAT parquet)", file,
               path);
    duckdb_result result;
    bool fine = duckdb_query(connection, buf_cstr(&sql), &result) == DuckDBSuccess;
    enum rc rc = fine ? RC_OK : err_set(err, RC_IO, "DuckDB: %s", duckdb_result_error(&result));
    duckdb_destroy_result(&result);
    buf_done(&sql);
    return rc;
}

static bool has_no_csv_form(const struct table *t)
{
    for (size_t i = 0; i < t->n_rows * t->schema.n_columns; i++)
        if (t->cells[i].kind == VALUE_DOUBLE && t->cells[i].number - t->cells[i].number != 0)
            return true; /* NaN and infinities */
    return false;
}

static enum rc write_data(const struct table *t, struct chance *c, duckdb_connection connection,
                          const char *directory, bool ret_is_csv[TABLE_FILES], struct err *err)
{
    enum rc rc = table_load_duckdb(t, connection, "t", err);
    struct buf b;
    buf_init(&b, SIZE_MAX);
    for (size_t i = 0; rc == RC_OK && i < t->n_files; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "file%zu", i);
        AUTO(mem_free_auto) char *path = path_join(directory, name);
        ret_is_csv[i] = !has_no_csv_form(t) && chance_is(c, 40);
        if (ret_is_csv[i]) {
            put_csv(&b, t, t->starts[i], t->starts[i + 1]);
            rc = write_file(directory, name, &b, err);
        } else {
            rc = write_parquet(t, c, connection, path, i, err);
        }
    }
    buf_done(&b);
    return rc;
}

static void put_manifest(struct buf *b, const struct table *t, const bool *is_csv)
{
    buf_put_literal(
        b, "{\"dataset_id\":\"d\",\"snapshot_id\":\"s\",\"created_at\":\"2026-11-01T02:00:00Z\","
           "\"watermark\":\"2026-11-01T00:00:00Z\",\"schema\":[");
    for (size_t i = 0; i < t->schema.n_columns; i++)
        buf_printf(b, "%s{\"name\":\"%s\",\"type\":\"%s\"}", i ? "," : "", t->names[i],
                   column_type_name(t->columns[i].type));
    buf_put_literal(b, "],\"files\":[");
    for (size_t i = 0; i < t->n_files; i++)
        buf_printf(b, "%s{\"path\":\"file%zu\",\"format\":\"%s\",\"row_count\":%zu}", i ? "," : "",
                   i, is_csv[i] ? "csv" : "parquet", t->starts[i + 1] - t->starts[i]);
    buf_printf(b,
               "],\"partition_columns\":[],\"sort_columns\":[],\"row_count\":%zu,\"size_bytes\":0,"
               "\"producer\":\"p\",\"upstream_run_id\":\"u\",\"schema_version\":1,"
               "\"data_quality_status\":\"passed\",\"compatibility_policy\":\"exact\"}",
               t->n_rows);
}

/* ---- project ---- */

static const char *param_type(enum column_type t)
{
    static const char *const types[N_COLUMN_TYPES] = {
        [TYPE_DATE] = "date",       [TYPE_TIMESTAMP] = "timestamp", [TYPE_VARCHAR] = "string",
        [TYPE_INTEGER] = "integer", [TYPE_BIGINT] = "integer",      [TYPE_DOUBLE] = "number",
        [TYPE_BOOLEAN] = "boolean", [TYPE_JSON] = "string"};
    return types[t];
}

static void put_dataset(struct buf *b, const struct table *t)
{
    buf_put_literal(b, "id: d\nmanifest: manifest.json\nschema:\n");
    for (size_t i = 0; i < t->schema.n_columns; i++)
        buf_printf(b, "  - {name: %s, type: %s}\n", t->names[i],
                   column_type_name(t->columns[i].type));
    if (t->tenant_column >= 0)
        buf_printf(b, "tenant_column: %s\n", t->names[t->tenant_column]);
}

static void put_endpoint(struct buf *b, const struct table *t, const struct request *r, int index)
{
    const struct query *q = &r->query;
    buf_printf(
        b, "name: e%d\nversion: 1\ndataset: d\npagination: {default_limit: 20, max_limit: %d}\n",
        index, LIMIT_PAGE);
    if (t->tenant_column >= 0)
        buf_printf(b, "tenant: {column: %s}\n", t->names[t->tenant_column]);
    buf_put_literal(b, "params:\n");
    for (int i = q->has_tenant; i < q->n_filters; i++)
        buf_printf(b, "  - {name: p%d, type: %s}\n", i,
                   param_type(t->columns[q->filters[i].column].type));
    if (q->n_filters == q->has_tenant)
        buf_put_literal(b, "  - {name: unused, type: string}\n");
    buf_put_literal(b, "query:\n  select:\n");
    for (int i = 0; i < q->n_outputs; i++) {
        const struct query_output *o = &q->outputs[i];
        buf_printf(b, "    - {as: o%d, column: %s", i, t->names[o->column]);
        if (o->aggregate != AGG_NONE)
            buf_printf(b, ", agg: %s", aggregates[o->aggregate]);
        buf_put_literal(b, "}\n");
    }
    for (int i = 0; i < q->n_groups; i++)
        buf_printf(b, "%s    - o%d\n", i ? "" : "  group_by:\n", q->groups[i]);
    for (int i = q->has_tenant; i < q->n_filters; i++)
        buf_printf(b, "%s    - {column: %s, op: %s, param: p%d}\n",
                   i == q->has_tenant ? "  filters:\n" : "", t->names[q->filters[i].column],
                   ops[q->filters[i].op], i);
    for (int i = 0; i < q->n_order; i++)
        buf_printf(b, "%s    - {column: o%d, dir: %s}\n", i ? "" : "  order_by:\n",
                   q->order[i].output, q->order[i].descending ? "desc" : "asc");
    buf_put_literal(b, "columns:\n");
    for (int i = 0; i < q->n_outputs; i++)
        buf_printf(b, "  - o%d\n", i);
}

enum rc project_files_write(const struct table *t, const struct request *requests, int n_requests,
                            struct chance *c, duckdb_connection connection, const char *directory,
                            struct err *err)
{
    AUTO(mem_free_auto) char *datasets = path_join(directory, "datasets");
    AUTO(mem_free_auto) char *endpoints = path_join(directory, "endpoints");
    bool is_csv[TABLE_FILES] = {false};
    struct buf b;
    buf_init(&b, SIZE_MAX);
    enum rc rc = io_mkdir_all(datasets, 0755, err);
    if (rc == RC_OK)
        rc = io_mkdir_all(endpoints, 0755, err);
    if (rc == RC_OK)
        rc = write_data(t, c, connection, directory, is_csv, err);
    buf_printf(&b, "version: 1\nauth: %s\n", t->tenant_column >= 0 ? "required" : "none");
    if (rc == RC_OK)
        rc = write_file(directory, "offloader.yml", &b, err);
    put_manifest(&b, t, is_csv);
    if (rc == RC_OK)
        rc = write_file(directory, "manifest.json", &b, err);
    put_dataset(&b, t);
    if (rc == RC_OK)
        rc = write_file(datasets, "d.yml", &b, err);
    for (int i = 0; rc == RC_OK && i < n_requests; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "e%d.yml", i);
        put_endpoint(&b, t, &requests[i], i);
        rc = write_file(endpoints, name, &b, err);
    }
    buf_done(&b);
    return rc;
}

/* ---- requests ---- */

static void put_encoded(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (isalnum(c) || c == '-' || c == '.')
            buf_putc(b, (char)c);
        else
            buf_printf(b, "%%%02X", c);
    }
}

void project_query_string(const struct request *r, const struct table *t, struct chance *c,
                          struct buf *ret)
{
    const struct query *q = &r->query;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_printf(ret, "limit=%zu", 1 + chance_below(c, chance_is(c, 70) ? 10 : LIMIT_PAGE));
    if (chance_is(c, 20))
        buf_printf(ret, "&offset=%zu", chance_below(c, 50));
    if (chance_is(c, 20))
        buf_printf(ret, "&columns=o%zu", chance_below(c, (size_t)q->n_outputs));
    for (int i = q->has_tenant; i < q->n_filters; i++) {
        int column = q->filters[i].column;
        if (chance_is(c, 30))
            continue;
        struct value v = table_pick(t, c, column);
        buf_reset(&text);
        if (v.kind == VALUE_DOUBLE && v.number - v.number != 0)
            continue; /* NaN and infinities are no params */
        project_put_text(&text, t->columns[column].type, &v);
        if (t->columns[column].type == TYPE_TIMESTAMP)
            buf_putc(&text, 'Z');
        buf_printf(ret, "&p%d=", i);
        put_encoded(ret, (struct str){text.p, text.n});
    }
    buf_done(&text);
}
