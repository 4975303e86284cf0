/* SPDX-License-Identifier: Apache-2.0 */
/* An environment of a test's own: NAME=VALUE, ended by NULL. */
#ifndef OFFLOADER_TESTS_UNIT_ENVIRONMENT_H
#define OFFLOADER_TESTS_UNIT_ENVIRONMENT_H

#include <string.h>

static const char *const *environment;

static const char *get(const char *name)
{
    size_t n = strlen(name);
    for (const char *const *p = environment; *p; p++)
        if (strncmp(*p, name, n) == 0 && (*p)[n] == '=')
            return *p + n + 1;
    return NULL;
}

#define ENV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define KEYS "OFFLOADER_S3_KEY_ID=k", "OFFLOADER_S3_SECRET=s"

#endif
