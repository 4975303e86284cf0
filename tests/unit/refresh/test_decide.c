/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The refresh, rollback and reload machine: a seeded simulation of a dataset, its source,
 * its disk and its operators. It keeps its own account of what each snapshot was built for and
 * which ids were rolled back from, and checks the invariants of decide.h against it after every
 * event. OFFLOADER_TEST_SEED replays; OFFLOADER_TEST_RUNS says how many.
 */
#include "decide_unit.h"

#define N_IDS 6

struct world {
    uint64_t dice, seed;
    int64_t now_us;
    struct machine m;
    bool held;
    /* the source */
    int source_id, source_contract;
    /* LATE: a data file is not there yet. FULL: there is no room to build. */
    enum { SOURCE_GOOD, SOURCE_BAD, SOURCE_LATE, SOURCE_FULL, SOURCE_DOWN } source_mood;
    unsigned source_version; /* how it looks */
    /* the attempt that runs: what it read */
    int read_id, read_contract, read_mood;
    unsigned read_version, seen_version; /* by this one; by the last one */
    bool read_skips, read_untouched;
    int began_with;    /* what was active then */
    int64_t barred_us; /* no full attempt before this, but for news or somebody who asks */
    bool is_stirred;   /* something came while the attempt ran that may make its answer another */
    struct contract aim, judged_by; /* of this one; of the last one that was not untouched */
    int judged_beside;              /* what was active when the latter began */
    /* our own account */
    int active, previous, quarantined; /* ids; -1: none */
    int active_contract, previous_contract, served_contract;
    int active_origin, previous_origin;
    bool active_is_broken;
    bool forced, rebuilds;
    bool joined, serves_joined; /* an ask joined what runs; what runs is the check after that */
    /* the disk: what a restart finds */
    int disk_active, disk_previous, disk_quarantined, disk_contract;
    int disk_active_origin, disk_previous_origin;
    unsigned n_swaps, n_rollbacks, n_cutovers, n_restarts;
};

static uint64_t roll(struct world *w, uint64_t n)
{
    return unit_random(&w->dice) % n;
}

static void name_of(int id, char ret[16])
{
    snprintf(ret, 16, "%s%d", id < 0 ? "" : "s", id);
    if (id < 0)
        ret[0] = 0;
}

static bool is_named(const char *text, int id)
{
    char name[16];
    name_of(id, name);
    return strcmp(text, name) == 0;
}

