/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows as the three forms write them: a JSON array, a JSON document a line, CSV with a header row.
 * One sink an answer, straight from the executor's values into one buffer.
 */
#ifndef OFFLOADER_SERVE_ENCODE_H
#define OFFLOADER_SERVE_ENCODE_H

#include "plan/plan.h"

struct encoder { /* all borrowed */
    const struct plan *plan;
    enum http_form form;
    struct buf *to;
    uint64_t n_rows;
};

/* Empties @to and writes what stands before the first row. */
void encoder_begin(struct encoder *e, const struct plan *plan, enum http_form form, struct buf *to);
struct row_sink encoder_sink(struct encoder *e);
/* RC_LIMIT or RC_NO_MEMORY when the buffer could not take it all. */
MUST_CHECK enum rc encoder_end(struct encoder *e);

#endif
