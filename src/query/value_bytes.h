/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers, texts and values as bytes, and back: for cursors and for the messages of query
 * processes. The machine's own byte order: both ends are this program, or a signed copy of what it
 * wrote.
 *
 * Reading trusts nothing: past the end everything is zero, a text is empty, and @failed is set.
 */
#ifndef OFFLOADER_QUERY_VALUE_BYTES_H
#define OFFLOADER_QUERY_VALUE_BYTES_H

#include "base/buf.h"
#include "query/query.h"

void bytes_put_u8(struct buf *b, uint8_t v);
void bytes_put_u16(struct buf *b, uint16_t v);
void bytes_put_u32(struct buf *b, uint32_t v);
void bytes_put_u64(struct buf *b, uint64_t v);
void bytes_put_text(struct buf *b, struct str s); /* u32 length, bytes; below 4 GiB */
void bytes_put_value(struct buf *b, const struct value *v);

struct bytes_in {
    const char *p;
    size_t n, at;
    bool failed;
};
void bytes_get(struct bytes_in *in, void *ret, size_t n);
uint8_t bytes_get_u8(struct bytes_in *in);
uint16_t bytes_get_u16(struct bytes_in *in);
uint32_t bytes_get_u32(struct bytes_in *in);
uint64_t bytes_get_u64(struct bytes_in *in);
struct str bytes_get_text(struct bytes_in *in);               /* borrowed from the bytes */
void bytes_get_value(struct bytes_in *in, struct value *ret); /* text borrowed from the bytes */

#endif
