/* SPDX-License-Identifier: Apache-2.0 */
/* For src/engine: starting a child of this binary, feeding it, reading its lines, ending it. */
#ifndef OFFLOADER_ENGINE_PROCESS_H
#define OFFLOADER_ENGINE_PROCESS_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct process {
    pid_t pid;
    int to, from;     /* our ends of its stdin and stdout */
    struct buf lines; /* bytes read and not given yet */
    size_t at;
};

/*
 * `/proc/self/exe @args…` (NULL-ended, without the program). Dies with this process. Callers wait
 * for answers and for nothing that such a child does, so it takes the CPU that serving leaves: from
 * its first instruction, as linking the engine alone costs 40 ms.
 */
MUST_CHECK enum rc process_start(struct process *p, const char *const *args, struct err *err);
/* A child that callers do wait for, with stream sockets instead of pipes: our ends in @ret_sockets
 * (owned), the child's are its descriptors 3, 4, …; its stdin and stdout are /dev/null. */
MUST_CHECK enum rc process_start_sockets(struct process *p, const char *const *args,
                                         int *ret_sockets, int n_sockets, struct err *err);
/*
 * Writes @text to its stdin and closes it; goes on reading its output meanwhile. RC_TIMEOUT when it
 * did not take all of it in @wait_us: then @text is what is left, for the next call.
 */
MUST_CHECK enum rc process_feed(struct process *p, struct str *text, int64_t wait_us,
                                struct err *err);
/*
 * The next line of its output, without its end; borrowed until the next call. RC_NOT_FOUND at the
 * end of output, RC_TIMEOUT when nothing came for @wait_us.
 */
MUST_CHECK enum rc process_line(struct process *p, int64_t wait_us, struct str *ret,
                                struct err *err);
/* Kills it, at once or when it still runs after 2 s; reaps it, closes everything. Returns how it
 * ended, as a sentence part in @ret_how when that is not NULL; true: it exited with 0. */
bool process_end(struct process *p, bool kill_it, char ret_how[128]);

#endif
