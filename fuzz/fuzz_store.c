/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A serving store file. Whatever the bytes: it is refused, or queries over it end, in an answer or
 * in an error. Checksums would stop nearly every mutation at the door, so three of four inputs get
 * right ones after mutation, and their directory put where the header will look for it: what stands
 * behind the checksums is read too.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "fuzz.h"
#include "store/format.h"
#include "store/store.h"

#define LIMIT_FUZZ_COLUMNS 16

static char directory[] = "/tmp/fuzz-store-XXXXXX";
static char path[sizeof directory + 16];

static void remove_directory(void)
{
    (void)unlink(path); /* may not be there */
    (void)rmdir(directory);
}

static void set_up(void)
{
    if (path[0])
        return;
    if (!mkdtemp(directory))
        abort();
    (void)snprintf(path, sizeof path, "%s/%s", directory, STORE_FILE_NAME);
    (void)atexit(remove_directory);
}

static uint32_t sum_of(const uint8_t *p, size_t n, uint64_t at, uint64_t n_bytes)
{
    return at <= n && n_bytes <= n - at ? crc32c(0, p + at, (size_t)n_bytes) : 0;
}

static void seal_columns(uint8_t *p, size_t n, const struct store_header *h)
{
    size_t n_columns = (size_t)h->n_columns + 1;
    uint8_t *columns = p + h->directory_at,
            *chunks = columns + n_columns * sizeof(struct column_entry);
    for (size_t i = 0; i < n_columns; i++) {
        struct column_entry e;
        memcpy(&e, columns + i * sizeof e, sizeof e);
        e.dictionary_crc = sum_of(p, n, e.dictionary_at, e.dictionary_bytes);
        e.posting_crc = sum_of(p, n, e.posting_at, e.posting_bytes);
        memcpy(columns + i * sizeof e, &e, sizeof e);
    }
    for (size_t i = 0; i < n_columns * h->n_blocks; i++) {
        struct chunk_entry e;
        memcpy(&e, chunks + i * sizeof e, sizeof e);
        e.crc = sum_of(p, n, e.at, e.n_bytes);
        memcpy(chunks + i * sizeof e, &e, sizeof e);
    }
}

/* The last bytes of a file are its directory: they move to the next multiple of eight, and the
 * header is told. @p has room for eight more bytes; false: there are too few. */
static bool place_directory(uint8_t *p, size_t *n_bytes, struct store_header *h)
{
    uint64_t n_entries = (uint64_t)h->n_columns + 1;
    uint64_t wanted = n_entries * (sizeof(struct column_entry) +
                                   (uint64_t)h->n_blocks * sizeof(struct chunk_entry));
    if (h->n_columns > LIMIT_COLUMNS || wanted > *n_bytes - sizeof *h)
        return false;
    size_t at = *n_bytes - (size_t)wanted, pad = (8 - at % 8) % 8;
    memmove(p + at + pad, p + at, (size_t)wanted);
    memset(p + at, 0, pad);
    h->directory_at = at + pad;
    h->directory_bytes = wanted;
    *n_bytes += pad;
    return true;
}

/* Right checksums, a right size, and a version that is read. Returns the size. */
static size_t seal(uint8_t *p, size_t n)
{
    struct store_header h;
    if (n < sizeof h)
        return n;
    memcpy(&h, p, sizeof h);
    bool has_directory = place_directory(p, &n, &h);
    h.magic = STORE_MAGIC;
    h.version = h.version == 1 ? 1 : STORE_VERSION;
    h.header_bytes = sizeof h;
    h.block_rows = BLOCK_ROWS;
    h.file_bytes = n;
    if (has_directory)
        seal_columns(p, n, &h);
    h.directory_crc = sum_of(p, n, h.directory_at, h.directory_bytes);
    h.crc = crc32c(0, &h, offsetof(struct store_header, crc));
    memcpy(p, &h, sizeof h);
    return n;
}

