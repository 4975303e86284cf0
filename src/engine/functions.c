/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQL functions of our own, so that both executors round alike: sums and averages of doubles that
 * do not depend on the order of addition, averages of integers rounded once, and JSON as we serve
 * it. The sums are query/exact_sum.h, shared with the serving store and proven by its own tests.
 */
#include "engine/query_child.h"
#include "markup/markup.h"
#include "query/exact_sum.h"

/* ---- exact_sum, exact_avg ---- */

struct double_state { /* DuckDB moves it, and calls exact_destroy() once */
    struct exact_sum sum;
    uint64_t n;
};

static idx_t exact_size(duckdb_function_info info)
{
    (void)info;
    return sizeof(struct double_state);
}

static void exact_init(duckdb_function_info info, duckdb_aggregate_state state)
{
    (void)info;
    memset(state, 0, sizeof(struct double_state));
}

static bool is_valid(const uint64_t *mask, idx_t row)
{
    return !mask || (mask[row / 64] >> (row % 64) & 1);
}

static void exact_update(duckdb_function_info info, duckdb_data_chunk input,
                         duckdb_aggregate_state *states)
{
    duckdb_vector v = duckdb_data_chunk_get_vector(input, 0);
    const double *values = duckdb_vector_get_data(v);
    const uint64_t *mask = duckdb_vector_get_validity(v);
    for (idx_t i = 0; i < duckdb_data_chunk_get_size(input); i++) {
        struct double_state *s = (struct double_state *)states[i];
        if (!is_valid(mask, i))
            continue;
        if (!exact_sum_add(&s->sum, values[i]))
            duckdb_aggregate_function_set_error(info, "out of memory for an exact sum");
        s->n++;
    }
}

static void exact_combine(duckdb_function_info info, duckdb_aggregate_state *source,
                          duckdb_aggregate_state *target, idx_t count)
{
    for (idx_t i = 0; i < count; i++) {
        const struct double_state *from = (const struct double_state *)source[i];
        struct double_state *to = (struct double_state *)target[i];
        if (!exact_sum_merge(&to->sum, &from->sum))
            duckdb_aggregate_function_set_error(info, "out of memory for an exact sum");
        to->n += from->n;
    }
}

static void put_null(duckdb_vector v, idx_t row)
{
    duckdb_vector_ensure_validity_writable(v);
    duckdb_validity_set_row_invalid(duckdb_vector_get_validity(v), row);
}

static void exact_finalize_sum(duckdb_function_info info, duckdb_aggregate_state *source,
                               duckdb_vector result, idx_t count, idx_t offset)
{
    double *to = duckdb_vector_get_data(result);
    (void)info;
    for (idx_t i = 0; i < count; i++) {
        const struct double_state *s = (const struct double_state *)source[i];
        if (s->n == 0)
            put_null(result, offset + i);
        else
            to[offset + i] = exact_sum_value(&s->sum);
    }
}

static void exact_finalize_average(duckdb_function_info info, duckdb_aggregate_state *source,
                                   duckdb_vector result, idx_t count, idx_t offset)
{
    double *to = duckdb_vector_get_data(result);
    (void)info;
    for (idx_t i = 0; i < count; i++) {
        const struct double_state *s = (const struct double_state *)source[i];
        if (s->n == 0)
            put_null(result, offset + i);
        else
            to[offset + i] = exact_sum_average(&s->sum, s->n);
    }
}

static void exact_destroy(duckdb_aggregate_state *states, idx_t count)
{
    for (idx_t i = 0; i < count; i++)
        exact_sum_done(&((struct double_state *)states[i])->sum);
}

/* ---- exact_avg_int ---- */

struct integer_state { /* DuckDB aligns states to 8 bytes: the sum is moved in and out */
    uint64_t sum[2];
    uint64_t n;
};

static __int128 load_sum(const struct integer_state *s)
{
    __int128 sum;
    memcpy(&sum, s->sum, sizeof sum);
    return sum;
}

static void store_sum(struct integer_state *s, __int128 sum)
{
    memcpy(s->sum, &sum, sizeof sum);
}

static idx_t average_size(duckdb_function_info info)
{
    (void)info;
    return sizeof(struct integer_state);
}

static void average_init(duckdb_function_info info, duckdb_aggregate_state state)
{
    (void)info;
    memset(state, 0, sizeof(struct integer_state));
}

static void average_update(duckdb_function_info info, duckdb_data_chunk input,
                           duckdb_aggregate_state *states)
{
    duckdb_vector v = duckdb_data_chunk_get_vector(input, 0);
    const int64_t *values = duckdb_vector_get_data(v);
    const uint64_t *mask = duckdb_vector_get_validity(v);
    (void)info;
    for (idx_t i = 0; i < duckdb_data_chunk_get_size(input); i++) {
        struct integer_state *s = (struct integer_state *)states[i];
        if (!is_valid(mask, i))
            continue;
        store_sum(s, load_sum(s) + values[i]);
        s->n++;
    }
}

