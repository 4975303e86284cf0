/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd's protocols: readiness, status and the watchdog, as datagrams to $NOTIFY_SOCKET. Without
 * that variable nothing happens. Main thread only.
 */
#ifndef OFFLOADER_DAEMON_SUPERVISOR_H
#define OFFLOADER_DAEMON_SUPERVISOR_H

#include "loop/loop.h"

void supervisor_tell(const char *state); /* "READY=1"; best effort */

/*
 * The watchdog is fed only while every event loop answers: a message goes to each, and the next
 * feeding waits until all came back. So a loop that hangs gets the process restarted, and a busy
 * one does not.
 */
struct watchdog;
/* NULL when $WATCHDOG_USEC asks for none of this process. @loops outlive it. */
struct watchdog *watchdog_new(struct loop *const *loops, int n_loops);
void watchdog_free(struct watchdog *w); /* after the loops have ended */
/* Feeds when it is time. Returns how long to wait before the next call at most; @otherwise_us for
 * NULL. */
int64_t watchdog_tick(struct watchdog *w, int64_t otherwise_us);

#endif