/* Does with a value what an encoder does: by the type that the contract has for it. */
static void encode(enum query_type type, const struct value *v, struct buf *to)
{
    switch (type) {
    case OUT_DATE:
        assert(v->kind == VALUE_INT);
        buf_put_date(to, (int32_t)v->integer);
        return;
    case OUT_TIMESTAMP:
        assert(v->kind == VALUE_INT);
        buf_put_timestamp(to, v->integer);
        return;
    case OUT_TEXT:
    case OUT_JSON:
        assert(v->kind == VALUE_TEXT);
        buf_put_str(to, v->text);
        return;
    case OUT_INTEGER:
    case OUT_BIGINT:
    case OUT_COUNT:
        assert(v->kind == VALUE_INT);
        buf_put_int64(to, v->integer);
        return;
    case OUT_SUM128:
        assert(v->kind == VALUE_INT128);
        return;
    case OUT_DOUBLE:
        assert(v->kind == VALUE_DOUBLE);
        buf_put_double(to, v->number);
        return;
    case OUT_BOOLEAN:
        assert(v->kind == VALUE_BOOL);
        return;
    }
}

static enum rc take_row(void *arg, const struct value *values)
{
    const struct query *q = arg;
    char room[256]; /* longer texts are cut, after every byte of them was asked for */
    for (int i = 0; i < q->n_outputs; i++) {
        const struct query_output *o = &q->outputs[i];
        struct buf to = {.p = room, .capacity = sizeof room, .limit_bytes = sizeof room};
        volatile char touched = 0;
        if (values[i].kind == VALUE_NULL)
            continue;
        encode(query_output_type(q->schema->columns[o->column].type, o->aggregate), &values[i],
               &to);
        for (size_t at = 0; values[i].kind == VALUE_TEXT && at < values[i].text.n; at += 64)
            touched = (char)(touched ^ values[i].text.p[at]);
    }
    return RC_OK;
}

/* The texts of a position are the scratch's until its next query. */
static void keep_position(const struct query_result *r, struct value *ret)
{
    static struct buf texts;
    size_t at = 0;
    buf_done(&texts);
    buf_init(&texts, SIZE_MAX);
    for (int i = 0; i < r->n_last; i++)
        if (r->last[i].kind == VALUE_TEXT)
            buf_put_str(&texts, r->last[i].text);
    assert(!texts.failed);
    for (int i = 0; i < r->n_last; i++) {
        ret[i] = r->last[i];
        if (ret[i].kind == VALUE_TEXT)
            ret[i].text.p = texts.p + at;
        at += ret[i].kind == VALUE_TEXT ? ret[i].text.n : 0;
    }
}

/* What was asked, and from the position of its last row on once more. */
static void run(struct store *s, const struct query *q)
{
    static struct store_scratch *x;
    static struct query_result result;
    static struct value position[QUERY_LIMIT_OUTPUTS + 1];
    struct query again = *q;
    if (!x)
        x = store_scratch_new();
    for (int page = 0; page < 2 && !store_is_broken(s); page++) {
        struct err err = ERR_INIT;
        (void)store_estimate(s, &again, page > 0, x);
        enum rc rc =
            store_execute(s, &again, NULL, (struct row_sink){take_row, (void *)(uintptr_t)q}, x,
                          &result, NULL, &err);
        assert(rc == RC_OK || (err.rc == rc && err.message[0]));
        assert(rc != RC_CORRUPT || store_is_broken(s));
        if (rc != RC_OK || result.n_last == 0)
            return;
        keep_position(&result, position);
        again.seek = position;
        again.n_seek = result.n_last;
        again.has_seek = true;
        again.count_total = true;
    }
}

/* Values of a type that stand at the edges of what a column may say it holds. */
static struct value value_of(enum column_type type, size_t which)
{
    static const int64_t integers[] = {5, 0, -1, INT64_MAX, INT64_MIN, 20000, UINT32_MAX};
    static const struct str texts[] = {{"acct_1", 6}, {"", 0}, {"\xff", 1}};
    int64_t integer = integers[which % ARRAY_LEN(integers)];
    switch (type) {
    case TYPE_VARCHAR:
    case TYPE_JSON:
        return (struct value){.kind = VALUE_TEXT, .text = texts[which % ARRAY_LEN(texts)]};
    case TYPE_DOUBLE:
        return (struct value){.kind = VALUE_DOUBLE, .number = (double)integer};
    case TYPE_BOOLEAN:
        return (struct value){.kind = VALUE_BOOL, .boolean = which % 2};
    case TYPE_DATE:
    case TYPE_TIMESTAMP:
    case TYPE_INTEGER:
    case TYPE_BIGINT:
        break;
    }
    return (struct value){.kind = VALUE_INT, .integer = integer};
}

