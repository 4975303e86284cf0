/* SPDX-License-Identifier: Apache-2.0 */
/* A project's files, written by a test into a directory of its own. */
#ifndef OFFLOADER_TESTS_PROJECT_FILES_H
#define OFFLOADER_TESTS_PROJECT_FILES_H

#include "unit.h"

#include "base/mem.h"

static char *directory;

static void write_file(const char *name, const char *text)
{
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *path = path_join(directory, name);
    AUTO(mem_free_auto) char *parent = x_strndup(path, (size_t)(strrchr(path, '/') - path));
    CHECK_OK(name, io_mkdir_all(parent, 0700, &err), &err);
    CHECK_OK(name, io_write_file(path, text, strlen(text), 0600, &err), &err);
}

#endif
