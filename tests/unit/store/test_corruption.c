/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whatever happens to the bytes of a store file is found, at open, at first touch or by the
 * scrub, and never crashes the reader. Every byte of a small file is flipped, every length tried.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "rows.h"
#include "store/format.h"

#define N_ROWS 110

struct file {
    char *directory;
    char path[700];
    char *bytes;
    size_t n;
};

static struct file file;

static int set_up(void **state)
{
    struct buf b;
    struct err err = ERR_INIT;
    (void)state;
    file.directory = unit_directory();
    snprintf(file.path, sizeof file.path, "%s/%s", file.directory, STORE_FILE_NAME);
    rows_write(file.directory, N_ROWS, 128);
    buf_init(&b, 1u << 24);
    CHECK_OK("the file is read", io_read_file(file.path, &b, &err), &err);
    file.bytes = buf_take_cstr(&b, &file.n);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mem_free(file.bytes);
    unit_remove(file.directory);
    return 0;
}

static void put_file(const char *p, size_t n)
{
    struct err err = ERR_INIT;
    AUTO(fd_auto) int fd = -1;
    CHECK_OK("open", io_open(file.path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &fd, &err), &err);
    CHECK_OK("write", io_write_all(fd, p, n, file.path, &err), &err);
}

static enum rc take_row(void *arg, const struct value *values)
{
    (void)values;
    ++*(uint64_t *)arg;
    return RC_OK;
}

/* Reads all columns, then by prefix, by posting list and in groups: everything a query can touch.
 */
static enum rc read_all(struct store *s, struct store_scratch *x)
{
    struct query_output outputs[N_TEST_COLUMNS];
    bool wanted[N_TEST_COLUMNS];
    for (int i = 0; i < N_TEST_COLUMNS; i++) {
        outputs[i] = (struct query_output){.column = i, .aggregate = AGG_NONE};
        wanted[i] = true;
    }
    struct query_filter filters[] = {
        {.column = COLUMN_TENANT,
         .op = FILTER_EQ,
         .value = {.kind = VALUE_TEXT, .text = STR("t001")}},
        {.column = COLUMN_CODE, .op = FILTER_EQ, .value = {.kind = VALUE_INT, .integer = 5}},
    };
    struct query_order by_word = {.output = COLUMN_WORD};
    int group = COLUMN_FLAG;
    struct query_output grouped[] = {{COLUMN_FLAG, AGG_NONE}, {COLUMN_RATE, AGG_SUM}};
    struct query queries[] = {
        {.outputs = outputs, .n_outputs = N_TEST_COLUMNS, .limit = N_ROWS},
        {.outputs = outputs,
         .n_outputs = N_TEST_COLUMNS,
         .limit = 9,
         .filters = filters,
         .n_filters = 1},
        {.outputs = outputs,
         .n_outputs = N_TEST_COLUMNS,
         .limit = 9,
         .filters = filters + 1,
         .n_filters = 1},
        {.outputs = outputs,
         .n_outputs = N_TEST_COLUMNS,
         .limit = 9,
         .order = &by_word,
         .n_order = 1},
        {.outputs = grouped,
         .n_outputs = 2,
         .limit = 9,
         .groups = (group = 0, &group),
         .n_groups = 1,
         .grouped = true},
    };
    enum rc worst = RC_OK;
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        static struct query_result result;
        struct err err = ERR_INIT;
        uint64_t n = 0;
        queries[i].schema = &test_schema;
        queries[i].wanted = wanted;
        (void)store_estimate(s, &queries[i], false, x);
        enum rc rc = store_execute(s, &queries[i], NULL, (struct row_sink){take_row, &n}, x,
                                   &result, NULL, &err);
        worst = rc != RC_OK ? rc : worst;
    }
    return worst;
}

