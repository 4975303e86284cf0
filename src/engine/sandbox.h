/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a child process gives up before it looks at a byte from outside (assurance.md, design 1):
 * every path but those it is told, the network, other processes, new programs, and memory without
 * end. Landlock does the paths where the kernel has it, seccomp the system calls; neither can be
 * undone.
 */
#ifndef OFFLOADER_ENGINE_SANDBOX_H
#define OFFLOADER_ENGINE_SANDBOX_H

#include "base/err.h"

struct sandbox {
    const char *const *read; /* files, or directories with all that is in them */
    size_t n_read;
    const char *write[2];  /* directories; NULL: none */
    uint64_t memory_bytes; /* DuckDB's limit, from which the process's is made; 0: none */
    int landlock_at_most;  /* as if the kernel had no later ABI; 0: what it has. For tests */
};

/*
 * Before the first thread. RC_IO when a layer that the kernel has cannot be put up: then nothing
 * may be decoded. Paths that do not exist are left out: opening them fails by itself.
 */
MUST_CHECK enum rc sandbox_enter(const struct sandbox *s, struct err *err);

/* `__sandbox-test ingest|query|bare DIRECTORY [LANDLOCK-ABI]`: tries what must not work, a line an
 * attempt. */
int sandbox_test_main(int argc, char **argv);

#endif
