/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ingest process that was taken over, or hangs: the server is not held up by it. The child is
 * this program again; a variable of the environment tells it how to behave.
 */
#include "base/mem.h"
#include "base/timeutil.h"
#include "engine/child.h"
#include "engine/engine.h"
#include "engine/process.h"
#include "unit.h"

#define HOW "OFFLOADER_TEST_CHILD"
#define N_LINES 2000
#define WORK_US 2000000      /* longer than the limit of 1 s */
#define JOB_BYTES (1u << 20) /* more than a pipe holds */
#define N_FILES 5000         /* whose job is as large */

/* ---- the child ---- */

static int be_hostile(const char *how)
{
    if (strstr(how, "talks"))
        for (int i = 0; i < N_LINES; i++)
            printf("a line of sixty-four bytes or so, before anything is read: %05d\n", i);
    (void)fflush(stdout); /* a parent that went away is no matter of the child's */
    if (strstr(how, "silent"))
        (void)close(STDOUT_FILENO); /* nothing is in it */
    while (strstr(how, "reads") && getchar() != EOF)
        continue;
    struct err err = ERR_INIT;
    if (strstr(how, "tells") && child_say_it_works(&err) != RC_OK)
        return 1;
    for (int64_t until_us = monotonic_us() + WORK_US; strstr(how, "works");)
        if (monotonic_us() > until_us)
            break;
    if (strstr(how, "says_done"))
        printf("{\"result\":{}}\n");
    if (strstr(how, "and_again"))
        printf("{\"result\":{}}\n");
    if (strstr(how, "leaves")) {
        (void)fflush(stdout);
        return 0;
    }
    if (!strstr(how, "tells"))
        (void)fclose(stdout);
    for (;;)
        (void)pause();
}

/* ---- the server ---- */

static const char *const args[] = {"__ingest", NULL};

static void test_a_job_and_lines_at_once(void **state)
{
    (void)state;
    struct process p;
    struct err err = ERR_INIT;
    struct str line;
    AUTO(mem_free_auto) char *job = x_alloc0(JOB_BYTES);
    struct str text = {job, JOB_BYTES};
    int n_lines = 0;
    (void)setenv(HOW, "talks reads leaves", 1); /* fails only without memory */
    CHECK_OK("it starts", process_start(&p, args, &err), &err);
    CHECK_OK("its lines do not keep it from reading", process_feed(&p, &text, 20000000, &err),
             &err);
    while (process_line(&p, 20000000, &line, &err) == RC_OK)
        n_lines++;
    CHECK_INT("no line is lost", n_lines, N_LINES);
    CHECK("it left by itself", process_end(&p, false, NULL));
}

static void test_one_that_takes_nothing(void **state)
{
    (void)state;
    static const char *const ways[] = {"deaf", "deaf silent"};
    AUTO(mem_free_auto) char *job = x_alloc0(JOB_BYTES);
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct process p;
        struct err err = ERR_INIT;
        struct str text = {job, JOB_BYTES};
        (void)setenv(HOW, ways[i], 1);
        CHECK_OK("it starts", process_start(&p, args, &err), &err);
        CHECK_INT(ways[i], process_feed(&p, &text, 200000, &err), RC_TIMEOUT);
        CHECK(ways[i], text.n > 0 && text.n < JOB_BYTES);
        CHECK(ways[i], !process_end(&p, true, NULL));
    }
}

static enum rc ingest(bool cancelled, int stall_seconds)
{
    static struct column column = {(char *)(uintptr_t) "a", TYPE_BIGINT};
    static bool none[1];
    struct dataset dataset = {
        .schema = {&column, 1}, .tenant_column = -1, .equality_columns = none};
    AUTO(mem_free_auto) struct data_file *files = x_array0(N_FILES, sizeof *files);
    AUTO(mem_free_auto) const char **paths = x_array0(N_FILES, sizeof *paths);
    struct manifest manifest = {.schema = {&column, 1}, .files = files, .n_files = N_FILES};
    _Atomic bool flag = cancelled;
    struct ingest_job job = {.dataset = &dataset,
                             .manifest = &manifest,
                             .local_paths = paths,
                             .target_directory = "/nowhere",
                             .temp_directory = "/nowhere",
                             .limits = {.stall_seconds = stall_seconds},
                             .cancelled = &flag};
    struct ingest_report report;
    struct err err = ERR_INIT;
    for (size_t i = 0; i < N_FILES; i++) {
        paths[i] = "/nowhere/a.parquet";
        files[i].path = (char *)(uintptr_t) "a.parquet";
    }
    enum rc rc = engine_ingest(&job, &report, &err);
    if (rc == RC_OK)
        ingest_report_done(&report);
    return rc;
}

static void test_an_ingest_ends(void **state)
{
    (void)state;
    static const struct {
        const char *why, *how;
        bool cancelled;
        int stall_seconds;
        enum rc rc;
    } rows[] = {
        {"a stop while it takes nothing", "deaf", true, 60, RC_CANCELLED},
        {"no progress while it takes nothing", "deaf", false, 1, RC_IO},
        {"at work without a word", "reads tells works says_done leaves", false, 1, RC_OK},
        {"no progress, though it would tell", "reads tells", false, 1, RC_IO},
        {"done, and does not leave", "reads says_done", false, 60, RC_IO},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        (void)setenv(HOW, rows[i].how, 1);
        CHECK_INT(rows[i].why, ingest(rows[i].cancelled, rows[i].stall_seconds), rows[i].rc);
    }
    (void)setenv(HOW, "reads says_done and_again leaves", 1);
    CHECK("done twice is not done", ingest(false, 60) != RC_OK); /* which it is, its exit decides */
}

/* As many columns as fill pages: where there is room for one they would end the server. */
static int describe_twice(void)
{
    printf("{\"result\":{\"rows\":1,\"columns\":[{\"name\":\"a\",\"type\":\"BIGINT\"}]}}\n"
           "{\"result\":{\"rows\":2,\"columns\":[");
    for (int i = 0; i < 100000; i++)
        printf("%s{\"name\":\"b\",\"type\":\"DATE\"}", i ? "," : "");
    printf("]}}\n");
    (void)fflush(stdout); /* a parent that went away is no matter of the child's */
    return 0;
}

static void test_a_file_is_described_once(void **state)
{
    (void)state;
    struct schema s;
    struct err err = ERR_INIT;
    uint64_t n_rows = 0;
    CHECK_OK("described", engine_describe("/nowhere/a.csv", FILE_CSV, &s, &n_rows, &err), &err);
    CHECK_INT("the first counts", s.n_columns, 1);
    CHECK_INT("the first's rows", n_rows, 1);
    schema_done(&s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_job_and_lines_at_once),
        cmocka_unit_test(test_one_that_takes_nothing),
        cmocka_unit_test(test_an_ingest_ends),
        cmocka_unit_test(test_a_file_is_described_once),
    };
    const char *how = getenv(HOW);
    if (argc > 1 && strcmp(argv[1], args[0]) == 0 && how)
        return be_hostile(how);
    if (argc > 1 && strcmp(argv[1], "__describe") == 0)
        return describe_twice();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
