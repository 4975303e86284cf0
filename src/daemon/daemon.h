/* SPDX-License-Identifier: Apache-2.0 */
/* Wiring: what is started in which order, signals, drain. No logic of its own beyond that. */
#ifndef OFFLOADER_DAEMON_DAEMON_H
#define OFFLOADER_DAEMON_DAEMON_H

#include "daemon/settings.h"

struct daemon_options {
    const struct settings *settings;
    bool is_trial; /* serve PROJECT: a busy port moves on to the next one */
    /* When the ports are open; @arg is given on. */
    void (*on_ready)(void *arg, int api_port, int admin_port);
    void *arg;
};

/* Runs until a signal ends it. The exit status of the process. */
int daemon_run(const struct daemon_options *options);

#endif
