/* SPDX-License-Identifier: Apache-2.0 */
/* offloader version. */
#include <stdio.h>

#include "cli/cli.h"

static int run(const struct command *c)
{
    (void)c;
    printf("offloader %s\n", OFFLOADER_VERSION);
    printf("duckdb 1.4.4\n");
    return EXIT_FINE;
}

const struct command command_version = {
    .name = "version",
    .summary = "Print the version.",
    .usage = "",
    .example = "offloader version",
    .run = run,
};
