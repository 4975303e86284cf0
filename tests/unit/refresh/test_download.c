/* SPDX-License-Identifier: Apache-2.0 */
/* Several objects at once: all or the first error, with progress, and stoppable. Objects are files.
 */
#include "unit.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "refresh/remote.h"

#define N_FILES 40

struct world {
    char *directory;
    struct objectstore *store;
    char *from[N_FILES], *to[N_FILES];
    struct download items[N_FILES];
};

static struct world *world_new(void)
{
    struct world *w = x_alloc0(sizeof *w);
    struct err err = ERR_INIT;
    w->directory = unit_directory();
    CHECK_OK("a store", objectstore_new(true, &w->store, &err), &err);
    for (int i = 0; i < N_FILES; i++) {
        char text[64];
        int n = snprintf(text, sizeof text, "file %d", i);
        w->from[i] = x_printf("%s/from-%d", w->directory, i);
        w->to[i] = x_printf("%s/to-%d", w->directory, i);
        CHECK_OK("a file", io_write_file(w->from[i], text, (size_t)n, 0644, &err), &err);
        w->items[i] = (struct download){.url = w->from[i], .path = w->to[i]};
    }
    return w;
}

static void world_free(struct world *w)
{
    for (int i = 0; i < N_FILES; i++) {
        object_meta_done(&w->items[i].meta);
        mem_free(w->from[i]);
        mem_free(w->to[i]);
    }
    objectstore_free(w->store);
    unit_remove(w->directory);
    mem_free(w);
}

struct told {
    size_t files;
    uint64_t bytes;
    int n;
};

static void on_progress(void *arg, size_t files_done, uint64_t bytes_done)
{
    struct told *t = arg;
    CHECK("files only grow", files_done >= t->files);
    *t = (struct told){files_done, bytes_done, t->n + 1};
}

static void test_all_arrive(void **state)
{
    (void)state;
    static const int parallel[] = {1, 4, 16, 1000};
    for (size_t p = 0; p < ARRAY_LEN(parallel); p++) {
        struct world *w = world_new();
        struct told told = {0};
        struct err err = ERR_INIT;
        size_t at = 0;
        struct download_options options = {
            .store = w->store, .parallel = parallel[p], .on_progress = on_progress, .arg = &told};
        CHECK_OK("they arrive", download_all(&options, w->items, N_FILES, &at, &err), &err);
        for (int i = 0; i < N_FILES; i++) {
            struct buf text;
            buf_init(&text, 64);
            CHECK_OK("there", io_read_file(w->to[i], &text, &err), &err);
            CHECK_INT("its size is told", w->items[i].meta.size_bytes, text.n);
            CHECK("each in its place", strtol(buf_cstr(&text) + 5, NULL, 10) == i);
            buf_done(&text);
        }
        CHECK("progress is told, at the end too", told.n > 0 && told.files == N_FILES);
        world_free(w);
    }
}

static void test_first_error(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct err err = ERR_INIT;
    size_t at = 0;
    struct download_options options = {.store = w->store, .parallel = 1};
    CHECK_OK("one goes", io_remove_tree(w->from[7], &err), &err);
    CHECK_INT("its error", download_all(&options, w->items, N_FILES, &at, &err), RC_NOT_FOUND);
    CHECK_INT("and which one", at, 7);
    CHECK("nothing after it is begun", access(w->to[8], F_OK) != 0);
    world_free(w);
}

static void test_promised_size(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct err err = ERR_INIT;
    size_t at = 0;
    struct download_options options = {.store = w->store, .parallel = 4};
    w->items[3].has_size = true;
    w->items[3].size_bytes = 5;
    CHECK_INT("another size", download_all(&options, w->items, N_FILES, &at, &err), RC_CORRUPT);
    CHECK_INT("of this one", at, 3);
    CHECK("and nothing of it stays", access(w->to[3], F_OK) != 0);
    world_free(w);
}

static void test_cancelled(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct err err = ERR_INIT;
    size_t at = 0;
    _Atomic bool cancelled = true;
    struct download_options options = {.store = w->store, .parallel = 1, .cancelled = &cancelled};
    CHECK_INT("stopped", download_all(&options, w->items, N_FILES, &at, &err), RC_CANCELLED);
    CHECK("before anything is begun", access(w->to[0], F_OK) != 0);
    world_free(w);
}

static void test_stat_writes_nothing(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct err err = ERR_INIT;
    size_t at = 0;
    struct download_options options = {.store = w->store, .parallel = 4, .only_stat = true};
    CHECK_OK("asked", download_all(&options, w->items, N_FILES, &at, &err), &err);
    CHECK_INT("a size", w->items[0].meta.size_bytes, 6);
    CHECK("no file", access(w->to[0], F_OK) != 0);
    CHECK_OK("nothing to do is fine", download_all(&options, w->items, 0, &at, &err), &err);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_arrive),          cmocka_unit_test(test_first_error),
        cmocka_unit_test(test_promised_size),       cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_stat_writes_nothing),
    };
    return cmocka_run_group_tests_name("download", tests, NULL, NULL);
}
