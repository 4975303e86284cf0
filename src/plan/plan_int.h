/* SPDX-License-Identifier: Apache-2.0 */
/* For src/plan and its tests: the steps of planning that a cursor repeats. */
#ifndef OFFLOADER_PLAN_PLAN_INT_H
#define OFFLOADER_PLAN_PLAN_INT_H

#include "plan/plan.h"

/* Builds the query, the canonical text and the filter key from values, columns and limit. */
MUST_CHECK enum rc plan_build(struct arena *arena, struct plan *plan);
/* One filter: a param's value in the terms of its column. */
void plan_filter(struct query_filter *f, enum column_type column, enum param_type type,
                 const struct param_value *value);
/* The tenant of a key against its column, by canonical text. */
void plan_tenant_filter(struct query_filter *f, enum column_type column, struct str tenant);

#endif
