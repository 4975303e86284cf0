/* SPDX-License-Identifier: Apache-2.0 */
/* A databricks commit marker: the names it gives are safe to put behind a prefix. */
#include <assert.h>
#include <string.h>

#include "base/io.h"
#include "fuzz.h"
#include "manifest/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char **names = NULL;
    size_t n_names = 0;
    struct err err = ERR_INIT;
    enum rc rc = commit_marker_parse((struct str){(const char *)data, n}, &names, &n_names, &err);
    assert(rc == RC_OK || (err.rc == rc && err.message[0]));
    for (size_t i = 0; rc == RC_OK && i < n_names; i++)
        assert(names[i][0] && !strchr(names[i], '/') && strcmp(names[i], "..") != 0);
    if (rc == RC_OK)
        io_free_names(names, n_names);
    return 0;
}
