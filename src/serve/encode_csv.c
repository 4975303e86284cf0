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
    struct job *j = arg;
    const struct endpoint *e = j->plan.shape->endpoint;
    struct buf *b = &j->data;
    for (int i = 0; i < j->plan.n_columns; i++) {
        int column = j->plan.columns[i];
        if (i)
            buf_putc(b, ',');
        put_value(b, e->outputs[column].type, &values[column]);
    }
    buf_put_literal(b, "\r\n");
    j->n_encoded++;
    return b->failed == BUF_FINE ? RC_OK : b->failed == BUF_OVER_LIMIT ? RC_LIMIT : RC_NO_MEMORY;
}

static void put_csv_header(struct job *j)
{
    const struct plan_shape *shape = j->plan.shape;
    if (j->plan.n_columns == (int)shape->endpoint->n_outputs) {
        buf_put_str(&j->data, shape->csv_header);
        return;
    }
    for (int i = 0; i < j->plan.n_columns; i++) {
        if (i)
            buf_putc(&j->data, ',');
        buf_put_str(&j->data, shape->csv_names[j->plan.columns[i]]);
    }
    buf_put_literal(&j->data, "\r\n");
}

void encode_begin(struct job *j)
{
    buf_reset(&j->data);
    j->n_encoded = 0;
    if (j->form == FORM_JSON)
        buf_putc(&j->data, '[');
    else if (j->form == FORM_CSV)
        put_csv_header(j);
}

void encode_end(struct job *j)
{
    if (j->form == FORM_JSON)
        buf_putc(&j->data, ']');
    if (j->rc == RC_OK && j->data.failed)
        j->rc = j->data.failed == BUF_OVER_LIMIT ? RC_LIMIT : RC_NO_MEMORY;
}

struct row_sink encode_sink(struct job *j)
{
    return (struct row_sink){j->form == FORM_CSV ? encode_csv_row : encode_json_row, j};
}