#define HOLDS(w, what)                                                                             \
    do {                                                                                           \
        if (!(what))                                                                               \
            fail_msg("OFFLOADER_TEST_SEED=%llu: does not hold: %s (line %d)",                      \
                     (unsigned long long)(w)->seed, #what, __LINE__);                              \
    } while (0)

static void check(struct world *w)
{
    const struct machine *m = &w->m;
    HOLDS(w, is_named(m->active_id, w->active)); /* D2: only we change it, below */
    HOLDS(w, is_named(m->previous_id, w->previous));
    HOLDS(w, is_named(m->quarantined, w->quarantined));
    HOLDS(w, w->active < 0 || w->active_contract == w->served_contract); /* D1 */
    HOLDS(w, w->previous < 0 || w->previous_contract == w->served_contract);
    HOLDS(w, m->served.contract[0] == w->served_contract);
    HOLDS(w, w->active < 0 || w->active != w->quarantined);             /* D3 */
    HOLDS(w, w->previous < 0 || w->previous != w->active);              /* D8 */
    HOLDS(w, w->active < 0 || m->active_origin[0] == w->active_origin); /* D12 */
    HOLDS(w, w->previous < 0 || m->previous_origin[0] == w->previous_origin);
    HOLDS(w,
          !w->active_is_broken || m->wants_rebuild || /* D9 */
              (m->is_running && m->running.rebuilds && is_named(m->running.active_id, w->active)));
    HOLDS(w,
          !m->has_pending || (m->pending.contract[0] != m->served.contract[0] && w->active >= 0));
    HOLDS(w, m->n_answered <= m->n_asked);
    HOLDS(w, m->is_running || m->n_answered == m->n_asked || m->wants_forced);     /* D7 */
    HOLDS(w, m->is_running || !w->joined || decide_is_due(m, w->now_us, w->held)); /* D7 */
    HOLDS(w, m->failures == 0 || m->retry_us != 0 || m->is_running || m->wants_check);
}

static void to_disk(struct world *w)
{
    w->disk_active = w->active;
    w->disk_previous = w->previous;
    w->disk_quarantined = w->quarantined;
    w->disk_contract = w->served_contract;
    w->disk_active_origin = w->active_origin;
    w->disk_previous_origin = w->previous_origin;
}

static void begin(struct world *w)
{
    bool was_forced = w->m.wants_forced;
    if (w->m.is_running || !decide_is_due(&w->m, w->now_us, w->held))
        return;
    decide_begin(&w->m, w->now_us);
    char name[16];
    w->forced = was_forced;
    w->rebuilds = w->m.running.rebuilds;
    w->began_with = w->active;
    w->aim = w->m.running.is_cutover ? w->m.pending : w->m.served;
    w->read_id = w->source_id;
    w->read_contract = w->source_contract;
    w->read_mood = w->source_mood;
    w->read_version = w->source_version;
    w->read_untouched = w->m.running.uses_look && w->source_mood != SOURCE_DOWN &&
                        w->read_version == w->seen_version;
    w->serves_joined = w->joined;
    w->joined = false;
    w->is_stirred = false;
    HOLDS(w, !w->read_untouched || (w->judged_beside == w->active &&
                                    memcmp(&w->judged_by, &w->aim, sizeof w->aim) == 0)); /* D11 */
    bool is_look = w->m.running.uses_look || w->read_version != w->seen_version;
    HOLDS(w, was_forced || is_look || w->now_us >= w->barred_us); /* D10 */
    name_of(w->source_id, name);
    w->read_skips = decide_skips(&w->m.running, name);
}

/* What a dataset of one contract makes of a snapshot of another: rejected. */
static enum decide_status outcome_of(const struct world *w)
{
    if (w->read_mood == SOURCE_DOWN)
        return DECIDE_FAILED;
    if (w->read_untouched)
        return DECIDE_UNCHANGED;
    if (w->read_mood == SOURCE_BAD || w->read_contract != w->aim.contract[0])
        return DECIDE_REJECTED;
    if (w->read_skips)
        return DECIDE_UNCHANGED;
    return w->read_mood == SOURCE_LATE   ? DECIDE_REJECTED
           : w->read_mood == SOURCE_FULL ? DECIDE_FAILED
                                         : DECIDE_OK;
}

static void took_over(struct world *w, enum verdict v)
{
    int left_origin = w->active_origin;
    bool was_broken = w->active_is_broken;
    w->active_origin = w->aim.origin[0];
    w->active_is_broken = false;
    if (v == VERDICT_REBUILT) { /* D5 */
        HOLDS(w, w->active == w->read_id && w->read_contract == w->served_contract);
        return;
    }
    HOLDS(w, w->forced || w->read_id != w->quarantined); /* D3 */
    if (v == VERDICT_CUTOVER) {                          /* D4 */
        w->previous = -1;
    } else if (!was_broken) {
        w->previous = w->active;
        w->previous_contract = w->active_contract;
        w->previous_origin = left_origin;
    } else if (w->previous == w->read_id) { /* D8 */
        w->previous = -1;
    }
    w->active = w->read_id;
    w->active_contract = w->read_contract;
    w->quarantined = -1;
    w->served_contract = v == VERDICT_CUTOVER ? w->aim.contract[0] : w->served_contract;
    w->n_swaps++;
    w->n_cutovers += v == VERDICT_CUTOVER;
}

/* A block of what serves, or of the rollback target, does not verify. */
static void break_one(struct world *w)
{
    if (w->active >= 0 && roll(w, 2)) {
        w->active_is_broken = true;
        decide_rebuild(&w->m);
    } else {
        w->previous = -1;
        decide_lose_previous(&w->m);
    }
}

static void finish(struct world *w)
{
    if (!w->m.is_running)
        return;
    char name[16];
    enum decide_status status = outcome_of(w);
    bool was_superseded = w->m.epoch != w->m.running.epoch;
    bool index_fails = roll(w, 12) == 0;
    bool wanted = w->m.wants_rebuild;
    w->forced = w->m.running.forced;
    name_of(w->read_id, name);
    struct tally t = {.status = status,
                      .fresh_id = status == DECIDE_OK ? name : NULL,
                      .was_untouched = w->read_untouched,
                      .has_look = w->read_mood != SOURCE_DOWN,
                      .may_pass = status == DECIDE_FAILED ||
                                  (status == DECIDE_REJECTED && w->read_mood == SOURCE_LATE),
                      .active_is_broken = w->active_is_broken};
    struct tempo tempo = {w->now_us, roll(w, 4) ? 30 * SECOND : 0, (uint32_t)roll(w, UINT32_MAX)};
    struct machine plan = w->m;
    enum verdict v = decide_settle(&plan, &t, &tempo);
    bool takes = v == VERDICT_SWAP || v == VERDICT_REBUILT || v == VERDICT_CUTOVER;
    if (takes && index_fails) { /* as attempt.c does */
        plan = w->m;
        t = (struct tally){.status = DECIDE_FAILED, .has_look = true, .may_pass = true};
        v = decide_settle(&plan, &t, &tempo);
        takes = false;
    } else if (takes && roll(w, 8) == 0) { /* something breaks while the index is written */
        break_one(w);
        plan = w->m;
        t.active_is_broken = w->active_is_broken;
        HOLDS(w, decide_settle(&plan, &t, &tempo) == v);
    }
    w->m = plan;
    HOLDS(w, !was_superseded || v == VERDICT_SUPERSEDED);          /* D6 */
    HOLDS(w, !takes || status == DECIDE_OK);                       /* D2 */
    HOLDS(w, !takes || w->aim.checks[0] == w->m.served.checks[0]); /* D11 */
    if (!takes && w->rebuilds && w->active >= 0 && w->active == w->began_with)
        wanted = true;
    else if (takes)
        wanted = memcmp(w->aim.build, w->m.served.build, 32) != 0;
    HOLDS(w, w->m.wants_rebuild == wanted); /* D9 */
    if (takes) {
        took_over(w, v);
        to_disk(w);
    }
    int64_t limit_us =
        tempo.every_us > CUTOVER_RETRY_LIMIT_US ? tempo.every_us : CUTOVER_RETRY_LIMIT_US;
    HOLDS(w, !w->m.next_us || w->m.next_us - w->now_us <= limit_us || v == VERDICT_SUPERSEDED);
    HOLDS(w, t.status != DECIDE_FAILED || w->m.next_us || v == VERDICT_SUPERSEDED);
    HOLDS(w, !w->m.has_pending || w->m.has_look || w->m.next_us == w->m.retry_us || /* D10 */
                 v == VERDICT_SUPERSEDED);
    w->joined |= v == VERDICT_SUPERSEDED && w->serves_joined;
    w->seen_version = w->read_version;
    bool is_barred = v != VERDICT_SUPERSEDED && t.has_look && !w->is_stirred;
    w->barred_us = is_barred ? w->m.retry_us : 0;
    if (!w->read_untouched) {
        w->judged_by = w->aim;
        w->judged_beside = takes ? w->active : w->began_with;
    }
}

/* What was tried in vain may be tried again now. */
static void stir(struct world *w)
{
    w->barred_us = 0;
    w->is_stirred = true;
}

static void roll_back(struct world *w)
{
    bool there = w->previous >= 0;
    HOLDS(w, decide_rollback(&w->m) == there);
    if (!there)
        return;
    w->quarantined = w->active;
    w->active = w->previous;
    w->active_contract = w->previous_contract;
    w->active_origin = w->previous_origin;
    w->active_is_broken = false;
    w->previous = -1;
    stir(w);
    w->n_rollbacks++;
    to_disk(w);
    HOLDS(w, !decide_rollback(&w->m)); /* D4: not twice in a row */
}

static void reload(struct world *w)
{
    bool cancels;
    int c = roll(w, 3) ? w->served_contract : 1 + (int)roll(w, 3);
    struct contract fresh = contract(c, 1 + (int)roll(w, 2), (int)roll(w, 2));
    fresh.checks[0] = (uint8_t)roll(w, 2);
    enum decide_reload step = decide_reload(&w->m, &fresh, &cancels);
    HOLDS(w, (step == DECIDE_PEND) == (w->active >= 0 && c != w->served_contract));
    HOLDS(w, !cancels || w->m.running.epoch != w->m.epoch);
    stir(w);
    if (step == DECIDE_SERVE)
        w->served_contract = c;
}

/* A crash at any time: the machine starts from the disk, and everything else is gone. */
static void restart(struct world *w)
{
    char active[16], previous[16], quarantined[16];
    int served = roll(w, 4) ? w->disk_contract : 1 + (int)roll(w, 3);
    struct contract c = contract(served, 1 + (int)roll(w, 2), 0);
    uint8_t active_origin[32] = {(uint8_t)w->disk_active_origin};
    uint8_t previous_origin[32] = {(uint8_t)w->disk_previous_origin};
    bool fits =
        c.contract[0] == w->disk_contract; /* else its fingerprint does not match: a cold start */
    name_of(fits ? w->disk_active : -1, active);
    name_of(fits ? w->disk_previous : -1, previous);
    name_of(w->disk_quarantined, quarantined);
    decide_init(&w->m, &c, active, previous, quarantined);
    decide_origins(&w->m, active_origin, previous_origin);
    w->active_origin = w->disk_active_origin;
    w->previous_origin = w->disk_previous_origin;
    w->active = fits ? w->disk_active : -1;
    w->previous = w->active >= 0 ? w->disk_previous : -1;
    w->quarantined = w->disk_quarantined;
    w->active_is_broken = false; /* it may be, but nobody knows */
    w->active_contract = w->previous_contract = w->served_contract = c.contract[0];
    w->barred_us = 0;
    w->joined = false;
    w->n_restarts++;
}

/* The source looks another way unless only what it points at, the disk or the network changed. */
static void set_source(struct world *w, int id, int contract, int mood)
{
    bool was_bad = w->source_mood == SOURCE_BAD;
    if (w->source_id != id || w->source_contract != contract || was_bad != (mood == SOURCE_BAD))
        w->source_version++;
    w->source_id = id;
    w->source_contract = contract;
    w->source_mood = mood;
}

static void publish(struct world *w)
{
    bool same = roll(w, 3) == 0;
    int id = same ? w->source_id : (int)roll(w, N_IDS);
    int wanted = w->m.has_pending ? w->m.pending.contract[0] : w->served_contract;
    int contract = same ? w->source_contract : roll(w, 3) ? wanted : 1 + (int)roll(w, 3);
    set_source(w, id, contract, roll(w, 5) ? SOURCE_GOOD : 1 + (int)roll(w, SOURCE_DOWN));
}

static void step(struct world *w)
{
    switch (roll(w, 16)) {
    case 0:
    case 1:
    case 2:
        begin(w);
        break;
    case 3:
    case 4:
    case 5:
        finish(w);
        break;
    case 6:
    case 7:
        publish(w);
        break;
    case 8:
        roll_back(w);
        break;
    case 9:
    case 10: {
        uint64_t ticket = decide_ask(&w->m, roll(w, 4) == 0);
        HOLDS(w, ticket > w->m.n_answered);
        w->joined |= w->m.is_running && ticket == w->m.running.answers;
        break;
    }
    case 11:
        reload(w);
        break;
    case 12:
        if (roll(w, 4)) {
            decide_check(&w->m);
        } else {
            decide_check_anew(&w->m);
            stir(w);
        }
        break;
    case 13:
        w->held = roll(w, 2);
        break;
    case 14:
        if (roll(w, 2))
            decide_rebuild(&w->m);
        else
            break_one(w);
        break;
    case 15:
        if (roll(w, 4) == 0)
            restart(w);
        break;
    default:
        break;
    }
    w->now_us += (int64_t)roll(w, 20 * SECOND);
}

/* A good source, a tick now and then, and nobody who meddles: everything that was asked is answered
 * and the newest serves. */
static void calm_down(struct world *w)
{
    w->held = false;
    for (int i = 0; i < 200; i++) {
        int wanted = w->m.has_pending ? w->m.pending.contract[0] : w->served_contract;
        set_source(w, w->quarantined == 0 ? 1 : 0, wanted, SOURCE_GOOD);
        w->now_us += 60 * SECOND;
        decide_check(&w->m);
        begin(w);
        finish(w);
        check(w);
    }
    HOLDS(w, w->m.n_answered == w->m.n_asked);
    HOLDS(w, !w->m.has_pending && !w->m.wants_rebuild);
    HOLDS(w, w->active == w->source_id);
    HOLDS(w, w->active_origin == w->m.served.origin[0]); /* D12 */
}

static void run(uint64_t seed, struct world *sum)
{
    struct world w = {.seed = seed,
                      .dice = seed * UINT64_C(0x9e3779b97f4a7c15) + 1,
                      .now_us = SECOND,
                      .active = -1,
                      .previous = -1,
                      .quarantined = -1,
                      .disk_active = -1,
                      .disk_previous = -1,
                      .disk_quarantined = -1,
                      .disk_contract = 1,
                      .served_contract = 1,
                      .source_contract = 1,
                      .source_version = 1};
    struct contract first = contract(1, 1, 0);
    decide_init(&w.m, &first, NULL, NULL, NULL);
    for (int i = 0; i < 400; i++) {
        step(&w);
        check(&w);
    }
    decide_check(&w.m);
    calm_down(&w);
    sum->n_swaps += w.n_swaps;
    sum->n_rollbacks += w.n_rollbacks;
    sum->n_cutovers += w.n_cutovers;
    sum->n_restarts += w.n_restarts;
}

static void test_simulation(void **state)
{
    (void)state;
    const char *runs = getenv("OFFLOADER_TEST_RUNS"), *one = getenv("OFFLOADER_TEST_SEED");
    uint64_t n = one ? 1 : runs ? strtoull(runs, NULL, 10) : 2000;
    uint64_t first = unit_seed(1);
    struct world sum = {0};
    for (uint64_t i = 0; i < n; i++)
        run(first + i, &sum);
    printf("%llu seeds of 400 events: %u swaps, %u of them cutovers, %u rollbacks, %u restarts\n",
           (unsigned long long)n, sum.n_swaps, sum.n_cutovers, sum.n_rollbacks, sum.n_restarts);
    CHECK("every kind of event happened",
          one || (sum.n_cutovers && sum.n_rollbacks && sum.n_restarts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simulation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
