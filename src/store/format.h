/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serving store's file, version 2 (docs/store-format.md is the prose).
 *
 *   header 256 | chunks, dictionaries, postings, each 8-aligned | directory
 *
 * Little-endian, as the machines we run on are; a big-endian reader sees a foreign magic number.
 * Every column is split into blocks of BLOCK_ROWS rows; a block of a column is a chunk with its own
 * checksum and statistics. Values are kept as 64-bit keys whose integer order is the order of the
 * values (see key.h), written as `base + unsigned number` of as many bits as the chunk needs.
 *
 *   chunk:       validity (one bit a row, LSB first, only with NULLs; padded to 8) | values
 *   values:      numbers of `bits` bits, packed, and 7 zeros; or width × rows (0, 1, 2, 4, 8 bytes)
 *                (rows + 1) offsets, packed or u32 | bytes (plain text)
 *   dictionary:  (n + 1) u32 offsets | bytes; entries rise by bytes
 *   posting:     (range + 1) u32 starts | u32 rows, rising within a key
 *   directory:   a column_entry for each column and one for the hidden ordinal, then for each of
 *                them n_blocks chunk_entries
 *
 * Version 1 had no packed numbers: what is zero in its chunk entries says so, and it is read as it
 * is.
 */
#ifndef OFFLOADER_STORE_FORMAT_H
#define OFFLOADER_STORE_FORMAT_H

#include "base/compiler.h"

#define STORE_MAGIC UINT64_C(0x31524F5453464F0A) /* "\nOFSTOR1" read as little-endian */
#define STORE_VERSION 2
#define STORE_OLDEST_VERSION 1
#define BLOCK_ROWS 8192
#define LIMIT_STORE_ROWS UINT64_C(0xfffffff0) /* row numbers are 32 bits */

struct store_header {
    uint64_t magic;
    uint32_t version, header_bytes;
    uint64_t n_rows, file_bytes;
    uint32_t n_columns, n_blocks;
    uint64_t directory_at, directory_bytes;
    uint32_t directory_crc, block_rows;
    int32_t tenant_column;
    uint32_t n_sort_columns;
    int32_t sort_columns[8];
    uint64_t n_tenants;
    uint8_t zeros[140];
    uint32_t crc; /* of the 252 bytes before it */
};
_Static_assert(sizeof(struct store_header) == 256, "the header is 256 bytes");
_Static_assert(offsetof(struct store_header, n_rows) == 16, "rows at 16");
_Static_assert(offsetof(struct store_header, n_columns) == 32, "columns at 32");
_Static_assert(offsetof(struct store_header, directory_at) == 40, "directory at 40");
_Static_assert(offsetof(struct store_header, tenant_column) == 64, "tenant column at 64");
_Static_assert(offsetof(struct store_header, sort_columns) == 72, "sort columns at 72");
_Static_assert(offsetof(struct store_header, n_tenants) == 104, "tenants at 104");
_Static_assert(offsetof(struct store_header, crc) == 252, "checksum at 252");

enum {
    COLUMN_TEXT_PLAIN = 1,
    COLUMN_HAS_DICTIONARY = 2,
    COLUMN_NEEDS_NO_ESCAPE = 4,
    COLUMN_HAS_POSTING = 8
};

struct column_entry {
    char name[64];
    uint32_t type, flags;
    uint64_t n_nulls;
    int64_t min, max; /* keys of non-NULL values; min > max when there is none */
    uint64_t dictionary_at, dictionary_bytes;
    uint32_t n_dictionary, dictionary_crc;
    uint64_t posting_at, posting_bytes;
    uint32_t posting_crc, zero;
};
_Static_assert(sizeof(struct column_entry) == 144, "a column entry is 144 bytes");
_Static_assert(offsetof(struct column_entry, type) == 64, "type at 64");
_Static_assert(offsetof(struct column_entry, min) == 80, "smallest key at 80");
_Static_assert(offsetof(struct column_entry, dictionary_at) == 96, "dictionary at 96");
_Static_assert(offsetof(struct column_entry, posting_at) == 120, "posting lists at 120");

struct chunk_entry {
    uint64_t at;
    uint32_t n_bytes, crc;
    int64_t base, min, max;
    uint32_t n_nulls;
    uint8_t width; /* bytes of a number that is not packed; plain text: 255 */
    uint8_t bits;  /* of a packed number; 0: not packed */
    uint8_t form, detail;
};
_Static_assert(sizeof(struct chunk_entry) == 48, "a chunk entry is 48 bytes");
_Static_assert(offsetof(struct chunk_entry, base) == 16, "base at 16");
_Static_assert(offsetof(struct chunk_entry, n_nulls) == 40, "NULLs at 40");
_Static_assert(offsetof(struct chunk_entry, width) == 44, "width at 44");
_Static_assert(offsetof(struct chunk_entry, bits) == 45, "bits at 45");

#define WIDTH_TEXT 255

/* What a number of a chunk stands for. */
enum chunk_form {
    FORM_KEYS,    /* key = base + number */
    FORM_DECIMAL, /* DOUBLE: (base + number) / 10^detail */
    FORM_STEPS,   /* key = base + number × 10^detail */
    FORM_SPLIT,   /* ordinal: the upper bits count files, the lower `detail` bits rows */
    FORM_LENGTHS, /* plain text: the offset of row r is base × r + number r */
    N_FORMS
};
#define LIMIT_EXPONENT 18
#define SPLIT_SHIFT 40 /* an ordinal is file number × 2^40 + row number */

#endif
