/* SPDX-License-Identifier: Apache-2.0 */
/* References, publishing, and readers that pin without a lock, under a publisher that never rests.
 */
#include "unit.h"

#include "base/errlist.h"
#include "base/mem.h"
#include "base/thread.h"
#include "live/live.h"
#include "metrics/metrics.h"

static struct project_ref *project;

static void put(const char *directory, const char *name, const char *text)
{
    struct err err = ERR_INIT;
    AUTO(mem_free_auto) char *path = path_join(directory, name);
    AUTO(mem_free_auto) char *parent = x_strndup(path, (size_t)(strrchr(path, '/') - path));
    CHECK_OK(name, io_mkdir_all(parent, 0700, &err), &err);
    CHECK_OK(name, io_write_file(path, text, strlen(text), 0600, &err), &err);
}

static int load(void **state)
{
    (void)state;
    struct errlist findings = ERRLIST_INIT;
    struct project *p = NULL;
    struct err err = ERR_INIT;
    char *directory = unit_directory();
    metrics_init(NULL);
    put(directory, "offloader.yml", "version: 1\nauth: none\n");
    put(directory, "datasets/kv.yml",
        "id: kv\nmanifest: m.json\nschema: [{ name: id, type: VARCHAR }]\n");
    static const char *const names[] = {"beta", "alpha", "gamma"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        AUTO(mem_free_auto) char *file = x_printf("endpoints/%zu.yml", i);
        AUTO(mem_free_auto)
        char *text = x_printf(
            "name: %s\nversion: 1\ndataset: kv\nquery: { select: [{ as: id, column: id }] }\n"
            "columns: [id]\n",
            names[i]);
        put(directory, file, text);
    }
    CHECK_OK("the project", project_load(directory, &findings, &p, &err), &err);
    project = project_ref_new(p);
    errlist_done(&findings);
    unit_remove(directory);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    project_ref_put(project);
    return 0;
}

static int n_released;

static void on_release(struct snapshot *s)
{
    n_released++;
    snapshot_destroy(s);
}

static struct snapshot *make_snapshot(void)
{
    struct snapshot *s = snapshot_new();
    memcpy(s->contract_fingerprint, project->project->datasets[0].contract_fingerprint, 32);
    s->on_release = on_release;
    return s;
}

static void test_a_view_holds_its_snapshots(void **state)
{
    (void)state;
    struct snapshot *a = make_snapshot(), *b = make_snapshot();
    CHECK("generations rise", b->generation > a->generation);
    const struct view_input input = {.project = project, .dataset = 0, .active = b, .previous = a};
    struct view *v = view_new(project, project, &input, 1);
    snapshot_unref(a);
    snapshot_unref(b);
    CHECK_INT("the view holds them", n_released, 0);
    CHECK("every endpoint is found", view_endpoint(v, STR("alpha")) &&
                                         view_endpoint(v, STR("beta")) &&
                                         view_endpoint(v, STR("gamma")));
    CHECK("no other", !view_endpoint(v, STR("alph")) && !view_endpoint(v, STR("")) &&
                          !view_endpoint(v, STR("zeta")));
    CHECK("with its snapshot", view_endpoint(v, STR("beta"))->active == b);
    struct view *second = view_ref(v);
    view_unref(v);
    CHECK_INT("still held", n_released, 0);
    view_unref(second);
    CHECK_INT("both are let go, once", n_released, 2);
    view_unref(NULL);
    snapshot_unref(NULL);
}

static void test_a_dataset_without_snapshot(void **state)
{
    (void)state;
    struct view *v = view_new(project, project, NULL, 0);
    CHECK("the endpoint is there, not ready", view_endpoint(v, STR("alpha"))->active == NULL);
    CHECK("auth: none", !v->auth_required);
    view_unref(v);
}

/* kv's contract is of the @revision; endpoint `moved` goes from `other` to kv in the second. */
static struct project_ref *load_revision(int revision, const char *other_type)
{
    struct errlist findings = ERRLIST_INIT;
    struct project *p = NULL;
    struct err err = ERR_INIT;
    char *directory = unit_directory();
    put(directory, "offloader.yml", "version: 1\nauth: none\n");
    AUTO(mem_free_auto)
    char *kv = x_printf("id: kv\nmanifest: kv.json\nschema: [{ name: id, type: %s }]\n",
                        revision == 1 ? "VARCHAR" : "BIGINT");
    AUTO(mem_free_auto)
    char *other =
        x_printf("id: other\nmanifest: other.json\nschema: [{ name: id, type: %s }]\n", other_type);
    AUTO(mem_free_auto)
    char *moved = x_printf("name: moved\nversion: %d\ndataset: %s\n"
                           "query: { select: [{ as: id, column: id }] }\ncolumns: [id]\n",
                           revision, revision == 1 ? "other" : "kv");
    put(directory, "datasets/kv.yml", kv);
    put(directory, "datasets/other.yml", other);
    put(directory, "endpoints/moved.yml", moved);
    CHECK_OK("the revision", project_load(directory, &findings, &p, &err), &err);
    errlist_done(&findings);
    unit_remove(directory);
    return project_ref_new(p);
}

