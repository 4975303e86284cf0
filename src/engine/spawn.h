/* SPDX-License-Identifier: Apache-2.0 */
/* For engine/process.c: vfork and exec of this same binary. A file of its own, so that the fault
 * lane can stand between: a function that calls vfork cannot be wrapped around it. */
#ifndef OFFLOADER_ENGINE_SPAWN_H
#define OFFLOADER_ENGINE_SPAWN_H

#include <sys/types.h>

#include "base/compiler.h"

#define LIMIT_SPAWN_FDS 72

/*
 * `/proc/self/exe @args…` (NULL-ended, without the program), with @fds as its descriptors 0, 1, 3,
 * 4, … (-1: /dev/null), standard error, and no others; @nice is added to the main thread's
 * niceness. It dies with the calling thread. Returns once it runs its own program: its pid, or -1
 * and errno. Any thread but an event loop's: it waits for the exec, about half a millisecond.
 */
pid_t spawn_child(const char *const *args, const int *fds, int n_fds, int nice);

#endif