/* RC_OK: nothing was found. Else what found it first: at open, by a query, by the scrub. */
static enum rc find_damage(struct store_scratch *x)
{
    struct store *s = NULL;
    struct err err = ERR_INIT;
    enum rc rc = store_open(file.directory, &s, &err);
    if (rc != RC_OK)
        return rc;
    rc = read_all(s, x);
    if (rc == RC_OK)
        rc = store_scrub(s, 0, NULL, &err);
    if (rc != RC_OK)
        CHECK("whoever finds damage says so to all", store_is_broken(s));
    store_free(s);
    return rc;
}

static void test_whole_file_is_fine(void **state)
{
    struct store_scratch *x = store_scratch_new();
    (void)state;
    put_file(file.bytes, file.n);
    CHECK_INT("nothing is wrong with it", find_damage(x), RC_OK);
    store_scratch_free(x);
}

static void test_every_flipped_byte_is_found(void **state)
{
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    struct store_scratch *x = store_scratch_new();
    (void)state;
    put_file(file.bytes, file.n);
    AUTO(fd_auto) int fd = -1;
    struct err err = ERR_INIT;
    CHECK_OK("open", io_open(file.path, O_WRONLY, 0, &fd, &err), &err);
    for (size_t at = 0; at < file.n; at++) {
        char flipped = (char)(file.bytes[at] ^ (char)masks[at % ARRAY_LEN(masks)]);
        CHECK_OK("flip", io_pwrite_all(fd, &flipped, 1, at, file.path, &err), &err);
        enum rc rc = find_damage(x);
        if (rc != RC_CORRUPT && rc != RC_INVALID)
            fail_msg("byte %zu of %zu: %s", at, file.n, rc_name(rc));
        CHECK_OK("back", io_pwrite_all(fd, &file.bytes[at], 1, at, file.path, &err), &err);
    }
    CHECK_INT("whole again", find_damage(x), RC_OK);
    store_scratch_free(x);
}

static void test_scrub_alone_finds_every_byte_it_reads(void **state)
{
    struct err err = ERR_INIT;
    struct store *s = NULL;
    (void)state;
    put_file(file.bytes, file.n);
    AUTO(fd_auto) int fd = -1;
    CHECK_OK("open", io_open(file.path, O_RDWR, 0, &fd, &err), &err);
    for (size_t at = 0; at < file.n; at++) {
        /* Flipped after it was opened: as when a disk rots under a running server. */
        CHECK_OK("a store", store_open(file.directory, &s, &err), &err);
        char flipped = (char)(file.bytes[at] ^ 0x10);
        CHECK_OK("flip", io_pwrite_all(fd, &flipped, 1, at, file.path, &err), &err);
        /* The map is shared: a flip in the directory may show as one that contradicts the file. */
        enum rc rc = store_scrub(s, 0, NULL, &err);
        if (rc != RC_CORRUPT || !store_is_broken(s))
            fail_msg("byte %zu of %zu: %s", at, file.n, rc_name(rc));
        CHECK_OK("back", io_pwrite_all(fd, &file.bytes[at], 1, at, file.path, &err), &err);
        store_free(s);
    }
}

static void test_every_length_is_found(void **state)
{
    struct store_scratch *x = store_scratch_new();
    (void)state;
    for (size_t n = 0; n < file.n; n++) {
        put_file(file.bytes, n);
        if (find_damage(x) == RC_OK)
            fail_msg("%zu of %zu bytes were taken for a whole file", n, file.n);
    }
    char *longer = x_alloc0(file.n + 1);
    memcpy(longer, file.bytes, file.n);
    put_file(longer, file.n + 1);
    CHECK("a byte too many", find_damage(x) != RC_OK);
    mem_free(longer);
    store_scratch_free(x);
}

