/* SPDX-License-Identifier: Apache-2.0 */
/* offloader serve: production by the environment, or a local trial of a project on loopback. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/findings.h"
#include "daemon/daemon.h"
#include "objectstore/objectstore.h"
#include "project/project.h"

extern char **environ;

static const char *get_environment(const char *name)
{
    return getenv(name);
}

/* True: go on. Warnings are shown either way. */
static bool report(const struct errlist *findings)
{
    for (size_t i = 0; i < findings->n_items; i++)
        fprintf(stderr, "offloader: %s %s\n", findings->items[i].path, findings->items[i].message);
    return findings->n_errors == 0;
}

static int serve_by_environment(void)
{
    static struct settings settings;
    struct errlist findings = ERRLIST_INIT;
    settings_read(get_environment, environ, &settings, &findings);
    bool fine = report(&findings);
    errlist_done(&findings);
    if (!fine)
        return EXIT_FINDINGS;
    return daemon_run(&(struct daemon_options){.settings = &settings});
}

/* ---- the trial ---- */

struct trial {
    const char *project;
    char *cache_dir; /* made by us; removed at the end */
};

/* Lines that the project brings along for a person to paste: README's, with the port filled in. */
static void print_samples(const char *project, int api_port)
{
    struct stat st;
    struct buf text;
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *root = path_real(project);
    if (!root || stat(root, &st) != 0)
        return;
    if (!S_ISDIR(st.st_mode)) /* offloader.yml itself */
        strrchr(root, '/')[1] = 0;
    AUTO(mem_free_auto) char *path = path_join(root, "try.txt");
    buf_init(&text, 65536);
    if (io_read_file(path, &text, &err) == RC_OK) {
        printf("\nTry:\n");
        for (const char *p = buf_cstr(&text); *p;) {
            size_t n = strcspn(p, "\n");
            const char *mark = memmem(p, n, "{port}", 6);
            if (mark)
                printf("  %.*s%d%.*s\n", (int)(mark - p), p, api_port,
                       (int)(n - 6 - (size_t)(mark - p)), mark + 6);
            else
                printf("  %.*s\n", (int)n, p);
            p += n + (p[n] == '\n');
        }
    }
    buf_done(&text);
}

static void on_ready(void *arg, int api_port, int admin_port)
{
    struct trial *t = arg;
    printf("\noffloader %s serves %s\n\n  API    http://127.0.0.1:%d/v1/endpoints/\n"
           "  admin  http://127.0.0.1:%d/ready  /status  /metrics\n",
           OFFLOADER_VERSION, t->project, api_port, admin_port);
    if (!objectstore_is_url(t->project))
        print_samples(t->project, api_port);
    printf("\nCtrl-C ends it.\n\n");
    fflush(stdout);
}

static bool project_is_valid(const char *path)
{
    struct errlist findings = ERRLIST_INIT;
    struct project *p = NULL;
    struct err err = ERR_INIT;
    enum rc rc = project_load(path, &findings, &p, &err);
    findings_print(stderr, &findings);
    if (rc != RC_OK)
        fprintf(stderr, "offloader serve: %s\n", err.message);
    project_free(p);
    errlist_done(&findings);
    return rc == RC_OK;
}

static bool read_port(const struct command *c, const char *flag, int64_t *ret)
{
    if (parse_int64(str_from(flag_text(flag)), ret) && *ret >= 0 && *ret <= 65535)
        return true;
    (void)usage_error(c, "--%s must be a port between 0 and 65535", flag);
    return false;
}

static int serve_trial(const struct command *c, const char *project)
{
    static struct settings settings;
    struct errlist findings = ERRLIST_INIT;
    uint8_t secret[32];
    char hex[65], cache_template[] = "/tmp/offloader-trial-XXXXXX";
    struct trial trial = {.project = project};
    struct err err = ERR_INIT;
    /* A bucket's project is fetched and checked by the start itself, into the trial's own cache. */
    if (!objectstore_is_url(project) && !project_is_valid(project))
        return EXIT_FINDINGS;
    random_bytes(secret, sizeof secret);
    hex_encode(secret, sizeof secret, hex);
    (void)setenv("OFFLOADER_CONFIG", project, 1); /* fails only on a bad name */
    if (!getenv("OFFLOADER_SECRET_KEY_BASE"))
        (void)setenv("OFFLOADER_SECRET_KEY_BASE", hex, 1);
    settings_read(get_environment, environ, &settings, &findings);
    bool fine = report(&findings);
    errlist_done(&findings);
    if (!fine || !read_port(c, "api-port", &settings.api_port) ||
        !read_port(c, "admin-port", &settings.admin_port))
        return EXIT_USAGE;
    settings.bind = settings.admin_bind = flag_text("bind");
    settings.cache_dir = flag_text("cache-dir");
    if (!settings.cache_dir) {
        settings.cache_dir = trial.cache_dir = mkdtemp(cache_template);
        if (!trial.cache_dir) {
            fprintf(stderr, "offloader serve: cannot make a cache directory under /tmp\n");
            return EXIT_FINDINGS;
        }
    }
    int status = daemon_run(&(struct daemon_options){
        .settings = &settings, .is_trial = true, .on_ready = on_ready, .arg = &trial});
    if (trial.cache_dir && io_remove_tree(trial.cache_dir, &err) != RC_OK)
        fprintf(stderr, "offloader serve: %s\n", err.message);
    return status;
}

/* The flags are a trial's. Dropped without a word, --bind would open the port to every address. */
static int refuse_flags(const struct command *c)
{
    static const struct {
        const char *flag, *variable;
    } rows[] = {{"api-port", "OFFLOADER_API_PORT"},
                {"admin-port", "OFFLOADER_ADMIN_PORT"},
                {"bind", "OFFLOADER_BIND"},
                {"cache-dir", "OFFLOADER_CACHE_DIR"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (flag_given(rows[i].flag))
            return usage_error(c, "--%s is for the trial of a PROJECT; without one, set %s",
                               rows[i].flag, rows[i].variable);
    return EXIT_FINE;
}

static int run(const struct command *c)
{
    int usage = positional(0) ? EXIT_FINE : refuse_flags(c);
    if (usage != EXIT_FINE)
        return usage;
    return positional(0) ? serve_trial(c, positional(0)) : serve_by_environment();
}

static const struct flag flags[] = {
    {"api-port", "PORT", "4000", "port of the API in a trial; 0 picks a free one"},
    {"admin-port", "PORT", "4001", "port of the operators in a trial; 0 picks a free one"},
    {"bind", "ADDR", "127.0.0.1", "address to bind to in a trial"},
    {"cache-dir", "DIR", NULL, "keep the cache of a trial here"},
    {NULL, NULL, NULL, NULL},
};

const struct command command_serve = {
    .name = "serve",
    .summary = "Run the server: by the environment, or a trial of the project given.",
    .usage = "[PROJECT [flags]]",
    .example = "offloader serve examples/customer-analytics\n  offloader serve gs://bucket/prefix/",
    .flags = flags,
    .max_positional = 1,
    .run = run,
};
