/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as JSON, written straight from the executor's values: one buffer an answer, no copies
 * between. */
#include <math.h>

#include "base/timeutil.h"
#include "markup/markup.h"
#include "serve/serve_int.h"

/* Longest fixed-size value: a 128-bit integer in quotes. */
#define FIXED_VALUE_BYTES 48

static void put_text(struct buf *b, const struct value *v)
{
    if (!v->plain) {
        json_put_string(b, v->text);
        return;
    }
    if (!buf_reserve(b, v->text.n + 2))
        return;
    b->p[b->n++] = '"';
    if (v->text.n)
        memcpy(b->p + b->n, v->text.p, v->text.n);
    b->n += v->text.n;
    b->p[b->n++] = '"';
}

static void put_integer(struct buf *b, const struct value *v, bool as_string)
{
    if (as_string)
        buf_putc(b, '"');
    if (v->kind == VALUE_INT128)
        buf_put_int128(b, v->integer128);
    else
        buf_put_int64(b, v->integer);
    if (as_string)
        buf_putc(b, '"');
}

void encode_json_value(struct buf *b, enum query_type type, const struct value *v,
                       bool integers_as_strings)
{
    if (v->kind == VALUE_NULL) {
        buf_put_literal(b, "null");
        return;
    }
    switch (type) {
    case OUT_DATE:
        buf_putc(b, '"');
        buf_put_date(b, (int32_t)v->integer);
        buf_putc(b, '"');
        return;
    case OUT_TIMESTAMP:
        buf_putc(b, '"');
        buf_put_timestamp(b, v->integer);
        buf_putc(b, '"');
        return;
    case OUT_TEXT:
        put_text(b, v);
        return;
    case OUT_INTEGER:
    case OUT_COUNT:
        put_integer(b, v, false);
        return;
    case OUT_BIGINT:
    case OUT_SUM128:
        put_integer(b, v, integers_as_strings);
        return;
    case OUT_DOUBLE:
        if (isfinite(v->number))
            buf_put_double(b, v->number);
        else
            buf_put_literal(b, "null");
        return;
    case OUT_BOOLEAN:
        if (v->boolean)
            buf_put_literal(b, "true");
        else
            buf_put_literal(b, "false");
        return;
    case OUT_JSON:
        buf_put_str(b, v->text);
        return;
    }
}

enum rc encode_json_row(void *arg, const struct value *values)
{
    struct encoder *encoder = arg;
    const struct plan_shape *shape = encoder->plan->shape;
    const struct endpoint *e = shape->endpoint;
    struct buf *b = encoder->to;
    if (encoder->form == FORM_JSON && encoder->n_rows)
        buf_putc(b, ',');
    buf_putc(b, '{');
    for (int i = 0; i < encoder->plan->n_columns; i++) {
        int column = encoder->plan->columns[i];
        if (i)
            buf_putc(b, ',');
        buf_put_str(b, shape->json_keys[column]);
        encode_json_value(b, e->outputs[column].type, &values[column], e->integers_as_strings);
    }
    buf_putc(b, '}');
    if (encoder->form == FORM_NDJSON)
        buf_putc(b, '\n');
    encoder->n_rows++;
    return buf_rc(b);
}
