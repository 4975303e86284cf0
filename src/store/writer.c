/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer. Memory: a block of every column, the distinct texts of each text column up to a
 * limit, and one posting list at a time. The file is whole after store_writer_finish or does not
 * exist.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "markup/markup.h"
#include "store/key.h"
#include "store/writer_int.h"

static const struct column_entry empty_entry = {.min = INT64_MAX, .max = INT64_MIN};

static void init_column(struct column_build *c, const char *name, enum column_type type)
{
    c->type = type;
    c->is_text = type_is_text(type);
    c->entry = empty_entry;
    c->entry.type = (uint32_t)type;
    memcpy(c->entry.name, name, strlen(name));
    c->needs_no_escape = true;
    buf_init(&c->text, UINT32_MAX);
    if (c->is_text)
        distinct_init(&c->distinct);
}

enum rc store_writer_new(const struct store_writer_options *options, struct store_writer **ret,
                         struct err *err)
{
    struct store_writer *w = x_alloc0(sizeof *w);
    w->fd = -1;
    w->spool_fd = -1;
    w->directory = x_strdup(options->directory);
    w->path = path_join(options->directory, STORE_FILE_NAME);
    schema_copy(&w->schema, options->schema);
    w->n_columns = options->schema->n_columns;
    w->tenant_column = options->tenant_column;
    w->n_sort_columns = options->n_sort_columns;
    assert(options->n_sort_columns <= STORE_LIMIT_SORT_COLUMNS);
    for (int i = 0; i < options->n_sort_columns; i++)
        w->sort_columns[i] = options->sort_columns[i];
    w->equality_columns = x_array0(w->n_columns + 1, sizeof *w->equality_columns);
    for (size_t i = 0; options->equality_columns && i < w->n_columns; i++)
        w->equality_columns[i] = options->equality_columns[i];
    w->columns = x_array0(w->n_columns + 1, sizeof *w->columns);
    for (size_t i = 0; i < w->n_columns; i++)
        init_column(&w->columns[i], w->schema.columns[i].name, w->schema.columns[i].type);
    init_column(&w->columns[w->n_columns], "", TYPE_BIGINT);
    buf_init(&w->chunk, SIZE_MAX);
    buf_init(&w->last_tenant_text, SIZE_MAX);
    enum rc rc = io_open(w->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644, &w->fd, err);
    w->at = sizeof(struct store_header);
    if (rc != RC_OK) {
        store_writer_free(w);
        return rc;
    }
    *ret = w;
    return RC_OK;
}

void store_writer_free(struct store_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0)
        (void)close(w->fd); /* finish has fsynced; an unfinished file goes */
    if (w->spool_fd >= 0)
        (void)close(w->spool_fd); /* unlinked already */
    if (!w->finished)
        (void)unlink(w->path); /* the directory is thrown away too */
    for (size_t i = 0; i <= w->n_columns; i++) {
        struct column_build *c = &w->columns[i];
        distinct_done(&c->distinct);
        buf_done(&c->text);
        mem_free(c->chunks);
    }
    mem_free(w->columns);
    mem_free(w->equality_columns);
    schema_done(&w->schema);
    buf_done(&w->chunk);
    buf_done(&w->last_tenant_text);
    mem_free(w->directory);
    mem_free(w->path);
    mem_free(w);
}

/* ---- rows ---- */

static int64_t fixed_key(enum column_type type, const void *fixed, size_t row)
{
    switch (type) {
    case TYPE_DATE:
    case TYPE_INTEGER:
        return ((const int32_t *)fixed)[row];
    case TYPE_TIMESTAMP:
    case TYPE_BIGINT:
        return ((const int64_t *)fixed)[row];
    case TYPE_DOUBLE:
        return key_from_double(((const double *)fixed)[row]);
    case TYPE_BOOLEAN:
        return ((const uint8_t *)fixed)[row] != 0;
    case TYPE_VARCHAR:
    case TYPE_JSON:
        return 0;
    }
    return 0;
}

static void take_text(struct column_build *c, size_t at, struct str s)
{
    if (c->valid[at]) {
        if (c->type == TYPE_VARCHAR)
            distinct_add(&c->distinct, s);
        c->needs_no_escape = c->needs_no_escape && json_is_plain(s);
        buf_put_str(&c->text, s);
    }
    c->text_ends[at] = (uint32_t)c->text.n;
}

