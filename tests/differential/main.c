/* SPDX-License-Identifier: Apache-2.0 */
/*
 * differential [--pairs N] [--seed S] [--threads T]: R-12. Prints what was compared; exits with 1
 * and everything needed to replay at the first difference.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/timeutil.h"
#include "differential.h"
#include "engine/child.h"
#include "plan/plan.h"

#define REQUESTS_A_WORLD 60
#define VARIATIONS 4         /* of the values of one request: statements are used again */
#define WORLDS_A_LONG_WAY 12 /* one world in so many goes through files */
#define WORLDS_A_DEEP 96     /* one in so many is asked for pages behind DEEP_ROWS, */
#define WORLDS_A_DEEPEST 384 /* one in four of them one of more than DEEPEST_ROWS */
#define DEEP_REQUESTS 24     /* and for so many of them */
#define LIMIT_THREADS 16
#define PAIRS_THAT_MEET_ALL 50000 /* ways of answering, and encodings of blocks */

int offloader_engine_main(int argc, char **argv);

static _Atomic uint64_t pairs_left, next_world;
static _Atomic bool has_failed;

static size_t random_rows(struct chance *c)
{
    static const size_t odd[] = {0, 1, 2, 8191, 8192, 8193};
    if (chance_is(c, 4))
        return odd[chance_below(c, ARRAY_LEN(odd))];
    if (chance_is(c, 16))
        return LARGE_ROWS + 1 + chance_below(c, 3 * LARGE_ROWS);
    return chance_below(c, chance_is(c, 20) ? 2000 : 60);
}

/* Of the rarest kinds a run has some by the world's number, not by chance. */
static size_t rows_of_world(uint64_t world, struct chance *c)
{
    if (world % WORLDS_A_DEEPEST == 101)
        return DEEPEST_ROWS + 1 + chance_below(c, DEEP_ROWS);
    if (world % WORLDS_A_DEEP == 5)
        return DEEP_ROWS + 1 + chance_below(c, DEEPEST_ROWS - DEEP_ROWS);
    return random_rows(c);
}

/* The next page: after the position of this one. False: there is none. */
static bool turn_page(struct request *r, const struct answer *a)
{
    if (!a->result.has_more || a->result.n_last == 0)
        return false;
    for (int i = 0; i < a->result.n_last; i++)
        r->seek[i] = a->result.last[i];
    r->query.n_seek = a->result.n_last;
    r->query.has_seek = true;
    r->query.offset = 0;
    return true;
}

static bool run_pair(struct lane *l, struct store *store, struct request *r, struct answer *theirs,
                     struct answer *ours)
{
    const struct query_control none = {0};
    struct query_stats stats = {0};
    answer_begin(ours, &r->query);
    ours->rc = store_execute(store, &r->query, &none, answer_sink(ours), l->scratch, &ours->result,
                             &stats, &ours->err);
    answer_begin(theirs, &r->query);
    theirs->rc = query_run(l->session, &r->query, "t", answer_sink(theirs), &theirs->keep,
                           &theirs->result, &theirs->err);
    l->tally.pairs++;
    l->tally.rows += ours->result.n_rows;
    l->tally.groups += r->query.grouped;
    l->tally.seeks += r->query.has_seek;
    l->tally.block_skips += stats.blocks_skipped > 0;
    l->tally.postings += stats.used_posting_list;
    l->tally.deep += r->query.offset >= DEEP_ROWS && ours->result.n_rows > 0;
    l->tally.again += !r->query.grouped && stats.rows_touched > stats.rows_in_range;
    const char *what = answer_compare(&r->query, ours, theirs);
    if (!what)
        return true;
    printf("DIFFERS in %s\n", what);
    request_print(r);
    answer_print("store", ours);
    answer_print("duckdb", theirs);
    return false;
}

