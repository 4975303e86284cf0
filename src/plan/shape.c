/* SPDX-License-Identifier: Apache-2.0 */
/* Text of an endpoint's answers that does not depend on the request, made once. */
#include "base/mem.h"
#include "plan/plan.h"

static char *put(char *to, const char *text)
{
    size_t n = strlen(text);
    memcpy(to, text, n);
    return to + n;
}

struct plan_shape *plan_shape_new(const struct endpoint *e, const struct dataset *d)
{
    struct plan_shape *s = x_alloc0(sizeof *s);
    size_t n = 0;
    for (size_t i = 0; i < e->n_outputs; i++)
        n += 2 * strlen(e->outputs[i].as) + strlen("\"\":,\r\n");
    char *to = s->memory = x_alloc(n);
    s->endpoint = e;
    s->dataset = d;
    s->json_keys = x_array0(e->n_outputs, sizeof *s->json_keys);
    s->csv_names = x_array0(e->n_outputs, sizeof *s->csv_names);
    s->all_wanted = x_array0(e->n_outputs, sizeof *s->all_wanted);
    for (size_t i = 0; i < e->n_outputs; i++) { /* column names: nothing in them to escape */
        const char *from = to;
        to = put(put(put(to, "\""), e->outputs[i].as), "\":");
        s->json_keys[i] = (struct str){from, (size_t)(to - from)};
        s->csv_names[i] = str_from(e->outputs[i].as);
        s->all_wanted[i] = true;
    }
    const char *from = to;
    for (size_t i = 0; i < e->n_outputs; i++)
        to = put(put(to, e->outputs[i].as), i + 1 < e->n_outputs ? "," : "\r\n");
    s->csv_header = (struct str){from, (size_t)(to - from)};
    assert((size_t)(to - s->memory) <= n);
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
