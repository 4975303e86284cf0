/* SPDX-License-Identifier: Apache-2.0 */
/* offloader completion bash | zsh | fish: completes commands, their words and flags, from the
 * tables. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static void put_words(const struct command *c)
{
    if (c->words)
        printf("%s ", c->words);
}

static void put_flags(const struct command *c)
{
    for (const struct flag *f = c->flags; f && f->name; f++)
        printf("--%s ", f->name);
    printf("--help");
}

static void print_bash(void)
{
    printf("# bash: source <(offloader completion bash)\n_offloader() {\n"
           "    local words=\"");
    for (const struct command *const *c = command_table(); *c; c++)
        printf("%s ", (*c)->name);
    printf(
        "help\"\n    if [ \"$COMP_CWORD\" -gt 1 ]; then\n        case \"${COMP_WORDS[1]}\" in\n");
    for (const struct command *const *c = command_table(); *c; c++) {
        printf("        %s) words=\"", (*c)->name);
        put_words(*c);
        put_flags(*c);
        printf("\" ;;\n");
    }
    printf("        *) words=\"\" ;;\n        esac\n    fi\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
           "complete -o default -F _offloader offloader\n");
}

static void print_zsh(void)
{
    printf("#compdef offloader\n# zsh: source <(offloader completion zsh)\n"
           "autoload -U +X bashcompinit && bashcompinit\n");
    print_bash();
}

/* In single quotes, as fish reads them. */
static void put_single_quoted(const char *s)
{
    putchar('\'');
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\')
            putchar('\\');
        putchar(*s);
    }
    putchar('\'');
}

static void print_fish(void)
{
    printf("# fish: offloader completion fish | source\n");
    for (const struct command *const *c = command_table(); *c; c++) {
        printf("complete -c offloader -n __fish_use_subcommand -a %s -d ", (*c)->name);
        put_single_quoted((*c)->summary);
        putchar('\n');
        printf("complete -c offloader -n '__fish_seen_subcommand_from %s' -a '", (*c)->name);
        put_words(*c);
        printf("'\n");
        for (const struct flag *f = (*c)->flags; f && f->name; f++)
            printf("complete -c offloader -n '__fish_seen_subcommand_from %s' -l %s%s\n",
                   (*c)->name, f->name, f->argument ? " -r" : "");
    }
}

static int run(const struct command *c)
{
    const char *shell = positional(0);
    if (shell && strcmp(shell, "bash") == 0)
        print_bash();
    else if (shell && strcmp(shell, "zsh") == 0)
        print_zsh();
    else if (shell && strcmp(shell, "fish") == 0)
        print_fish();
    else
        return usage_error(c, "name the shell: bash, zsh or fish");
    return EXIT_FINE;
}

const struct command command_completion = {
    .name = "completion",
    .summary = "Print the shell completion of commands and flags.",
    .usage = "bash | zsh | fish",
    .words = "bash zsh fish",
    .example = "offloader completion bash > ~/.local/share/bash-completion/completions/offloader",
    .max_positional = 1,
    .run = run,
};
