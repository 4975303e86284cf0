/* SPDX-License-Identifier: Apache-2.0 */
/* A project where a command names it: a path, or a bucket's prefix, which is fetched first. */
#ifndef OFFLOADER_CLI_PLACE_H
#define OFFLOADER_CLI_PLACE_H

#include "objectstore/objectstore.h"
#include "project/project.h"

struct project_place {
    char *path;       /* owned; on this disk */
    char *temporary;  /* owned; the directory that a bucket was fetched into, NULL: none */
    size_t n_objects; /* fetched */
};
/* @store NULL: one is made for the call, with the environment's credentials. */
MUST_CHECK enum rc project_place_open(const char *config, struct objectstore *store,
                                      struct project_place *ret, struct err *err);
/* As the server loads it. Findings and errors are project_load()'s. */
MUST_CHECK enum rc project_place_load(const struct project_place *p, struct errlist *findings,
                                      struct project **ret, struct err *err);
void project_place_close(struct project_place *p); /* removes what was fetched */

#endif
