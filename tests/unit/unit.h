/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every unit test includes: cmocka, checks that say why a row of a table is there, and a
 * scratch directory. Tables have a `why` per row; CHECK prints it when the row fails.
 */
#ifndef OFFLOADER_TESTS_UNIT_H
#define OFFLOADER_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/io.h"
#include "base/str.h"

#define CHECK(why, condition)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("%s:%d: %s: not so: %s", __FILE__, __LINE__, (why), #condition);              \
    } while (0)

#define CHECK_INT(why, got, want)                                                                  \
    do {                                                                                           \
        long long got_ = (long long)(got), want_ = (long long)(want);                              \
        if (got_ != want_)                                                                         \
            fail_msg("%s:%d: %s: %s is %lld, wanted %lld", __FILE__, __LINE__, (why), #got, got_,  \
                     want_);                                                                       \
    } while (0)

#define CHECK_STR(why, got, want)                                                                  \
    do {                                                                                           \
        const char *got_ = (got), *want_ = (want);                                                 \
        if (!got_ || strcmp(got_, want_) != 0)                                                     \
            fail_msg("%s:%d: %s: %s is \"%s\", wanted \"%s\"", __FILE__, __LINE__, (why), #got,    \
                     got_ ? got_ : "(null)", want_);                                               \
    } while (0)

/* The call must succeed; its error is shown when it does not. */
#define CHECK_OK(why, call, err)                                                                   \
    do {                                                                                           \
        enum rc rc_ = (call);                                                                      \
        if (rc_ != RC_OK)                                                                          \
            fail_msg("%s:%d: %s: %s: %s", __FILE__, __LINE__, (why), rc_name(rc_),                 \
                     (err)->message);                                                              \
    } while (0)

/* A new empty directory under $TMPDIR or /tmp; owned by the caller, who gives it to unit_remove().
 */
static inline char *unit_directory(void)
{
    const char *base = getenv("TMPDIR");
    static char path[512];
    snprintf(path, sizeof(path), "%s/offloader-unit-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(path))
        fail_msg("cannot make a scratch directory: %s", path);
    return strdup(path);
}

static inline void unit_remove(char *directory)
{
    struct err err = ERR_INIT;
    CHECK_OK("the scratch directory goes", io_remove_tree(directory, &err), &err);
    free(directory);
}

/* xorshift64*: the same numbers for the same seed everywhere. Tests print their seed. */
static inline uint64_t unit_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

/* OFFLOADER_TEST_SEED, else @otherwise; printed, never 0. */
static inline uint64_t unit_seed(uint64_t otherwise)
{
    const char *text = getenv("OFFLOADER_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : otherwise;
    printf("seed %llu\n", (unsigned long long)(seed ? seed : 1));
    return seed ? seed : 1;
}

#endif
