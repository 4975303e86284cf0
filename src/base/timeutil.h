/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks, and calendar text in the proleptic Gregorian calendar, UTC, years 0001 to 9999. */
#ifndef OFFLOADER_BASE_TIMEUTIL_H
#define OFFLOADER_BASE_TIMEUTIL_H

#include "base/buf.h"
#include "base/compiler.h"
#include "base/str.h"

int64_t monotonic_us(void);
int64_t wall_us(void);        /* since 1970, UTC */
int64_t wall_coarse_us(void); /* wall_us() of up to 4 ms ago, at a third of its cost */
int64_t boot_us(void);       /* since the machine started, its sleep included */
int64_t thread_cpu_us(void);

#define DATE_MIN_DAYS (-719162) /* 0001-01-01 */
#define DATE_MAX_DAYS 2932896   /* 9999-12-31 */
#define US_PER_DAY INT64_C(86400000000)
#define TIMESTAMP_MIN_US ((int64_t)DATE_MIN_DAYS * US_PER_DAY)
#define TIMESTAMP_MAX_US (((int64_t)DATE_MAX_DAYS + 1) * US_PER_DAY - 1)

MUST_CHECK bool parse_date(struct str s, int32_t *ret_days); /* YYYY-MM-DD, a real date */
/* RFC 3339 with offset (Z or ±hh:mm), fraction cut to microseconds. */
MUST_CHECK bool parse_rfc3339(struct str s, int64_t *ret_us);
/* CSV's TIMESTAMP: RFC 3339, or the same without offset taken as UTC ('T' or one space). */
MUST_CHECK bool parse_timestamp(struct str s, int64_t *ret_us);

void buf_put_date(struct buf *b, int32_t days);    /* 2026-06-01 */
void buf_put_timestamp(struct buf *b, int64_t us); /* 2026-06-01T12:00:00.000000 */
void buf_put_rfc3339(struct buf *b, int64_t us);   /* 2026-06-01T12:00:00Z, .ffffff if not 0 */
#define RFC3339_TEXT_BYTES 32
/* The same as buf_put_rfc3339 into @out; returns the length. */
size_t format_rfc3339(char out[RFC3339_TEXT_BYTES], int64_t us);

#endif
