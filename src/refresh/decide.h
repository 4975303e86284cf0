/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a dataset, decided without doing any of it: refresh, rollback, quarantine, reload
 * and cutover as one machine driven by events. It knows names and fingerprints, never snapshots,
 * files, locks or clocks (time and dice are arguments), so that a seeded simulation can run it
 * (tests/unit/refresh/test_decide.c). refresh.c feeds it events under its lock and carries out what
 * it says. A machine is plain data: a copy is a plan that may be thrown away.
 *
 *              decide_begin()                            decide_settle()
 *   idle ────────────────────────▶ running ─────────────────────────────────▶ idle
 *     ▲  a check is due, or asked for │      swap · rebuild · cutover · keep · superseded
 *     └── decide_ask, decide_check ───┘
 *
 *   served ── decide_reload(another contract) ──▶ served + pending ── cutover ──▶ served
 *                                                   │  decide_reload(the served one): cancelled
 *                                                   └─ decide_reload(a third one): superseded
 *
 * Invariants
 *  D1  What is active was built for the served contract.
 *  D2  A snapshot that serves is only replaced by one that was built and passed, or by the rollback
 *      target.
 *  D3  No attempt that nobody forced makes the quarantined id active.
 *  D4  After a rollback there is no rollback target, and a cutover clears it.
 *  D5  A rebuild of the active id leaves target and quarantine alone.
 *  D6  An attempt whose target a reload replaced changes nothing, and who waits for it is answered
 *      by the next.
 *  D7  Every ask is answered by an attempt that began after it, or that was doing at least as much
 *      already.
 *  D8  The rollback target is of another id than what serves, and not known to be broken.
 *  D9  A rebuild is wanted, or runs, until what it was meant for is built again or serves no more.
 *  D10 What failed is tried again by its retry; until then a check reads a source that looks
 *      another way, and no other.
 *  D11 A source that was looked at counts as seen only for the contract, origin, checks and active
 *      id that it was judged by, and nothing takes over that was judged by others.
 *  D12 What serves is known by its id only to the origin that it came from.
 */
#ifndef OFFLOADER_REFRESH_DECIDE_H
#define OFFLOADER_REFRESH_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#define DECIDE_ID_BYTES 201

/* How one revision of the project describes the dataset (project.h). */
struct contract {
    uint8_t contract[32]; /* schema and tenant column: another one is cut over to */
    uint8_t origin[32];   /* where snapshots come from: another one is refreshed from */
    uint8_t build[32];    /* the physical form: another one is rebuilt */
    uint8_t checks[32];   /* what snapshots are judged by */
};

/* What an attempt is to do; copied out of the machine when it begins. */
struct errand {
    uint64_t epoch, look_epoch; /* of the machine when it began */
    bool is_cutover, forced, override_checks, check_is_asked;
    bool rebuilds;     /* the active id is built again, though nobody forced it */
    uint8_t build[32]; /* the form that it gives */
    bool is_foreign;   /* what serves came from another origin: the same id says nothing */
    bool uses_look;    /* may stop when the source looks as it did at the last attempt */
    uint64_t answers;  /* asks up to this number */
    char active_id[DECIDE_ID_BYTES], quarantined[DECIDE_ID_BYTES]; /* "": none */
};

struct machine {
    struct contract served, pending;
    bool has_pending, is_removed;
    char active_id[DECIDE_ID_BYTES], previous_id[DECIDE_ID_BYTES]; /* "": none */
    char quarantined[DECIDE_ID_BYTES];                             /* "": none */
    uint8_t active_origin[32], previous_origin[32];                /* which they came from */
    bool wants_check, wants_forced, wants_override, wants_rebuild;
    bool check_is_asked; /* the check is for somebody who asked: no hold puts it off */
    bool has_look; /* what the source looked like at the last attempt is known, and still counts */
    uint64_t look_epoch; /* raised when what an attempt that runs looked at counts no more */
    bool is_running;
    struct errand running;
    uint64_t epoch;
    uint64_t n_asked, n_answered;
    int failures;
    int64_t next_us, retry_us; /* monotonic; 0: not by itself */
};

enum decide_status { DECIDE_OK, DECIDE_UNCHANGED, DECIDE_REJECTED, DECIDE_FAILED };
enum verdict {
    VERDICT_KEEP,       /* nothing new: what serves goes on serving */
    VERDICT_SUPERSEDED, /* a reload took the target away: no word about this attempt */
    VERDICT_DISCARD,    /* built, but quarantined since it began */
    VERDICT_SWAP,       /* fresh becomes active, active becomes previous if it is whole */
    VERDICT_REBUILT,    /* fresh replaces active; previous stays */
    VERDICT_CUTOVER,    /* as SWAP with the pending contract; no previous */
};
struct tally { /* what an attempt came to */
    enum decide_status status;
    const char *fresh_id;  /* of what was built; NULL unless OK. Borrowed for the call. */
    bool was_untouched;    /* UNCHANGED because the source looked the same */
    bool has_look;         /* the source's look is known, so that a cheap check can follow */
    bool may_pass;         /* a fault that may pass while the source looks the same */
    bool active_is_broken; /* what serves does not verify: it is no rollback target */
};
struct tempo {
    int64_t now_us;   /* monotonic */
    int64_t every_us; /* the dataset's interval; 0: off */
    uint32_t dice;
};

void decide_init(struct machine *m, const struct contract *served, const char *active_id,
                 const char *previous_id, const char *quarantined);
/* Right after it, where they may have come from another origin than the served one. NULL: none. */
void decide_origins(struct machine *m, const uint8_t active[32], const uint8_t previous[32]);

/* ---- events ---- */
void decide_check(struct machine *m); /* soon, not forced */
/* The same for an operator: what failed and waits for its next try is tried now. */
void decide_check_anew(struct machine *m);
/* A forced refresh. Returns the ask's number; it is answered when n_answered reaches it. */
uint64_t decide_ask(struct machine *m, bool override_checks);
void decide_rebuild(
    struct machine *m); /* what serves does not verify, or has another physical form */
void decide_lose_previous(struct machine *m); /* the rollback target does not verify */
/* False: there is nothing to go back to. */
bool decide_rollback(struct machine *m);
enum decide_reload {
    DECIDE_SERVE,
    DECIDE_PEND
}; /* from the new revision at once, or after a cutover */
/* *ret_cancel: the attempt that runs is of no use any more. */
enum decide_reload decide_reload(struct machine *m, const struct contract *fresh, bool *ret_cancel);
void decide_remove(struct machine *m);

/* ---- attempts ---- */
bool decide_is_due(const struct machine *m, int64_t now_us, bool held);
int64_t decide_wake_us(const struct machine *m, bool held); /* 0: only an event makes it due */
void decide_begin(struct machine *m, int64_t now_us);       /* fills m->running */
/* Nothing to build for this id: it serves already, or it was rolled back from. */
bool decide_skips(const struct errand *e, const char *snapshot_id);
/* Ends the attempt. With VERDICT_SWAP, _REBUILT and _CUTOVER the machine has the new ids. */
enum verdict decide_settle(struct machine *m, const struct tally *t, const struct tempo *tempo);

/* Doubling from @first_us, at most @limit_us, less up to a quarter by @dice. */
int64_t decide_backoff_us(int failures, int64_t first_us, int64_t limit_us, uint32_t dice);

#define RETRY_FIRST_US INT64_C(1000000)
#define RETRY_LIMIT_US INT64_C(30000000) /* where there is no interval */
#define CUTOVER_RETRY_FIRST_US INT64_C(30000000)
#define CUTOVER_RETRY_LIMIT_US INT64_C(600000000)

#endif