static struct view_input serving(struct project_ref *p, const char *id)
{
    const struct dataset *d = project_dataset(p->project, str_from(id));
    struct snapshot *s = snapshot_new();
    memcpy(s->contract_fingerprint, d->contract_fingerprint, 32);
    return (struct view_input){
        .project = p, .dataset = (int)(d - p->project->datasets), .active = s};
}

static void test_an_endpoint_that_moves_to_a_held_dataset(void **state)
{
    static const struct {
        const char *other_type; /* in the second revision */
        bool other_is_there, other_waits;
        bool is_served;
        const char *why;
    } rows[] = {
        {"VARCHAR", true, false, true, "as it was, from the dataset it had"},
        {"BIGINT", true, true, true, "also when that one waits too"},
        {"BIGINT", true, false, false, "not when that one has another contract already"},
        {"VARCHAR", false, false, false, "not when that one is gone"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct project_ref *old = load_revision(1, "VARCHAR");
        struct project_ref *fresh = load_revision(2, rows[i].other_type);
        const struct view_input inputs[] = {serving(old, "kv"),
                                            serving(rows[i].other_waits ? old : fresh, "other")};
        struct view *v = view_new(fresh, fresh, inputs, rows[i].other_is_there ? 2 : 1);
        const struct view_endpoint *e = view_endpoint(v, STR("moved"));
        CHECK(rows[i].why, (e != NULL) == rows[i].is_served);
        CHECK(rows[i].why, !e || (e->active == inputs[1].active && e->endpoint->version == 1));
        view_unref(v);
        for (size_t k = 0; k < ARRAY_LEN(inputs); k++)
            snapshot_unref(inputs[k].active);
        project_ref_put(old);
        project_ref_put(fresh);
    }
}

static int n_published;

static void on_publish(void *arg)
{
    (void)arg;
    n_published++;
}

static void test_publish(void **state)
{
    (void)state;
    struct live *l = live_new(on_publish, NULL);
    struct live_reader *r = live_reader_new(l);
    CHECK("nothing yet", live_peek(r) == NULL && live_get(l) == NULL);
    live_publish(l, view_new(project, project, NULL, 0));
    struct view *first = live_peek(r);
    CHECK("seen", first && live_peek(r) == first && n_published == 1);
    uint64_t sequence = first->sequence; /* the view goes with the next one */
    live_publish(l, view_new(project, project, NULL, 0));
    CHECK("the newer one", live_peek(r)->sequence == sequence + 1);
    live_reader_free(r);
    live_free(l);
}

struct race {
    struct live *live;
    _Atomic bool done;
};

static void *read_on(void *arg)
{
    struct race *race = arg;
    struct live_reader *r = live_reader_new(race->live);
    uint64_t last = 0;
    while (!atomic_load(&race->done)) {
        struct view *v = live_peek(r);
        CHECK("never backwards", v->sequence >= last);
        last = v->sequence;
        CHECK("whole", view_endpoint(v, STR("gamma"))->active->generation > 0);
    }
    live_reader_free(r);
    return NULL;
}

static void test_readers_under_a_publisher(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    pthread_t threads[3];
    struct race race = {.live = live_new(NULL, NULL)};
    n_released = 0;
    enum { VIEWS = 2000 };
    for (int i = 0; i < VIEWS; i++) {
        struct snapshot *s = make_snapshot();
        s->on_release = NULL;
        const struct view_input input = {.project = project, .dataset = 0, .active = s};
        live_publish(race.live, view_new(project, project, &input, 1));
        snapshot_unref(s);
        for (size_t k = 0; i == 0 && k < ARRAY_LEN(threads); k++)
            CHECK_OK("starts", thread_start(&threads[k], "unit", read_on, &race, &err), &err);
    }
    atomic_store(&race.done, true);
    for (size_t k = 0; k < ARRAY_LEN(threads); k++)
        thread_join(threads[k]);
    live_free(race.live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_view_holds_its_snapshots),
        cmocka_unit_test(test_a_dataset_without_snapshot),
        cmocka_unit_test(test_an_endpoint_that_moves_to_a_held_dataset),
        cmocka_unit_test(test_publish), cmocka_unit_test(test_readers_under_a_publisher)};
    return cmocka_run_group_tests(tests, load, drop);
}
