/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict RFC 4180 reader: UTF-8 with an optional byte order mark, CRLF or LF. An unquoted empty
 * field is NULL, `""` is empty text. Pure over a callback that gives bytes.
 */
#ifndef OFFLOADER_ENGINE_CSV_READER_H
#define OFFLOADER_ENGINE_CSV_READER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define LIMIT_CSV_RECORD_BYTES (64u << 20)
#define LIMIT_CSV_FIELDS 4096

struct csv_field {
    struct str text; /* decoded; valid until the next record */
    bool is_null;
    bool is_decoded; /* its text was copied into the reader's text buffer, at decoded_at */
    size_t decoded_at;
};

struct csv_reader {
    /* Up to @n bytes into @p; 0 at the end, -1 on failure (errno). */
    long (*read)(void *arg, void *p, size_t n);
    void *arg;
    struct buf raw; /* bytes read and not consumed */
    size_t at;      /* consumed of raw */
    bool at_end, began;
    size_t n_scanned; /* of the record at hand: looked at for its end */
    bool in_quotes;   /* there */
    struct buf text;  /* of the record's quoted fields with doubled quotes */
    struct csv_field *fields;
    size_t n_fields;
    uint64_t n_records; /* given so far; the header is the first */
};

void csv_reader_init(struct csv_reader *r, long (*read)(void *arg, void *p, size_t n), void *arg);
void csv_reader_done(struct csv_reader *r);
/*
 * The next record into r->fields. *ret_more false at the end. RC_INVALID with code unreadable_file
 * for what is not CSV; the message names the data row (1 is the first after the header).
 */
MUST_CHECK enum rc csv_reader_next(struct csv_reader *r, bool *ret_more, struct err *err);

#endif
