/* SPDX-License-Identifier: Apache-2.0 */
/* A project of one dataset with a column of each type, loaded from files as the program does. */
#ifndef OFFLOADER_TESTS_PLAN_WORLD_H
#define OFFLOADER_TESTS_PLAN_WORLD_H

#include "plan/plan_int.h"
#include "project/project.h"
#include "unit.h"

#define WORLD_SCHEMA                                                                               \
    "id: d\nmanifest: m.json\nschema:\n- {name: t, type: VARCHAR}\n- {name: i, type: INTEGER}\n"   \
    "- {name: b, type: BIGINT}\n- {name: x, type: DOUBLE}\n- {name: o, type: BOOLEAN}\n"           \
    "- {name: d, type: DATE}\n- {name: s, type: TIMESTAMP}\n- {name: v, type: VARCHAR}\n"

struct world {
    char *directory;
    struct project *project;
    struct plan_shape *shape;
    struct arena arena;
};

static inline void world_write(const char *directory, const char *name, const char *text)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* @endpoint: the YAML of the one endpoint; @dataset_more: appended to the dataset. */
static inline struct world world_new(const char *dataset_more, const char *endpoint)
{
    static const char *const directories[] = {"datasets", "endpoints"};
    struct world w = {.directory = unit_directory()};
    struct errlist findings = ERRLIST_INIT;
    struct err err = ERR_INIT;
    char dataset[2048], path[1024];
    for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
        snprintf(path, sizeof path, "%s/%s", w.directory, directories[i]);
        CHECK_OK("a directory", io_mkdir_all(path, 0700, &err), &err);
    }
    snprintf(dataset, sizeof dataset, "%s%s", WORLD_SCHEMA, dataset_more);
    world_write(w.directory, "offloader.yml", "version: 1\n");
    world_write(w.directory, "datasets/d.yml", dataset);
    world_write(w.directory, "endpoints/e.yml", endpoint);
    CHECK_OK("the project loads", project_load(w.directory, &findings, &w.project, &err), &err);
    errlist_done(&findings);
    assert_non_null(w.project);
    w.shape = plan_shape_new(&w.project->endpoints[0], &w.project->datasets[0]);
    arena_init(&w.arena, 1 << 20);
    return w;
}

static inline void world_free(struct world *w)
{
    plan_shape_free(w->shape);
    project_free(w->project);
    arena_done(&w->arena);
    unit_remove(w->directory);
}

static inline enum rc world_plan(struct world *w, const char *query, const char *tenant,
                                 struct plan *ret, char *message)
{
    struct plan_input in = {.shape = w->shape,
                            .tenant = tenant ? str_from(tenant) : (struct str){NULL, 0},
                            .query_string = str_from(query)};
    message[0] = 0;
    return plan_request(&in, &w->arena, ret, message);
}

#endif
