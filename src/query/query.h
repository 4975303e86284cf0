/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked of one snapshot, without saying who answers: the planner builds it, the serving
 * store and DuckDB run it, with the same rows in the same order.
 *
 * Semantics both executors share
 *  Q1  Filters are ANDed; a comparison with NULL is false. DOUBLE order: NaN is the greatest value
 *      and equals itself, -0 equals 0 (ingest stores canonical NaN and +0).
 *  Q2  Not grouped (n_groups == 0): one output row a matching row; order is @order, then ordinal.
 *      Grouped: one a group (no rows, no groups); order is @order, then the grouping outputs in
 *      select order. NULLs last in both directions, text by bytes of UTF-8. NULL is a group.
 *  Q3  @seek: only rows that come strictly after the given position in that total order.
 *  Q4  sum over INTEGER/BIGINT: exact __int128; over DOUBLE: exact, rounded once (NaN and
 *      infinities as IEEE addition has it); avg: exact sum divided by the count, rounded once to
 *      double; count: non-NULL values; min/max keep the type, over VARCHAR by bytes, over BOOLEAN
 *      false < true.
 */
#ifndef OFFLOADER_QUERY_QUERY_H
#define OFFLOADER_QUERY_QUERY_H

#include "base/err.h"
#include "base/str.h"
#include "schema/schema.h"

enum aggregate { AGG_NONE, AGG_SUM, AGG_AVG, AGG_MIN, AGG_MAX, AGG_COUNT };

enum value_kind { VALUE_NULL, VALUE_BOOL, VALUE_INT, VALUE_INT128, VALUE_DOUBLE, VALUE_TEXT };

/* DATE is VALUE_INT in days, TIMESTAMP VALUE_INT in microseconds, JSON and VARCHAR VALUE_TEXT. */
struct value {
    enum value_kind kind;
    bool plain; /* TEXT: no byte needs JSON escaping */
    union {
        bool boolean;
        int64_t integer;
        __int128 integer128;
        double number;
        struct str text;
    };
};

enum query_type { /* of an output: what the encoder needs to know */
                  OUT_DATE,
                  OUT_TIMESTAMP,
                  OUT_TEXT,
                  OUT_INTEGER,
                  OUT_BIGINT,
                  OUT_SUM128,
                  OUT_DOUBLE,
                  OUT_BOOLEAN,
                  OUT_JSON,
                  OUT_COUNT,
};

struct query_output {
    int column; /* index into the dataset contract's schema */
    enum aggregate aggregate;
};
/* The type of an output, by the column's type and the aggregate. */
enum query_type query_output_type(enum column_type column, enum aggregate aggregate);
struct query;
enum query_type query_type_of(const struct query *q, int output);
/* May an output of @type hold @v? Encoders take it for granted: for values from another process. */
bool value_fits(const struct value *v, enum query_type type);

enum filter_op { FILTER_EQ, FILTER_GTE, FILTER_LTE };
struct query_filter {
    int column;
    enum filter_op op;
    /* In the column's type: DATE/TIMESTAMP/INTEGER/BIGINT as INT (a value outside int32 on INTEGER
     * is legal), DOUBLE as DOUBLE, BOOLEAN as BOOL, VARCHAR as TEXT. */
    struct value value;
    /* Compare with the column's text form instead (string or enum param against a non-text column,
     * FILTER_EQ only); value is TEXT then. Text form: as CSV output writes the value. The planner
     * resolves most of these: text that is no canonical form of any value sets never_matches. */
    bool never_matches;
};
struct query_order {
    int output; /* index into outputs */
    bool descending;
};

#define QUERY_LIMIT_OUTPUTS 256
#define QUERY_LIMIT_FILTERS 64

/* Everything borrowed; immutable while it runs. */
struct query {
    const struct schema *schema;        /* the dataset's contract */
    const struct query_output *outputs; /* all select outputs, also those a request leaves out */
    int n_outputs;
    const bool *wanted; /* per output: does the sink need it? (order and groups work without) */
    const int *groups;  /* outputs that group, in select order */
    int n_groups;
    bool grouped;                       /* n_groups > 0, or aggregates present */
    const struct query_filter *filters; /* the tenant predicate is filters[0] on a tenant dataset */
    int n_filters;
    bool has_tenant; /* filters[0] is the tenant predicate */
    const struct query_order *order;
    int n_order; /* grouped: n_order + n_groups <= QUERY_LIMIT_OUTPUTS + 1 */
    uint64_t limit,
        offset; /* the executor hands out at most limit rows and says if there is more */
    bool count_total;
    bool has_seek;
    /* order values then (ordinal | group values): n_order + 1 or n_order + n_groups of them. */
    const struct value *seek;
    int n_seek;
};

/* Rows go to a sink as they are found, in order. Values (and their text) are borrowed for the call.
 */
struct row_sink {
    /* values[n_outputs]; unwanted ones are VALUE_NULL. RC_OK goes on; anything else stops the query
     * and is returned (RC_LIMIT when the answer is too large). */
    enum rc (*on_row)(void *arg, const struct value *values);
    void *arg;
};

struct query_result {
    uint64_t n_rows;
    bool has_more;
    uint64_t total; /* with count_total */
    /* Position after the last row, for a cursor: as query.seek. Text is owned by the executor's
     * scratch and valid until its next query (copy it at once). n_last is 0 when no row came. */
    struct value last[QUERY_LIMIT_OUTPUTS + 1];
    int n_last;
};

/* What explain shows. */
struct query_stats {
    const char *executor;   /* "store" or "duckdb" */
    int prefix_columns;     /* sort columns used by binary search */
    uint64_t rows_in_range; /* after the prefix */
    uint64_t rows_touched;  /* looked at */
    uint64_t rows_matched;
    uint64_t blocks_skipped, blocks_total;
    bool used_posting_list, used_rollup;
    const char *grouping; /* "none", "sorted", "hash" */
};

/* Polled by executors every few thousand rows; true stops with RC_CANCELLED or RC_TIMEOUT. */
struct query_control {
    int64_t deadline_us;           /* monotonic, 0: none */
    const _Atomic bool *cancelled; /* NULL: none */
    /* For a thread that must not wait for a disk, the serving store only: a block that is not in
     * memory ends it with RC_BUSY. */
    bool only_in_memory;
};

/* The total order's comparison, shared by both: NULL last in both directions. */
int value_compare(const struct value *a, const struct value *b, bool descending);

#endif
