/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quality gates: figures of the ingest against the dataset's checks. Limits are inclusive, so a
 * ratio is one division of two counts: correctly rounded, it equals the limit that a person wrote
 * for it (1 - 70/100 would be more than 0.3).
 */
#include <stdio.h>

#include "base/buf.h"
#include "refresh/refresh_int.h"

static enum rc failed(struct err *err, const char *check, double value, const char *unit,
                      double limit)
{
    char a[40], b[40];
    struct buf x = {.p = a, .capacity = sizeof a, .limit_bytes = sizeof a};
    struct buf y = {.p = b, .capacity = sizeof b, .limit_bytes = sizeof b};
    buf_put_double(&x, value);
    buf_put_double(&y, limit);
    return err_set_code(err, RC_INVALID, "check_failed", "%s: found %s%s, the limit is %s", check,
                        buf_cstr(&x), unit, buf_cstr(&y));
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

/* "unique [a, b]": as the dataset's file has it. */
static void unique_name(const struct dataset *d, const struct column_set *set, char *ret,
                        size_t ret_bytes)
{
    struct buf b = {.p = ret, .capacity = ret_bytes - 1, .limit_bytes = ret_bytes - 1};
    buf_put_literal(&b, "unique [");
    for (size_t i = 0; i < set->n_columns && i < 8; i++)
        buf_printf(&b, "%s%s", i ? ", " : "", d->schema.columns[set->columns[i]].name);
    buf_put_cstr(&b, set->n_columns > 8 ? ", …]" : "]");
    (void)buf_cstr(&b);
}

static enum rc check_columns(const struct dataset *d, const struct ingest_report *report,
                             struct err *err)
{
    const struct checks *c = &d->checks;
    char name[640]; /* eight column names of 63 */
    for (size_t i = 0; i < c->n_not_null; i++) {
        uint64_t n = report->column_nulls[c->not_null[i]];
        (void)snprintf(name, sizeof name, "not_null `%s`", d->schema.columns[c->not_null[i]].name);
        if (n > 0)
            return failed(err, name, (double)n, " NULL(s)", 0);
    }
    for (size_t i = 0; i < c->n_max_null_ratio; i++) {
        double value = ratio(report->column_nulls[c->max_null_ratio[i].column], report->n_rows);
        (void)snprintf(name, sizeof name, "max_null_ratio `%s`",
                       d->schema.columns[c->max_null_ratio[i].column].name);
        if (value > c->max_null_ratio[i].limit)
            return failed(err, name, value, "", c->max_null_ratio[i].limit);
    }
    for (size_t i = 0; i < c->n_unique; i++) {
        unique_name(d, &c->unique[i], name, sizeof name);
        if (report->unique_duplicates[i] > 0)
            return failed(err, name, (double)report->unique_duplicates[i], " repeated row(s)", 0);
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
    double drop = (before - now) / before, growth = (now - before) / before;
    if (c->has_max_row_drop && active->n_rows && drop > c->max_row_drop_ratio)
        return failed(err, "max_row_drop_ratio", drop, "", c->max_row_drop_ratio);
    if (c->has_max_row_growth && active->n_rows && growth > c->max_row_growth_ratio)
        return failed(err, "max_row_growth_ratio", growth, "", c->max_row_growth_ratio);
    if (c->has_min_tenant_ratio && report->n_tenants_active) {
        double kept = ratio(report->n_tenants_kept, report->n_tenants_active);
        if (kept < c->min_tenant_ratio)
            return failed(err, "min_tenant_ratio", kept, "", c->min_tenant_ratio);
    }
    return RC_OK;
}

enum rc gates_check(const struct dataset *d, const struct manifest *m,
                    const struct ingest_report *report, const struct snapshot *active,
                    int64_t now_us, struct err *err)
{
    const struct checks *c = &d->checks;
    if (c->has_min_rows && report->n_rows < c->min_rows)
        return failed(err, "min_rows", (double)report->n_rows, " row(s)", (double)c->min_rows);
    if (c->has_max_age) {
        double minutes = (double)(now_us - m->watermark_us) / 60e6;
        if (minutes > (double)c->max_age_minutes)
            return failed(err, "max_age_minutes", minutes, " minutes", (double)c->max_age_minutes);
    }
    enum rc rc = check_columns(d, report, err);
    return rc == RC_OK ? check_against_active(d, report, active, err) : rc;
}