static enum aggregate aggregate_of(enum column_type type, size_t which)
{
    static const enum aggregate all[] = {AGG_COUNT, AGG_MIN, AGG_MAX, AGG_SUM, AGG_AVG};
    bool is_number = type == TYPE_INTEGER || type == TYPE_BIGINT || type == TYPE_DOUBLE;
    return all[which % (is_number ? 5 : type == TYPE_JSON ? 1 : 3)];
}

/* One column as what filters, orders and groups, with another beside it. */
static void query_column(struct store *s, const struct query *all, int column, int other,
                         size_t which)
{
    static const int zero = 0;
    static const bool wanted[] = {true, true, true};
    const struct schema *schema = all->schema;
    enum column_type type = schema->columns[column].type;
    enum column_type beside = schema->columns[other].type;
    const struct query_filter filters[] = {
        {.column = column, .op = (enum filter_op)(which % 3), .value = value_of(type, which / 3)},
        {.column = other, .op = (enum filter_op)(which / 2 % 3), .value = value_of(beside, which)},
    };
    const struct query_order orders[] = {{.output = column, .descending = which % 2},
                                         {.output = other, .descending = which / 2 % 2}};
    struct query one = *all;
    if (type == TYPE_JSON)
        return;
    one.filters = filters;
    one.n_filters = 1 + (beside != TYPE_JSON && which % 4 == 3);
    one.order = orders;
    one.n_order = 1 + (beside != TYPE_JSON && other != column);
    one.offset = which % 3;
    one.limit = 1 + which % 40;
    run(s, &one);
    const struct query_output outputs[] = {{.column = column},
                                           {other, aggregate_of(beside, which)},
                                           {column, aggregate_of(type, which / 2)}};
    struct query groups = {.schema = schema,
                           .outputs = outputs,
                           .n_outputs = 3,
                           .wanted = wanted,
                           .filters = filters,
                           .n_filters = which % 2,
                           .groups = &zero,
                           .n_groups = 1,
                           .grouped = true,
                           .limit = 1 + which % 100};
    if (!store_is_broken(s))
        run(s, &groups);
}

/* Every column out, then each in turn; @which picks what is asked of it. */
static void query_all(struct store *s, size_t which)
{
    const struct schema *schema = store_schema(s);
    struct query_output outputs[LIMIT_FUZZ_COLUMNS];
    bool wanted[LIMIT_FUZZ_COLUMNS];
    int n = schema->n_columns < LIMIT_FUZZ_COLUMNS ? (int)schema->n_columns : LIMIT_FUZZ_COLUMNS;
    for (int i = 0; i < n; i++) {
        outputs[i] = (struct query_output){.column = i};
        wanted[i] = true;
    }
    struct query all = {
        .schema = schema, .outputs = outputs, .n_outputs = n, .wanted = wanted, .limit = 100};
    run(s, &all);
    for (int i = 0; i < n && !store_is_broken(s); i++) {
        query_column(s, &all, i, n - 1 - i, which + (size_t)i);
        query_column(s, &all, i, i, 0);  /* as endpoints mostly do: equal to 5, to "acct_1" */
        query_column(s, &all, i, i, 18); /* and equal to what is far from them */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct store *s = NULL;
    struct err err = ERR_INIT;
    size_t n_given = n;
    if (n == 0)
        return 0;
    set_up();
    uint8_t *copy = x_alloc(n + 8);
    memcpy(copy, data, n);
    if (crc32c(0, data, n) % 4)
        n = seal(copy, n);
    int fd = -1;
    if (io_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600, &fd, &err) != RC_OK ||
        io_write_all(fd, copy, n, path, &err) != RC_OK)
        abort();
    (void)close(fd); /* a temporary file */
    mem_free(copy);
    enum rc rc = store_open(directory, &s, &err);
    assert(rc == RC_OK || (err.rc == rc && err.message[0]));
    if (rc != RC_OK)
        return 0;
    if (store_schema(s)->n_columns > 0)
        query_all(s, crc32c(0, data, n_given));
    if (!store_is_broken(s) && store_scrub(s, 0, NULL, &err) != RC_OK)
        assert(store_is_broken(s));
    store_free(s);
    return 0;
}
