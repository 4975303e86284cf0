/* SPDX-License-Identifier: Apache-2.0 */
/* Findings on the terminal and as JSON. */
#ifndef OFFLOADER_CLI_FINDINGS_H
#define OFFLOADER_CLI_FINDINGS_H

#include <stdio.h>

#include "base/buf.h"
#include "base/errlist.h"

/* Text of a file for a terminal: control characters are shown, not obeyed. */
void findings_put_text(struct buf *b, const char *text);
/* `<file>:<line>:<col>: <path>: <code>: <message> (<hint>)` a line: stdout for a command whose
 * result they are, stderr for others. */
void findings_print(FILE *to, const struct errlist *findings);
/* On stdout: {"valid":…,"errors":N,"warnings":N,"findings":[…]} */
void findings_print_json(const struct errlist *findings);

#endif
