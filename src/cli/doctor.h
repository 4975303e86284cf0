/* SPDX-License-Identifier: Apache-2.0 */
/* offloader doctor: checks, each with a word of help. No secret is ever in a message. */
#ifndef OFFLOADER_CLI_DOCTOR_H
#define OFFLOADER_CLI_DOCTOR_H

#include "cli/admin_client.h"
#include "daemon/settings.h"
#include "objectstore/objectstore.h"
#include "project/project.h"

enum doctor_status { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_WARN, DOCTOR_FAIL };

#define LIMIT_DOCTOR_CHECKS 512

struct doctor_check {
    const char *area; /* literal */
    enum doctor_status status;
    char *message, *hint; /* owned; hint NULL: none */
};
struct doctor {
    struct settings settings;
    struct admin_client admin; /* of the server asked about; url NULL: none is */
    struct objectstore *store;
    struct project *project; /* NULL: could not be loaded */
    bool server_answers;     /* an offloader runs on the configured admin port */
    struct doctor_check checks[LIMIT_DOCTOR_CHECKS];
    size_t n_checks;
};

/* @hint may be NULL; a literal. */
void doctor_say(struct doctor *d, const char *area, enum doctor_status status, const char *hint,
                const char *format, ...) PRINTF_LIKE(5, 6);
bool doctor_is_healthy(const struct doctor *d); /* nothing failed */
void doctor_print(const struct doctor *d);
void doctor_print_json(const struct doctor *d);
void doctor_done(struct doctor *d);

/* The project, from its directory or its bucket: sets d->project. */
void doctor_project(struct doctor *d);
void doctor_ports(struct doctor *d);
void doctor_cache(struct doctor *d);
/* ---- doctor_store.c ---- */
void doctor_stores(struct doctor *d);
/* ---- doctor_server.c ---- */
/* The HTTP status of GET @path, 0 when there is no answer. @ret holds the reply unless that is 0.
 */
int doctor_get(struct admin_client *admin, const char *path, struct admin_reply *ret);
void doctor_server(struct doctor *d);

#endif
