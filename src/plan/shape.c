/* SPDX-License-Identifier: Apache-2.0 */
/* Text of an endpoint's answers that does not depend on the request, made once. */
#include "base/mem.h"
#include "markup/markup.h"
#include "plan/plan.h"

struct plan_shape *plan_shape_new(const struct endpoint *e, const struct dataset *d)
{
    struct plan_shape *s = x_alloc0(sizeof *s);
    struct buf text;
    size_t *at = x_array0(e->n_outputs + 1, sizeof *at);
    buf_init(&text, SIZE_MAX);
    s->endpoint = e;
    s->dataset = d;
    s->json_keys = x_array0(e->n_outputs, sizeof *s->json_keys);
    s->csv_names = x_array0(e->n_outputs, sizeof *s->csv_names);
    s->all_wanted = x_array0(e->n_outputs, sizeof *s->all_wanted);
    for (size_t i = 0; i < e->n_outputs; i++) {
        json_put_cstr(&text, e->outputs[i].as); /* a column name: no quote for CSV to escape either */
        buf_putc(&text, ':');
        at[i + 1] = text.n;
        s->all_wanted[i] = true;
    }
    for (size_t i = 0; i < e->n_outputs; i++) {
        buf_put_cstr(&text, e->outputs[i].as);
        buf_put_cstr(&text, i + 1 < e->n_outputs ? "," : "\r\n");
    }
    s->memory = text.p;
    for (size_t i = 0; i < e->n_outputs; i++) {
        s->json_keys[i] = (struct str){text.p + at[i], at[i + 1] - at[i]};
        s->csv_names[i] = str_from(e->outputs[i].as);
    }
    s->csv_header = (struct str){text.p + at[e->n_outputs], text.n - at[e->n_outputs]};
    mem_free(at);
    return s;
}

void plan_shape_free(struct plan_shape *s)
{
    if (!s)
        return;
    mem_free(s->json_keys);
    mem_free(s->csv_names);
    mem_free(s->all_wanted);
    mem_free(s->memory);
    mem_free(s);
}
