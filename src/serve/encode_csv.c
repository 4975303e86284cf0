/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as CSV (RFC 4180), and where each form begins and ends. */
#include <math.h>

#include "serve/serve_int.h"

/* NULL is an empty field, so empty text needs its quotes. */
static void put_field(struct buf *b, struct str s)
{
    bool quoted = s.n == 0;
    for (size_t i = 0; i < s.n && !quoted; i++)
        quoted = s.p[i] == ',' || s.p[i] == '"' || s.p[i] == '\n' || s.p[i] == '\r';
    if (!quoted) {
        buf_put_str(b, s);
        return;
    }
    buf_putc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            buf_putc(b, '"');
        buf_putc(b, s.p[i]);
    }
    buf_putc(b, '"');
}

static void put_value(struct buf *b, enum query_type type, const struct value *v)
{
    if (v->kind == VALUE_NULL || (v->kind == VALUE_DOUBLE && !isfinite(v->number)))
        return;
    if (v->kind == VALUE_TEXT) {
        put_field(b, v->text);
        return;
    }
    size_t before = b->n;
    encode_json_value(b, type, v, false);
    /* Dates come in quotes from JSON's writer; no other value here has any. */
    if (b->n > before && b->p[before] == '"') {
        memmove(b->p + before, b->p + before + 1, b->n - before - 2);
        b->n -= 2;
    }
}

enum rc encode_csv_row(void *arg, const struct value *values)
{
    struct encoder *encoder = arg;
    const struct endpoint *e = encoder->plan->shape->endpoint;
    struct buf *b = encoder->to;
    for (int i = 0; i < encoder->plan->n_columns; i++) {
        int column = encoder->plan->columns[i];
        if (i)
            buf_putc(b, ',');
        put_value(b, e->outputs[column].type, &values[column]);
    }
    buf_put_literal(b, "\r\n");
    encoder->n_rows++;
    return buf_rc(b);
}

static void put_csv_header(struct encoder *encoder)
{
    const struct plan_shape *shape = encoder->plan->shape;
    if (encoder->plan->n_columns == (int)shape->endpoint->n_outputs) {
        buf_put_str(encoder->to, shape->csv_header);
        return;
    }
    for (int i = 0; i < encoder->plan->n_columns; i++) {
        if (i)
            buf_putc(encoder->to, ',');
        buf_put_str(encoder->to, shape->csv_names[encoder->plan->columns[i]]);
    }
    buf_put_literal(encoder->to, "\r\n");
}

void encoder_begin(struct encoder *encoder, const struct plan *plan, enum http_form form,
                   struct buf *to)
{
    *encoder = (struct encoder){plan, form, to, 0};
    buf_reset(to);
    if (form == FORM_JSON)
        buf_putc(to, '[');
    else if (form == FORM_CSV)
        put_csv_header(encoder);
}

enum rc encoder_end(struct encoder *encoder)
{
    if (encoder->form == FORM_JSON)
        buf_putc(encoder->to, ']');
    return buf_rc(encoder->to);
}

struct row_sink encoder_sink(struct encoder *encoder)
{
    return (struct row_sink){encoder->form == FORM_CSV ? encode_csv_row : encode_json_row, encoder};
}
