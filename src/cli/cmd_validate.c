/* SPDX-License-Identifier: Apache-2.0 */
/* offloader validate: the whole project, exactly as the server checks it, and its static manifests.
 */
#include <stdio.h>

#include "base/io.h"
#include "base/mem.h"
#include "cli/check.h"
#include "cli/cli.h"
#include "cli/findings.h"
#include "cli/place.h"
#include "project/project.h"

/* Manifests on this machine; one that does not exist yet has a producer that has not published yet.
 */
static void check_datasets(const struct project *p, struct errlist *findings)
{
    for (size_t i = 0; i < p->n_datasets; i++) {
        const struct dataset *d = &p->datasets[i];
        bool is_static = d->source.kind == SOURCE_STATIC_MANIFEST;
        if (!is_static && (d->source.kind != SOURCE_MANIFEST || *d->source.manifest != '/'))
            continue;
        AUTO(mem_free_auto) char *path = path_join(p->root, d->source.manifest);
        if (!check_manifest(path, is_static ? p->root : NULL, d, d->source.manifest, findings))
            errlist_add(findings, FINDING_WARNING, d->source.manifest, 0, 0, "", "missing_file",
                        "publish a snapshot before serving", "dataset `%s` has no manifest yet",
                        d->id);
    }
}

static int run(const struct command *c)
{
    struct errlist findings = ERRLIST_INIT;
    struct project *p = NULL;
    struct err err = ERR_INIT;
    (void)c;
    struct project_place place;
    enum rc rc = project_place_open(flag_text("config"), NULL, &place, &err);
    if (rc == RC_OK)
        rc = project_place_load(&place, &findings, &p, &err);
    bool is_read = rc == RC_OK || findings.n_errors > 0;
    if (rc == RC_OK)
        check_datasets(p, &findings);
    bool is_valid =
        rc == RC_OK && findings.n_errors == 0 && (!flag_given("strict") || findings.n_items == 0);
    if (rc != RC_OK && (rc != RC_INVALID || !is_read))
        errlist_add(&findings, FINDING_ERROR, flag_text("config"), 0, 0, "",
                    rc == RC_NOT_FOUND ? "missing_file"
                    : rc == RC_INVALID ? "invalid_value"
                                       : "unreadable_file",
                    NULL, "%s", err.message);
    errlist_sort(&findings);
    if (flag_given("json")) {
        findings_print_json(&findings);
    } else {
        findings_print(stdout, &findings);
        if (is_valid)
            printf("ok: %zu dataset(s), %zu endpoint(s), %zu key(s)\n", p->n_datasets,
                   p->n_endpoints, p->n_keys);
        else
            printf("%zu error(s), %zu warning(s)\n", findings.n_errors, findings.n_warnings);
    }
    project_free(p);
    project_place_close(&place);
    errlist_done(&findings);
    return is_valid ? EXIT_FINE : EXIT_FINDINGS;
}

static const struct flag flags[] = {
    {"config", "FILE", "offloader.yml", "offloader.yml, its directory, or a gs:// or s3:// prefix"},
    {"json", NULL, NULL, "print the findings as one JSON document"},
    {"strict", NULL, NULL, "warnings fail too"},
    {NULL, NULL, NULL, NULL},
};

const struct command command_validate = {
    .name = "validate",
    .summary = "Check a whole project and its manifests; print every finding.",
    .usage = "[--config FILE] [--json] [--strict]",
    .example = "offloader validate --config examples/customer-analytics/offloader.yml",
    .flags = flags,
    .run = run,
};