static bool run_requests(struct lane *l, struct chance *c, const struct table *t,
                         struct store *store)
{
    struct answer answers[2][2];
    bool fine = true;
    int n_variations = t->n_rows > DEEP_ROWS ? 1 : VARIATIONS;
    int n = t->n_rows > DEEP_ROWS    ? DEEP_REQUESTS
            : t->n_rows > LARGE_ROWS ? REQUESTS_A_WORLD * 2 / 3
                                     : REQUESTS_A_WORLD;
    for (int i = 0; i < 4; i++)
        answer_init(&answers[i / 2][i % 2]);
    for (int i = 0; fine && i < n; i++) {
        struct request r;
        if (i == 0 && t->n_rows > DEEPEST_ROWS)
            request_make_deepest(&r, t, c);
        else
            request_make(&r, t, c);
        for (int j = 0; fine && j < n_variations; j++) {
            int page = 0;
            /* Two sets: the texts of a position live in the answer they came with. */
            do
                fine = run_pair(l, store, &r, &answers[page % 2][0], &answers[page % 2][1]);
            while (fine && page < 3 && turn_page(&r, &answers[page++ % 2][0]));
            request_vary(&r, t, c);
        }
    }
    for (int i = 0; i < 4; i++)
        answer_done(&answers[i / 2][i % 2]);
    return fine;
}

static bool short_way(struct lane *l, struct chance *c, size_t n_rows)
{
    struct table t;
    struct store *store = NULL;
    struct err err = ERR_INIT;
    table_make(&t, c, n_rows, false);
    enum rc rc = io_mkdir_all(l->directory, 0700, &err);
    if (rc == RC_OK)
        rc = table_write_store(&t, l->directory, &err);
    if (rc == RC_OK)
        rc = store_open(l->directory, &store, &err);
    if (rc == RC_OK)
        rc = table_load_duckdb(&t, l->connection, "t", &err);
    if (rc != RC_OK)
        printf("FAILED: %s\n", err.message);
    bool fine = rc == RC_OK && run_requests(l, c, &t, store);
    if (store)
        encodings_add(store, l->tally.encodings);
    store_free(store);
    table_done(&t);
    return fine;
}

static bool open_lane(struct lane *l, const char *directory)
{
    struct err err = ERR_INIT;
    l->directory = x_printf("%s/lane%d", directory, l->index);
    l->scratch = store_scratch_new();
    struct engine_options options = {.n_connections = 1, .temp_directory = l->directory};
    l->engine = engine_new(&options);
    enum rc rc = sql_open(":memory:", 1, 0, NULL, &l->database, &l->connection, &err);
    if (rc == RC_OK)
        rc = functions_register(l->connection, &err);
    if (rc == RC_OK)
        l->session = query_session_new(l->connection);
    else
        printf("FAILED: %s\n", err.message);
    return rc == RC_OK;
}

static void close_lane(struct lane *l)
{
    query_session_free(l->session);
    duckdb_disconnect(&l->connection);
    duckdb_close(&l->database);
    store_scratch_free(l->scratch);
    engine_free(l->engine);
    mem_free(l->directory);
}

/* Worlds until enough pairs were compared. A world's seed depends on the run's and its number
 * alone. */
static void *lane_main(void *arg)
{
    struct lane *l = arg;
    while (!atomic_load(&has_failed) && atomic_load(&pairs_left) > 0) {
        uint64_t world = atomic_fetch_add(&next_world, 1), before = l->tally.pairs;
        struct chance c = {l->seed + world * UINT64_C(0x9e3779b97f4a7c15)};
        bool fine = world % WORLDS_A_LONG_WAY == 1 ? long_way(l, &c)
                                                   : short_way(l, &c, rows_of_world(world, &c));
        if (!fine) {
            printf("replay: --seed %llu --world %llu\n", (unsigned long long)l->seed,
                   (unsigned long long)world);
            atomic_store(&has_failed, true);
        }
        uint64_t did = l->tally.pairs - before, left = atomic_load(&pairs_left);
        while (!atomic_compare_exchange_weak(&pairs_left, &left, left > did ? left - did : 0))
            continue;
    }
    return NULL;
}

static void add_up(struct tally *to, const struct tally *from)
{
    to->pairs += from->pairs;
    to->seeks += from->seeks;
    to->groups += from->groups;
    to->rows += from->rows;
    to->long_way += from->long_way;
    to->refused += from->refused;
    to->deep += from->deep;
    to->again += from->again;
    to->block_skips += from->block_skips;
    to->postings += from->postings;
    for (size_t i = 0; i < N_ENCODINGS; i++)
        to->encodings[i] += from->encodings[i];
}

