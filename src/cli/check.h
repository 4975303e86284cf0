/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest on disk, checked as far as its files allow: for validate and manifest validate. */
#ifndef OFFLOADER_CLI_CHECK_H
#define OFFLOADER_CLI_CHECK_H

#include "manifest/manifest.h"

/*
 * Reads and checks the manifest at @path: itself, its local files, Parquet schemas in a child
 * process, and the contract of @dataset unless that is NULL. @project_root: it lives in a project.
 * Whatever is wrong is a finding. False when there is no such file (no finding is added).
 */
MUST_CHECK bool check_manifest(const char *path, const char *project_root,
                               const struct dataset *dataset, const char *shown_as,
                               struct errlist *findings);

#endif
