/* SPDX-License-Identifier: Apache-2.0 */
/* The refresh, rollback and reload machine, rule by rule; test_decide.c tries them all at once. */
#include "decide_unit.h"

static enum verdict settle(struct machine *m, enum decide_status status, const char *fresh,
                           int64_t now_us)
{
    struct tally t = {
        .status = status, .fresh_id = fresh, .has_look = true, .may_pass = status == DECIDE_FAILED};
    struct tempo tempo = {.now_us = now_us, .every_us = 30 * SECOND, .dice = 0};
    return decide_settle(m, &t, &tempo);
}

static void load(struct machine *m, const char *id, bool forced)
{
    if (forced)
        (void)decide_ask(m, false);
    decide_begin(m, SECOND);
    (void)settle(m, DECIDE_OK, id, SECOND);
}

static struct machine served(const char *first, const char *second)
{
    struct machine m;
    struct contract c = contract(1, 1, 1);
    decide_init(&m, &c, NULL, NULL, NULL);
    load(&m, first, false);
    if (second)
        load(&m, second, false);
    return m;
}

static void test_swap_and_rollback(void **state)
{
    (void)state;
    struct machine m = served("a", "b");
    CHECK_STR("the newest serves", m.active_id, "b");
    CHECK_STR("one previous is kept", m.previous_id, "a");
    load(&m, "c", false);
    CHECK_STR("older ones go", m.previous_id, "b");
    CHECK("there is a target", decide_rollback(&m));
    CHECK_STR("the previous serves", m.active_id, "b");
    CHECK_STR("the left one is quarantined", m.quarantined, "c");
    CHECK_STR("and no rollback target", m.previous_id, "");
    CHECK("a second rollback in a row is refused", !decide_rollback(&m));
    decide_begin(&m, SECOND);
    CHECK("no automatic refresh takes it again", decide_skips(&m.running, "c"));
    CHECK("a different one is taken", !decide_skips(&m.running, "d"));
    (void)settle(&m, DECIDE_OK, "d", SECOND);
    CHECK_STR("which clears the quarantine", m.quarantined, "");
    CHECK("and there is a target again", decide_rollback(&m));
    load(&m, "d", true);
    CHECK_STR("a forced refresh takes the quarantined id", m.active_id, "d");
    CHECK_STR("and clears it", m.quarantined, "");
}

static void test_rebuild_keeps_target_and_quarantine(void **state)
{
    (void)state;
    struct machine m = served("a", "b");
    (void)decide_ask(&m, false);
    decide_begin(&m, SECOND);
    CHECK("forced: the active id is built again", !decide_skips(&m.running, "b"));
    CHECK_INT("in place", settle(&m, DECIDE_OK, "b", SECOND), VERDICT_REBUILT);
    CHECK_STR("the target stays", m.previous_id, "a");
    (void)decide_rollback(&m);
    decide_rebuild(&m);
    decide_begin(&m, SECOND);
    CHECK("a rebuild that nobody forced takes no quarantined id", decide_skips(&m.running, "b"));
    CHECK("only the active one", !decide_skips(&m.running, "a"));
    CHECK_INT("in place", settle(&m, DECIDE_OK, "a", SECOND), VERDICT_REBUILT);
    CHECK_STR("the quarantine stays", m.quarantined, "b");
}

static enum verdict swap_from_broken(struct machine *m, const char *fresh)
{
    struct tally t = {.status = DECIDE_OK, .fresh_id = fresh, .active_is_broken = true};
    struct tempo tempo = {.now_us = SECOND, .every_us = 30 * SECOND};
    decide_rebuild(m);
    decide_begin(m, SECOND);
    return decide_settle(m, &t, &tempo);
}

static void test_a_broken_snapshot_is_no_target(void **state)
{
    (void)state;
    struct machine m = served("a", "b");
    CHECK_INT("the source has a newer one", swap_from_broken(&m, "c"), VERDICT_SWAP);
    CHECK_STR("it serves", m.active_id, "c");
    CHECK_STR("the target is the last good one", m.previous_id, "a");
    m = served("a", "b");
    CHECK_INT("the source has the target's again", swap_from_broken(&m, "a"), VERDICT_SWAP);
    CHECK_STR("going back to what serves is no rollback", m.previous_id, "");
    m = served("a", NULL);
    CHECK_INT("there was no target", swap_from_broken(&m, "b"), VERDICT_SWAP);
    CHECK_STR("there is none", m.previous_id, "");
    m = served("a", "b");
    CHECK_INT("the same one", swap_from_broken(&m, "b"), VERDICT_REBUILT);
    CHECK_STR("the target stays", m.previous_id, "a");
}