static void test_foreign_versions_are_refused(void **state)
{
    static const struct {
        const char *why;
        size_t at;
        uint32_t value;
        enum rc rc;
    } rows[] = {
        {"the next version", offsetof(struct store_header, version), STORE_VERSION + 1, RC_INVALID},
        {"version 0", offsetof(struct store_header, version), 0, RC_INVALID},
        {"a header of another size", offsetof(struct store_header, header_bytes), 512, RC_INVALID},
        {"blocks of another size", offsetof(struct store_header, block_rows), 4096, RC_INVALID},
        {"another program's file", offsetof(struct store_header, magic), 0x464c457f, RC_CORRUPT},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct store *s = NULL;
        struct err err = ERR_INIT;
        char *copy = x_alloc(file.n);
        memcpy(copy, file.bytes, file.n);
        memcpy(copy + rows[i].at, &rows[i].value, sizeof rows[i].value);
        uint32_t crc = crc32c(0, copy, offsetof(struct store_header, crc));
        memcpy(copy + offsetof(struct store_header, crc), &crc, sizeof crc);
        put_file(copy, file.n);
        CHECK_INT(rows[i].why, store_open(file.directory, &s, &err), rows[i].rc);
        mem_free(copy);
    }
}

/* Puts @copy (of the whole file) in the file's place, as one whose directory and header verify. */
static void put_sealed(char *copy, uint32_t version)
{
    struct store_header h;
    memcpy(&h, copy, sizeof h);
    h.version = version;
    h.directory_crc = crc32c(0, copy + h.directory_at, (size_t)h.directory_bytes);
    h.crc = crc32c(0, &h, offsetof(struct store_header, crc));
    memcpy(copy, &h, sizeof h);
    put_file(copy, file.n);
}

static char *copy_of_file(void)
{
    char *copy = x_alloc(file.n);
    memcpy(copy, file.bytes, file.n);
    return copy;
}

static char *entry_of_column(char *copy, int column)
{
    struct store_header h;
    memcpy(&h, copy, sizeof h);
    return copy + h.directory_at + (size_t)column * sizeof(struct column_entry);
}

static char *entry_of_block(char *copy, int column)
{
    return entry_of_column(copy, N_TEST_COLUMNS + 1) + (size_t)column * sizeof(struct chunk_entry);
}

/* Entries of columns that verify and lie. */
static void test_columns_that_lie_are_refused(void **state)
{
#define FIELD(name) offsetof(struct column_entry, name), sizeof(((struct column_entry *)0)->name)
    static const struct {
        int column; /* of test_schema; N_TEST_COLUMNS: the ordinal */
        struct {
            size_t at, n_bytes;
            int64_t value;
        } set[5];
        const char *why;
    } rows[] = {
        {COLUMN_DAY, {{FIELD(min), DATE_MIN_DAYS - 1}}, "a day before the first year"},
        {COLUMN_DAY, {{FIELD(max), DATE_MAX_DAYS + 1}}, "a day after the last year"},
        {COLUMN_AT, {{FIELD(min), TIMESTAMP_MIN_US - 1}}, "a time before the first year"},
        {COLUMN_AT, {{FIELD(max), INT64_MAX}}, "a time after the last year"},
        {COLUMN_TENANT, {{FIELD(max), 2}}, "a text past the dictionary"},
        {COLUMN_TENANT, {{FIELD(min), -1}}, "a text before it"},
        {COLUMN_TENANT, {{FIELD(n_nulls), N_ROWS + 1}}, "more NULLs than rows"},
        {N_TEST_COLUMNS, {{FIELD(type), TYPE_TIMESTAMP}}, "an ordinal that is no number"},
        {N_TEST_COLUMNS, {{FIELD(n_nulls), 1}}, "a row without an ordinal"},
        {COLUMN_BIG,
         {{FIELD(flags), COLUMN_HAS_POSTING},
          {FIELD(min), INT64_MIN},
          {FIELD(max), INT64_MAX},
          {FIELD(posting_at), sizeof(struct store_header)},
          {FIELD(posting_bytes), (N_ROWS + 1) * sizeof(uint32_t)}},
         "rows of all keys there are: 2^64 is 0"},
    };
#undef FIELD
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct store *s = NULL;
        struct err err = ERR_INIT;
        char *copy = copy_of_file();
        char *entry = entry_of_column(copy, rows[i].column);
        for (size_t j = 0; j < ARRAY_LEN(rows[i].set) && rows[i].set[j].n_bytes; j++)
            memcpy(entry + rows[i].set[j].at, &rows[i].set[j].value, rows[i].set[j].n_bytes);
        put_sealed(copy, STORE_VERSION);
        CHECK_INT(rows[i].why, store_open(file.directory, &s, &err), RC_CORRUPT);
        mem_free(copy);
    }
}

