/* SPDX-License-Identifier: Apache-2.0 */
/* Commands: one table makes dispatch, usage and --help; one small file a command. */
#ifndef OFFLOADER_CLI_CLI_H
#define OFFLOADER_CLI_CLI_H

#include "base/compiler.h"

enum { EXIT_FINE = 0, EXIT_FINDINGS = 1, EXIT_USAGE = 2 };

struct flag {
    const char *name;      /* without dashes */
    const char *argument;  /* what it takes, for --help; NULL: a switch */
    const char *otherwise; /* default; NULL: none */
    const char *help;
};

struct command {
    const char *name;
    const char *summary;
    const char *usage; /* after the name */
    const char *words; /* what its first argument may be, by spaces; NULL: anything */
    const char *example;
    const struct flag *flags; /* ended by a NULL name */
    int max_positional;
    int (*run)(const struct command *c);
};

/* ---- what a command sees of its arguments (parsed before run) ---- */
const char *flag_text(const char *name); /* as given, else the default, else NULL */
bool flag_given(const char *name);
int n_positional(void);
const char *positional(int at);

/* Every command; ended by NULL. */
const struct command *const *command_table(void);

/* A usage error on stderr; returns EXIT_USAGE. */
int usage_error(const struct command *c, const char *format, ...) PRINTF_LIKE(2, 3);

extern const struct command command_serve, command_validate, command_manifest, command_keys,
    command_snapshot, command_query, command_explain, command_doctor, command_bench,
    command_version, command_endpoint, command_completion;

#endif