static void test_rollback_while_an_attempt_runs(void **state)
{
    (void)state;
    struct machine m = served("a", "b");
    decide_rebuild(&m);
    decide_begin(&m, SECOND); /* an automatic rebuild of b */
    (void)decide_rollback(&m);
    CHECK_INT("b is quarantined meanwhile", settle(&m, DECIDE_OK, "b", SECOND), VERDICT_DISCARD);
    CHECK_STR("a serves on", m.active_id, "a");
    CHECK("and is as it should be", !m.wants_rebuild);
    m = served("a", "b");
    (void)decide_ask(&m, false);
    decide_begin(&m, SECOND);
    (void)decide_rollback(&m);
    CHECK_INT("forced is forced", settle(&m, DECIDE_OK, "b", SECOND), VERDICT_SWAP);
}

static void test_asks_are_joined(void **state)
{
    (void)state;
    struct machine m = served("a", NULL);
    uint64_t one = decide_ask(&m, false);
    CHECK_INT("waiting to begin: joined", decide_ask(&m, false), one);
    decide_begin(&m, SECOND);
    CHECK_INT("running: joined", decide_ask(&m, false), one);
    uint64_t two = decide_ask(&m, true);
    CHECK("an override asks for more than what runs", two > one);
    (void)settle(&m, DECIDE_REJECTED, NULL, SECOND);
    CHECK_INT("the first is answered", m.n_answered, one);
    CHECK("the next is due", decide_is_due(&m, SECOND, false));
    decide_begin(&m, SECOND);
    CHECK("with the override", m.running.override_checks);
    (void)settle(&m, DECIDE_OK, "b", SECOND);
    CHECK_INT("the second is answered", m.n_answered, two);
    decide_check(&m);
    decide_begin(&m, SECOND);
    uint64_t three = decide_ask(&m, false);
    (void)settle(&m, DECIDE_OK, "c", SECOND);
    CHECK("an automatic one may have read an older manifest: not joined", m.n_answered < three);
    decide_begin(&m, SECOND);
    (void)decide_ask(&m, false);
    CHECK("after a joined one a cheap check follows, for what came after it read the source",
          m.wants_check);
    uint64_t four = decide_ask(&m, false);
    CHECK_INT("which is the same ask", decide_ask(&m, false), four);
    (void)settle(&m, DECIDE_OK, "d", SECOND);
    CHECK("held or not: somebody asked for it", decide_is_due(&m, SECOND, true));
    struct contract other = contract(2, 1, 1);
    bool cancels;
    decide_begin(&m, SECOND);
    (void)decide_reload(&m, &other, &cancels);
    (void)settle(&m, DECIDE_OK, "e", SECOND);
    CHECK("superseded: still asked for", decide_is_due(&m, SECOND, true));
    decide_begin(&m, SECOND);
    (void)settle(&m, DECIDE_OK, "e", SECOND);
    CHECK("once", !decide_is_due(&m, SECOND, true));
}

static void test_a_rebuild_is_for_what_serves(void **state)
{
    (void)state;
    struct contract reshaped = contract(1, 1, 2), other = contract(2, 1, 1);
    struct contract home = contract(1, 1, 1);
    bool cancels;
    struct machine m = served("a", NULL);
    decide_check(&m);
    decide_begin(&m, SECOND);
    decide_rebuild(&m);
    (void)settle(&m, DECIDE_OK, "b", SECOND);
    CHECK("what broke meanwhile is gone", !m.wants_rebuild);
    decide_check(&m);
    decide_begin(&m, SECOND);
    (void)decide_reload(&m, &reshaped, &cancels);
    (void)settle(&m, DECIDE_OK, "c", SECOND);
    CHECK("c was built in the form before", m.wants_rebuild);
    m = served("a", NULL);
    (void)decide_reload(&m, &other, &cancels);
    decide_rebuild(&m);
    decide_begin(&m, SECOND);
    CHECK("the cutover goes first", m.running.is_cutover && !m.running.rebuilds);
    (void)settle(&m, DECIDE_REJECTED, NULL, SECOND);
    CHECK("not in a tight loop", !decide_is_due(&m, SECOND, false));
    (void)decide_reload(&m, &home, &cancels);
    decide_begin(&m, SECOND);
    CHECK("without it a is built again", m.running.rebuilds && !decide_skips(&m.running, "a"));
    (void)settle(&m, DECIDE_OK, "a", SECOND);
    CHECK("once", !m.wants_rebuild);
}

