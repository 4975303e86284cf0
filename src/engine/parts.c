/* SPDX-License-Identifier: Apache-2.0 */
/* Files of equal columns as one read, and reads as one source; see parts.h. */
#include "engine/parts.h"

#include <string.h>

#include "base/mem.h"
#include "engine/child.h"

void parts_init(struct parts *p, size_t limit_files, size_t limit_bytes)
{
    *p = (struct parts){.ends = x_array0(limit_files + 1, sizeof *p->ends)};
    buf_init(&p->text, limit_bytes);
    buf_init(&p->select, limit_bytes);
    buf_init(&p->columns, limit_bytes);
    buf_init(&p->paths, limit_bytes);
    buf_init(&p->its_select, limit_bytes);
    buf_init(&p->its_columns, limit_bytes);
}

void parts_done(struct parts *p)
{
    buf_done(&p->text);
    buf_done(&p->select);
    buf_done(&p->columns);
    buf_done(&p->paths);
    buf_done(&p->its_select);
    buf_done(&p->its_columns);
    mem_free(p->ends);
}

/* ---- what files have in common ---- */

static void put_type(struct buf *b, duckdb_logical_type taken);

static void put_struct_type(struct buf *b, duckdb_logical_type type)
{
    for (idx_t i = 0; i < duckdb_struct_type_child_count(type); i++) {
        char *name = duckdb_struct_type_child_name(type, i);
        sql_put_name(b, name);
        put_type(b, duckdb_struct_type_child_type(type, i));
        duckdb_free(name);
    }
}

static void put_type(struct buf *b, duckdb_logical_type taken)
{
    duckdb_type t = duckdb_get_type_id(taken);
    buf_printf(b, "%d(", (int)t);
    if (t == DUCKDB_TYPE_DECIMAL) {
        buf_printf(b, "%d.%d", duckdb_decimal_width(taken), duckdb_decimal_scale(taken));
    } else if (t == DUCKDB_TYPE_LIST) {
        put_type(b, duckdb_list_type_child_type(taken));
    } else if (t == DUCKDB_TYPE_ARRAY) {
        buf_printf(b, "%llu", (unsigned long long)duckdb_array_type_array_size(taken));
        put_type(b, duckdb_array_type_child_type(taken));
    } else if (t == DUCKDB_TYPE_MAP) {
        put_type(b, duckdb_map_type_key_type(taken));
        put_type(b, duckdb_map_type_value_type(taken));
    } else if (t == DUCKDB_TYPE_STRUCT) {
        put_struct_type(b, taken);
    }
    buf_putc(b, ')');
    duckdb_destroy_logical_type(&taken);
}

void parts_put_columns(struct buf *b, duckdb_result *of_file)
{
    for (idx_t i = 0; i < duckdb_column_count(of_file); i++) {
        sql_put_name(b, duckdb_column_name(of_file, i));
        put_type(b, duckdb_column_logical_type(of_file, i));
    }
}

/* ---- one part ---- */

static void close_part(struct parts *p)
{
    if (p->n_files == 0)
        return;
    buf_put_literal(&p->text, "SELECT ");
    buf_put(&p->text, p->select.p, p->select.n);
    if (p->n_files == 1)
        buf_printf(&p->text, "file_row_number + %llu AS ord FROM ",
                   (unsigned long long)p->first << ORDINAL_FILE_SHIFT);
    else
        buf_printf(&p->text,
                   "file_row_number + (CAST(file_index AS BIGINT) + %zu) * %llu AS ord FROM ",
                   p->first, 1ULL << ORDINAL_FILE_SHIFT);
    parquet_put_sources(&p->text, buf_cstr(&p->paths));
    if (p->paths.failed)
        p->text.failed = BUF_NO_MEMORY;
    p->ends[p->n++] = p->text.n;
    p->n_files = 0;
}

/* A path that DuckDB takes for a pattern may not be one file of the list, and a column of that name
 * hides the number of the file. */
static bool is_alone(const char *path, struct buf *columns)
{
    return strpbrk(path, "*?[") || strcasestr(buf_cstr(columns), "\"file_index\"");
}

static void swap(struct buf *a, struct buf *b)
{
    struct buf was = *a;
    *a = *b;
    *b = was;
}

enum rc parts_add(struct parts *p, struct ingest *g, size_t file, struct err *err)
{
    const char *path = g->job.files[file].path;
    struct buf *columns = &p->its_columns;
    buf_reset(&p->its_select);
    buf_reset(columns);
    enum rc rc = parquet_check(g, file, &p->its_select, columns, err);
    if (rc != RC_OK)
        return rc;
    if (p->its_select.failed || columns->failed)
        return err_set(err, RC_NO_MEMORY, "out of memory for a list of files");
    bool alone = is_alone(path, columns);
    bool joins = p->n_files > 0 && !p->is_closed && file == p->first + p->n_files && !alone &&
                 columns->n == p->columns.n && memcmp(columns->p, p->columns.p, columns->n) == 0;
    if (!joins) {
        close_part(p);
        swap(&p->select, &p->its_select);
        swap(&p->columns, &p->its_columns);
        buf_reset(&p->paths);
        p->first = file;
        p->is_closed = alone;
    }
    if (p->n_files++)
        buf_putc(&p->paths, ',');
    sql_put_text(&p->paths, path);
    return RC_OK;
}

enum rc parts_finish(struct parts *p, struct err *err)
{
    close_part(p);
    return p->text.failed ? err_set(err, RC_NO_MEMORY, "out of memory for a list of files") : RC_OK;
}

struct str parts_get(const struct parts *p, size_t i)
{
    size_t from = i ? p->ends[i - 1] : 0;
    return (struct str){p->text.p + from, p->ends[i] - from};
}

/* Halves of halves: a chain of n is n deep, and DuckDB takes no more than 1,000. */
static void put_some(const struct parts *p, size_t from, size_t n, struct buf *to)
{
    if (n == 1) {
        buf_put_str(to, parts_get(p, from));
        return;
    }
    buf_putc(to, '(');
    put_some(p, from, n / 2, to);
    buf_put_literal(to, ") UNION ALL (");
    put_some(p, from + n / 2, n - n / 2, to);
    buf_putc(to, ')');
}

void parts_put_all(const struct parts *p, struct buf *to)
{
    if (p->n)
        put_some(p, 0, p->n, to);
}
