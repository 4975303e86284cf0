/* SPDX-License-Identifier: Apache-2.0 */
/* The entry of offloader-engine.so: one job from stdin, its answers on stdout. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "engine/build.h"
#include "engine/child.h"
#include "engine/sandbox.h"

int offloader_engine_main(int argc, char **argv);

const char offloader_engine_build[] = ENGINE_BUILD; /* compared with the program's */

static void say_error(const struct err *err)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 1u << 16);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "error");
    jw_open(&w, '{');
    jw_key(&w, "rc");
    jw_int(&w, err->rc);
    jw_key(&w, "code");
    jw_cstr(&w, err->code);
    jw_key(&w, "message");
    jw_cstr(&w, err->message);
    jw_close(&w, '}');
    jw_close(&w, '}');
    child_say(&b);
    buf_done(&b);
}

static enum rc read_stdin(struct buf *ret, struct err *err)
{
    for (;;) {
        if (!buf_reserve(ret, 65536))
            return err_set(err, RC_NO_MEMORY, "the job is too large");
        ssize_t n = read(STDIN_FILENO, ret->p + ret->n, 65536);
        if (n < 0)
            return err_set(err, RC_IO, "cannot read the job");
        if (n == 0)
            return RC_OK;
        ret->n += (size_t)n;
    }
}

/* Its data files, the active snapshot and its own two directories are all that an ingest sees. */
static enum rc enter_sandbox(const struct child_job *j, struct err *err)
{
    AUTO(mem_free_auto) const char **paths = x_array0(j->n_files + 1, sizeof *paths);
    struct sandbox s = {
        .read = paths, .write = {j->target, j->temp}, .memory_bytes = j->memory_bytes};
    for (size_t i = 0; i < j->n_files; i++)
        paths[s.n_read++] = j->files[i].path;
    if (j->active)
        paths[s.n_read++] = j->active;
    return sandbox_enter(&s, err);
}

static int ingest_main(struct str text)
{
    static struct ingest g;
    struct err err = ERR_INIT;
    arena_init(&g.arena, LIMIT_JOB_BYTES);
    store_install_bus_handler(); /* what serves may be on a bad disk, and is read here too */
    enum rc rc = job_read(text, &g.arena, &g.job, &err);
    if (rc == RC_INVALID) /* cut on its way: no fault of the data's */
        rc = err.rc = RC_IO;
    if (rc == RC_OK)
        rc = enter_sandbox(&g.job, &err);
    if (rc == RC_OK)
        rc = child_say_it_works(&err);
    if (rc == RC_OK)
        rc = ingest_run(&g, &err);
    if (rc != RC_OK)
        say_error(&err);
    return rc == RC_OK ? 0 : 1;
}

static int run(int argc, char **argv)
{
    struct buf job;
    struct err err = ERR_INIT;
    if (argc == 4 && strcmp(argv[1], "__describe") == 0)
        return describe_main(argv[2], argv[3]);
    if (strcmp(argv[1], "__query") == 0)
        return query_main(argc, argv);
    if (strcmp(argv[1], "__sandbox-test") == 0)
        return sandbox_test_main(argc, argv);
    buf_init(&job, LIMIT_JOB_BYTES);
    if (read_stdin(&job, &err) != RC_OK) {
        say_error(&err);
        return 1;
    }
    struct str text = {job.p, job.n};
    return ingest_main(text);
}

/* Ends without a tidy exit: the system takes the memory, DuckDB's shutdown only costs time, and
 * what libraries do at an exit is not allowed here. */
int offloader_engine_main(int argc, char **argv)
{
    int status = run(argc, argv);
    (void)fflush(stdout); /* nobody is left to tell */
    _exit(status);
}
