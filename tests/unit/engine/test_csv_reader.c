/* SPDX-License-Identifier: Apache-2.0 */
/* The records of CSV files, byte for byte, however their bytes come in. */
#include "base/mem.h"
#include "engine/csv_reader.h"
#include "unit.h"

struct bytes {
    struct str left;
    size_t step;
};

static long read_some(void *arg, void *p, size_t n)
{
    struct bytes *from = arg;
    size_t some = from->left.n < from->step ? from->left.n : from->step;
    some = some < n ? some : n;
    memcpy(p, from->left.p, some);
    from->left = (struct str){from->left.p + some, from->left.n - some};
    return (long)some;
}

/* Records as lines, fields with | between, NULL as ~; a refusal as ! and its message. */
static void read_all(struct str text, size_t step, struct buf *ret)
{
    struct bytes from = {text, step};
    struct csv_reader r;
    struct err err = ERR_INIT;
    bool more = true;
    buf_reset(ret);
    csv_reader_init(&r, read_some, &from);
    enum rc rc = csv_reader_next(&r, &more, &err);
    for (; rc == RC_OK && more; rc = csv_reader_next(&r, &more, &err)) {
        for (size_t i = 0; i < r.n_fields; i++) {
            buf_put_cstr(ret, i ? "|" : "");
            buf_put_str(ret, r.fields[i].is_null ? STR("~") : r.fields[i].text);
        }
        buf_putc(ret, '\n');
    }
    if (rc != RC_OK)
        buf_printf(ret, "!%s", err.message);
    csv_reader_done(&r);
}

/* Literals, for their NUL bytes. */
#define BYTES(literal)                                                                             \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }
#define BOM "\xef\xbb\xbf"

static void test_records(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        struct str text, records;
    } rows[] = {
        {"nothing", BYTES(""), BYTES("")},
        {"lines end with LF", BYTES("a,b\n1,2\n"), BYTES("a|b\n1|2\n")},
        {"or CR LF", BYTES("a,b\r\n1,2\r\n"), BYTES("a|b\n1|2\n")},
        {"or both in one file", BYTES("a,b\r\n1,2\n3,4\r\n"), BYTES("a|b\n1|2\n3|4\n")},
        {"the last line has no end", BYTES("a,b\n1,2"), BYTES("a|b\n1|2\n")},
        {"the last line has no end, after CR LF", BYTES("a\r\n1"), BYTES("a\n1\n")},
        {"the last field is empty, without an end", BYTES("a,b\n1,"), BYTES("a|b\n1|~\n")},
        {"an empty line is a record of NULL", BYTES("a\n\n1\n"), BYTES("a\n~\n1\n")},
        {"an empty line that ends with CR LF", BYTES("a\r\n\r\n1"), BYTES("a\n~\n1\n")},
        {"empty is NULL, quoted it is text", BYTES(",\"\",\n\"\""), BYTES("~||~\n\n")},
        {"spaces are text", BYTES(" a , \n"), BYTES(" a | \n")},
        {"CR alone", BYTES("a\rb\n"),
         BYTES("!the header: a carriage return inside an unquoted field")},
        {"CR at the end of the file", BYTES("a\n1\r"),
         BYTES("a\n!data row 1: a carriage return inside an unquoted field")},
        {"CR twice", BYTES("a\n1\r\r\n"),
         BYTES("a\n!data row 1: a carriage return inside an unquoted field")},
        {"CR before a comma", BYTES("a,b\n1,2\n1\r,2\r\n"),
         BYTES("a|b\n1|2\n!data row 2: a carriage return inside an unquoted field")},
        {"line ends in quotes are text", BYTES("a\r\n\"1\r\n2\n3\r\"\r\n4\r\n"),
         BYTES("a\n1\r\n2\n3\r\n4\n")},
        {"commas in quotes are text", BYTES("\"a,b\",c\n"), BYTES("a,b|c\n")},
        {"two quotes are one", BYTES("\"a\"\"b\",\"\"\"\",\"\"\"c\",\"d\"\"\"\n"),
         BYTES("a\"b|\"|\"c|d\"\n")},
        {"two quotes and a line end", BYTES("\"a\"\"\n\"\"b\"\n\"c\"\n"), BYTES("a\"\n\"b\nc\n")},
        {"a quote in the middle", BYTES("a\n1\"2\n3\n"),
         BYTES("a\n!data row 1: a quote inside an unquoted field")},
        {"two in the middle", BYTES("a\n1\"\"2\n3\n"),
         BYTES("a\n!data row 1: a quote inside an unquoted field")},
        {"two in the middle, around a line end", BYTES("a\n1\"\n\"2\n"),
         BYTES("a\n!data row 1: a quote inside an unquoted field")},
        {"a space before the quote", BYTES("a,b\n1, \"2\"\n"),
         BYTES("a|b\n!data row 1: a quote inside an unquoted field")},
        {"a space behind it", BYTES("\"a\" ,b\n"),
         BYTES("!the header: text follows a closing quote")},
        {"a quote is not closed", BYTES("a\n\"1\n2\n"),
         BYTES("a\n!data row 1: a quote is not closed")},
        {"a quote is not closed, but doubled", BYTES("a\n\"1\"\""),
         BYTES("a\n!data row 1: a quote is not closed")},
        {"a byte order mark", BYTES(BOM "a\n1\n"), BYTES("a\n1\n")},
        {"a byte order mark before a quote", BYTES(BOM "\"a,b\"\r\n\"1\"\n"), BYTES("a,b\n1\n")},
        {"a byte order mark alone", BYTES(BOM), BYTES("")},
        {"a byte order mark before an empty line", BYTES(BOM "\n"), BYTES("~\n")},
        {"a second byte order mark is text", BYTES(BOM BOM "a\n" BOM "1\n"),
         BYTES(BOM "a\n" BOM "1\n")},
        {"part of a byte order mark", BYTES("\xef\xbb\n"),
         BYTES("!the header: text is not valid UTF-8")},
        {"NUL is text", BYTES("a\0b,\"\0\",\0\n"), BYTES("a\0b|\0|\0\n")},
        {"text that is no UTF-8", BYTES("a\n1\n\"\xc3\"\n"),
         BYTES("a\n1\n!data row 2: text is not valid UTF-8")},
    };
    static const size_t steps[] = {SIZE_MAX, 1, 2, 3, 7};
    struct buf got;
    buf_init(&got, 1u << 16);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t j = 0; j < ARRAY_LEN(steps); j++) {
            read_all(rows[i].text, steps[j], &got);
            if (!str_eq((struct str){got.p, got.n}, rows[i].records))
                fail_msg("%s, %zu bytes at a time: %s", rows[i].why, steps[j], buf_cstr(&got));
        }
    buf_done(&got);
}

