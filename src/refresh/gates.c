/* SPDX-License-Identifier: Apache-2.0 */
/* Quality gates: figures of the ingest against the dataset's checks. Limits are inclusive. */
#include <stdio.h>

#include "base/buf.h"
#include "refresh/refresh_int.h"

static enum rc failed(struct err *err, const char *check, double value, const char *relation,
                      double limit)
{
    char a[40], b[40];
    struct buf x = {.p = a, .capacity = sizeof a, .limit_bytes = sizeof a};
    struct buf y = {.p = b, .capacity = sizeof b, .limit_bytes = sizeof b};
    buf_put_double(&x, value);
    buf_put_double(&y, limit);
    return err_set_code(err, RC_INVALID, "check_failed", "%s: found %s, %s %s", check, buf_cstr(&x),
                        relation, buf_cstr(&y));
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static enum rc check_columns(const struct dataset *d, const struct ingest_report *report,
                             struct err *err)
{
    const struct checks *c = &d->checks;
    char name[128];
    for (size_t i = 0; i < c->n_not_null; i++) {
        uint64_t n = report->column_nulls[c->not_null[i]];
        (void)snprintf(name, sizeof name, "not_null `%s`", d->schema.columns[c->not_null[i]].name);
        if (n > 0)
            return failed(err, name, (double)n, "NULLs where the limit is", 0);
    }
    for (size_t i = 0; i < c->n_max_null_ratio; i++) {
        double value = ratio(report->column_nulls[c->max_null_ratio[i].column], report->n_rows);
        (void)snprintf(name, sizeof name, "max_null_ratio `%s`",
                       d->schema.columns[c->max_null_ratio[i].column].name);
        if (value > c->max_null_ratio[i].limit)
            return failed(err, name, value, "above the limit", c->max_null_ratio[i].limit);
    }
    for (size_t i = 0; i < c->n_unique; i++) {
        (void)snprintf(name, sizeof name, "unique[%zu] (`%s`…)", i,
                       d->schema.columns[c->unique[i].columns[0]].name);
        if (report->unique_duplicates[i] > 0)
            return failed(err, name, (double)report->unique_duplicates[i],
                          "duplicates where the limit is", 0);
    }
    return RC_OK;
}

static enum rc check_against_active(const struct dataset *d, const struct ingest_report *report,
                                    const struct snapshot *active, struct err *err)
{
    const struct checks *c = &d->checks;
    if (!active)
        return RC_OK;
    double now = (double)report->n_rows, before = (double)active->n_rows;
    if (c->has_max_row_drop && active->n_rows && 1 - now / before > c->max_row_drop_ratio)
        return failed(err, "max_row_drop_ratio", 1 - now / before, "above the limit",
                      c->max_row_drop_ratio);
    if (c->has_max_row_growth && active->n_rows && now / before - 1 > c->max_row_growth_ratio)
        return failed(err, "max_row_growth_ratio", now / before - 1, "above the limit",
                      c->max_row_growth_ratio);
    if (c->has_min_tenant_ratio && report->n_tenants_active) {
        double kept = ratio(report->n_tenants_kept, report->n_tenants_active);
        if (kept < c->min_tenant_ratio)
            return failed(err, "min_tenant_ratio", kept, "below the limit", c->min_tenant_ratio);
    }
    return RC_OK;
}

enum rc gates_check(const struct dataset *d, const struct manifest *m,
                    const struct ingest_report *report, const struct snapshot *active,
                    int64_t now_us, struct err *err)
{
    const struct checks *c = &d->checks;
    if (c->has_min_rows && report->n_rows < c->min_rows)
        return failed(err, "min_rows", (double)report->n_rows, "below the limit",
                      (double)c->min_rows);
    if (c->has_max_age) {
        double minutes = (double)(now_us - m->watermark_us) / 60e6;
        if (minutes > (double)c->max_age_minutes)
            return failed(err, "max_age_minutes", minutes, "above the limit",
                          (double)c->max_age_minutes);
    }
    enum rc rc = check_columns(d, report, err);
    return rc == RC_OK ? check_against_active(d, report, active, err) : rc;
}
