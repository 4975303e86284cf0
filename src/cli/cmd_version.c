/* SPDX-License-Identifier: Apache-2.0 */
/* offloader version: what was built from what. */
#include <stdio.h>

#include "base/commit.h"
#include "cli/cli.h"
#include "http/http.h"
#include "markup/markup.h"
#include "net/net.h"

#define DUCKDB_VERSION "1.4.4" /* tools/duckdb/package.json pins it */

static void print_json(void)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, SIZE_MAX);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "offloader");
    jw_cstr(&w, OFFLOADER_VERSION);
    jw_key(&w, "commit");
    jw_cstr(&w, OFFLOADER_COMMIT);
    jw_key(&w, "duckdb");
    jw_cstr(&w, DUCKDB_VERSION);
    jw_key(&w, "libuv");
    jw_cstr(&w, http_library_version());
    jw_key(&w, "libcurl");
    jw_cstr(&w, net_library_version());
    jw_close(&w, '}');
    printf("%s\n", buf_cstr(&b));
    buf_done(&b);
}

static int run(const struct command *c)
{
    (void)c;
    if (flag_given("json")) {
        print_json();
        return EXIT_FINE;
    }
    printf("offloader %s\ncommit %s\nduckdb %s\nlibuv %s\n%s\n", OFFLOADER_VERSION,
           OFFLOADER_COMMIT, DUCKDB_VERSION, http_library_version(), net_library_version());
    return EXIT_FINE;
}

static const struct flag flags[] = {
    {"json", NULL, NULL, "print one JSON document"},
    {NULL, NULL, NULL, NULL},
};

const struct command command_version = {
    .name = "version",
    .summary = "Print version, commit, DuckDB and library versions.",
    .usage = "[--json]",
    .example = "offloader version",
    .flags = flags,
    .run = run,
};
