/* SPDX-License-Identifier: Apache-2.0 */
/* For the query process: its connections and the sources they read. */
#ifndef OFFLOADER_ENGINE_QUERY_HOST_H
#define OFFLOADER_ENGINE_QUERY_HOST_H

#include <stdatomic.h>

#include "base/thread.h"
#include "engine/child.h"
#include "engine/query_child.h"
#include "engine/query_wire.h"

struct host_source;

struct connection {
    int index, fd;
    pthread_t thread;
    duckdb_connection duckdb;
    struct query_session *session;
    struct arena arena;
    struct buf in, out, keep;
    struct host_source *source; /* of the query that runs */
    int n_outputs;
    uint32_t rows_in_batch;
    size_t batch_began;
    pthread_mutex_t lock;
    uint64_t number;        /* of the query that runs; 0: none */
    _Atomic bool cancelled; /* it was given up */
};

/* The connection of this thread: reads of files are asked for on its socket. */
extern _Thread_local struct connection *current;
/* Sends c->out and empties it; does not return when the server has gone. */
void connection_send(struct connection *c);

void sources_init(void);
/* Makes source @id ready, asking the server about it if it is new, and holds it in c->source. */
MUST_CHECK enum rc source_open(struct connection *c, uint64_t id, struct err *err);
void source_close(struct connection *c);
const struct schema *source_contract(const struct host_source *s);
const char *source_from(const struct host_source *s); /* what rows are selected from */
/* Looks at every Parquet file that the message describes; a FINDING for each that is not as
 * declared. Their rows are added to @ret_rows. */
MUST_CHECK enum rc source_inspect(struct connection *c, struct bytes_in *message,
                                  uint64_t *ret_rows, struct err *err);

#endif