/* What a run that is long enough must have met. */
struct way {
    const char *what;
    uint64_t n;
};
#define N_WAYS 7

static struct way ways_of(const struct tally *t, size_t i)
{
    const struct way all[N_WAYS] = {
        {"through files, ingest, planner and query process", t->long_way},
        {"grouped", t->groups},
        {"after a position", t->seeks},
        {"with blocks skipped", t->block_skips},
        {"by posting list", t->postings},
        {"deep", t->deep},
        {"in several passes", t->again},
    };
    return all[i];
}

static void print_tally(const struct tally *t)
{
    printf("%llu pairs (%llu rows; %llu refused as requests)", (unsigned long long)t->pairs,
           (unsigned long long)t->rows, (unsigned long long)t->refused);
    for (size_t i = 0; i < N_WAYS; i++)
        printf(", %llu %s", (unsigned long long)ways_of(t, i).n, ways_of(t, i).what);
    printf(", ");
}

/* Says what was not met: a failure of a run that is long enough. */
static bool met_every_way(const struct tally *t)
{
    bool all = encodings_print(t->encodings);
    if (!all)
        printf("an encoding was never read\n");
    for (size_t i = 0; i < N_WAYS; i++) {
        if (ways_of(t, i).n == 0)
            printf("no pair was %s\n", ways_of(t, i).what);
        all &= ways_of(t, i).n > 0;
    }
    bool few_refused = t->long_way > 20 * t->refused;
    if (!few_refused)
        printf("too many requests were refused\n");
    return all && few_refused;
}

static int run(uint64_t seed, int n_threads)
{
    char directory[] = "/tmp/differential.XXXXXX";
    static struct lane lanes[LIMIT_THREADS];
    struct tally all = {0};
    struct err err = ERR_INIT;
    int64_t began_us = monotonic_us();
    if (!mkdtemp(directory))
        return 1;
    for (int i = 0; i < n_threads; i++) {
        lanes[i].index = i;
        lanes[i].seed = seed;
        if (!open_lane(&lanes[i], directory) ||
            pthread_create(&lanes[i].thread, NULL, lane_main, &lanes[i]) != 0)
            return 1;
    }
    for (int i = 0; i < n_threads; i++) {
        (void)pthread_join(lanes[i].thread, NULL); /* joined once */
        add_up(&all, &lanes[i].tally);
        close_lane(&lanes[i]);
    }
    IGNORE(io_remove_tree(directory, &err)); /* under /tmp */
    print_tally(&all);
    printf("%.1f s: %s\n", (double)(monotonic_us() - began_us) / 1e6,
           has_failed ? "DIFFERENT" : "the same bytes");
    bool met_all = all.pairs < PAIRS_THAT_MEET_ALL || met_every_way(&all);
    return has_failed || !met_all ? 1 : 0;
}

int main(int argc, char **argv)
{
    uint64_t seed = 0, pairs = 100000, n_threads = 2, world = 0;
    /* The children that an ingest and a query process are: this binary again. */
    if (argc > 1 && strncmp(argv[1], "__", 2) == 0)
        return offloader_engine_main(argc, argv);
    random_bytes(&seed, 4);
    seed &= UINT32_MAX;
    for (int i = 1; i + 1 < argc; i += 2) {
        struct str value = str_from(argv[i + 1]);
        bool fine = strcmp(argv[i], "--pairs") == 0     ? parse_uint64(value, &pairs)
                    : strcmp(argv[i], "--seed") == 0    ? parse_uint64(value, &seed)
                    : strcmp(argv[i], "--threads") == 0 ? parse_uint64(value, &n_threads)
                    : strcmp(argv[i], "--world") == 0   ? parse_uint64(value, &world)
                                                        : false;
        if (!fine || n_threads < 1 || n_threads > LIMIT_THREADS) {
            fprintf(stderr,
                    "usage: differential [--pairs N] [--seed S] [--threads T] [--world W]\n");
            return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %llu\n", (unsigned long long)seed);
    cursor_set_secret("a secret of tests, long enough for its key", 42);
    atomic_store(&pairs_left, pairs);
    atomic_store(&next_world, world);
    return run(seed, (int)n_threads);
}