static void take_column(struct store_writer *w, struct column_build *c,
                        const struct store_column_batch *b, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = w->n_in_block + i;
        c->valid[at] = !b->valid || b->valid[from + i];
        if (c->is_text)
            take_text(c, at, b->texts[from + i]);
        else
            c->keys[at] = c->valid[at] ? fixed_key(c->type, b->fixed, from + i) : 0;
    }
}

static struct str text_at(const struct column_build *c, size_t at)
{
    uint32_t from = at ? c->text_ends[at - 1] : 0;
    return (struct str){c->text.p + from, c->text_ends[at] - from};
}

/* Rows a and b of the block being gathered: by the sort columns (NULLs last), then the ordinal. */
static int compare_rows(const struct store_writer *w, size_t a, size_t b, bool *ret_same_tenant)
{
    *ret_same_tenant = false;
    for (int i = 0; i < w->n_sort_columns; i++) {
        const struct column_build *c = &w->columns[w->sort_columns[i]];
        int order;
        if (!c->valid[a] || !c->valid[b])
            order = (int)!c->valid[a] - (int)!c->valid[b];
        else if (c->is_text)
            order = str_cmp(text_at(c, a), text_at(c, b));
        else
            order = (c->keys[a] > c->keys[b]) - (c->keys[a] < c->keys[b]);
        if (order != 0)
            return order;
        *ret_same_tenant |= i == 0;
    }
    const struct column_build *o = &w->columns[w->n_columns];
    return (o->keys[a] > o->keys[b]) - (o->keys[a] < o->keys[b]);
}

/* Is the tenant of the block's first row the one the last block ended with? */
static bool continues_tenant(const struct store_writer *w, const struct column_build *t)
{
    if (!w->has_last_tenant)
        return false;
    if (!t->is_text)
        return t->keys[0] == w->last_tenant_key;
    return str_eq(text_at(t, 0), (struct str){w->last_tenant_text.p, w->last_tenant_text.n});
}

static void keep_last_tenant(struct store_writer *w)
{
    if (w->tenant_column < 0 || w->n_in_block == 0)
        return;
    const struct column_build *t = &w->columns[w->tenant_column];
    size_t last = w->n_in_block - 1;
    w->has_last_tenant = t->valid[last];
    w->last_tenant_key = t->keys[last];
    buf_reset(&w->last_tenant_text);
    if (t->is_text)
        buf_put_str(&w->last_tenant_text, text_at(t, last));
}

/* Counts tenants and checks the order within the block. */
static enum rc check_order(struct store_writer *w, size_t from, size_t n, struct err *err)
{
    for (size_t i = from; i < from + n; i++) {
        bool same_tenant = false;
        const struct column_build *t = w->tenant_column >= 0 ? &w->columns[w->tenant_column] : NULL;
        if (i > 0 && compare_rows(w, i - 1, i, &same_tenant) >= 0)
            return err_set(err, RC_INTERNAL, "rows came out of order at row %llu",
                           (unsigned long long)(w->n_rows + i - from));
        if (t && t->valid[i] && !(i > 0 ? same_tenant : continues_tenant(w, t)))
            w->n_tenants++;
    }
    return RC_OK;
}

static enum rc grow_chunks(struct store_writer *w, struct err *err)
{
    if (w->n_blocks < w->blocks_capacity)
        return RC_OK;
    size_t capacity = w->blocks_capacity ? w->blocks_capacity * 2 : 16;
    for (size_t i = 0; i <= w->n_columns; i++) {
        struct chunk_entry *chunks = try_realloc(w->columns[i].chunks, capacity * sizeof *chunks);
        if (!chunks)
            return err_set(err, RC_NO_MEMORY, "out of memory for the directory of blocks");
        w->columns[i].chunks = chunks;
    }
    w->blocks_capacity = capacity;
    return RC_OK;
}

static enum rc flush_block(struct store_writer *w, struct err *err)
{
    enum rc rc = grow_chunks(w, err);
    keep_last_tenant(w);
    for (size_t i = 0; rc == RC_OK && i <= w->n_columns; i++) {
        struct column_build *c = &w->columns[i];
        rc = c->is_text ? spool_block(w, c, err)
                        : encode_keys(w, c, w->n_blocks, w->n_in_block, c->keys, c->valid, err);
    }
    w->n_blocks++;
    w->n_in_block = 0;
    return rc;
}

