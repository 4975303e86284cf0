/* SPDX-License-Identifier: Apache-2.0 */
/* SQL of a Parquet column's dates and times, also where they lie inside of nested values. */
#ifndef OFFLOADER_ENGINE_NESTED_H
#define OFFLOADER_ENGINE_NESTED_H

#include <duckdb.h>

#include "base/buf.h"

bool nested_is(duckdb_type t); /* a struct, map, list or array */
bool nested_is_timestamp(duckdb_type t);
/* @of, an expression of type @t, as a TIMESTAMP. */
void nested_put_timestamp(struct buf *b, duckdb_type t, const char *of);
/* The condition that a date, or time, is infinite or not of the years 1 to 9999. */
void nested_put_beyond(struct buf *b, bool is_date, const char *of);
/* @of, of a nested @type, as JSON text: times in our form, numbers that are not finite as null. */
void nested_put_json(struct buf *b, duckdb_logical_type type, const char *of);
/* The condition that a date or time inside of it is beyond. False: it holds none. */
bool nested_put_misfit(struct buf *b, duckdb_logical_type type, const char *of);

#endif
