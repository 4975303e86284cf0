/* SPDX-License-Identifier: Apache-2.0 */
/* offloader manifest validate FILE: one manifest, and with --dataset its compatibility. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "cli/check.h"
#include "cli/cli.h"
#include "cli/findings.h"
#include "project/project.h"

static int run(const struct command *c)
{
    struct errlist findings = ERRLIST_INIT;
    struct project *p = NULL;
    const struct dataset *d = NULL;
    struct err err = ERR_INIT;
    enum rc rc = RC_OK;
    const char *word = positional(0), *file = positional(1);
    if (!word || strcmp(word, "validate") != 0)
        return usage_error(c, "say what to do: `manifest validate FILE`");
    if (!file)
        return usage_error(c, "name the manifest to validate");
    if (flag_given("dataset")) {
        rc = project_load_dataset(flag_text("dataset"), &findings, &p, &err);
        d = rc == RC_OK ? &p->datasets[0] : NULL;
    }
    if (rc == RC_OK && !check_manifest(file, NULL, d, file, &findings))
        errlist_add(&findings, FINDING_ERROR, file, 0, 0, "", "missing_file", NULL,
                    "the file does not exist");
    else if (rc != RC_OK && findings.n_errors == 0)
        errlist_add(&findings, FINDING_ERROR, flag_text("dataset"), 0, 0, "", "unreadable_file",
                    NULL, "%s", err.message);
    int status = findings.n_errors ? EXIT_FINDINGS : EXIT_FINE;
    if (flag_given("json"))
        findings_print_json(&findings);
    else
        findings_print(stdout, &findings);
    if (status == EXIT_FINE && !flag_given("json"))
        printf("ok\n");
    project_free(p);
    errlist_done(&findings);
    return status;
}

static const struct flag flags[] = {
    {"dataset", "FILE", NULL, "a datasets/<id>.yml to check compatibility with"},
    {"json", NULL, NULL, "print the findings as one JSON document"},
    {NULL, NULL, NULL, NULL},
};

const struct command command_manifest = {
    .name = "manifest",
    .summary = "Check one snapshot manifest and the files it names.",
    .usage = "validate FILE [--dataset FILE] [--json]",
    .words = "validate",
    .example = "offloader manifest validate examples/customer-analytics/data/usage/manifest.json",
    .flags = flags,
    .max_positional = 2,
    .run = run,
};
