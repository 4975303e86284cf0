/* SPDX-License-Identifier: Apache-2.0 */
/* Findings on the terminal and as JSON. */
#ifndef OFFLOADER_CLI_FINDINGS_H
#define OFFLOADER_CLI_FINDINGS_H

#include "base/buf.h"
#include "base/errlist.h"

/* `<file>:<line>:<col>: <path>: <code>: <message> (<hint>)` a line, on stdout. */
void findings_print(const struct errlist *findings);
/* {"valid":…,"errors":N,"warnings":N,"findings":[…]} */
void findings_print_json(const struct errlist *findings);

#endif
