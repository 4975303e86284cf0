/* SPDX-License-Identifier: Apache-2.0 */
/* A token may stand in a file or a variable, so that the process list needn't show it. */
#include "cli/secret.h"

#include <stdlib.h>

#include "auth/token.h"
#include "base/io.h"
#include "base/mem.h"
#include "cli/cli.h"

enum rc secret_read(const char *flag, const char *variable, char **ret, struct err *err)
{
    const char *text = flag_text(flag);
    struct buf file;
    if (!text || !*text)
        text = getenv(variable);
    if (!text || !*text)
        return RC_OK;
    if (*text != '@') {
        *ret = x_strdup(text);
        return RC_OK;
    }
    buf_init(&file, LIMIT_TOKEN_BYTES);
    enum rc rc = io_read_file(text + 1, &file, err);
    if (rc == RC_OK) {
        size_t n = file.n;
        while (n && (file.p[n - 1] == '\n' || file.p[n - 1] == '\r'))
            n--;
        *ret = x_strndup(file.p, n);
    }
    buf_done(&file);
    return rc;
}

bool secret_is_token(const char *s)
{
    for (; *s; s++)
        if (*s <= ' ' || *s > '~')
            return false;
    return true;
}
