/* SPDX-License-Identifier: Apache-2.0 */
/* Plans, sources and results as bytes, both ways. */
#include "engine/query_wire.h"

#include "base/mem.h"

/* ---- plans ---- */

static void put_flag(struct buf *b, bool v)
{
    bytes_put_u8(b, v);
}

void wire_put_query(struct buf *b, const struct query *q)
{
    bytes_put_u32(b, (uint32_t)q->n_outputs);
    for (int i = 0; i < q->n_outputs; i++) {
        bytes_put_u32(b, (uint32_t)q->outputs[i].column);
        bytes_put_u8(b, (uint8_t)q->outputs[i].aggregate);
        put_flag(b, q->wanted[i]);
    }
    put_flag(b, q->grouped);
    bytes_put_u32(b, (uint32_t)q->n_groups);
    for (int i = 0; i < q->n_groups; i++)
        bytes_put_u32(b, (uint32_t)q->groups[i]);
    bytes_put_u32(b, (uint32_t)q->n_filters);
    for (int i = 0; i < q->n_filters; i++) {
        bytes_put_u32(b, (uint32_t)q->filters[i].column);
        bytes_put_u8(b, (uint8_t)q->filters[i].op);
        bytes_put_value(b, &q->filters[i].value);
    }
    bytes_put_u32(b, (uint32_t)q->n_order);
    for (int i = 0; i < q->n_order; i++) {
        bytes_put_u32(b, (uint32_t)q->order[i].output);
        put_flag(b, q->order[i].descending);
    }
    bytes_put_u64(b, q->limit);
    bytes_put_u64(b, q->offset);
    put_flag(b, q->count_total);
    put_flag(b, q->has_seek);
    bytes_put_u32(b, q->has_seek ? (uint32_t)q->n_seek : 0);
    for (int i = 0; q->has_seek && i < q->n_seek; i++)
        bytes_put_value(b, &q->seek[i]);
}

static enum rc odd(struct err *err)
{
    return err_set(err, RC_INTERNAL,
                   "a message between server and query process is not well-formed");
}

/* A count or index below @limit. */
static int get_index(struct bytes_in *w, size_t limit)
{
    uint32_t v = bytes_get_u32(w);
    if (v >= limit)
        w->failed = true;
    return w->failed ? 0 : (int)v;
}

static void *get_array(struct bytes_in *w, struct arena *arena, int n, size_t item_bytes)
{
    void *p = arena_try_array(arena, (size_t)n + 1, item_bytes);
    if (!p)
        w->failed = true;
    return p;
}

static void get_outputs(struct bytes_in *w, struct arena *arena, struct query *q)
{
    int n = get_index(w, QUERY_LIMIT_OUTPUTS + 1);
    struct query_output *outputs = get_array(w, arena, n, sizeof *outputs);
    bool *wanted = get_array(w, arena, n, sizeof *wanted);
    for (int i = 0; !w->failed && i < n; i++) {
        uint8_t aggregate;
        outputs[i].column = get_index(w, q->schema->n_columns);
        aggregate = bytes_get_u8(w);
        w->failed |= aggregate > AGG_COUNT;
        outputs[i].aggregate = (enum aggregate)aggregate;
        wanted[i] = bytes_get_u8(w) != 0;
    }
    q->outputs = outputs;
    q->wanted = wanted;
    q->n_outputs = w->failed ? 0 : n;
}

static void get_groups(struct bytes_in *w, struct arena *arena, struct query *q)
{
    q->grouped = bytes_get_u8(w) != 0;
    q->n_groups = get_index(w, (size_t)q->n_outputs + 1);
    int *groups = get_array(w, arena, q->n_groups, sizeof *groups);
    for (int i = 0; !w->failed && i < q->n_groups; i++)
        groups[i] = get_index(w, (size_t)q->n_outputs);
    q->groups = groups;
}

static void get_filters(struct bytes_in *w, struct arena *arena, struct query *q)
{
    q->n_filters = get_index(w, QUERY_LIMIT_FILTERS + 1);
    struct query_filter *filters = get_array(w, arena, q->n_filters, sizeof *filters);
    for (int i = 0; !w->failed && i < q->n_filters; i++) {
        filters[i].column = get_index(w, q->schema->n_columns);
        filters[i].op = (enum filter_op)bytes_get_u8(w);
        w->failed |= filters[i].op > FILTER_LTE;
        bytes_get_value(w, &filters[i].value);
    }
    q->filters = filters;
}

static void get_order(struct bytes_in *w, struct arena *arena, struct query *q)
{
    q->n_order = get_index(w, QUERY_LIMIT_OUTPUTS + 1);
    struct query_order *order = get_array(w, arena, q->n_order, sizeof *order);
    for (int i = 0; !w->failed && i < q->n_order; i++) {
        order[i].output = get_index(w, (size_t)q->n_outputs);
        order[i].descending = bytes_get_u8(w) != 0;
    }
    q->order = order;
    w->failed |= q->n_order + q->n_groups > QUERY_LIMIT_OUTPUTS + 1; /* what query_result holds */
}

