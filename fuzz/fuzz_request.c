/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Query strings and cursors against a contract with a param of each type. Whatever is sent: the
 * tenant's predicate is the first filter, positions and limits are in their bounds, a message holds
 * no value, the canonical text is the same when it is planned again, and no cursor that was not
 * made here opens.
 */
#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "fuzz.h"
#include "plan/plan.h"

static struct column columns[] = {
    {.name = (char[]){"t"}, .type = TYPE_VARCHAR}, {.name = (char[]){"b"}, .type = TYPE_BIGINT},
    {.name = (char[]){"x"}, .type = TYPE_DOUBLE},  {.name = (char[]){"o"}, .type = TYPE_BOOLEAN},
    {.name = (char[]){"d"}, .type = TYPE_DATE},    {.name = (char[]){"s"}, .type = TYPE_TIMESTAMP}};
static char *enum_values[] = {(char[]){"A"}, (char[]){"B+"}};
static struct param_alias aliases[] = {{(char[]){"a+"}, (char[]){"b"}}};
static struct param params[] = {
    {.name = (char[]){"s"}, .type = PARAM_STRING, .aliases = aliases, .n_aliases = 1},
    {.name = (char[]){"i"},
     .type = PARAM_INTEGER,
     .has_min = true,
     .min_integer = -9,
     .has_default = true,
     .default_text = (char[]){"1"}},
    {.name = (char[]){"n"}, .type = PARAM_NUMBER},
    {.name = (char[]){"o"}, .type = PARAM_BOOLEAN},
    {.name = (char[]){"d"}, .type = PARAM_DATE},
    {.name = (char[]){"ts"}, .type = PARAM_TIMESTAMP},
    {.name = (char[]){"e"}, .type = PARAM_ENUM, .enum_values = enum_values, .n_enum_values = 2},
};
static struct endpoint_output outputs[] = {{.as = (char[]){"b"}, .query = {.column = 1}},
                                           {.as = (char[]){"x"}, .query = {.column = 2}}};
static struct endpoint_filter filters[] = {
    {0, FILTER_EQ, 0}, {1, FILTER_GTE, 1}, {2, FILTER_LTE, 2}, {3, FILTER_EQ, 3},
    {4, FILTER_EQ, 4}, {5, FILTER_GTE, 5}, {0, FILTER_EQ, 6},  {1, FILTER_EQ, 0},
    {2, FILTER_EQ, 1}, {1, FILTER_LTE, 2}, {4, FILTER_EQ, 5}};
static struct dataset dataset = {.schema = {.columns = columns, .n_columns = ARRAY_LEN(columns)},
                                 .tenant_column = 0};
static struct endpoint endpoint = {.name = (char[]){"e"},
                                   .tenant_scoped = true,
                                   .params = params,
                                   .n_params = ARRAY_LEN(params),
                                   .outputs = outputs,
                                   .n_outputs = ARRAY_LEN(outputs),
                                   .filters = filters,
                                   .n_filters = ARRAY_LEN(filters),
                                   .default_limit = 10,
                                   .max_limit = 20};

static void check_plan(const struct plan *p)
{
    const struct query_filter *first = &p->query.filters[0];
    assert(p->query.has_tenant && first->column == 0 && first->op == FILTER_EQ &&
           !first->never_matches);
    assert(str_is(first->value.text, "me"));
    assert(p->limit >= 1 && p->limit <= 20 && p->position <= INT64_MAX &&
           p->query.n_filters <= QUERY_LIMIT_FILTERS);
    assert(p->n_columns >= 1 && p->n_columns <= 2);
    for (size_t i = 0; i < endpoint.n_params; i++)
        assert(!p->present[i] || utf8_valid(p->values[i].text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct plan_shape *shape;
    static const uint8_t fingerprint[32];
    char message[PLAN_MESSAGE_BYTES] = "";
    uint8_t found[32];
    struct arena arena;
    struct plan plan, again;
    if (n > HTTP_LIMIT_TARGET_BYTES)
        n = HTTP_LIMIT_TARGET_BYTES;
    if (!shape)
        shape = plan_shape_new(&endpoint,
                               &dataset); /* borrowed by nothing that ends before the process */
    arena_init(&arena, 1 << 20);
    struct plan_input in = {
        .shape = shape, .tenant = STR("me"), .query_string = {(const char *)data, n}};
    enum rc rc = plan_request(&in, &arena, &plan, message);
    assert(rc == RC_OK || (rc == RC_INVALID && message[0] && strlen(message) < PLAN_MESSAGE_BYTES));
    for (const char *c = message; *c; c++)
        assert((unsigned char)*c >= ' ' && (unsigned char)*c < 0x7f);
    if (rc == RC_OK) {
        check_plan(&plan);
        assert(plan_request(&in, &arena, &again, message) == RC_OK);
        assert(str_eq(plan.canonical, again.canonical));
    }
    if (rc == RC_OK && plan.cursor.n) {
        struct cursor_binding binding = {&endpoint, &dataset, STR("me"), fingerprint};
        cursor_set_secret("of the fuzzer", 13);
        assert(cursor_open(&binding, &arena, &plan, found, message) == RC_INVALID);
    }
    arena_done(&arena);
    return 0;
}
