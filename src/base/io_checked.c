/* SPDX-License-Identifier: Apache-2.0 */
/* Small JSON files that say when they rot: the object's last member is the CRC-32C, in hex, of all
 * that is before it. */
#include "base/hash.h"
#include "base/io.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define MEMBER ",\"crc32c\":\"%08x\"}\n"
#define MEMBER_BYTES 22
#define TRAILER_BYTES 10 /* earlier releases: the object, a newline, its checksum, a newline */

enum rc io_write_checked(const char *path, struct buf *object, mode_t mode, struct err *err)
{
    if (!object->failed) {
        assert(object->n > 2 && object->p[object->n - 1] == '}');
        object->n--;
        buf_printf(object, MEMBER, crc32c(0, object->p, object->n));
    }
    if (object->failed)
        return err_set(err, RC_NO_MEMORY, "'%s': no memory for what is to be written", path);
    return io_write_file(path, object->p, object->n, mode, err);
}

/* Of what is before the last @n_end bytes. */
static uint32_t crc_before(const struct buf *b, size_t n_end)
{
    return b->n > n_end ? crc32c(0, b->p, b->n - n_end) : 0;
}

static bool ends_with(const struct buf *b, const char *end, size_t n_end)
{
    return b->n > n_end && memcmp(b->p + b->n - n_end, end, n_end) == 0;
}

enum rc io_read_checked(const char *path, struct buf *ret, struct err *err)
{
    char member[MEMBER_BYTES + 1], trailer[TRAILER_BYTES + 1];
    enum rc rc = io_read_file(path, ret, err);
    if (rc != RC_OK)
        return rc;
    (void)snprintf(member, sizeof member, MEMBER, crc_before(ret, MEMBER_BYTES));
    if (ends_with(ret, member, MEMBER_BYTES))
        return RC_OK;
    (void)snprintf(trailer, sizeof trailer, "\n%08x\n", crc_before(ret, TRAILER_BYTES));
    if (!ends_with(ret, trailer, TRAILER_BYTES))
        return err_set(err, RC_CORRUPT, "'%s' does not verify", path);
    ret->n -= TRAILER_BYTES;
    return RC_OK;
}
