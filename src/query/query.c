/* SPDX-License-Identifier: Apache-2.0 */
/* The semantics both executors share. */
#include "query/query.h"

#include <math.h>

#include "base/timeutil.h"

enum query_type query_output_type(enum column_type column, enum aggregate aggregate)
{
    if (aggregate == AGG_COUNT)
        return OUT_COUNT;
    if (aggregate == AGG_AVG)
        return OUT_DOUBLE;
    switch (column) {
    case TYPE_DATE:
        return OUT_DATE;
    case TYPE_TIMESTAMP:
        return OUT_TIMESTAMP;
    case TYPE_VARCHAR:
        return OUT_TEXT;
    case TYPE_INTEGER:
        return aggregate == AGG_SUM ? OUT_SUM128 : OUT_INTEGER;
    case TYPE_BIGINT:
        return aggregate == AGG_SUM ? OUT_SUM128 : OUT_BIGINT;
    case TYPE_DOUBLE:
        return OUT_DOUBLE;
    case TYPE_BOOLEAN:
        return OUT_BOOLEAN;
    case TYPE_JSON:
        return OUT_JSON;
    }
    return OUT_TEXT;
}

enum query_type query_type_of(const struct query *q, int output)
{
    const struct query_output *o = &q->outputs[output];
    return query_output_type(q->schema->columns[o->column].type, o->aggregate);
}

bool value_fits(const struct value *v, enum query_type type)
{
    if (v->kind == VALUE_NULL)
        return true;
    switch (type) {
    case OUT_DATE:
        return v->kind == VALUE_INT && v->integer >= DATE_MIN_DAYS && v->integer <= DATE_MAX_DAYS;
    case OUT_TIMESTAMP:
        return v->kind == VALUE_INT && v->integer >= TIMESTAMP_MIN_US &&
               v->integer <= TIMESTAMP_MAX_US;
    case OUT_TEXT:
    case OUT_JSON:
        return v->kind == VALUE_TEXT;
    case OUT_INTEGER:
    case OUT_BIGINT:
    case OUT_COUNT:
        return v->kind == VALUE_INT;
    case OUT_SUM128:
        return v->kind == VALUE_INT128;
    case OUT_DOUBLE:
        return v->kind == VALUE_DOUBLE;
    case OUT_BOOLEAN:
        return v->kind == VALUE_BOOL;
    }
    return false;
}

static int compare_numbers(double a, double b)
{
    bool a_nan = isnan(a), b_nan = isnan(b);
    if (a_nan || b_nan)
        return (int)a_nan - (int)b_nan;
    return (a > b) - (a < b);
}

static __int128 as_int128(const struct value *v)
{
    return v->kind == VALUE_INT128 ? v->integer128 : v->integer;
}

static int compare_present(const struct value *a, const struct value *b)
{
    switch (a->kind) {
    case VALUE_NULL:
        return 0;
    case VALUE_BOOL:
        return (int)a->boolean - (int)b->boolean;
    case VALUE_INT:
        if (b->kind == VALUE_INT)
            return (a->integer > b->integer) - (a->integer < b->integer);
        return (as_int128(a) > as_int128(b)) - (as_int128(a) < as_int128(b));
    case VALUE_INT128:
        return (as_int128(a) > as_int128(b)) - (as_int128(a) < as_int128(b));
    case VALUE_DOUBLE:
        return compare_numbers(a->number, b->number);
    case VALUE_TEXT:
        return str_cmp(a->text, b->text);
    }
    return 0;
}

int value_compare(const struct value *a, const struct value *b, bool descending)
{
    if (a->kind == VALUE_NULL || b->kind == VALUE_NULL)
        return (int)(a->kind == VALUE_NULL) - (int)(b->kind == VALUE_NULL);
    int order = compare_present(a, b);
    return descending ? -order : order;
}
