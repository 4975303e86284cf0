/* SPDX-License-Identifier: Apache-2.0 */
/* Plain text: its packed offsets, at their edges. */
#include "base/mem.h"

#include "../unit.h"
#include "store/store_int.h"

#define LIMIT_ROWS (BLOCK_ROWS + 37) /* the second block is a partial one */

/* Never a dictionary. */
static struct column json[] = {{(char[]){"v"}, TYPE_JSON}};
static const struct schema schema = {.columns = json, .n_columns = 1};

struct text_habit {
    size_t least, spread; /* lengths */
    size_t null_every;    /* 0: none */
    size_t n_rows;
    int64_t base; /* of the first block */
    unsigned bits;
    const char *why;
};

/* A text of row @i, none like another where there is room for its number. */
static struct str text_of(const struct text_habit *h, size_t i, char *room)
{
    size_t n = h->least + (h->spread ? i * 2654435761u % 1000003 % (h->spread + 1) : 0);
    char number[16];
    snprintf(number, sizeof number, "%08zu", i);
    memset(room, 'x', n);
    memcpy(room, number, n < 8 ? n : 8);
    return (struct str){room, n};
}

static struct store *written_texts(const struct text_habit *h, const char *directory)
{
    static uint8_t valid[LIMIT_ROWS];
    static struct str texts[LIMIT_ROWS];
    struct err err = ERR_INIT;
    struct store_writer *w = NULL;
    struct store_figures figures;
    struct store *s = NULL;
    static uint64_t ordinals[LIMIT_ROWS];
    size_t most = h->least + h->spread;
    char *room = x_alloc(h->n_rows * most + 1);
    for (size_t i = 0; i < h->n_rows; i++) {
        ordinals[i] = i;
        texts[i] = text_of(h, i, room + i * most);
        valid[i] = !h->null_every || i % h->null_every != 0;
    }
    struct store_writer_options options = {
        .directory = directory, .schema = &schema, .tenant_column = -1};
    struct store_column_batch column = {.texts = texts, .valid = valid};
    struct store_batch batch = {.columns = &column, .ordinals = ordinals, .n_rows = h->n_rows};
    CHECK_OK(h->why, store_writer_new(&options, &w, &err), &err);
    CHECK_OK(h->why, store_writer_add(w, &batch, &err), &err);
    CHECK_OK(h->why, store_writer_finish(w, &figures, &err), &err);
    store_figures_done(&figures);
    store_writer_free(w);
    mem_free(room);
    CHECK_OK(h->why, store_open(directory, &s, &err), &err);
    CHECK_OK(h->why, store_scrub(s, 0, NULL, &err), &err);
    return s;
}

struct seen_texts {
    const struct text_habit *habit;
    size_t row;
};

static enum rc see_text(void *arg, const struct value *values)
{
    struct seen_texts *s = arg;
    const struct text_habit *h = s->habit;
    size_t row = s->row++;
    if (h->null_every && row % h->null_every == 0) {
        CHECK_INT(h->why, values[0].kind, VALUE_NULL);
        return RC_OK;
    }
    char *room = x_alloc(h->least + h->spread + 1);
    CHECK(h->why, values[0].kind == VALUE_TEXT && str_eq(values[0].text, text_of(h, row, room)));
    mem_free(room);
    return RC_OK;
}

static void test_texts_read_back(void **state)
{
    static const struct text_habit rows[] = {
        {36, 0, 0, LIMIT_ROWS, 36, 0, "texts of one length need no offsets"},
        {36, 0, 0, 1, 36, 0, "one of them"},
        {0, 0, 0, LIMIT_ROWS, 0, 0, "empty ones"},
        {0, 0, 1, LIMIT_ROWS, 0, 0, "no text at all"},
        {8, 0, 9, LIMIT_ROWS, 0, 16, "a NULL has no length"},
        {10, 1, 0, LIMIT_ROWS, 10, 13, "a byte more now and then"},
        {0, 90, 0, LIMIT_ROWS, 0, 19, "any length"},
        {1000, 5000, 0, 300, 1000, 20, "long ones"},
    };
    static const struct query_output outputs[] = {{0, AGG_NONE}};
    static const bool wanted[] = {true};
    static struct query_result result;
    struct store_scratch *x = store_scratch_new();
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *directory = unit_directory();
        struct err err = ERR_INIT;
        struct store *s = written_texts(&rows[i], directory);
        struct seen_texts seen = {&rows[i], 0};
        struct query q = {.schema = store_schema(s),
                          .outputs = outputs,
                          .n_outputs = 1,
                          .wanted = wanted,
                          .limit = LIMIT_ROWS};
        CHECK_OK(
            rows[i].why,
            store_execute(s, &q, NULL, (struct row_sink){see_text, &seen}, x, &result, NULL, &err),
            &err);
        CHECK_INT(rows[i].why, seen.row, rows[i].n_rows);
        CHECK_INT(rows[i].why, s->columns[0].chunks[0].form, FORM_LENGTHS);
        CHECK_INT(rows[i].why, s->columns[0].chunks[0].base, rows[i].base);
        CHECK_INT(rows[i].why, s->columns[0].chunks[0].bits, rows[i].bits);
        store_free(s);
        unit_remove(directory);
    }
    store_scratch_free(x);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_read_back),
    };
    if (argc == 2) { /* a small file, for the fuzzer's corpus */
        static const struct text_habit few = {
            .least = 8, .spread = 20, .null_every = 9, .n_rows = 40, .why = "a seed"};
        store_free(written_texts(&few, argv[1]));
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