static void test_number_of_fields(void **state)
{
    (void)state;
    struct buf text, got;
    buf_init(&text, 1u << 16);
    buf_init(&got, 1u << 16);
    for (int i = 1; i < LIMIT_CSV_FIELDS; i++)
        buf_putc(&text, ',');
    read_all((struct str){text.p, text.n}, SIZE_MAX, &got);
    CHECK_INT("4096", got.n, 2 * LIMIT_CSV_FIELDS); /* ~, and a bar or line end behind each */
    buf_putc(&text, ',');
    read_all((struct str){text.p, text.n}, SIZE_MAX, &got);
    CHECK_STR("4097", buf_cstr(&got), "!the header: more than 4096 fields");
    buf_done(&text);
    buf_done(&got);
}

/*
 * Megabytes without a line end: many reads for one record. Searched anew behind each of its quotes,
 * the last one would take longer than tests may.
 */
static void test_long_fields(void **state)
{
    (void)state;
    static const struct {
        const char *why, *piece, *decoded; /* of a quoted field; @decoded NULL: as it is */
        size_t n_bytes;
        bool is_refused;
    } rows[] = {
        {"JSON with quotes", "{\"\"key\"\": 1}, ", "{\"key\": 1}, ", 3u << 20, false},
        {"line ends", "line,\r\n", NULL, 3u << 20, false},
        {"as long as may be, but for its own quotes", "xy", NULL, LIMIT_CSV_RECORD_BYTES - 64,
         false},
        {"longer", "xy", NULL, LIMIT_CSV_RECORD_BYTES + (2u << 20), true},
        {"quotes alone", "\"\"", "\"", 48u << 20, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf text, want, got;
        buf_init(&text, SIZE_MAX);
        buf_init(&want, SIZE_MAX);
        buf_init(&got, SIZE_MAX);
        buf_put_literal(&text, "a,\"");
        buf_put_literal(&want, "a|");
        while (text.n < rows[i].n_bytes) {
            buf_put_cstr(&text, rows[i].piece);
            buf_put_cstr(&want, rows[i].decoded ? rows[i].decoded : rows[i].piece);
        }
        buf_put_literal(&text, "\",b\n1,2,3\n");
        buf_put_literal(&want, "|b\n1|2|3\n");
        read_all((struct str){text.p, text.n}, SIZE_MAX, &got);
        if (rows[i].is_refused)
            CHECK_STR(rows[i].why, buf_cstr(&got), "!the header: a record is longer than 64 MiB");
        else
            CHECK(rows[i].why, str_eq((struct str){got.p, got.n}, (struct str){want.p, want.n}));
        buf_done(&text);
        buf_done(&want);
        buf_done(&got);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_records),
                                              cmocka_unit_test(test_number_of_fields),
                                              cmocka_unit_test(test_long_fields)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
