/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main() of a fuzz target in an ordinary build: every file of the corpus once, then a fixed number
 * of mutated ones. Mutation i depends on the seed and i alone, so a failure is repeated by its
 * number:
 *
 *     fuzz_<name> CORPUS COUNT [SEED [FIRST]]
 *
 * When an input crashes or takes longer than LIMIT_SECONDS, it is written to crash-<seed>-<i> in
 * the current directory and named on stderr.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#define LIMIT_SECONDS 30
#define LIMIT_INPUT_BYTES ((size_t)64 << 10)
#define LIMIT_CORPUS_FILES 4096

struct input {
    uint8_t *p;
    size_t n;
};

static struct input corpus[LIMIT_CORPUS_FILES];
static size_t n_corpus;

/* What runs now, for the signal handler. */
static struct input current;
static unsigned long long current_seed, current_at;

static uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

static size_t random_below(uint64_t *state, size_t limit)
{
    return limit ? (size_t)(random_next(state) % limit) : 0;
}

static void on_crash(int number)
{
    char name[64];
    int n = snprintf(name, sizeof(name), "crash-%llu-%llu", current_seed, current_at);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0) {
        (void)!write(fd, current.p, current.n);
        (void)!write(STDERR_FILENO, "\nreplay: the input is in ", 25);
        (void)!write(STDERR_FILENO, name, (size_t)n);
        (void)!write(STDERR_FILENO, "\n", 1);
    }
    signal(number, SIG_DFL);
    raise(number);
}

static void fail(const char *what, const char *which)
{
    fprintf(stderr, "replay: %s: %s\n", what, which);
    exit(2);
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_input(const char *directory, const char *name)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *f = fopen(path, "rb");
    struct stat st;
    if (!f || fstat(fileno(f), &st) != 0)
        fail("cannot read", path);
    if (S_ISREG(st.st_mode) && n_corpus < LIMIT_CORPUS_FILES) {
        size_t n = (size_t)st.st_size;
        uint8_t *p = malloc(n ? n : 1);
        if (!p || fread(p, 1, n, f) != n)
            fail("cannot read", path);
        corpus[n_corpus++] = (struct input){p, n};
    }
    fclose(f);
}

static void read_corpus(const char *directory)
{
    struct dirent **names;
    int n = scandir(directory, &names, NULL, compare_names);
    if (n < 0)
        fail("cannot list", directory);
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.')
            read_input(directory, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    if (n_corpus == 0)
        fail("no seeds in", directory);
}

/* A copy of exactly its size, so that a sanitizer sees a read past its end. */
static void run(const uint8_t *p, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);
    if (!exact)
        fail("out of memory", "");
    if (n)
        memcpy(exact, p, n);
    current = (struct input){exact, n};
    alarm(LIMIT_SECONDS);
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

static size_t insert(uint8_t *p, size_t n, size_t at, const uint8_t *from, size_t count)
{
    if (count > LIMIT_INPUT_BYTES - n)
        count = LIMIT_INPUT_BYTES - n;
    memmove(p + at + count, p + at, n - at);
    memcpy(p + at, from, count);
    return n + count;
}

/* A token that parsers care about goes in at @at. */
static size_t put_token(uint64_t *state, uint8_t *p, size_t n, size_t at)
{
    static const char *const tokens[] = {
        "\0",       "\xff",
        "\r\n",     "\"",
        "'",        "{",
        "}",        "[",
        "]",        ":",
        ",",        "-",
        "%",        "&",
        "=",        "..",
        "/",        "\\u0000",
        "\\",       "0",
        "-0",       "null",
        "~",        "9223372036854775808",
        "1e999",    "true",
        "\t",       " ",
        "&a",       "*a",
        "!!",       "\xef\xbb\xbf",
        "<<",       "#",
        "|",        ">",
        "\xc0\x80", "\xed\xa0\x80",
    };
    const char *token = tokens[random_below(state, sizeof(tokens) / sizeof(tokens[0]))];
    return insert(p, n, at, (const uint8_t *)token, *token ? strlen(token) : 1);
}

static size_t repeat_run(uint64_t *state, uint8_t *p, size_t n, size_t at)
{
    uint8_t run[256];
    size_t count = n - at < sizeof(run) ? n - at : sizeof(run);
    count = random_below(state, count + 1);
    memcpy(run, p + at, count);
    return insert(p, n, random_below(state, n + 1), run, count);
}

static size_t drop_run(uint64_t *state, uint8_t *p, size_t n, size_t at)
{
    size_t count = n ? 1 + random_below(state, n - at < 64 ? n - at : 64) : 0;
    memmove(p + at, p + at + count, n - at - count);
    return n - count;
}

static size_t put_piece_of_another(uint64_t *state, uint8_t *p, size_t n, size_t at)
{
    const struct input *other = &corpus[random_below(state, n_corpus)];
    size_t from = random_below(state, other->n ? other->n : 1);
    return insert(p, n, at, other->p + from, random_below(state, other->n - from + 1));
}

static size_t mutate_once(uint64_t *state, uint8_t *p, size_t n)
{
    size_t at = random_below(state, n ? n : 1);
    switch (random_below(state, 8)) {
    case 0:
        if (n)
            p[at] ^= (uint8_t)(1u << random_below(state, 8));
        return n;
    case 1:
        if (n)
            p[at] = (uint8_t)random_next(state);
        return n;
    case 2:
        return drop_run(state, p, n, at);
    case 3:
        return repeat_run(state, p, n, at);
    case 4:
        return put_piece_of_another(state, p, n, at);
    case 5: /* cut short, now and then */
        return random_below(state, 4) ? n : at;
    default:
        return put_token(state, p, n, at);
    }
}

static void run_mutation(unsigned long long seed, unsigned long long at)
{
    static uint8_t p[LIMIT_INPUT_BYTES];
    uint64_t state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (at + 1);
    for (int i = 0; i < 4; i++)
        (void)random_next(&state);
    const struct input *from = &corpus[random_below(&state, n_corpus)];
    size_t n = from->n < LIMIT_INPUT_BYTES ? from->n : LIMIT_INPUT_BYTES;
    if (n)
        memcpy(p, from->p, n);
    for (size_t steps = 1 + random_below(&state, 6); steps > 0; steps--)
        n = mutate_once(&state, p, n);
    current_at = at;
    run(p, n);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        fail("usage", "CORPUS COUNT [SEED [FIRST]]");
    unsigned long long count = strtoull(argv[2], NULL, 10);
    current_seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    unsigned long long first = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
    read_corpus(argv[1]);
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        signal(fatal[i], on_crash);

    for (size_t i = 0; i < n_corpus; i++) {
        current_at = i;
        run(corpus[i].p, corpus[i].n);
    }
    for (unsigned long long i = 0; i < count; i++)
        run_mutation(current_seed, first + i);
    printf("%zu seeds and %llu mutations, seed %llu\n", n_corpus, count, current_seed);
    for (size_t i = 0; i < n_corpus; i++)
        free(corpus[i].p);
    return 0;
}
