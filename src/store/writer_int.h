/* SPDX-License-Identifier: Apache-2.0 */
/* For the writing half of src/store: columns being built. */
#ifndef OFFLOADER_STORE_WRITER_INT_H
#define OFFLOADER_STORE_WRITER_INT_H

#include "base/buf.h"
#include "store/format.h"
#include "store/store.h"

/* Distinct texts of a column while there are few enough; then a sorted dictionary. */
struct distinct {
    bool is_alive;
    struct buf bytes;
    uint32_t *ends;  /* entry i is bytes[ends[i - 1], ends[i]) */
    uint32_t *table; /* open addressing: entry + 1, 0 empty */
    uint32_t n, capacity, n_table;
    uint32_t *rank;   /* after distinct_sort: entry -> code */
    uint32_t *sorted; /* code -> entry */
};
#define LIMIT_DISTINCT (1u << 20)
#define LIMIT_DISTINCT_BYTES (64u << 20)

void distinct_init(struct distinct *d);
void distinct_done(struct distinct *d);
/* Adds unless it is there; gives up (is_alive false, memory freed) past a limit. */
void distinct_add(struct distinct *d, struct str s);
MUST_CHECK bool distinct_sort(struct distinct *d);
struct str distinct_entry(const struct distinct *d, uint32_t entry);
/* Entry of a text that was added. */
uint32_t distinct_find(const struct distinct *d, struct str s);

struct column_build {
    enum column_type type;
    bool is_text;
    struct column_entry entry;
    struct chunk_entry *chunks;
    /* the block being gathered */
    int64_t keys[BLOCK_ROWS];
    uint8_t valid[BLOCK_ROWS];
    struct buf text; /* bytes of the block's texts */
    uint32_t text_ends[BLOCK_ROWS];
    struct distinct distinct;
    bool needs_no_escape;
};

struct store_writer {
    char *directory, *path;
    int fd;
    uint64_t at; /* end of the file so far */
    /* text: blocks wait in a spool file until the encoding is known */
    int spool_fd;
    uint64_t spool_bytes;
    struct schema schema;
    int sort_columns[STORE_LIMIT_SORT_COLUMNS];
    int n_sort_columns, tenant_column;
    bool *equality_columns;
    struct column_build *columns; /* n_columns + 1: the ordinal is last */
    size_t n_columns;
    size_t n_in_block, n_blocks, blocks_capacity;
    uint64_t n_rows, n_tenants;
    /* tenant of the last row of the block before this one */
    bool has_last_tenant;
    int64_t last_tenant_key;
    struct buf last_tenant_text;
    struct buf chunk;               /* being encoded */
    uint64_t codes[BLOCK_ROWS + 1]; /* of it; a text more than rows has offsets */
    bool finished;
};

/* encode.c */
MUST_CHECK enum rc encode_keys(struct store_writer *w, struct column_build *c, size_t block,
                               size_t n_rows, const int64_t *keys, const uint8_t *valid,
                               struct err *err);
MUST_CHECK enum rc encode_text(struct store_writer *w, struct column_build *c, size_t block,
                               size_t n_rows, const uint8_t *valid, const uint32_t *ends,
                               struct str bytes, struct err *err);
/* Appends to the file at an 8-byte boundary; @ret_at is where. */
MUST_CHECK enum rc writer_append(struct store_writer *w, const void *p, size_t n, uint64_t *ret_at,
                                 struct err *err);
/* forms.c: a shorter form of the keys, if there is one, into @e (base, form, detail) and @codes,
 * which hold the differences from @e's base, those of NULLs 0. */
void choose_form(const struct column_build *c, bool is_ordinal, const int64_t *keys,
                 const uint8_t *valid, size_t n, struct chunk_entry *e, uint64_t *codes);
/* Numbers of so few bits are left as they are: looking for something shorter costs more. */
#define LEAST_BITS_TO_SHORTEN 8
/* spool.c */
MUST_CHECK enum rc spool_block(struct store_writer *w, struct column_build *c, struct err *err);
MUST_CHECK enum rc spool_finish(struct store_writer *w, struct column_build *c, struct err *err);
/* posting.c */
MUST_CHECK enum rc posting_build(struct store_writer *w, struct column_build *c, struct err *err);

#endif
