/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests as a consumer would send them: project and manifest from files, data by ingest in a
 * child process, plans by the planner, pages by signed cursors; answers from the store that ingest
 * wrote and from a query process that reads the source files through the bridge.
 */
#include <stdio.h>

#include "base/io.h"
#include "base/mem.h"
#include "differential.h"
#include "plan/plan.h"
#include "project/project.h"

#define ENDPOINTS 6
#define REQUESTS 60 /* of an endpoint */
#define PAGES 3
#define LIMIT_REQUEST_BYTES (16u << 20)

struct world {
    struct lane *lane;
    struct chance *chance;
    struct table table;
    struct request requests[ENDPOINTS];
    char *directory, *build, *temp;
    struct project *project;
    struct manifest *manifest;
    const char *paths[TABLE_FILES];
    struct store *store;
    struct engine_source *source;
    struct answer ours, theirs;
};

static enum rc load_project(struct world *w, struct err *err)
{
    struct errlist findings = ERRLIST_INIT;
    enum rc rc = project_load(w->directory, &findings, &w->project, err);
    for (size_t i = 0; i < findings.n_items && !w->project; i++)
        printf("%s:%d: %s: %s\n", findings.items[i].file, findings.items[i].line,
               findings.items[i].path, findings.items[i].message);
    errlist_done(&findings);
    return rc;
}

static enum rc load_manifest(struct world *w, struct err *err)
{
    AUTO(mem_free_auto) char *path = path_join(w->directory, "manifest.json");
    struct manifest_origin origin = {
        .location = path, .project_root = w->directory, .shown_as = "manifest.json"};
    struct errlist findings = ERRLIST_INIT;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    enum rc rc = io_read_file(path, &text, err);
    if (rc == RC_OK)
        rc = manifest_parse((struct str){text.p, text.n}, &origin, "d", &findings, &w->manifest,
                            err);
    for (size_t i = 0; i < findings.n_items; i++)
        printf("manifest: %s: %s\n", findings.items[i].path, findings.items[i].message);
    errlist_done(&findings);
    buf_done(&text);
    return rc;
}

static enum rc ingest(struct world *w, struct err *err)
{
    struct ingest_job job = {.dataset = &w->project->datasets[0],
                             .manifest = w->manifest,
                             .local_paths = w->paths,
                             .target_directory = w->build,
                             .temp_directory = w->temp,
                             .limits = {.threads = 1}};
    struct ingest_report report;
    enum rc rc = engine_ingest(&job, &report, err);
    if (rc == RC_OK)
        ingest_report_done(&report);
    return rc;
}

static enum rc make_world(struct world *w, struct err *err)
{
    size_t n_rows = chance_below(w->chance, chance_is(w->chance, 10) ? 2 * LARGE_ROWS : 300);
    table_make(&w->table, w->chance, n_rows, chance_is(w->chance, 70));
    for (int i = 0; i < ENDPOINTS; i++)
        do
            request_make(&w->requests[i], &w->table, w->chance);
        while (w->requests[i].query.grouped && w->requests[i].query.n_groups == 0);
    w->directory = path_join(w->lane->directory, "project");
    w->build = path_join(w->lane->directory, "build");
    w->temp = path_join(w->lane->directory, "spill");
    enum rc rc = io_mkdir_all(w->build, 0755, err);
    if (rc == RC_OK)
        rc = io_mkdir_all(w->temp, 0755, err);
    if (rc == RC_OK)
        rc = project_files_write(&w->table, w->requests, ENDPOINTS, w->chance, w->lane->connection,
                                 w->directory, err);
    if (rc == RC_OK)
        rc = load_project(w, err);
    if (rc == RC_OK)
        rc = load_manifest(w, err);
    if (rc != RC_OK)
        return rc;
    for (size_t i = 0; i < w->manifest->n_files; i++)
        w->paths[i] = w->manifest->files[i].location;
    w->source = engine_source_new(w->manifest, w->paths);
    rc = ingest(w, err);
    if (rc == RC_OK)
        rc = store_open(w->build, &w->store, err);
    return rc;
}

static void drop_world(struct world *w)
{
    struct err err = ERR_INIT;
    if (w->store)
        encodings_add(w->store, w->lane->tally.encodings);
    store_free(w->store);
    engine_source_free(w->source);
    manifest_free(w->manifest);
    project_free(w->project);
    table_done(&w->table);
    answer_done(&w->ours);
    answer_done(&w->theirs);
    IGNORE(io_remove_tree(w->directory, &err)); /* the run's directory goes as a whole in the end */
    IGNORE(io_remove_tree(w->build, &err));
    IGNORE(io_remove_tree(w->temp, &err));
    mem_free(w->directory);
    mem_free(w->build);
    mem_free(w->temp);
}

