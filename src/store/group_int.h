/* SPDX-License-Identifier: Apache-2.0 */
/* For group.c and group_dense.c: groups of the query that this thread runs. */
#ifndef OFFLOADER_STORE_GROUP_INT_H
#define OFFLOADER_STORE_GROUP_INT_H

#include "store/store_int.h"

struct aggregate_state {
    union {
        __int128 sum;
        struct exact_sum exact;
        int64_t best; /* min, max: a key */
        uint32_t row; /* min, max over plain text */
    };
    uint64_t count; /* non-NULL values */
};

struct aggregate_column {
    int output, column;
    enum aggregate aggregate;
    enum column_type type;
    bool is_text; /* plain */
};

/* A plain text of a column, by the row where it was seen first in this query. */
struct interned {
    uint32_t row_after; /* row + 1; 0: empty */
    int column;
};

struct group_state {
    struct aggregate_column aggregates[QUERY_LIMIT_OUTPUTS];
    int n_aggregates;
    int group_columns[QUERY_LIMIT_OUTPUTS];
    int n_group_columns;
    size_t n_words;                  /* of a key: the group columns' and NULL bits' */
    size_t n_groups, n_table, limit; /* groups at most */
    bool has_exact;
    /* interned plain text: the row where each was seen first */
    size_t n_interned, n_intern_table;
    struct interned *intern_table;
    /* group_dense.c: the table is indexed by the keys themselves */
    bool is_dense;
    uint32_t strides[QUERY_LIMIT_OUTPUTS]; /* of a group column in the index */
    uint32_t n_dense;
};

extern _Thread_local struct group_state grouping;

uint64_t *group_key(struct store_scratch *x, size_t group);
struct aggregate_state *group_states(struct store_scratch *x, size_t group);
/* The group of @row, made when it is new. */
size_t group_of_row(struct store_scratch *x, uint32_t row);

/* A non-NULL key; a row of a plain text column, which may be NULL. */
void aggregate_add_key(struct store_scratch *x, const struct aggregate_column *a,
                       struct aggregate_state *s, int64_t key);
void aggregate_add_text(struct store_scratch *x, const struct aggregate_column *a,
                        struct aggregate_state *s, uint32_t row);

/* ---- group_dense.c ---- */
/* Sets grouping.is_dense when the group columns' keys span a range small enough for an index. */
void dense_prepare(struct store_scratch *x);
/* A batch of rows of one block. */
void dense_batch(struct store_scratch *x);

#endif
