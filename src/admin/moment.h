/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A time to measure an age from, also after a restart. The wall clock alone would not do: one that
 * is set ahead makes everything old, one that is set back makes it young again. So a moment is kept
 * by the clock of the machine's boot, and by the wall clock for when the machine was started anew.
 */
#ifndef OFFLOADER_ADMIN_MOMENT_H
#define OFFLOADER_ADMIN_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

#define BOOT_ID_BYTES 37

struct moment {
    char boot[BOOT_ID_BYTES]; /* which start of the machine; empty: not known */
    int64_t boot_us, wall_us;
};

struct moment moment_now(void);
/* Never negative. Exact within one boot, whatever happens to the wall clock; else what that says.
 */
int64_t moment_age_us(const struct moment *then, const struct moment *now);
/* True when neither clock can tell the age: another boot, and a time that is still to come. */
bool moment_is_to_come(const struct moment *then, const struct moment *now);

#endif
