/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of loops that end: each is run once, also one loop's to another that was joined. */
#include <stddef.h>

#include "loop/loop.h"
#include "unit.h"

struct note {
    struct loop_message message;
    struct loop *next_loop;
    struct note *next;
    int n_runs;
};

static void run(struct loop_message *m)
{
    struct note *n = (struct note *)((char *)m - offsetof(struct note, message));
    n->n_runs++;
    if (n->next_loop)
        loop_post(n->next_loop, &n->next->message);
}

/* The leader of a flight is on one loop, who waits for it on another. */
static void end_two_loops(bool start)
{
    struct loop *loops[2] = {NULL, NULL};
    struct err err = ERR_INIT;
    for (int i = 0; i < 2; i++) {
        CHECK_OK("a loop", loop_new("loop", &loops[i], &err), &err);
        if (start)
            CHECK_OK("it starts", loop_start(loops[i], &err), &err);
    }
    struct note waiter = {.message.run = run};
    struct note leader = {.message.run = run, .next_loop = loops[0], .next = &waiter};
    for (int i = 0; i < 2; i++)
        loop_stop(loops[i]);
    loop_post(loops[1], &leader.message);
    for (int i = 0; i < 2; i++)
        loop_join(loops[i]);
    for (int i = 0; i < 2; i++)
        loop_join_free(loops[i]);
    assert_int_equal(leader.n_runs, 1);
    assert_int_equal(waiter.n_runs, 1);
}

static void test_loops_that_end_hear_each_other(void **state)
{
    (void)state;
    end_two_loops(false);
    for (int i = 0; i < 50; i++)
        end_two_loops(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loops_that_end_hear_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
