/* SPDX-License-Identifier: Apache-2.0 */
/* What doctor finds on this machine: project, ports, cache directory; and how it tells. */
#include "cli/doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "cli/findings.h"
#include "cli/place.h"
#include "markup/markup.h"
#include "refresh/config_source.h"

#define LOW_DISK_BYTES (UINT64_C(1) << 30)
#define NO_DISK_BYTES (UINT64_C(64) << 20)

/* ---- telling ---- */

void doctor_say(struct doctor *d, const char *area, enum doctor_status status, const char *hint,
                const char *format, ...)
{
    va_list args;
    if (d->n_checks == LIMIT_DOCTOR_CHECKS)
        return;
    va_start(args, format);
    d->checks[d->n_checks++] = (struct doctor_check){
        .area = area,
        .status = status,
        .message = x_vprintf(format, args),
        .hint = hint ? x_strdup(hint) : NULL,
    };
    va_end(args);
}

static const char *status_word(enum doctor_status s)
{
    static const char *const words[] = {"ok", "note", "warn", "FAIL"};
    return words[s];
}

bool doctor_is_healthy(const struct doctor *d)
{
    for (size_t i = 0; i < d->n_checks; i++)
        if (d->checks[i].status == DOCTOR_FAIL)
            return false;
    return true;
}

void doctor_print(const struct doctor *d)
{
    struct buf b;
    buf_init(&b, 16u << 20);
    for (size_t i = 0; i < d->n_checks; i++) {
        const struct doctor_check *c = &d->checks[i];
        buf_printf(&b, "%-5s %-12s ", status_word(c->status), c->area);
        findings_put_text(&b, c->message);
        buf_putc(&b, '\n');
        if (c->hint && c->status != DOCTOR_OK)
            buf_printf(&b, "%-18s -> %s\n", "", c->hint);
    }
    printf("%s%s\n", buf_cstr(&b),
           doctor_is_healthy(d) ? "Nothing is in the way." : "Something needs attention.");
    buf_done(&b);
}

void doctor_print_json(const struct doctor *d)
{
    static const char *const words[] = {"ok", "note", "warn", "fail"};
    struct json_writer w;
    struct buf b;
    buf_init(&b, 16u << 20);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "ok");
    jw_bool(&w, doctor_is_healthy(d));
    jw_key(&w, "checks");
    jw_open(&w, '[');
    for (size_t i = 0; i < d->n_checks; i++) {
        const struct doctor_check *c = &d->checks[i];
        jw_open(&w, '{');
        jw_key(&w, "area");
        jw_cstr(&w, c->area);
        jw_key(&w, "status");
        jw_cstr(&w, words[c->status]);
        jw_key(&w, "message");
        jw_cstr(&w, c->message);
        jw_key(&w, "hint");
        jw_cstr(&w, c->status == DOCTOR_OK ? NULL : c->hint);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
    printf("%s\n", buf_cstr(&b));
    buf_done(&b);
}

void doctor_done(struct doctor *d)
{
    for (size_t i = 0; i < d->n_checks; i++) {
        mem_free(d->checks[i].message);
        mem_free(d->checks[i].hint);
    }
    project_free(d->project);
    objectstore_free(d->store);
    admin_client_close(&d->admin);
}

/* ---- project ---- */

static void tell_project(struct doctor *d, const struct project_place *place)
{
    struct errlist findings = ERRLIST_INIT;
    struct err err = ERR_INIT;
    enum rc rc = project_place_load(place, &findings, &d->project, &err);
    for (size_t i = 0; i < findings.n_items; i++) {
        const struct finding *f = &findings.items[i];
        doctor_say(d, "project", f->severity == FINDING_ERROR ? DOCTOR_FAIL : DOCTOR_WARN, f->hint,
                   "%s:%d:%d: %s: %s: %s", f->file, f->line, f->column, f->path, f->code,
                   f->message);
    }
    if (rc == RC_OK)
        doctor_say(d, "project", DOCTOR_OK, NULL, "%s: %zu dataset(s), %zu endpoint(s), %zu key(s)",
                   d->settings.config, d->project->n_datasets, d->project->n_endpoints,
                   d->project->n_keys);
    else if (findings.n_errors == 0)
        doctor_say(d, "project", DOCTOR_FAIL,
                   "OFFLOADER_CONFIG or --config names offloader.yml, its directory, or a gs:// or "
                   "s3:// prefix",
                   "%s", err.message);
    errlist_done(&findings);
}