static void test_backoff(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        int failures;
        uint32_t dice;
        int64_t first, limit, want;
    } rows[] = {
        {"the first", 1, 0, SECOND, 30 * SECOND, SECOND},
        {"doubles", 4, 0, SECOND, 30 * SECOND, 8 * SECOND},
        {"capped", 6, 0, SECOND, 30 * SECOND, 30 * SECOND},
        {"capped for good", 1000, 0, SECOND, 30 * SECOND, 30 * SECOND},
        {"a limit below the first", 1, 0, SECOND, SECOND / 2, SECOND / 2},
        {"jitter takes up to a quarter away", 1, UINT32_MAX, SECOND, 30 * SECOND, 750004},
        {"and never passes the limit", 90, UINT32_C(1) << 31, SECOND, 8 * SECOND, 7 * SECOND},
        {"a day's interval", 60, 0, SECOND, 86400 * SECOND, 86400 * SECOND},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_INT(rows[i].why,
                  decide_backoff_us(rows[i].failures, rows[i].first, rows[i].limit, rows[i].dice),
                  rows[i].want);
}

static void test_times(void **state)
{
    (void)state;
    struct machine m = served("a", NULL);
    CHECK_INT("regular", m.next_us, 31 * SECOND);
    CHECK("held: nothing by itself", !decide_is_due(&m, 90 * SECOND, true));
    CHECK_INT("and no timer", decide_wake_us(&m, true), 0);
    (void)decide_ask(&m, false);
    CHECK("held: forced goes", decide_is_due(&m, SECOND, true));
    decide_begin(&m, SECOND);
    (void)settle(&m, DECIDE_FAILED, NULL, SECOND);
    CHECK_INT("a failure is retried soon", m.next_us, 2 * SECOND);
    decide_check(&m);
    decide_begin(&m, SECOND);
    CHECK("a check before that may be a cheap look", m.running.uses_look);
    struct tally untouched = {.status = DECIDE_UNCHANGED, .was_untouched = true, .has_look = true};
    struct tempo tempo = {.now_us = SECOND, .every_us = 30 * SECOND};
    (void)decide_settle(&m, &untouched, &tempo);
    CHECK_INT("which does not put the retry off", m.next_us, 2 * SECOND);
    decide_begin(&m, 2 * SECOND);
    CHECK("the retry itself is no cheap look", !m.running.uses_look);
    (void)settle(&m, DECIDE_REJECTED, NULL, 2 * SECOND);
    CHECK_INT("what was rejected waits for the interval", m.next_us, 32 * SECOND);
}

/* Checks that come between two tries: the ticks of config sync, an interval that is short. */
static void test_checks_do_not_bypass_the_backoff(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        bool is_cutover, rebuilds;
        enum decide_status status;
        bool may_pass, uses_look;
    } rows[] = {
        {"a build failed: the retry will see to it", false, false, DECIDE_FAILED, true, true},
        {"a cutover's did", true, false, DECIDE_FAILED, true, true},
        {"a cutover's data file is late", true, false, DECIDE_REJECTED, true, true},
        {"a cutover was rejected for good", true, false, DECIDE_REJECTED, false, true},
        {"a rebuild failed", false, true, DECIDE_FAILED, true, true},
        {"a rebuild's data file is late", false, true, DECIDE_REJECTED, true, true},
        {"a file is late and no retry is due: each check looks", false, false, DECIDE_REJECTED,
         true, false},
        {"rejected for good", false, false, DECIDE_REJECTED, false, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct machine m = served("a", NULL);
        struct contract other = contract(2, 1, 1);
        struct tempo tempo = {.now_us = SECOND, .every_us = 2 * SECOND};
        bool cancels;
        if (rows[i].is_cutover)
            (void)decide_reload(&m, &other, &cancels);
        if (rows[i].rebuilds)
            decide_rebuild(&m);
        decide_begin(&m, SECOND);
        struct tally t = {.status = rows[i].status, .has_look = true, .may_pass = rows[i].may_pass};
        (void)decide_settle(&m, &t, &tempo);
        decide_check(&m);
        decide_begin(&m, SECOND + 1);
        CHECK(rows[i].why, m.running.uses_look == rows[i].uses_look);
        CHECK("a rebuild is owed all the same", m.running.rebuilds == rows[i].rebuilds);
        t = (struct tally){.status = DECIDE_UNCHANGED, .was_untouched = true, .has_look = true};
        (void)decide_settle(&m, &t, &tempo);
        CHECK("and stays owed", m.wants_rebuild == rows[i].rebuilds);
        decide_check_anew(&m);
        decide_begin(&m, SECOND + 2);
        CHECK("an operator need not wait for the retry", !m.running.uses_look || !m.retry_us);
    }
}

