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

static enum rc take_row(void *arg, const struct value *values)
{
    const struct query *q = arg;
    volatile char touched = 0;
    for (int i = 0; i < q->n_outputs; i++)
        for (size_t at = 0; values[i].kind == VALUE_TEXT && at < values[i].text.n; at += 64)
            touched = (char)(touched ^ values[i].text.p[at]);
    return RC_OK;
}

static void run(struct store *s, const struct query *q)
{
    static struct store_scratch *x;
    static struct query_result result;
    struct err err = ERR_INIT;
    if (!x)
        x = store_scratch_new();
    (void)store_estimate(s, q, false, x);
    enum rc rc = store_execute(s, q, NULL, (struct row_sink){take_row, (void *)(uintptr_t)q}, x,
                               &result, NULL, &err);
    assert(rc == RC_OK || (err.rc == rc && err.message[0]));
    assert(rc != RC_CORRUPT || store_is_broken(s));
}

/* Every column out, by an equality on each that takes one, and grouped by each. */
static void query_all(struct store *s)
{
    const struct schema *schema = store_schema(s);
    struct query_output outputs[LIMIT_FUZZ_COLUMNS];
    bool wanted[LIMIT_FUZZ_COLUMNS + 1] = {true, true}; /* a grouped query has two outputs */
    int n = schema->n_columns < LIMIT_FUZZ_COLUMNS ? (int)schema->n_columns : LIMIT_FUZZ_COLUMNS,
        zero = 0;
    for (int i = 0; i < n; i++) {
        outputs[i] = (struct query_output){.column = i};
        wanted[i] = true;
    }
    struct query all = {
        .schema = schema, .outputs = outputs, .n_outputs = n, .wanted = wanted, .limit = 100};
    run(s, &all);
    for (int i = 0; i < n && !store_is_broken(s); i++) {
        enum column_type type = schema->columns[i].type;
        bool is_text = type == TYPE_VARCHAR || type == TYPE_JSON;
        struct query_filter f = {
            .column = i, .op = FILTER_EQ, .value = {.kind = VALUE_INT, .integer = 5}};
        if (is_text)
            f.value = (struct value){.kind = VALUE_TEXT, .text = STR("acct_1")};
        else if (type == TYPE_DOUBLE)
            f.value = (struct value){.kind = VALUE_DOUBLE, .number = 5};
        struct query_order order = {.output = i, .descending = i % 2};
        struct query one = all;
        one.filters = &f;
        one.n_filters = type != TYPE_JSON;
        one.order = &order;
        one.n_order = type != TYPE_JSON;
        run(s, &one);
        struct query_output grouped[] = {{.column = i},
                                         {.column = n - 1 - i, .aggregate = AGG_COUNT}};
        struct query groups = {.schema = schema,
                               .outputs = grouped,
                               .n_outputs = 2,
                               .wanted = wanted,
                               .groups = &zero,
                               .n_groups = 1,
                               .grouped = true,
                               .limit = 100};
        if (type != TYPE_JSON && !store_is_broken(s))
            run(s, &groups);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct store *s = NULL;
    struct err err = ERR_INIT;
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
        query_all(s);
    if (!store_is_broken(s) && store_scrub(s, 0, NULL, &err) != RC_OK)
        assert(store_is_broken(s));
    store_free(s);
    return 0;
}
