/* SPDX-License-Identifier: Apache-2.0 */
/* What a running server says of itself, over its admin port. */
#include "cli/doctor.h"

int doctor_get(struct admin_client *admin, const char *path, struct admin_reply *ret)
{
    struct err err = ERR_INIT;
    if (admin_client_call(admin, "GET", path, NULL, NULL, ret, &err) != RC_OK)
        return 0;
    return ret->status;
}

static void tell_ready(struct doctor *d)
{
    struct admin_reply reply;
    int status = doctor_get(&d->admin, "/ready", &reply);
    if (status == 200)
        doctor_say(d, "server", DOCTOR_OK, NULL, "it is ready");
    else if (status == 503)
        doctor_say(d, "server", DOCTOR_FAIL,
                   "`waiting_for` names datasets that have no snapshot yet",
                   "it is not ready: %.300s", buf_cstr(&reply.body));
    else
        doctor_say(d, "server", DOCTOR_FAIL, NULL, "/ready answers %d", status);
    if (status)
        admin_reply_done(&reply);
}

static const char *text_of(const struct node *n, const char *key, const char *otherwise)
{
    const struct node *v = node_get(n, key);
    return v && v->kind == NODE_STRING ? v->text.p : otherwise;
}

static bool is_false(const struct node *n, const char *key)
{
    const struct node *v = node_get(n, key);
    return v && v->kind == NODE_BOOL && !v->boolean;
}

static void tell_dataset(struct doctor *d, const struct node *n)
{
    const char *id = text_of(n, "dataset", "?");
    const struct node *problem = node_get(n, "refresh_error"), *stale = node_get(n, "stale");
    const struct node *active = node_get(n, "active_snapshot");
    bool is_served = active && active->kind == NODE_MAP;
    if (problem && problem->kind == NODE_MAP)
        doctor_say(d, "server", is_served ? DOCTOR_WARN : DOCTOR_FAIL, NULL, "dataset %s: %s: %s",
                   id, text_of(problem, "code", "failed"), text_of(problem, "message", ""));
    if (is_false(n, "source_reachable"))
        doctor_say(d, "server", DOCTOR_WARN, "see docs/runbooks/bucket-unreachable.md",
                   "dataset %s: its source cannot be reached", id);
    if (stale && stale->kind == NODE_BOOL && stale->boolean)
        doctor_say(d, "server", DOCTOR_WARN, "the producer has not published for too long",
                   "dataset %s: its snapshot is stale", id);
}

static void tell_diagnostics(struct doctor *d, const struct node *root)
{
    const struct node *sync = node_get(root, "config_sync"), *datasets = node_get(root, "datasets");
    const struct node *copy = sync ? node_get(sync, "serves_kept_copy") : NULL;
    doctor_say(d, "server", DOCTOR_OK, NULL, "the admin token is accepted");
    if (sync && strcmp(text_of(sync, "result", ""), "error") == 0)
        doctor_say(d, "server", DOCTOR_WARN, "the running project serves on; the log says why",
                   "the project could not be synced: %s", text_of(sync, "error", "?"));
    if (copy && copy->kind == NODE_BOOL && copy->boolean)
        doctor_say(d, "server", DOCTOR_WARN, "see docs/runbooks/bucket-unreachable.md",
                   "the project comes from the copy kept on disk");
    for (const struct node *n = datasets ? datasets->first : NULL; n; n = n->next)
        tell_dataset(d, n);
}

static void tell_more(struct doctor *d)
{
    struct admin_reply reply;
    if (!d->admin.authorization) {
        doctor_say(d, "server", DOCTOR_NOTE, "give --admin-token @FILE for more",
                   "no admin token is given");
        return;
    }
    int status = doctor_get(&d->admin, "/diagnostics", &reply);
    if (status == 200 && reply.root)
        tell_diagnostics(d, reply.root);
    else
        doctor_say(d, "server", DOCTOR_FAIL,
                   status == 401 ? "the server has another OFFLOADER_ADMIN_TOKEN"
                                 : "the server needs OFFLOADER_ADMIN_TOKEN to be set",
                   "/diagnostics answers %d", status);
    if (status)
        admin_reply_done(&reply);
}

void doctor_server(struct doctor *d)
{
    struct admin_reply reply;
    if (!d->admin.url)
        return;
    int status = doctor_get(&d->admin, "/live", &reply);
    if (status)
        admin_reply_done(&reply);
    if (status != 200) {
        doctor_say(d, "server", DOCTOR_FAIL, "is it running, and is this its admin port?",
                   status ? "%s: /live answers %d" : "%s: no answer", d->admin.url, status);
        return;
    }
    doctor_say(d, "server", DOCTOR_OK, NULL, "%s is alive", d->admin.url);
    tell_ready(d);
    tell_more(d);
}