static void test_another_origin(void **state)
{
    (void)state;
    struct machine m = served("a", "b");
    struct contract moved = contract(1, 2, 1), home = contract(1, 1, 1);
    bool cancels;
    decide_begin(&m, SECOND);
    CHECK_INT("serves on", decide_reload(&m, &moved, &cancels), DECIDE_SERVE);
    CHECK("what runs reads the old one", cancels);
    (void)settle(&m, DECIDE_OK, "c", SECOND);
    decide_begin(&m, SECOND);
    CHECK("the same id there is another snapshot", !decide_skips(&m.running, "b"));
    (void)settle(&m, DECIDE_REJECTED, NULL, SECOND);
    decide_check(&m);
    decide_begin(&m, SECOND);
    CHECK("refused: not built again and again", m.running.uses_look);
    CHECK("but when there is another one", !decide_skips(&m.running, "b"));
    CHECK_INT("in place", settle(&m, DECIDE_OK, "b", SECOND), VERDICT_REBUILT);
    CHECK_STR("the target stays", m.previous_id, "a");
    decide_check(&m);
    decide_begin(&m, SECOND);
    CHECK("now it is known", decide_skips(&m.running, "b"));
    (void)settle(&m, DECIDE_OK, "c", SECOND);
    (void)decide_reload(&m, &home, &cancels);
    (void)decide_rollback(&m);
    decide_begin(&m, SECOND);
    CHECK("the target is of the other origin too", !decide_skips(&m.running, "b"));
    CHECK("rolled back from is rolled back from", decide_skips(&m.running, "c"));
    decide_init(&m, &home, "b", NULL, NULL);
    decide_origins(&m, moved.origin, NULL);
    decide_begin(&m, SECOND);
    CHECK("moved while the process was down", !decide_skips(&m.running, "b"));
}

static void test_cutover(void **state)
{
    (void)state;
    struct machine m = served("a", "b");
    struct contract other = contract(2, 1, 1), third = contract(3, 1, 1), home = contract(1, 1, 1);
    bool cancels;
    decide_begin(&m, SECOND);
    CHECK_INT("another schema waits", decide_reload(&m, &other, &cancels), DECIDE_PEND);
    CHECK("what runs is of the old contract", cancels);
    CHECK_INT("and changes nothing", settle(&m, DECIDE_OK, "c", SECOND), VERDICT_SUPERSEDED);
    CHECK_STR("the old serves on", m.active_id, "b");
    decide_begin(&m, SECOND);
    CHECK("built for the new contract, the same id too",
          m.running.is_cutover && !decide_skips(&m.running, "b"));
    CHECK_INT("rejected", settle(&m, DECIDE_REJECTED, NULL, SECOND), VERDICT_KEEP);
    CHECK_INT("tried again in 30 s", m.retry_us, 31 * SECOND);
    CHECK_INT("a newer revision of the same cutover", decide_reload(&m, &other, &cancels),
              DECIDE_PEND);
    CHECK("goes on", !cancels && m.failures == 1);
    decide_begin(&m, SECOND);
    CHECK_INT("a third contract supersedes", decide_reload(&m, &third, &cancels), DECIDE_PEND);
    CHECK("and cancels", cancels);
    (void)settle(&m, DECIDE_OK, "c", SECOND);
    decide_begin(&m, SECOND);
    CHECK_INT("flips", settle(&m, DECIDE_OK, "c", SECOND), VERDICT_CUTOVER);
    CHECK("to the third", memcmp(&m.served, &third, sizeof third) == 0 && !m.has_pending);
    CHECK("no rollback target", !decide_rollback(&m));
    (void)decide_reload(&m, &other, &cancels);
    decide_begin(&m, SECOND);
    CHECK_INT("back to what serves", decide_reload(&m, &third, &cancels), DECIDE_SERVE);
    CHECK("cancels the cutover", cancels && !m.has_pending);
    CHECK_INT("nothing of it", settle(&m, DECIDE_OK, "d", SECOND), VERDICT_SUPERSEDED);
    (void)decide_ask(&m, true);
    decide_begin(&m, SECOND);
    (void)decide_reload(&m, &home, &cancels);
    (void)settle(&m, DECIDE_FAILED, NULL, SECOND);
    CHECK("who asked is answered by the next",
          m.n_answered < m.n_asked && m.wants_forced && m.wants_override);
}