enum rc wire_get_query(struct bytes_in *w, const struct schema *schema, struct arena *arena,
                       struct query *ret, struct err *err)
{
    *ret = (struct query){.schema = schema};
    get_outputs(w, arena, ret);
    get_groups(w, arena, ret);
    get_filters(w, arena, ret);
    get_order(w, arena, ret);
    ret->limit = bytes_get_u64(w);
    ret->offset = bytes_get_u64(w);
    ret->count_total = bytes_get_u8(w) != 0;
    ret->has_seek = bytes_get_u8(w) != 0;
    ret->n_seek = get_index(w, QUERY_LIMIT_OUTPUTS + 2);
    struct value *seek = get_array(w, arena, ret->n_seek, sizeof *seek);
    for (int i = 0; !w->failed && i < ret->n_seek; i++)
        bytes_get_value(w, &seek[i]);
    ret->seek = seek;
    return w->failed ? odd(err) : RC_OK;
}

/* ---- sources ---- */

static void put_schema(struct buf *b, const struct schema *s)
{
    bytes_put_u32(b, (uint32_t)s->n_columns);
    for (size_t i = 0; i < s->n_columns; i++) {
        bytes_put_text(b, str_from(s->columns[i].name));
        bytes_put_u8(b, (uint8_t)s->columns[i].type);
    }
}

static void get_schema(struct bytes_in *w, struct arena *arena, struct schema *ret)
{
    int n = get_index(w, LIMIT_COLUMNS + 1);
    ret->columns = get_array(w, arena, n, sizeof *ret->columns);
    for (int i = 0; !w->failed && i < n; i++) {
        struct str name = bytes_get_text(w);
        uint8_t type = bytes_get_u8(w);
        ret->columns[i].name = arena_try_strndup(arena, name.p, name.n);
        ret->columns[i].type = (enum column_type)type;
        w->failed |= type >= N_COLUMN_TYPES || !ret->columns[i].name;
    }
    ret->n_columns = w->failed ? 0 : (size_t)n;
}

void wire_put_source(struct buf *b, const struct wire_source *s)
{
    bytes_put_u64(b, s->id);
    put_schema(b, &s->contract);
    put_schema(b, &s->declared);
    put_flag(b, s->is_exact);
    bytes_put_u32(b, (uint32_t)s->n_files);
    for (size_t i = 0; i < s->n_files; i++) {
        const struct wire_file *f = &s->files[i];
        bytes_put_text(b, f->shown_as);
        bytes_put_u8(b, (uint8_t)f->format);
        bytes_put_u64(b, f->size_bytes);
        put_flag(b, f->has_row_count);
        bytes_put_u64(b, f->row_count);
    }
}

enum rc wire_get_source(struct bytes_in *w, struct arena *arena, struct wire_source *ret,
                        struct err *err)
{
    *ret = (struct wire_source){.id = bytes_get_u64(w)};
    get_schema(w, arena, &ret->contract);
    get_schema(w, arena, &ret->declared);
    ret->is_exact = bytes_get_u8(w) != 0;
    int n = get_index(w, LIMIT_MANIFEST_FILES + 1);
    ret->files = get_array(w, arena, n, sizeof *ret->files);
    for (int i = 0; !w->failed && i < n; i++) {
        struct wire_file *f = &ret->files[i];
        struct str name = bytes_get_text(w);
        const char *copy = arena_try_strndup(arena, name.p, name.n);
        f->shown_as = (struct str){copy, name.n};
        f->format = bytes_get_u8(w) == FILE_PARQUET ? FILE_PARQUET : FILE_CSV;
        f->size_bytes = bytes_get_u64(w);
        f->has_row_count = bytes_get_u8(w) != 0;
        f->row_count = bytes_get_u64(w);
        w->failed |= copy == NULL;
    }
    ret->n_files = w->failed ? 0 : (size_t)n;
    return w->failed ? odd(err) : RC_OK;
}

/* ---- results ---- */

void wire_put_end(struct buf *b, const struct err *err, const struct query_result *result)
{
    bytes_put_u32(b, (uint32_t)err->rc);
    bytes_put_text(b, str_from(err->code));
    bytes_put_text(b, str_from(err->message));
    put_flag(b, result->has_more);
    bytes_put_u64(b, result->total);
    bytes_put_u32(b, (uint32_t)result->n_last);
    for (int i = 0; i < result->n_last; i++)
        bytes_put_value(b, &result->last[i]);
}

const char *wire_known_code(struct str code)
{
    static const char *const codes[] = {
        "cast_failed",  "row_count_mismatch", "size_mismatch",        "checksum_mismatch",
        "missing_file", "unreadable_file",    "schema_data_mismatch", "source_unreachable"};
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (str_is(code, codes[i]))
            return codes[i];
    return "";
}

enum rc wire_get_end(struct bytes_in *w, struct query_result *ret, struct err *err)
{
    uint32_t rc = bytes_get_u32(w);
    struct str code = bytes_get_text(w), message = bytes_get_text(w);
    bool has_more = bytes_get_u8(w) != 0;
    uint64_t total = bytes_get_u64(w);
    int n = get_index(w, QUERY_LIMIT_OUTPUTS + 2);
    if (w->failed || rc > RC_INTERNAL)
        return odd(err);
    if (rc != RC_OK)
        return err_set_code(
            err, (enum rc)rc, wire_known_code(code), "%.*s",
            (int)(message.n < ERR_MESSAGE_BYTES ? message.n : ERR_MESSAGE_BYTES - 1), message.p);
    for (int i = 0; i < n; i++)
        bytes_get_value(w, &ret->last[i]);
    if (w->failed)
        return odd(err);
    ret->n_last = n;
    ret->has_more = has_more;
    ret->total = total;
    return RC_OK;
}