void doctor_project(struct doctor *d)
{
    const char *config = d->settings.config;
    struct project_place place;
    struct err err = ERR_INIT;
    if (!config)
        return; /* the environment's finding has said so */
    enum rc rc = project_place_open(config, d->store, &place, &err);
    if (rc != RC_OK) {
        doctor_say(d, "project", DOCTOR_FAIL, "the lines about the object store say more",
                   "%s: %s: %s", config, config_error_class(rc, &err), err.message);
        return;
    }
    if (place.n_objects)
        doctor_say(d, "project", DOCTOR_OK, NULL, "%s: %zu object(s) fetched", config,
                   place.n_objects);
    tell_project(d, &place);
    project_place_close(&place);
}

/* ---- ports ---- */

/* As in a URL. Owned. */
static char *place_of(const char *address, int64_t port)
{
    return x_printf(strchr(address, ':') ? "[%s]:%lld" : "%s:%lld", address, (long long)port);
}

/* By binding to it, as the server would: why not, or 0. A text that is no address gives 0: the
 * environment's finding has said so. */
static int bind_errno(const char *address, int64_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_v4 = inet_pton(AF_INET, address, &in.sin_addr) == 1;
    int on = 1;
    if (!is_v4 && inet_pton(AF_INET6, address, &in6.sin6_addr) != 1)
        return 0;
    AUTO(fd_auto) int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on,
                     sizeof on); /* as the server: past TIME_WAIT */
    int failed = is_v4 ? bind(fd, (struct sockaddr *)&in, sizeof in)
                       : bind(fd, (struct sockaddr *)&in6, sizeof in6);
    return failed ? errno : 0;
}

static const char *port_help(int problem)
{
    if (problem == EADDRINUSE)
        return "stop what listens there, or set another port";
    if (problem == EACCES)
        return "ports below 1024 need CAP_NET_BIND_SERVICE: set a higher one";
    return "OFFLOADER_BIND and OFFLOADER_ADMIN_BIND are addresses of this machine, 0.0.0.0 or ::";
}

static void tell_port(struct doctor *d, const char *what, const char *address, int64_t port)
{
    AUTO(mem_free_auto) char *place = place_of(address, port);
    int problem = bind_errno(address, port);
    struct err err = ERR_INIT;
    if (problem == 0) {
        doctor_say(d, "ports", DOCTOR_OK, NULL, "%s %s is free", what, place);
    } else if (problem != EADDRINUSE) {
        (void)err_set_errno(&err, RC_IO, problem, "%s %s cannot be listened on", what, place);
        doctor_say(d, "ports", DOCTOR_FAIL, port_help(problem), "%s", err.message);
    } else if (d->server_answers) {
        doctor_say(d, "ports", DOCTOR_OK, NULL, "%s %s: an offloader runs there", what, place);
    } else {
        doctor_say(d, "ports", DOCTOR_FAIL, port_help(problem),
                   "%s %s is in use by another program", what, place);
    }
}