/* What comes while an attempt runs, and may make its answer another one. */
static void test_what_was_judged_otherwise_does_not_count(void **state)
{
    (void)state;
    struct contract stricter = contract(1, 1, 1), home = contract(1, 1, 1);
    bool cancels;
    stricter.checks[0] = 1;
    struct machine m = served("a", "b");
    decide_begin(&m, SECOND);
    (void)decide_reload(&m, &stricter, &cancels);
    CHECK("other checks: it is judged again", cancels);
    CHECK_INT("what passed the old ones", settle(&m, DECIDE_OK, "c", SECOND), VERDICT_SUPERSEDED);
    CHECK("the next is due", decide_is_due(&m, SECOND, false));
    decide_begin(&m, SECOND);
    CHECK("and no cheap look", !m.running.uses_look);
    (void)decide_reload(&m, &stricter, &cancels);
    CHECK("the same checks: it goes on", !cancels);
    CHECK_INT("and takes over", settle(&m, DECIDE_OK, "c", SECOND), VERDICT_SWAP);
    decide_begin(&m, SECOND);
    (void)decide_reload(&m, &home, &cancels);
    (void)settle(&m, DECIDE_REJECTED, NULL, SECOND);
    decide_begin(&m, SECOND);
    CHECK("rejected by the old checks: read again", !m.running.uses_look);
    (void)settle(&m, DECIDE_REJECTED, NULL, SECOND);
    decide_check(&m);
    decide_begin(&m, SECOND);
    CHECK("rejected by the new ones: seen", m.running.uses_look);
    (void)decide_rollback(&m);
    (void)settle(&m, DECIDE_REJECTED, NULL, SECOND);
    decide_check(&m);
    decide_begin(&m, SECOND);
    CHECK("compared with what was left: read again", !m.running.uses_look);
}

static void test_a_failed_rebuild_is_tried_again(void **state)
{
    (void)state;
    struct machine m = served("a", NULL);
    decide_rebuild(&m);
    CHECK("at once", decide_is_due(&m, SECOND, false));
    decide_begin(&m, SECOND);
    (void)settle(&m, DECIDE_REJECTED, NULL, SECOND);
    CHECK("not in a tight loop", !decide_is_due(&m, SECOND, false));
    CHECK("but soon", decide_is_due(&m, 3 * SECOND, false));
    decide_begin(&m, 3 * SECOND);
    CHECK("the active id is not skipped", !decide_skips(&m.running, "a"));
    (void)settle(&m, DECIDE_OK, "a", 3 * SECOND);
    CHECK("done", !m.wants_rebuild);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_swap_and_rollback),
        cmocka_unit_test(test_rebuild_keeps_target_and_quarantine),
        cmocka_unit_test(test_a_broken_snapshot_is_no_target),
        cmocka_unit_test(test_rollback_while_an_attempt_runs),
        cmocka_unit_test(test_asks_are_joined),
        cmocka_unit_test(test_a_rebuild_is_for_what_serves),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_checks_do_not_bypass_the_backoff),
        cmocka_unit_test(test_another_origin),
        cmocka_unit_test(test_cutover),
        cmocka_unit_test(test_what_was_judged_otherwise_does_not_count),
        cmocka_unit_test(test_a_failed_rebuild_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
