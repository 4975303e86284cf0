/* SPDX-License-Identifier: Apache-2.0 */
/* offloader doctor: is anything in the way of serving here? */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/doctor.h"

extern char **environ;

static const char *get_environment(const char *name)
{
    if (strcmp(name, "OFFLOADER_CONFIG") == 0 && flag_text("config"))
        return flag_text("config");
    return getenv(name);
}

static void tell_environment(struct doctor *d)
{
    struct errlist findings = ERRLIST_INIT;
    settings_read(get_environment, environ, &d->settings, &findings);
    for (size_t i = 0; i < findings.n_items; i++) {
        const struct finding *f = &findings.items[i];
        /* A token in the environment may be there for the commands alone. */
        bool fails = f->severity == FINDING_ERROR && strcmp(f->path, "OFFLOADER_ADMIN_TOKEN") != 0;
        doctor_say(d, "environment", fails ? DOCTOR_FAIL : DOCTOR_WARN,
                   f->severity == FINDING_ERROR ? "the server does not start with this" : NULL,
                   "%s %s", f->path, f->message);
    }
    if (findings.n_items == 0)
        doctor_say(d, "environment", DOCTOR_OK, NULL, "every OFFLOADER_ variable is well-formed");
    errlist_done(&findings);
}

static int run(const struct command *c)
{
    struct doctor *d = x_alloc0(sizeof *d);
    struct err err = ERR_INIT;
    int status = flag_given("admin-url") ? admin_client_open(c, false, &d->admin) : -1;
    if (status >= 0) {
        mem_free(d);
        return status;
    }
    tell_environment(d);
    if (objectstore_new(false, &d->store, &err) != RC_OK) {
        doctor_say(d, "environment", DOCTOR_FAIL, NULL, "%s", err.message);
    } else {
        doctor_project(d);
        doctor_ports(d);
        doctor_cache(d);
        doctor_stores(d);
        doctor_server(d);
    }
    if (flag_given("json"))
        doctor_print_json(d);
    else
        doctor_print(d);
    bool healthy = doctor_is_healthy(d);
    doctor_done(d);
    mem_free(d);
    return healthy ? EXIT_FINE : EXIT_FINDINGS;
}

static const struct flag flags[] = {
    {"config", "PROJECT", NULL, "instead of OFFLOADER_CONFIG"},
    {"admin-url", "URL", NULL, "admin port of a running server, such as http://127.0.0.1:4001"},
    {"admin-token", "TOKEN", NULL, "its admin token, or @FILE (default OFFLOADER_ADMIN_TOKEN)"},
    {"json", NULL, NULL, "print the result as one JSON document"},
    {NULL, NULL, NULL, NULL},
};

const struct command command_doctor = {
    .name = "doctor",
    .summary =
        "Check environment, project, ports, cache directory, object stores, a running server.",
    .usage = "[--config PROJECT] [--admin-url URL --admin-token TOKEN] [--json]",
    .example = "offloader doctor --admin-url http://127.0.0.1:4001 --admin-token @token",
    .flags = flags,
    .run = run,
};
