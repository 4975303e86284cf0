/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server and a query process say to each other, over one stream socket a connection.
 *
 * A message is  u32 bytes that follow the first five | u8 kind | body,  in the machine's own byte
 * order (both ends are one binary). The parent trusts nothing it reads: every length is checked,
 * and anything odd ends the process at the other end.
 *
 *   parent to child                          child to parent
 *   QUERY   u64 number, u64 source, plan     WANT    (empty: describe that source to me)
 *   SOURCE  contract, declared, files        RANGE   u32 file, u64 offset, u32 bytes
 *   BYTES   u8 fine, then the bytes          ROWS    u32 rows, then their values
 *   INSPECT as SOURCE                        FINDING u32 file, code, message
 *   PING    (empty)                          END     u32 rc, code, message, result
 * A process has one more socket, to stop a query that runs: u32 connection, u64 number. Its end of
 * file ends the process.
 */
#ifndef OFFLOADER_ENGINE_WIRE_H
#define OFFLOADER_ENGINE_WIRE_H

#include "base/buf.h"
#include "base/err.h"
#include "query/value_bytes.h"

#define WIRE_HEAD_BYTES 5
#define WIRE_LIMIT_BYTES (64u << 20)
#define WIRE_BATCH_BYTES (256u << 10) /* rows are sent when they fill this */
#define WIRE_RANGE_BYTES (4u << 20)   /* one RANGE asks for no more */

enum wire_kind {
    WIRE_QUERY = 'q',
    WIRE_SOURCE = 's',
    WIRE_BYTES = 'b',
    WIRE_INSPECT = 'i',
    WIRE_PING = 'p',
    WIRE_WANT = 'W',
    WIRE_RANGE = 'R',
    WIRE_ROWS = 'D',
    WIRE_FINDING = 'F',
    WIRE_END = 'E',
};

/* ---- writing into a buffer ---- */

size_t wire_begin(struct buf *b, enum wire_kind kind); /* where it began, for wire_finish */
void wire_finish(struct buf *b, size_t began);

/* ---- sockets ---- */

/* Blocks until all is written; false: the other end has gone. */
MUST_CHECK bool wire_write(int fd, const void *p, size_t n);
/* Blocks until @n bytes came; false: the other end has gone. */
MUST_CHECK bool wire_read(int fd, void *p, size_t n);
/* One message: its kind, and its body in @body. False: gone, or larger than is allowed. */
MUST_CHECK bool wire_receive(int fd, struct buf *body, enum wire_kind *ret);

#endif
