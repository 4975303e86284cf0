/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as bytes. A double is its bits, but every NaN is one. */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "differential.h"

void answer_init(struct answer *a)
{
    *a = (struct answer){.rc = RC_OK};
    buf_init(&a->bytes, SIZE_MAX);
    buf_init(&a->keep, SIZE_MAX);
}

void answer_done(struct answer *a)
{
    buf_done(&a->bytes);
    buf_done(&a->keep);
}

void answer_begin(struct answer *a, const struct query *q)
{
    buf_reset(&a->bytes);
    buf_reset(&a->keep);
    a->result = (struct query_result){.n_rows = 0};
    a->n_outputs = q->n_outputs;
    a->err = (struct err)ERR_INIT;
}

static void put_value(struct buf *b, const struct value *v)
{
    struct value canonical = *v;
    if (v->kind == VALUE_DOUBLE && isnan(v->number))
        canonical.number = (double)NAN;
    bytes_put_value(b, &canonical);
}

static enum rc on_row(void *arg, const struct value *values)
{
    struct answer *a = arg;
    for (int i = 0; i < a->n_outputs; i++)
        put_value(&a->bytes, &values[i]);
    return RC_OK;
}

struct row_sink answer_sink(struct answer *a)
{
    return (struct row_sink){on_row, a};
}

const char *answer_compare(const struct query *q, const struct answer *a, const struct answer *b)
{
    struct buf x, y;
    const char *what = NULL;
    if (a->rc != RC_OK || b->rc != RC_OK)
        return "an executor failed";
    if (a->result.n_rows != b->result.n_rows)
        return "the number of rows";
    if (a->bytes.n != b->bytes.n || (a->bytes.n && memcmp(a->bytes.p, b->bytes.p, a->bytes.n) != 0))
        return "the values";
    if (a->result.has_more != b->result.has_more)
        return "has_more";
    if (q->count_total && a->result.total != b->result.total)
        return "the total";
    buf_init(&x, SIZE_MAX);
    buf_init(&y, SIZE_MAX);
    for (int i = 0; i < a->result.n_last; i++)
        put_value(&x, &a->result.last[i]);
    for (int i = 0; i < b->result.n_last; i++)
        put_value(&y, &b->result.last[i]);
    if (x.n != y.n || (x.n && memcmp(x.p, y.p, x.n) != 0))
        what = "the position after the last row";
    buf_done(&x);
    buf_done(&y);
    return what;
}

void answer_print(const char *name, const struct answer *a)
{
    printf("%s: %s, %llu rows, more %d, total %llu, %zu bytes, %d position values: %s\n", name,
           rc_name(a->rc), (unsigned long long)a->result.n_rows, a->result.has_more,
           (unsigned long long)a->result.total, a->bytes.n, a->result.n_last, a->err.message);
    for (size_t i = 0; i < a->bytes.n && i < 400; i++)
        printf("%02x", (unsigned char)a->bytes.p[i]);
    printf("\n");
}
