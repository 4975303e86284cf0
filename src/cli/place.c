/* SPDX-License-Identifier: Apache-2.0 */
/* Fetches a bucket's project under /tmp, by the server's own rules. */
#include "cli/place.h"

#include <stdlib.h>

#include "base/io.h"
#include "base/mem.h"
#include "refresh/config_source.h"

static enum rc fetch(const char *url, struct objectstore *store, struct project_place *ret,
                     struct err *err)
{
    char directory[] = "/tmp/offloader-project-XXXXXX";
    struct objectstore *own = NULL;
    if (!mkdtemp(directory))
        return err_set(err, RC_IO, "cannot make a directory under /tmp");
    ret->temporary = x_strdup(directory);
    ret->path = path_join(directory, "project");
    enum rc rc = store ? RC_OK : objectstore_new(false, &own, err);
    if (rc == RC_OK)
        rc = config_fetch_once(store ? store : own, url, ret->path, &ret->n_objects, err);
    objectstore_free(own);
    if (rc != RC_OK)
        project_place_close(ret);
    return rc;
}

enum rc project_place_open(const char *config, struct objectstore *store, struct project_place *ret,
                           struct err *err)
{
    *ret = (struct project_place){0};
    if (objectstore_is_url(config))
        return fetch(config, store, ret, err);
    ret->path = x_strdup(config);
    return RC_OK;
}

enum rc project_place_load(const struct project_place *p, struct errlist *findings,
                           struct project **ret, struct err *err)
{
    return p->temporary ? config_load_tree(p->path, findings, ret, err)
                        : project_load(p->path, findings, ret, err);
}

void project_place_close(struct project_place *p)
{
    struct err err = ERR_INIT;
    if (p->temporary)
        IGNORE(io_remove_tree(p->temporary, &err)); /* under /tmp */
    mem_free(p->temporary);
    mem_free(p->path);
    *p = (struct project_place){0};
}
