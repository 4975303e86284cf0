/* SPDX-License-Identifier: Apache-2.0 */
/* main(): finds the command, parses its flags, runs it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cli/cli.h"
#include "engine/engine.h"

#define LIMIT_FLAGS 32
#define LIMIT_POSITIONAL 64

static const struct command *const commands[] = {&command_serve,
                                                 &command_validate,
                                                 &command_manifest,
                                                 &command_keys,
                                                 &command_snapshot,
                                                 &command_query,
                                                 &command_explain,
                                                 &command_endpoint,
                                                 &command_doctor,
                                                 &command_bench,
                                                 &command_completion,
                                                 &command_version,
                                                 NULL};

static struct {
    const struct flag *flag;
    const char *value;
} given[LIMIT_FLAGS];
static int n_given;
static const char *arguments[LIMIT_POSITIONAL];
static int n_arguments;
static const struct command *current;

const char *flag_text(const char *name)
{
    for (int i = n_given - 1; i >= 0; i--)
        if (strcmp(given[i].flag->name, name) == 0)
            return given[i].value;
    for (const struct flag *f = current->flags; f && f->name; f++)
        if (strcmp(f->name, name) == 0)
            return f->otherwise;
    return NULL;
}

bool flag_given(const char *name)
{
    for (int i = 0; i < n_given; i++)
        if (strcmp(given[i].flag->name, name) == 0)
            return true;
    return false;
}

int n_positional(void)
{
    return n_arguments;
}

const char *positional(int at)
{
    return at < n_arguments ? arguments[at] : NULL;
}

const struct command *const *command_table(void)
{
    return commands;
}

int usage_error(const struct command *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "offloader %s: ", c->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\nSee `offloader %s --help`.\n", c->name);
    va_end(args);
    return EXIT_USAGE;
}

static void print_usage(FILE *to)
{
    fprintf(to, "offloader serves published snapshots as named REST endpoints.\n\n"
                "Usage: offloader <command> [flags]\n\nCommands:\n");
    for (size_t i = 0; commands[i]; i++)
        fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(to,
            "\n`offloader <command> --help` tells its flags; `offloader --version` the version.\n");
}

static int print_help(const struct command *c)
{
    printf("Usage: offloader %s %s\n\n%s\n", c->name, c->usage, c->summary);
    if (c->flags && c->flags->name)
        printf("\nFlags:\n");
    for (const struct flag *f = c->flags; f && f->name; f++) {
        char left[64];
        (void)snprintf(left, sizeof left, "--%s%s%s", f->name, f->argument ? " " : "",
                       f->argument ? f->argument : "");
        printf("  %-26s %s", left, f->help);
        if (f->otherwise && *f->otherwise)
            printf(" (default %s)", f->otherwise);
        printf("\n");
    }
    printf("\nExample:\n  %s\n", c->example);
    return EXIT_FINE;
}

static const struct flag *find_flag(const struct command *c, const char *name, size_t n)
{
    for (const struct flag *f = c->flags; f && f->name; f++)
        if (strlen(f->name) == n && strncmp(f->name, name, n) == 0)
            return f;
    return NULL;
}

/* One `--flag`; *at moves over its value. An exit status, or -1 to go on. */
static int take_flag(const struct command *c, int argc, char **argv, int *at)
{
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    const struct flag *f = find_flag(c, name, n);
    if (!f)
        return usage_error(c, "there is no flag --%.*s", (int)n, name);
    if (n_given == LIMIT_FLAGS)
        return usage_error(c, "too many flags");
    if (!f->argument && equals)
        return usage_error(c, "--%s takes no value", f->name);
    const char *value = equals ? equals + 1 : "";
    if (f->argument && !equals) {
        if (*at + 1 >= argc)
            return usage_error(c, "--%s needs a value", f->name);
        value = argv[++*at];
    }
    given[n_given].flag = f;
    given[n_given++].value = value;
    return -1;
}

static int run_command(const struct command *c, int argc, char **argv)
{
    current = c;
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return print_help(c);
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0) {
            int status = take_flag(c, argc, argv, &i);
            if (status >= 0)
                return status;
        } else if (argv[i][0] == '-' && argv[i][1]) {
            return usage_error(c, "there is no flag %s", argv[i]);
        } else if (n_arguments == c->max_positional || n_arguments == LIMIT_POSITIONAL) {
            return usage_error(c, "unexpected argument `%s`", argv[i]);
        } else {
            arguments[n_arguments++] = argv[i];
        }
    }
    return c->run(c);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
        return EXIT_FINE;
    }
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    for (size_t i = 0; commands[i]; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return run_command(commands[i], argc - 2, argv + 2);
    fprintf(stderr, "offloader: there is no command `%s`\n\n", argv[1]);
    print_usage(stderr);
    return EXIT_USAGE;
}

/* A result that did not arrive is none: a full disk or a closed descriptor shows here at last. */
static int finish(int status)
{
    struct err err = ERR_INIT;
    if (fflush(stdout) != 0)
        (void)err_set_errno(&err, RC_IO, errno, "cannot write to standard output");
    else if (ferror(stdout))
        (void)err_set(&err, RC_IO, "cannot write all of standard output");
    else
        return status;
    fprintf(stderr, "offloader: %s\n", err.message);
    return status == EXIT_FINE ? EXIT_FINDINGS : status;
}

/* A number that was closed would be given to the next file or socket, and what is said would go
 * there. Writing to /dev/full fails, as writing to a closed one does. */
static void occupy_standard_descriptors(void)
{
    static const char *const stand_ins[] = {"/dev/null", "/dev/full", "/dev/null"};
    for (int fd = 0; fd < (int)ARRAY_LEN(stand_ins); fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open(stand_ins[fd], fd == 0 ? O_RDONLY : O_WRONLY); /* takes the lowest free */
}

int main(int argc, char **argv)
{
    occupy_standard_descriptors();
    if (argc > 1 && strncmp(argv[1], "__", 2) == 0)
        return engine_child_main(argc, argv);
    return finish(dispatch(argc, argv));
}