enum rc store_writer_add(struct store_writer *w, const struct store_batch *batch, struct err *err)
{
    struct column_build *ordinal = &w->columns[w->n_columns];
    for (size_t from = 0; from < batch->n_rows;) {
        size_t n = batch->n_rows - from;
        if (n > BLOCK_ROWS - w->n_in_block)
            n = BLOCK_ROWS - w->n_in_block;
        if (w->n_rows + n > LIMIT_STORE_ROWS)
            return err_set(err, RC_LIMIT, "a snapshot has at most 4,294,967,280 rows");
        for (size_t i = 0; i < w->n_columns; i++)
            take_column(w, &w->columns[i], &batch->columns[i], from, n);
        for (size_t i = 0; i < n; i++) {
            ordinal->keys[w->n_in_block + i] = (int64_t)batch->ordinals[from + i];
            ordinal->valid[w->n_in_block + i] = 1;
        }
        enum rc rc = check_order(w, w->n_in_block, n, err);
        w->n_in_block += n;
        w->n_rows += n;
        from += n;
        if (rc == RC_OK && w->n_in_block == BLOCK_ROWS)
            rc = flush_block(w, err);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* ---- the end ---- */

static enum rc write_directory(struct store_writer *w, struct store_header *h, struct err *err)
{
    struct buf image;
    buf_init(&image, SIZE_MAX);
    for (size_t i = 0; i <= w->n_columns; i++)
        buf_put(&image, &w->columns[i].entry, sizeof w->columns[i].entry);
    for (size_t i = 0; i <= w->n_columns; i++)
        buf_put(&image, w->columns[i].chunks, w->n_blocks * sizeof(struct chunk_entry));
    enum rc rc = image.failed
                     ? err_set(err, RC_NO_MEMORY, "out of memory for the directory of blocks")
                     : writer_append(w, image.p, image.n, &h->directory_at, err);
    h->directory_bytes = image.n;
    h->directory_crc = crc32c(0, image.p, image.n);
    buf_done(&image);
    return rc;
}

static enum rc write_header(struct store_writer *w, struct store_header *h, struct err *err)
{
    h->magic = STORE_MAGIC;
    h->version = STORE_VERSION;
    h->header_bytes = sizeof *h;
    h->n_rows = w->n_rows;
    h->file_bytes = w->at;
    h->n_columns = (uint32_t)w->n_columns;
    h->n_blocks = (uint32_t)w->n_blocks;
    h->block_rows = BLOCK_ROWS;
    h->tenant_column = w->tenant_column;
    h->n_sort_columns = (uint32_t)w->n_sort_columns;
    for (int i = 0; i < w->n_sort_columns; i++)
        h->sort_columns[i] = w->sort_columns[i];
    h->n_tenants = w->n_tenants;
    h->crc = crc32c(0, h, offsetof(struct store_header, crc));
    return io_pwrite_all(w->fd, h, sizeof *h, 0, STORE_FILE_NAME, err);
}

static void fill_figures(const struct store_writer *w, const struct store_header *h,
                         struct store_figures *ret)
{
    *ret = (struct store_figures){
        .n_rows = w->n_rows,
        .file_bytes = w->at,
        .n_tenants = w->n_tenants,
        .columns = x_array0(w->n_columns, sizeof *ret->columns),
        .file_crc32c = h->crc,
    };
    for (size_t i = 0; i < w->n_columns; i++)
        ret->columns[i].n_nulls = w->columns[i].entry.n_nulls;
}

enum rc store_writer_finish(struct store_writer *w, struct store_figures *ret, struct err *err)
{
    struct store_header h = {0};
    enum rc rc = w->n_in_block ? flush_block(w, err) : RC_OK;
    for (size_t i = 0; rc == RC_OK && i <= w->n_columns; i++) {
        struct column_build *c = &w->columns[i];
        bool leads = w->n_sort_columns && w->sort_columns[0] == (int)i;
        if (c->is_text)
            rc = spool_finish(w, c, err);
        if (rc == RC_OK && w->equality_columns[i] && !leads &&
            !(c->entry.flags & COLUMN_TEXT_PLAIN))
            rc = posting_build(w, c, err);
    }
    if (rc == RC_OK)
        rc = write_directory(w, &h, err);
    if (rc == RC_OK)
        rc = write_header(w, &h, err);
    if (rc == RC_OK)
        rc = io_fsync(w->fd, STORE_FILE_NAME, err);
    if (rc != RC_OK)
        return rc;
    w->finished = true;
    fill_figures(w, &h, ret);
    return RC_OK;
}

void store_figures_done(struct store_figures *f)
{
    mem_free(f->columns);
    *f = (struct store_figures){0};
}
