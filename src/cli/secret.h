/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens on the command line: as text, as @FILE, or from a variable. */
#ifndef OFFLOADER_CLI_SECRET_H
#define OFFLOADER_CLI_SECRET_H

#include "base/err.h"

/* The value of --@flag (or @variable without it). *ret is owned; NULL with RC_OK: there is none. */
MUST_CHECK enum rc secret_read(const char *flag, const char *variable, char **ret, struct err *err);
/* Can @s stand in an Authorization header? */
bool secret_is_token(const char *s);

#endif
