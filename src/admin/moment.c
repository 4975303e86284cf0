/* SPDX-License-Identifier: Apache-2.0 */
/* The boot's name is the kernel's: a random UUID made at its start, readable in containers too. */
#include "admin/moment.h"

#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/timeutil.h"

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

static void read_boot_id(char ret[BOOT_ID_BYTES])
{
    struct buf b;
    struct err err = ERR_INIT;
    buf_init(&b, 4096);
    if (io_read_file(BOOT_ID_FILE, &b, &err) == RC_OK && b.n >= BOOT_ID_BYTES - 1)
        memcpy(ret, b.p, BOOT_ID_BYTES - 1);
    buf_done(&b);
}

struct moment moment_now(void)
{
    struct moment m = {.boot_us = boot_us(), .wall_us = wall_us()};
    read_boot_id(m.boot);
    return m;
}

static bool is_same_boot(const struct moment *a, const struct moment *b)
{
    return a->boot[0] && strcmp(a->boot, b->boot) == 0 && a->boot_us <= b->boot_us;
}

int64_t moment_age_us(const struct moment *then, const struct moment *now)
{
    if (is_same_boot(then, now))
        return now->boot_us - then->boot_us;
    return now->wall_us > then->wall_us ? now->wall_us - then->wall_us : 0;
}

bool moment_is_to_come(const struct moment *then, const struct moment *now)
{
    return !is_same_boot(then, now) && then->wall_us > now->wall_us;
}
