/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: header and directory are verified and every place they name is checked to lie in the
 * file, so that what reads later needs no bounds of its own. Chunks verify on first touch
 * (chunk.c).
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/store_int.h"

static enum rc corrupt(struct err *err, const char *path, const char *why)
{
    return err_set(err, RC_CORRUPT, "%s: %s", path, why);
}

static bool lies_within(const struct store *s, uint64_t at, uint64_t n)
{
    return at % 8 == 0 && at >= sizeof(struct store_header) && at <= s->n_map && n <= s->n_map - at;
}

static enum rc check_header(const struct store *s, struct err *err)
{
    const struct store_header *h = s->header;
    if (h->magic != STORE_MAGIC)
        return corrupt(err, s->path, "is no store file");
    if (h->crc != crc32c(0, h, offsetof(struct store_header, crc)))
        return corrupt(err, s->path, "its header does not verify");
    if (h->version < STORE_OLDEST_VERSION || h->version > STORE_VERSION ||
        h->header_bytes != sizeof *h || h->block_rows != BLOCK_ROWS)
        return err_set(err, RC_INVALID, "%s: is of format version %u, this program reads %d",
                       s->path, h->version, STORE_VERSION);
    uint64_t n_blocks = (h->n_rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    uint64_t n_entries = (uint64_t)h->n_columns + 1;
    if (h->file_bytes != s->n_map || h->n_rows > LIMIT_STORE_ROWS || h->n_blocks != n_blocks ||
        h->n_columns == 0 || h->n_columns > LIMIT_COLUMNS ||
        h->n_sort_columns > STORE_LIMIT_SORT_COLUMNS ||
        !lies_within(s, h->directory_at, h->directory_bytes) ||
        h->directory_bytes != n_entries * sizeof(struct column_entry) +
                                  n_entries * n_blocks * sizeof(struct chunk_entry))
        return corrupt(err, s->path, "its header contradicts itself");
    for (uint32_t i = 0; i < h->n_sort_columns; i++)
        if (h->sort_columns[i] < 0 || h->sort_columns[i] >= (int32_t)h->n_columns)
            return corrupt(err, s->path, "its header names a column that is not there");
    if (h->tenant_column < -1 || h->tenant_column >= (int32_t)h->n_columns)
        return corrupt(err, s->path, "its header names a column that is not there");
    return RC_OK;
}

static enum rc read_directory(struct store *s, struct err *err)
{
    const struct store_header *h = s->header;
    s->directory = try_alloc((size_t)h->directory_bytes);
    if (!s->directory)
        return err_set(err, RC_NO_MEMORY, "%s: out of memory", s->path);
    enum rc rc = io_pread_all(s->fd, s->directory, (size_t)h->directory_bytes, h->directory_at,
                              s->path, err);
    if (rc == RC_OK && h->directory_crc != crc32c(0, s->directory, (size_t)h->directory_bytes))
        rc = corrupt(err, s->path, "its directory does not verify");
    return rc;
}

static size_t rows_of_block(const struct store *s, size_t block)
{
    uint64_t left = s->n_rows - (uint64_t)block * BLOCK_ROWS;
    return left < BLOCK_ROWS ? (size_t)left : BLOCK_ROWS;
}

/* What a chunk's entry says of its numbers, for a column that is no plain text. */
static bool numbers_fit(const struct store *s, const struct store_column *c,
                        const struct chunk_entry *e)
{
    if (s->header->version < 2 && (e->bits || e->form || e->detail))
        return false;
    if (e->bits > LIMIT_PACKED_BITS || (e->bits && e->width))
        return false;
    if (e->width != 0 && e->width != 1 && e->width != 2 && e->width != 4 && e->width != 8)
        return false;
    bool is_ordinal = c == &s->columns[s->n_columns];
    switch ((enum chunk_form)e->form) {
    case FORM_KEYS:
        return e->detail == 0;
    case FORM_DECIMAL:
        return c->type == TYPE_DOUBLE && e->detail <= LIMIT_EXPONENT;
    case FORM_STEPS:
        return !type_is_text(c->type) && c->type != TYPE_DOUBLE && e->detail <= LIMIT_EXPONENT;
    case FORM_SPLIT:
        return is_ordinal && e->detail <= SPLIT_SHIFT;
    case FORM_LENGTHS:
    case N_FORMS:
        break;
    }
    return false;
}

static bool text_fits(const struct store *s, const struct chunk_entry *e, size_t n_rows)
{
    size_t n_before = validity_bytes(e, n_rows);
    if (e->width != WIDTH_TEXT || e->detail)
        return false;
    if (e->form == FORM_KEYS)
        return !e->bits && e->n_bytes >= n_before + (n_rows + 1) * sizeof(uint32_t);
    return s->header->version >= 2 && e->form == FORM_LENGTHS && e->bits <= LIMIT_PACKED_BITS &&
           e->base >= 0 && e->base <= UINT32_MAX &&
           e->n_bytes >= n_before + packed_bytes(e->bits, n_rows + 1);
}

static bool chunk_fits(const struct store *s, const struct store_column *c,
                       const struct chunk_entry *e, size_t n_rows)
{
    size_t n_validity = validity_bytes(e, n_rows);
    if (!lies_within(s, e->at, e->n_bytes) || e->n_nulls > n_rows)
        return false;
    if (c->is_plain_text)
        return text_fits(s, e, n_rows);
    return numbers_fit(s, c, e) && e->n_bytes == n_validity + codes_bytes(e, n_rows);
}

static bool dictionary_fits(const struct store *s, struct store_column *c)
{
    const struct column_entry *e = c->entry;
    uint64_t n_offsets = ((uint64_t)e->n_dictionary + 1) * sizeof(uint32_t);
    if (!lies_within(s, e->dictionary_at, e->dictionary_bytes) || e->dictionary_bytes < n_offsets)
        return false;
    c->dictionary_offsets = (const uint32_t *)(const void *)(s->map + e->dictionary_at);
    c->dictionary_bytes = (const char *)s->map + e->dictionary_at + n_offsets;
    return true;
}

static bool posting_fits(const struct store *s, struct store_column *c)
{
    const struct column_entry *e = c->entry;
    uint64_t range = (uint64_t)e->max - (uint64_t)e->min + 1;
    uint64_t n_rows = s->n_rows - e->n_nulls;
    if (e->min > e->max || range - 1 >= UINT32_MAX || /* 0: all keys there are */
        !lies_within(s, e->posting_at, e->posting_bytes) ||
        e->posting_bytes != (range + 1 + n_rows) * sizeof(uint32_t))
        return false;
    c->posting_starts = (const uint32_t *)(const void *)(s->map + e->posting_at);
    c->posting_rows = c->posting_starts + range + 1;
    return true;
}

/* What an entry says of a column's values as a whole. */
static bool values_fit(const struct store *s, const struct store_column *c)
{
    const struct column_entry *e = c->entry;
    bool is_ordinal = c == &s->columns[s->n_columns];
    int64_t low, high;
    if (e->n_nulls > s->n_rows || (is_ordinal && (c->type != TYPE_BIGINT || e->n_nulls)))
        return false;
    key_limits(c, &low, &high);
    return e->min > e->max || (e->min >= low && e->max <= high); /* plain text has no keys */
}

static enum rc open_column(struct store *s, size_t i, struct err *err)
{
    struct store_column *c = &s->columns[i];
    const struct column_entry *entries = s->directory;
    const struct chunk_entry *chunks =
        (const struct chunk_entry *)(const void *)(entries + s->n_columns + 1);
    c->entry = &entries[i];
    c->chunks = chunks + i * s->n_blocks;
    if (c->entry->type >= N_COLUMN_TYPES)
        return corrupt(err, s->path, "a column's entry contradicts itself");
    c->type = (enum column_type)c->entry->type;
    c->is_plain_text = (c->entry->flags & COLUMN_TEXT_PLAIN) != 0;
    c->needs_no_escape = (c->entry->flags & COLUMN_NEEDS_NO_ESCAPE) != 0;
    bool has_dictionary = (c->entry->flags & COLUMN_HAS_DICTIONARY) != 0;
    if (type_is_text(c->type) != (c->is_plain_text || has_dictionary) ||
        (has_dictionary && !dictionary_fits(s, c)) || !values_fit(s, c) ||
        ((c->entry->flags & COLUMN_HAS_POSTING) && !posting_fits(s, c)))
        return corrupt(err, s->path, "a column's entry contradicts itself");
    for (size_t block = 0; block < s->n_blocks; block++)
        if (!chunk_fits(s, c, &c->chunks[block], rows_of_block(s, block)))
            return corrupt(err, s->path, "a block's entry contradicts itself");
    c->verified = try_alloc0(s->n_blocks + 1);
    return c->verified ? RC_OK : err_set(err, RC_NO_MEMORY, "%s: out of memory", s->path);
}

static enum rc open_schema(struct store *s, struct err *err)
{
    s->schema.columns = x_array0(s->n_columns, sizeof *s->schema.columns);
    for (size_t i = 0; i < s->n_columns; i++) {
        const struct column_entry *e = s->columns[i].entry;
        if (!memchr(e->name, 0, sizeof e->name) || !str_is_column(str_from(e->name)))
            return corrupt(err, s->path, "a column's name is not one");
        s->schema.columns[s->schema.n_columns++] =
            (struct column){x_strdup(e->name), s->columns[i].type};
    }
    return RC_OK;
}

static enum rc map_file(struct store *s, struct err *err)
{
    struct stat st;
    enum rc rc = io_open(s->path, O_RDONLY | O_CLOEXEC, 0, &s->fd, err);
    if (rc != RC_OK)
        return rc;
    if (fstat(s->fd, &st) != 0 || st.st_size < (off_t)sizeof(struct store_header))
        return corrupt(err, s->path, "is shorter than its header");
    s->n_map = (size_t)st.st_size;
    void *map = mmap(NULL, s->n_map, PROT_READ, MAP_SHARED, s->fd, 0);
    if (map == MAP_FAILED)
        return err_set(err, RC_NO_MEMORY, "%s: cannot be mapped", s->path);
    s->map = map;
    s->header = x_alloc(sizeof *s->header);
    return io_pread_all(s->fd, s->header, sizeof *s->header, 0, s->path, err);
}

enum rc store_open(const char *directory, struct store **ret, struct err *err)
{
    struct store *s = x_alloc0(sizeof *s);
    s->fd = -1;
    s->path = path_join(directory, STORE_FILE_NAME);
    enum rc rc = map_file(s, err);
    if (rc == RC_OK)
        rc = check_header(s, err);
    if (rc == RC_OK)
        rc = read_directory(s, err);
    if (rc == RC_OK) {
        s->n_rows = s->header->n_rows;
        s->n_columns = s->header->n_columns;
        s->n_blocks = s->header->n_blocks;
        s->columns = try_array0(s->n_columns + 1, sizeof *s->columns);
        rc = s->columns ? RC_OK : err_set(err, RC_NO_MEMORY, "%s: out of memory", s->path);
    }
    for (size_t i = 0; rc == RC_OK && i <= s->n_columns; i++)
        rc = open_column(s, i, err);
    if (rc == RC_OK)
        rc = open_schema(s, err);
    if (rc != RC_OK) {
        store_free(s);
        return rc;
    }
    *ret = s;
    return RC_OK;
}

void store_free(struct store *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->columns && i <= s->n_columns; i++)
        mem_free((void *)(uintptr_t)s->columns[i].verified);
    mem_free(s->columns);
    mem_free(s->directory);
    mem_free(s->header);
    schema_done(&s->schema);
    if (s->map)
        (void)munmap((void *)(uintptr_t)s->map, s->n_map); /* fails only on a bad address */
    if (s->fd >= 0)
        (void)close(s->fd); /* read only */
    mem_free(s->path);
    mem_free(s);
}

uint64_t store_rows(const struct store *s)
{
    return s->n_rows;
}

uint64_t store_bytes(const struct store *s)
{
    return s->n_map;
}

const struct schema *store_schema(const struct store *s)
{
    return &s->schema;
}

uint64_t store_tenants(const struct store *s)
{
    return s->header->n_tenants;
}

int store_tenant_column(const struct store *s)
{
    return s->header->tenant_column;
}

uint32_t store_crc32c(const struct store *s)
{
    return s->header->crc;
}

bool store_is_broken(const struct store *s)
{
    return atomic_load_explicit(&s->broken, memory_order_relaxed);
}
