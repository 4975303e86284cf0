/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault lane: what wrap_*.c ask before each call they stand in for. docs/design/faults.md tells
 * how tests steer it. Linked into build/offloader-fault only; the program itself has none of this.
 */
#ifndef OFFLOADER_TESTS_LANE_H
#define OFFLOADER_TESTS_LANE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHORT (-1) /* in place of an errno: transfer one byte only */

#define SITE(name, ...) SITE_##name,
enum site {
#include "sites.h"
    N_SITES
};
#undef SITE

/* Counts one call of @site, which never fails. */
void lane_count(enum site site);
/* Counts one call of @site. True: it must fail, errno is set. */
bool lane_fails(enum site site);
/* The same for a transfer of *n bytes, which may become a short one instead. */
bool lane_fails_transfer(enum site site, size_t *n);
/* A change of the disk was made: counts it, and ends the server and this process when it is the one
 * that OFFLOADER_FAULT=crash:<n> names. Does not return then. Keeps errno. */
void lane_durable_step(void);
/* The same if @fd is a regular file or directory. */
void lane_durable_step_on(int fd);
/* Seconds that the wall clock is ahead of the machine's; negative: behind. */
int64_t lane_wall_shift_s(void);

#endif
