/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A query process that was taken over: whatever it says, the server ends the query with an error,
 * in time, and the process with it. The child is this program again; its spill directory's name
 * tells it how to behave.
 */
#include "base/mem.h"
#include "base/timeutil.h"
#include "engine/engine.h"
#include "engine/query_wire.h"
#include "unit.h"

#define FIRST_CONNECTION_FD 4
#define LIMIT_ROWS 10

/* ---- the child ---- */

static void say(enum wire_kind kind, const void *body, size_t n)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    size_t began = wire_begin(&b, kind);
    buf_put(&b, body, n);
    wire_finish(&b, began);
    IGNORE(wire_write(FIRST_CONNECTION_FD, b.p, b.n)); /* the server may have gone */
    buf_done(&b);
}

static const struct value seven = {.kind = VALUE_INT, .integer = 7},
                          wide = {.kind = VALUE_INT128, .integer128 = 7},
                          late = {.kind = VALUE_INT, .integer = INT64_MAX};

static void say_rows(uint32_t n, const struct value *v)
{
    struct buf b;
    buf_init(&b, 4096);
    bytes_put_u32(&b, n);
    for (uint32_t i = 0; i < n; i++)
        bytes_put_value(&b, v);
    say(WIRE_ROWS, b.p, b.n);
    buf_done(&b);
}

/* An end that went well, after @last. */
static void say_end(const struct value *last, int n_last)
{
    static const struct err fine = ERR_INIT;
    struct query_result result = {.has_more = true, .n_last = n_last};
    struct buf b;
    buf_init(&b, 4096);
    for (int i = 0; i < n_last; i++)
        result.last[i] = *last;
    wire_put_end(&b, &fine, &result);
    say(WIRE_END, b.p, b.n);
    buf_done(&b);
}