/* Blocks whose checksums are right and whose keys no writer wrote are found at first touch. */
static void test_keys_that_lead_astray_are_found(void **state)
{
    static const struct {
        int column;
        int64_t base;
        const char *why;
    } rows[] = {
        {COLUMN_DAY, DATE_MAX_DAYS, "days past the calendar"},
        {COLUMN_DAY, INT64_MIN, "days before all calendars"},
        {COLUMN_AT, TIMESTAMP_MAX_US, "times past the calendar"},
        {COLUMN_AT, INT64_MAX, "times that wrap around"},
        {COLUMN_TENANT, 1, "texts past the dictionary"},
    };
    struct store_scratch *x = store_scratch_new();
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *copy = copy_of_file();
        memcpy(entry_of_block(copy, rows[i].column) + offsetof(struct chunk_entry, base),
               &rows[i].base, sizeof rows[i].base);
        put_sealed(copy, STORE_VERSION);
        CHECK_INT(rows[i].why, find_damage(x), RC_CORRUPT);
        mem_free(copy);
    }
    store_scratch_free(x);
}

/* Entries of blocks that verify and lie: what a reader would do with them must not begin. */
static void test_entries_that_lie_are_refused(void **state)
{
    enum { BYTE_WIDTH = 44, BYTE_BITS, BYTE_FORM, BYTE_DETAIL };
    static const struct {
        int column; /* of test_schema; N_TEST_COLUMNS: the ordinal */
        uint32_t version;
        struct {
            int at, value;
        } set[2];
        const char *why;
    } rows[] = {
        {COLUMN_AT, 2, {{BYTE_BITS, 57}}, "more bits than one load has"},
        {COLUMN_AT, 2, {{BYTE_BITS, 255}}, "more bits than a number has"},
        {COLUMN_AT, 2, {{BYTE_WIDTH, 4}}, "packed and whole"},
        {COLUMN_AT, 2, {{BYTE_BITS, 0}, {BYTE_WIDTH, 3}}, "a width that is none"},
        {COLUMN_AT, 2, {{BYTE_BITS, 1}}, "too many bytes for so few bits"},
        {COLUMN_AT, 2, {{BYTE_FORM, 5}}, "a form that is none"},
        {COLUMN_AT, 2, {{BYTE_FORM, 1}}, "a decimal that is no double"},
        {COLUMN_AT, 2, {{BYTE_FORM, 2}, {BYTE_DETAIL, 19}}, "steps past 64 bits"},
        {COLUMN_AT, 2, {{BYTE_FORM, 3}}, "files in a column of the table"},
        {COLUMN_AT, 2, {{BYTE_DETAIL, 1}}, "a detail of no form"},
        {COLUMN_AT, 1, {{BYTE_FORM, 0}}, "packed before version 2"},
        {COLUMN_RATE, 2, {{BYTE_FORM, 2}}, "steps of doubles"},
        {COLUMN_RATE, 2, {{BYTE_FORM, 1}, {BYTE_DETAIL, 19}}, "more places than there are powers"},
        {COLUMN_TENANT, 2, {{BYTE_FORM, 2}}, "steps of dictionary codes"},
        {COLUMN_NESTED, 2, {{BYTE_BITS, 57}}, "offsets of more bits than one load has"},
        {COLUMN_NESTED, 2, {{BYTE_FORM, 0}}, "offsets of 4 bytes that are packed"},
        {COLUMN_NESTED, 2, {{BYTE_FORM, 1}}, "plain text in decimals"},
        {COLUMN_NESTED, 2, {{BYTE_DETAIL, 1}}, "a detail of texts"},
        {COLUMN_NESTED, 1, {{BYTE_BITS, 0}}, "packed offsets before version 2"},
        {COLUMN_AT, 2, {{BYTE_FORM, 4}}, "lengths of numbers"},
        {N_TEST_COLUMNS, 2, {{BYTE_FORM, 3}, {BYTE_DETAIL, 41}}, "more of a row than there is"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct store *s = NULL;
        struct err err = ERR_INIT;
        char *copy = copy_of_file();
        char *chunk = entry_of_block(copy, rows[i].column);
        for (size_t j = 0; j < ARRAY_LEN(rows[i].set) && rows[i].set[j].at; j++)
            chunk[rows[i].set[j].at] = (char)rows[i].set[j].value;
        put_sealed(copy, rows[i].version);
        CHECK_INT(rows[i].why, store_open(file.directory, &s, &err), RC_CORRUPT);
        mem_free(copy);
    }
}

/* The file shrinks under the map: SIGBUS is one failed query, and the process lives. */
static void test_truncated_under_the_map(void **state)
{
    struct store *s = NULL;
    struct err err = ERR_INIT;
    struct store_scratch *x = store_scratch_new();
    (void)state;
    store_install_bus_handler();
    put_file(file.bytes, file.n);
    CHECK_OK("a store", store_open(file.directory, &s, &err), &err);
    assert_int_equal(truncate(file.path, 0), 0);
    CHECK_INT("the query fails", read_all(s, x), RC_CORRUPT);
    CHECK("the store is broken", store_is_broken(s));
    CHECK_INT("and stays so", read_all(s, x), RC_CORRUPT);
    store_free(s);
    store_scratch_free(x);
}

/* The position after a page is read when the query is over: a file that shrank meanwhile takes
 * nothing of it away, and no process. */
static void test_the_position_outlives_the_map(void **state)
{
    static const struct query_output outputs[] = {{COLUMN_WORD, AGG_NONE}};
    static const bool wanted[] = {true};
    static const int groups[] = {0};
    static const struct query_order by_word = {.output = 0};
    struct query plain = {.schema = &test_schema,
                          .outputs = outputs,
                          .n_outputs = 1,
                          .wanted = wanted,
                          .order = &by_word,
                          .n_order = 1,
                          .limit = 1};
    struct query grouped = plain;
    grouped.groups = groups;
    grouped.n_groups = 1;
    grouped.grouped = true;
    const struct query *const queries[] = {&plain, &grouped};
    struct store_scratch *x = store_scratch_new();
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        static struct query_result result;
        struct store *s = NULL;
        struct err err = ERR_INIT;
        uint64_t n = 0;
        put_file(file.bytes, file.n);
        CHECK_OK("a store", store_open(file.directory, &s, &err), &err);
        CHECK_OK("a page",
                 store_execute(s, queries[i], NULL, (struct row_sink){take_row, &n}, x, &result,
                               NULL, &err),
                 &err);
        assert_int_equal(truncate(file.path, 0), 0);
        CHECK("the first word is the position", str_is(result.last[0].text, "say \"hi\" 0"));
        store_free(s);
    }
    store_scratch_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_file_is_fine),
        cmocka_unit_test(test_every_flipped_byte_is_found),
        cmocka_unit_test(test_scrub_alone_finds_every_byte_it_reads),
        cmocka_unit_test(test_every_length_is_found),
        cmocka_unit_test(test_foreign_versions_are_refused),
        cmocka_unit_test(test_columns_that_lie_are_refused),
        cmocka_unit_test(test_keys_that_lead_astray_are_found),
        cmocka_unit_test(test_entries_that_lie_are_refused),
        cmocka_unit_test(test_truncated_under_the_map),
        cmocka_unit_test(test_the_position_outlives_the_map),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