static bool run_pair(struct world *w, const struct plan *plan, const char *query_string)
{
    const struct query_control none = {0};
    const struct query *q = &plan->query;
    struct tally *tally = &w->lane->tally;
    answer_begin(&w->ours, q);
    w->ours.rc = store_execute(w->store, q, &none, answer_sink(&w->ours), w->lane->scratch,
                               &w->ours.result, NULL, &w->ours.err);
    answer_begin(&w->theirs, q);
    w->theirs.rc = engine_execute(w->lane->engine, w->source, q, &none, answer_sink(&w->theirs),
                                  &w->theirs.keep, &w->theirs.result, NULL, &w->theirs.err);
    tally->pairs++;
    tally->long_way++;
    tally->rows += w->ours.result.n_rows;
    tally->groups += q->grouped;
    tally->seeks += q->has_seek;
    const char *what = answer_compare(q, &w->ours, &w->theirs);
    if (!what)
        return true;
    printf("DIFFERS in %s, %s?%s\n", what, plan->shape->endpoint->name, query_string);
    answer_print("store", &w->ours);
    answer_print("duckdb", &w->theirs);
    return false;
}

/* A request and its next pages. *ret_refused: it is none that may be asked. */
static bool run_request(struct world *w, const struct plan_shape *shape, struct str tenant,
                        struct buf *query_string)
{
    static const uint8_t fingerprint[32];
    char message[PLAN_MESSAGE_BYTES];
    struct arena arena;
    struct cursor_binding binding = {.endpoint = shape->endpoint,
                                     .dataset = shape->dataset,
                                     .tenant = tenant,
                                     .snapshot_fingerprint = fingerprint};
    bool fine = true;
    arena_init(&arena, LIMIT_REQUEST_BYTES);
    for (int page = 0; fine && page < PAGES; page++) {
        struct plan_input in = {.shape = shape,
                                .tenant = tenant,
                                .query_string = {query_string->p, query_string->n},
                                .count_exact = chance_is(w->chance, 20)};
        struct plan plan;
        uint8_t began_in[32];
        arena_reset(&arena);
        enum rc rc = plan_request(&in, &arena, &plan, message);
        if (rc == RC_OK && plan.cursor.n)
            rc = cursor_open(&binding, &arena, &plan, began_in, message);
        if (rc != RC_OK && page > 0)
            printf("FAILED: a cursor of our own is refused: %s\n", message);
        if (rc != RC_OK) { /* the first: a value that is none of its param's */
            fine = page == 0;
            w->lane->tally.refused++;
            break;
        }
        fine = run_pair(w, &plan, buf_cstr(query_string));
        if (!fine || !w->ours.result.has_more)
            break;
        buf_reset(query_string);
        buf_put_literal(query_string, "cursor=");
        fine = cursor_write(&binding, &plan, &w->theirs.result,
                            plan.position + w->theirs.result.n_rows, query_string);
    }
    arena_done(&arena);
    return fine;
}

static bool run_endpoint(struct world *w, int index)
{
    char name[16];
    (void)snprintf(name, sizeof name, "e%d", index);
    const struct endpoint *e = project_endpoint(w->project, str_from(name));
    struct plan_shape *shape = plan_shape_new(e, &w->project->datasets[0]);
    struct buf query_string, tenant;
    bool fine = true;
    buf_init(&query_string, SIZE_MAX);
    buf_init(&tenant, SIZE_MAX);
    for (int i = 0; fine && i < REQUESTS; i++) {
        struct str text = {NULL, 0};
        buf_reset(&query_string);
        buf_reset(&tenant);
        if (w->table.tenant_column >= 0) {
            int column = w->table.tenant_column;
            struct value v = table_pick(&w->table, w->chance, column);
            project_put_text(&tenant, w->table.columns[column].type, &v);
            text = (struct str){buf_cstr(&tenant), tenant.n};
        }
        project_query_string(&w->requests[index], &w->table, w->chance, &query_string);
        fine = run_request(w, shape, text, &query_string);
    }
    buf_done(&query_string);
    buf_done(&tenant);
    plan_shape_free(shape);
    return fine;
}

bool long_way(struct lane *l, struct chance *c)
{
    struct world w = {.lane = l, .chance = c};
    struct err err = ERR_INIT;
    answer_init(&w.ours);
    answer_init(&w.theirs);
    bool fine = make_world(&w, &err) == RC_OK;
    if (!fine)
        printf("FAILED: %s\n", err.message);
    for (int i = 0; fine && i < ENDPOINTS; i++)
        fine = run_endpoint(&w, i);
    drop_world(&w);
    return fine;
}