static int be_hostile(const char *how)
{
    static const uint8_t huge[WIRE_HEAD_BYTES] = {0xff, 0xff, 0xff, 0xff, WIRE_ROWS};
    static const uint32_t many_rows = 1000, far_range[4] = {7, 0, 0, 16};
    static const uint8_t ff[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct buf plan;
    enum wire_kind kind;
    buf_init(&plan, 1u << 20);
    if (strstr(how, "/dies/"))
        return 1;
    if (!wire_receive(FIRST_CONNECTION_FD, &plan, &kind))
        return 1;
    if (strstr(how, "/huge/"))
        IGNORE(wire_write(FIRST_CONNECTION_FD, huge, sizeof huge));
    else if (strstr(how, "/odd/"))
        say((enum wire_kind)'?', ff, sizeof ff);
    else if (strstr(how, "/rows/"))
        say(WIRE_ROWS, &many_rows, sizeof many_rows);
    else if (strstr(how, "/range/"))
        say(WIRE_RANGE, far_range, sizeof far_range);
    else if (strstr(how, "/end/"))
        say(WIRE_END, ff, sizeof ff);
    else if (strstr(how, "/once/"))
        say_rows(1, &seven);
    else if (strstr(how, "/kind/"))
        say_rows(1, &wide);
    else if (strstr(how, "/late/"))
        say_rows(1, &late);
    else if (strstr(how, "/more/"))
        say_rows(LIMIT_ROWS + 1, &seven);
    else if (strstr(how, "/nowhere/"))
        say_end(&seven, 1);
    else if (strstr(how, "/place/")) {
        say_rows(1, &seven);
        say_end(&wide, 1);
    } else if (strstr(how, "/places/")) {
        say_rows(1, &seven);
        say_end(&seven, 2);
    }
    while (strstr(how, "/flood/"))
        say_rows(0, NULL);
    if (strstr(how, "/once/"))
        return 1;
    while (wire_receive(FIRST_CONNECTION_FD, &plan, &kind))
        continue; /* silent, and deaf to being told to stop */
    return 0;
}

/* ---- the server ---- */

static enum rc count_row(void *arg, const struct value *values)
{
    (void)values;
    ++*(int *)arg;
    return RC_OK;
}

static const struct query_output output = {0, AGG_NONE};
static const bool wanted = true;

static enum rc ask(const char *directory, enum column_type type, int64_t patience_us, int *ret_rows)
{
    struct column column = {(char *)(uintptr_t) "a", type};
    struct engine_options options = {.n_connections = 1, .temp_directory = directory};
    struct engine *e = engine_new(&options);
    struct engine_source *source = engine_source_alloc(0);
    struct query q = {.schema = &(struct schema){&column, 1},
                      .outputs = &output,
                      .n_outputs = 1,
                      .wanted = &wanted,
                      .limit = LIMIT_ROWS};
    struct query_control control = {.deadline_us = monotonic_us() + patience_us};
    struct row_sink sink = {count_row, ret_rows};
    struct query_result result;
    struct buf keep;
    struct err err = ERR_INIT;
    buf_init(&keep, 1u << 20);
    enum rc rc = engine_execute(e, source, &q, &control, sink, &keep, &result, NULL, &err);
    buf_done(&keep);
    engine_source_free(source);
    engine_free(e);
    return rc;
}

static void test_whatever_it_says(void **state)
{
    (void)state;
    static const struct {
        const char *why, *how;
        enum rc rc;
        int rows;
        enum column_type type;
    } rows[] = {
        {"gone before the plan", "dies", RC_IO, 0, TYPE_BIGINT},
        {"a message of four gigabytes", "huge", RC_IO, 0, TYPE_BIGINT},
        {"a message of no kind", "odd", RC_IO, 0, TYPE_BIGINT},
        {"more rows than bytes", "rows", RC_IO, 0, TYPE_BIGINT},
        {"a file that the source has not", "range", RC_IO, 0, TYPE_BIGINT},
        {"an end that is none", "end", RC_INTERNAL, 0, TYPE_BIGINT},
        {"a row, twice, then gone", "once", RC_IO, 1, TYPE_BIGINT},
        {"a number that would be taken for a pointer to text", "kind", RC_IO, 0, TYPE_VARCHAR},
        {"the same for JSON", "kind", RC_IO, 0, TYPE_JSON},
        {"a whole number where a double belongs", "kind", RC_IO, 0, TYPE_DOUBLE},
        {"a day after the last", "late", RC_IO, 0, TYPE_DATE},
        {"a time after the last", "late", RC_IO, 0, TYPE_TIMESTAMP},
        {"more rows than were asked for", "more", RC_IO, LIMIT_ROWS, TYPE_BIGINT},
        {"a position after no row", "nowhere", RC_IO, 0, TYPE_BIGINT},
        {"a position of another kind", "place", RC_IO, 1, TYPE_BIGINT},
        {"a position of two parts", "places", RC_IO, 1, TYPE_BIGINT},
    };
    char *base = unit_directory();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(mem_free_auto) char *directory = path_join(base, rows[i].how);
        int n_rows = 0;
        CHECK_INT(rows[i].why, ask(directory, rows[i].type, 20000000, &n_rows), rows[i].rc);
        CHECK_INT(rows[i].why, n_rows, rows[i].rows);
    }
    unit_remove(base);
}

static void test_time_is_up(void **state)
{
    (void)state;
    static const struct {
        const char *why, *how;
    } rows[] = {
        {"silent, and does not stop: killed", "silent"},
        {"says nothing without end", "flood"},
    };
    char *base = unit_directory();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(mem_free_auto) char *directory = path_join(base, rows[i].how);
        int n_rows = 0;
        CHECK_INT(rows[i].why, ask(directory, TYPE_BIGINT, 100000, &n_rows), RC_TIMEOUT);
        CHECK_INT(rows[i].why, n_rows, 0);
    }
    unit_remove(base);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whatever_it_says),
        cmocka_unit_test(test_time_is_up),
    };
    if (argc > 4 && strcmp(argv[1], "__query") == 0)
        return be_hostile(argv[4]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
