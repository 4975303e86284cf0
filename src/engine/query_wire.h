/* SPDX-License-Identifier: Apache-2.0 */
/* Plans, sources and results as bytes, for wire.h. Readers say RC_INTERNAL for what is not
 * well-formed. */
#ifndef OFFLOADER_ENGINE_QUERY_WIRE_H
#define OFFLOADER_ENGINE_QUERY_WIRE_H

#include "base/arena.h"
#include "engine/engine.h"
#include "engine/wire.h"

void wire_put_query(struct buf *b, const struct query *q);
/* Everything in @arena or borrowed from the bytes; @schema is the contract the plan was made for.
 */
MUST_CHECK enum rc wire_get_query(struct bytes_in *w, const struct schema *schema,
                                  struct arena *arena, struct query *ret, struct err *err);

struct wire_file {
    struct str shown_as; /* for messages */
    enum file_format format;
    uint64_t size_bytes;
    bool has_row_count;
    uint64_t row_count;
};
struct wire_source {
    uint64_t id;
    struct schema contract, declared;
    bool is_exact;
    struct wire_file *files;
    size_t n_files;
};
void wire_put_source(struct buf *b, const struct wire_source *s);
MUST_CHECK enum rc wire_get_source(struct bytes_in *w, struct arena *arena, struct wire_source *ret,
                                   struct err *err);

/* The body of END: how it went, and the result when it went well. */
void wire_put_end(struct buf *b, const struct err *err, const struct query_result *result);
/* The child's own verdict; its code is looked up among those we know. Texts of ret->last are
 * borrowed from the bytes. */
MUST_CHECK enum rc wire_get_end(struct bytes_in *w, struct query_result *ret, struct err *err);
/* A contract code out of a child's text: a literal, "" for one that is not ours. */
const char *wire_known_code(struct str code);

#endif