static void average_combine(duckdb_function_info info, duckdb_aggregate_state *source,
                            duckdb_aggregate_state *target, idx_t count)
{
    (void)info;
    for (idx_t i = 0; i < count; i++) {
        const struct integer_state *from = (const struct integer_state *)source[i];
        struct integer_state *to = (struct integer_state *)target[i];
        store_sum(to, load_sum(to) + load_sum(from));
        to->n += from->n;
    }
}

static void average_finalize(duckdb_function_info info, duckdb_aggregate_state *source,
                             duckdb_vector result, idx_t count, idx_t offset)
{
    double *to = duckdb_vector_get_data(result);
    (void)info;
    for (idx_t i = 0; i < count; i++) {
        const struct integer_state *s = (const struct integer_state *)source[i];
        if (s->n == 0)
            put_null(result, offset + i);
        else
            to[offset + i] = exact_average_int128(load_sum(s), s->n);
    }
}

/* ---- minified_json ---- */

static void minify(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    duckdb_vector v = duckdb_data_chunk_get_vector(input, 0);
    duckdb_string_t *texts = duckdb_vector_get_data(v);
    const uint64_t *mask = duckdb_vector_get_validity(v);
    struct buf json;
    buf_init(&json, WIRE_LIMIT_BYTES);
    for (idx_t i = 0; i < duckdb_data_chunk_get_size(input); i++) {
        if (!is_valid(mask, i)) {
            put_null(output, i);
            continue;
        }
        struct str text = {duckdb_string_t_data(&texts[i]), duckdb_string_t_length(texts[i])};
        buf_reset(&json);
        if (!json_minify(text, &json)) {
            duckdb_scalar_function_set_error(info, "cast_failed: a value is no valid JSON");
            break;
        }
        duckdb_vector_assign_string_element_len(output, i, json.n ? json.p : "", json.n);
    }
    buf_done(&json);
}

/* ---- registration ---- */

struct aggregate_definition {
    const char *name;
    duckdb_type parameter;
    duckdb_aggregate_state_size size;
    duckdb_aggregate_init_t init;
    duckdb_aggregate_update_t update;
    duckdb_aggregate_combine_t combine;
    duckdb_aggregate_finalize_t finalize;
    duckdb_aggregate_destroy_t destroy;
};

static bool register_aggregate(duckdb_connection c, const struct aggregate_definition *d)
{
    duckdb_aggregate_function f = duckdb_create_aggregate_function();
    duckdb_logical_type parameter = duckdb_create_logical_type(d->parameter);
    duckdb_logical_type result = duckdb_create_logical_type(DUCKDB_TYPE_DOUBLE);
    duckdb_aggregate_function_set_name(f, d->name);
    duckdb_aggregate_function_add_parameter(f, parameter);
    duckdb_aggregate_function_set_return_type(f, result);
    duckdb_aggregate_function_set_functions(f, d->size, d->init, d->update, d->combine,
                                            d->finalize);
    if (d->destroy)
        duckdb_aggregate_function_set_destructor(f, d->destroy);
    bool fine = duckdb_register_aggregate_function(c, f) == DuckDBSuccess;
    duckdb_destroy_logical_type(&parameter);
    duckdb_destroy_logical_type(&result);
    duckdb_destroy_aggregate_function(&f);
    return fine;
}

static bool register_minify(duckdb_connection c)
{
    duckdb_scalar_function f = duckdb_create_scalar_function();
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    duckdb_scalar_function_set_name(f, "minified_json");
    duckdb_scalar_function_add_parameter(f, text);
    duckdb_scalar_function_set_return_type(f, text);
    duckdb_scalar_function_set_function(f, minify);
    bool fine = duckdb_register_scalar_function(c, f) == DuckDBSuccess;
    duckdb_destroy_logical_type(&text);
    duckdb_destroy_scalar_function(&f);
    return fine;
}

enum rc functions_register(duckdb_connection c, struct err *err)
{
    static const struct aggregate_definition aggregates[] = {
        {"exact_sum", DUCKDB_TYPE_DOUBLE, exact_size, exact_init, exact_update, exact_combine,
         exact_finalize_sum, exact_destroy},
        {"exact_avg", DUCKDB_TYPE_DOUBLE, exact_size, exact_init, exact_update, exact_combine,
         exact_finalize_average, exact_destroy},
        {"exact_avg_int", DUCKDB_TYPE_BIGINT, average_size, average_init, average_update,
         average_combine, average_finalize, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(aggregates); i++)
        if (!register_aggregate(c, &aggregates[i]))
            return err_set(err, RC_INTERNAL, "DuckDB does not take the function %s",
                           aggregates[i].name);
    if (!register_minify(c))
        return err_set(err, RC_INTERNAL, "DuckDB does not take the function minified_json");
    return RC_OK;
}
