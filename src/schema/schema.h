/* SPDX-License-Identifier: Apache-2.0 */
/* Column types, and when data of one schema may serve a contract of another. */
#ifndef OFFLOADER_SCHEMA_SCHEMA_H
#define OFFLOADER_SCHEMA_SCHEMA_H

#include "base/errlist.h"
#include "base/str.h"

enum column_type {
    TYPE_DATE,      /* int32 days since 1970 */
    TYPE_TIMESTAMP, /* int64 microseconds since 1970, UTC */
    TYPE_VARCHAR,
    TYPE_INTEGER, /* int32 */
    TYPE_BIGINT,  /* int64 */
    TYPE_DOUBLE,
    TYPE_BOOLEAN,
    TYPE_JSON, /* minified RFC 8259 text */
};
#define N_COLUMN_TYPES 8

struct column {
    char *name; /* owned by its schema */
    enum column_type type;
};

struct schema {
    struct column *columns;
    size_t n_columns;
};

#define LIMIT_COLUMNS 4096

const char *column_type_name(enum column_type type);                       /* "VARCHAR" */
MUST_CHECK bool column_type_parse(struct str name, enum column_type *ret); /* exact upper case */
/* Index by exact name (case matters in the contract), -1 when absent. */
int schema_find(const struct schema *s, struct str name);
/* May a column declared as @snapshot serve a contract of @contract? Equal, or wider than the
 * contract (INTEGER < BIGINT < DOUBLE): values that do not fit are found when they are cast. */
bool column_type_widens(enum column_type snapshot, enum column_type contract);
void schema_done(struct schema *s);
void schema_copy(struct schema *to, const struct schema *from);
bool schema_equal(const struct schema *a, const struct schema *b); /* names, types and order */

#endif
