/* SPDX-License-Identifier: Apache-2.0 */
/* Small files that say when they rot: the text, a newline, the CRC-32C of the text in hex, a
 * newline. */
#include "base/hash.h"
#include "base/io.h"

#include <stdio.h>

#define TRAILER_BYTES 10

enum rc io_write_checked(const char *path, struct buf *text, mode_t mode, struct err *err)
{
    uint32_t crc = crc32c(0, text->p, text->n);
    buf_printf(text, "\n%08x\n", crc);
    if (text->failed)
        return err_set(err, RC_NO_MEMORY, "'%s': no memory for what is to be written", path);
    return io_write_file(path, text->p, text->n, mode, err);
}

enum rc io_read_checked(const char *path, struct buf *ret, struct err *err)
{
    char want[TRAILER_BYTES + 1];
    enum rc rc = io_read_file(path, ret, err);
    if (rc != RC_OK)
        return rc;
    size_t n = ret->n > TRAILER_BYTES ? ret->n - TRAILER_BYTES : 0;
    (void)snprintf(want, sizeof want, "\n%08x\n", crc32c(0, ret->p, n));
    if (n == 0 || memcmp(ret->p + n, want, TRAILER_BYTES) != 0)
        return err_set(err, RC_CORRUPT, "'%s' does not verify", path);
    ret->n = n;
    return RC_OK;
}
