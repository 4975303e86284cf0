/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A param's value in the terms of its column. Where no value of the column's type can satisfy the
 * comparison, the filter says so (never_matches) instead of failing.
 */
#include <math.h>

#include "base/timeutil.h"
#include "plan/plan_int.h"

#define INT64_LIMIT 9223372036854775808.0 /* 2^63, exact */

static void set_integer(struct query_filter *f, int64_t v)
{
    f->value = (struct value){.kind = VALUE_INT, .integer = v};
}

/* A double against an integer column: the nearest integer on the right side. */
static void number_on_integer(struct query_filter *f, double v)
{
    double bound = f->op == FILTER_GTE ? ceil(v) : f->op == FILTER_LTE ? floor(v) : v;
    if (f->op == FILTER_EQ && v != floor(v)) {
        f->never_matches = true;
    } else if (bound >= INT64_LIMIT) {
        f->never_matches = f->op != FILTER_LTE;
        set_integer(f, INT64_MAX);
    } else if (bound < -INT64_LIMIT) {
        f->never_matches = f->op != FILTER_GTE;
        set_integer(f, INT64_MIN);
    } else {
        set_integer(f, (int64_t)bound);
    }
}

/* An integer against a double column, as numbers: a value between two doubles equals none. */
static void integer_on_number(struct query_filter *f, int64_t v)
{
    double d = (double)v;
    bool rounds_up = d >= INT64_LIMIT || (int64_t)d > v;
    bool is_exact = d < INT64_LIMIT && (int64_t)d == v;
    if (!is_exact && f->op == FILTER_EQ)
        f->never_matches = true;
    else if (!is_exact && f->op == FILTER_GTE && !rounds_up)
        d = nextafter(d, (double)INFINITY);
    else if (!is_exact && f->op == FILTER_LTE && rounds_up)
        d = nextafter(d, -(double)INFINITY);
    f->value = (struct value){.kind = VALUE_DOUBLE, .number = d};
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static void timestamp_on_date(struct query_filter *f, int64_t us)
{
    int64_t days = floor_div(us, US_PER_DAY);
    bool is_midnight = days * US_PER_DAY == us;
    f->never_matches = f->op == FILTER_EQ && !is_midnight;
    set_integer(f, days + (f->op == FILTER_GTE && !is_midnight));
}

/* Does the value, written as CSV writes it, have exactly the text that was sent? */
static bool is_canonical(struct str sent, const struct buf *text)
{
    return str_eq(sent, (struct str){text->p, text->n});
}

static void text_on_other(struct query_filter *f, enum column_type column, struct str sent)
{
    char room[64];
    struct buf b = {.p = room, .capacity = sizeof room, .limit_bytes = sizeof room};
    int64_t integer;
    int32_t days;
    double number;
    f->never_matches = true;
    switch (column) {
    case TYPE_INTEGER:
    case TYPE_BIGINT:
        if (!parse_int64(sent, &integer))
            return;
        buf_put_int64(&b, integer);
        set_integer(f, integer);
        break;
    case TYPE_DOUBLE:
        if (!parse_double(sent, &number))
            return;
        buf_put_double(&b, number);
        f->value = (struct value){.kind = VALUE_DOUBLE, .number = number};
        break;
    case TYPE_BOOLEAN:
        if (!str_is(sent, "true") && !str_is(sent, "false"))
            return;
        f->value = (struct value){.kind = VALUE_BOOL, .boolean = sent.p[0] == 't'};
        buf_put_str(&b, sent);
        break;
    case TYPE_DATE:
        if (!parse_date(sent, &days))
            return;
        buf_put_date(&b, days);
        set_integer(f, days);
        break;
    case TYPE_TIMESTAMP:
        if (!parse_timestamp(sent, &integer))
            return;
        buf_put_timestamp(&b, integer);
        set_integer(f, integer);
        break;
    case TYPE_VARCHAR:
    case TYPE_JSON:
        return;
    }
    f->never_matches = !is_canonical(sent, &b);
}

static void integer_filter(struct query_filter *f, enum column_type column, int64_t v)
{
    if (column == TYPE_DOUBLE)
        integer_on_number(f, v);
    else
        set_integer(f, v);
}

void plan_filter(struct query_filter *f, enum column_type column, enum param_type type,
                 const struct param_value *value)
{
    switch (type) {
    case PARAM_STRING:
    case PARAM_ENUM:
        if (column == TYPE_VARCHAR)
            f->value = (struct value){.kind = VALUE_TEXT, .text = value->text};
        else
            text_on_other(f, column, value->text);
        return;
    case PARAM_INTEGER:
        integer_filter(f, column, value->integer);
        return;
    case PARAM_NUMBER:
        if (column == TYPE_DOUBLE)
            f->value = (struct value){.kind = VALUE_DOUBLE, .number = value->number};
        else
            number_on_integer(f, value->number);
        return;
    case PARAM_BOOLEAN:
        f->value = (struct value){.kind = VALUE_BOOL, .boolean = value->boolean};
        return;
    case PARAM_DATE:
        set_integer(f, column == TYPE_TIMESTAMP ? value->integer * US_PER_DAY : value->integer);
        return;
    case PARAM_TIMESTAMP:
        if (column == TYPE_DATE)
            timestamp_on_date(f, value->integer);
        else
            set_integer(f, value->integer);
        return;
    }
}

void plan_tenant_filter(struct query_filter *f, enum column_type column, struct str tenant)
{
    f->op = FILTER_EQ;
    if (column == TYPE_VARCHAR)
        f->value = (struct value){.kind = VALUE_TEXT, .text = tenant};
    else
        text_on_other(f, column, tenant);
}
