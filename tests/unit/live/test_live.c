/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing: readers that peek while others publish see whole views in order, hold what they see,
 * and let go of all of it in the end. Under ThreadSanitizer this is the proof of live.h's second
 * paragraph.
 */
#include "unit.h"

#include "base/mem.h"
#include "base/thread.h"
#include "live/live.h"

#define PUBLICATIONS 4000
#define READERS 3

static struct view *empty_view(struct project_ref *p)
{
    return view_new(p, p, NULL, 0);
}

static _Atomic int n_released;

static void on_release(struct snapshot *s)
{
    (void)atomic_fetch_add(&n_released, 1);
    snapshot_destroy(s);
}

static void test_a_snapshot_goes_with_its_last_reference(void **state)
{
    (void)state;
    atomic_store(&n_released, 0);
    struct snapshot *s = snapshot_new(), *t = snapshot_new();
    CHECK("generations rise", t->generation > s->generation);
    s->on_release = on_release;
    CHECK("a reference is the same object", snapshot_ref(s) == s);
    snapshot_unref(s);
    CHECK_INT("one is left", atomic_load(&n_released), 0);
    snapshot_unref(s);
    CHECK_INT("none is left", atomic_load(&n_released), 1);
    snapshot_unref(t);
    snapshot_unref(NULL);
    CHECK("no reference of nothing", snapshot_ref(NULL) == NULL);
}

static void test_a_reader_keeps_its_view_until_it_looks_again(void **state)
{
    (void)state;
    struct live *l = live_new(NULL, NULL);
    struct project_ref *p = project_ref_new(x_alloc0(sizeof(struct project)));
    struct live_reader *r = live_reader_new(l);
    CHECK("nothing before the first", live_peek(r) == NULL && live_get(l) == NULL);
    live_publish(l, empty_view(p));
    const struct view *first = live_peek(r);
    CHECK("the same while nothing is published", live_peek(r) == first);
    live_publish(l, empty_view(p));
    CHECK_INT("the first is still whole", first->sequence, 1);
    CHECK_INT("then the next", live_peek(r)->sequence, 2);
    struct view *own = live_get(l);
    live_reader_free(r);
    live_free(l);
    CHECK_INT("a reference of one's own outlives them", own->sequence, 2);
    view_unref(own);
    CHECK_INT("all views have let go of the project", atomic_load(&p->refs), 1);
    project_ref_put(p);
}

struct stress {
    struct live *live;
    struct project_ref *project;
    _Atomic bool is_over;
};

static void *read_views(void *arg)
{
    struct stress *s = arg;
    struct live_reader *r = live_reader_new(s->live);
    uint64_t last = 0;
    size_t n_new = 0;
    while (!atomic_load(&s->is_over)) {
        struct view *v = live_peek(r);
        if (!v)
            continue;
        CHECK("never an older one after a newer one", v->sequence >= last);
        CHECK("whole", v->project == s->project && v->keys == s->project->project);
        n_new += v->sequence != last;
        last = v->sequence;
        if (n_new % 7 == 0)
            view_unref(view_ref(v)); /* as a request that leaves the thread */
    }
    live_reader_free(r);
    return NULL;
}

static void *publish_views(void *arg)
{
    struct stress *s = arg;
    for (int i = 0; i < PUBLICATIONS / 2; i++)
        live_publish(s->live, empty_view(s->project));
    return NULL;
}

static void test_readers_and_publishers(void **state)
{
    (void)state;
    struct stress s = {.live = live_new(NULL, NULL),
                       .project = project_ref_new(x_alloc0(sizeof(struct project)))};
    pthread_t readers[READERS], publishers[2];
    struct err err = ERR_INIT;
    for (int i = 0; i < READERS; i++)
        CHECK_OK("starts", thread_start(&readers[i], "reader", read_views, &s, &err), &err);
    for (int i = 0; i < 2; i++)
        CHECK_OK("starts", thread_start(&publishers[i], "publisher", publish_views, &s, &err),
                 &err);
    for (int i = 0; i < 2; i++)
        thread_join(publishers[i]);
    atomic_store(&s.is_over, true);
    for (int i = 0; i < READERS; i++)
        thread_join(readers[i]);
    struct view *last = live_get(s.live);
    CHECK_INT("every publication has its number", last->sequence, PUBLICATIONS);
    view_unref(last);
    live_free(s.live);
    CHECK_INT("no view is left", atomic_load(&s.project->refs), 1);
    project_ref_put(s.project);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_snapshot_goes_with_its_last_reference),
        cmocka_unit_test(test_a_reader_keeps_its_view_until_it_looks_again),
        cmocka_unit_test(test_readers_and_publishers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