/* Whether what holds the admin port is an offloader. */
static bool answers(const char *address, int64_t port)
{
    const char *here = strcmp(address, "0.0.0.0") == 0 ? "127.0.0.1"
                       : strcmp(address, "::") == 0    ? "localhost"
                                                       : address;
    AUTO(mem_free_auto) char *place = place_of(here, port);
    struct admin_client client = {.url = x_printf("http://%s", place)};
    struct admin_reply reply;
    struct err err = ERR_INIT;
    int status = 0;
    if (net_new(&(struct net_options){0}, &client.net, &err) == RC_OK)
        status = doctor_get(&client, "/live", &reply);
    if (status)
        admin_reply_done(&reply);
    admin_client_close(&client);
    return status == 200;
}

void doctor_ports(struct doctor *d)
{
    const struct settings *s = &d->settings;
    d->server_answers = bind_errno(s->admin_bind, s->admin_port) == EADDRINUSE &&
                        answers(s->admin_bind, s->admin_port);
    tell_port(d, "API", s->bind, s->api_port);
    tell_port(d, "admin", s->admin_bind, s->admin_port);
    if (s->api_port && s->api_port == s->admin_port)
        doctor_say(d, "ports", DOCTOR_FAIL, "give them two ports",
                   "the API and admin port are the same");
}

/* ---- cache directory ---- */

/* The nearest directory above @path that exists; owned. */
static char *nearest_existing(const char *path)
{
    char *p = x_strdup(path);
    while (access(p, F_OK) != 0) {
        char *slash = strrchr(p, '/');
        if (!slash || slash == p) {
            mem_free(p);
            return x_strdup(slash ? "/" : ".");
        }
        *slash = 0;
    }
    return p;
}

/* By doing it: permissions alone do not know of read-only file systems. */
static bool can_write(const char *directory)
{
    AUTO(mem_free_auto) char *path =
        x_printf("%s/.offloader-doctor-%ld", directory, (long)getpid());
    struct err err = ERR_INIT;
    AUTO(fd_auto) int fd = -1;
    if (io_open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &fd, &err) != RC_OK)
        return false;
    (void)unlink(path); /* just made */
    return true;
}

static void tell_space(struct doctor *d, const char *path)
{
    uint64_t n = 0;
    struct err err = ERR_INIT;
    if (io_free_bytes(path, &n, &err) != RC_OK)
        return;
    doctor_say(d, "cache",
               n < NO_DISK_BYTES    ? DOCTOR_FAIL
               : n < LOW_DISK_BYTES ? DOCTOR_WARN
                                    : DOCTOR_OK,
               "snapshots are built beside the ones that serve: keep room for two of each dataset",
               "%.1f GiB free", (double)n / (double)LOW_DISK_BYTES);
}

/* Looks without taking it, and without making the file. */
static void tell_lock(struct doctor *d, const char *directory)
{
    AUTO(mem_free_auto) char *path = path_join(directory, "lock");
    int holder;
    struct err err = ERR_INIT;
    if (io_lock_holder(path, &holder, &err) != RC_OK)
        return; /* no process has used it yet */
    if (holder == 0)
        doctor_say(d, "cache", DOCTOR_OK, NULL, "not in use by another process");
    else if (d->server_answers)
        doctor_say(d, "cache", DOCTOR_OK, NULL, "in use by the offloader that runs here");
    else
        doctor_say(d, "cache", DOCTOR_FAIL, "give each process its own OFFLOADER_CACHE_DIR",
                   "process %d uses it", holder);
}

void doctor_cache(struct doctor *d)
{
    const char *directory = d->settings.cache_dir;
    AUTO(mem_free_auto) char *existing = nearest_existing(directory);
    bool is_there = strcmp(existing, directory) == 0;
    if (!can_write(existing))
        doctor_say(d, "cache", DOCTOR_FAIL,
                   "make it writable for the user that runs offloader, or set OFFLOADER_CACHE_DIR",
                   "%s: %s is not writable", directory, is_there ? "it" : existing);
    else
        doctor_say(d, "cache", DOCTOR_OK, NULL, "%s is writable%s", directory,
                   is_there ? "" : " (it will be made)");
    tell_space(d, existing);
    if (is_there)
        tell_lock(d, directory);
}
