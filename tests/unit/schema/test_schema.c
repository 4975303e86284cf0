/* SPDX-License-Identifier: Apache-2.0 */
/* Types by name, which may stand for which, and copies. */
#include "unit.h"

#include "schema/schema.h"

static void test_types(void **state)
{
    (void)state;
    for (int a = 0; a < N_COLUMN_TYPES; a++) {
        enum column_type got;
        CHECK("reads back",
              column_type_parse(str_from(column_type_name((enum column_type)a)), &got) &&
                  (int)got == a);
        for (int b = 0; b < N_COLUMN_TYPES; b++) {
            bool widens = a == b || (a == TYPE_BIGINT && b == TYPE_INTEGER) ||
                          (a == TYPE_DOUBLE && (b == TYPE_INTEGER || b == TYPE_BIGINT));
            CHECK_INT("equal, or wider than the contract",
                      column_type_widens((enum column_type)a, (enum column_type)b), widens);
        }
    }
    enum column_type type = TYPE_JSON;
    CHECK("upper case only", !column_type_parse(STR("bigint"), &type));
    CHECK("nothing else", !column_type_parse(STR("INT"), &type) && type == TYPE_JSON);
}

static void test_schemas(void **state)
{
    (void)state;
    char id[] = "id", n[] = "n";
    struct column columns[] = {{id, TYPE_VARCHAR}, {n, TYPE_BIGINT}};
    struct column swapped[] = {{n, TYPE_BIGINT}, {id, TYPE_VARCHAR}};
    struct schema s = {columns, 2}, other = {swapped, 2}, copy;
    CHECK_INT("found", schema_find(&s, STR("n")), 1);
    CHECK_INT("case matters", schema_find(&s, STR("N")), -1);
    schema_copy(&copy, &s);
    CHECK("a copy is equal", schema_equal(&s, &copy));
    CHECK("order matters", !schema_equal(&s, &other));
    copy.columns[1].type = TYPE_DATE;
    CHECK("types matter", !schema_equal(&s, &copy));
    schema_done(&copy);
    schema_done(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types),
                                       cmocka_unit_test(test_schemas)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
