/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The query process: one DuckDB instance, a few connections, each a thread with a socket of its
 * own. The main thread waits on the control socket: it stops queries that the server has given up,
 * and its end of file ends the process. The process opens no file of its own after start: the bytes
 * of a snapshot come from the server (bridge.h), which knows where they are; here a file is a
 * number.
 *
 * Lock: a connection's guards its number, so that a late stop never hits the next query.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/bridge.h"
#include "engine/query_host.h"
#include "engine/sandbox.h"

#define CONTROL_FD 3
#define FIRST_CONNECTION_FD 4
#define LIMIT_CONNECTIONS 64
#define LIMIT_QUERY_BYTES (16u << 20)

static struct {
    duckdb_database database;
    struct connection *connections;
    int n_connections;
} host;

void connection_send(struct connection *c)
{
    if (c->out.failed || !wire_write(c->fd, c->out.p, c->out.n))
        _exit(1); /* a server that has gone needs no answer */
    buf_reset(&c->out);
}

/* ---- queries ---- */

static void begin_batch(struct connection *c)
{
    c->rows_in_batch = 0;
    c->batch_began = wire_begin(&c->out, WIRE_ROWS);
    bytes_put_u32(&c->out, 0);
}

static void end_batch(struct connection *c)
{
    if (!c->out.failed)
        memcpy(c->out.p + c->batch_began + WIRE_HEAD_BYTES, &c->rows_in_batch, 4);
    wire_finish(&c->out, c->batch_began);
}

static enum rc on_row(void *arg, const struct value *values)
{
    struct connection *c = arg;
    for (int i = 0; i < c->n_outputs; i++)
        bytes_put_value(&c->out, &values[i]);
    c->rows_in_batch++;
    if (c->out.failed)
        return buf_rc(&c->out);
    if (atomic_load_explicit(&c->cancelled, memory_order_relaxed))
        return RC_CANCELLED;
    if (c->out.n >= WIRE_BATCH_BYTES) {
        end_batch(c);
        connection_send(c);
        begin_batch(c);
    }
    return RC_OK;
}

static void set_number(struct connection *c, uint64_t number)
{
    LOCKED(&c->lock);
    c->number = number;
    atomic_store(&c->cancelled, false);
}

static void end_query(struct connection *c, const struct err *err,
                      const struct query_result *result)
{
    size_t began = wire_begin(&c->out, WIRE_END);
    wire_put_end(&c->out, err, result);
    wire_finish(&c->out, began);
    if (c->out.failed) { /* a row larger than a message (the position too, perhaps), or no memory */
        static const struct query_result none = {.n_rows = 0};
        enum rc why = buf_rc(&c->out);
        struct err failure = ERR_INIT;
        (void)err_set(&failure, why, "%s", /* sent, not returned */
                      why == RC_LIMIT ? "a row is larger than is allowed"
                                      : "out of memory for an answer");
        buf_reset(&c->out);
        began = wire_begin(&c->out, WIRE_END);
        wire_put_end(&c->out, &failure, &none);
        wire_finish(&c->out, began);
    }
    connection_send(c);
}

static void run_query(struct connection *c)
{
    struct err err = ERR_INIT;
    struct query_result result = {.n_rows = 0};
    struct bytes_in in = {.p = c->in.p, .n = c->in.n};
    struct query q;
    set_number(c, bytes_get_u64(&in));
    uint64_t id = bytes_get_u64(&in);
    enum rc rc = source_open(c, id, &err);
    if (rc == RC_OK)
        rc = wire_get_query(&in, source_contract(c->source), &c->arena, &q, &err);
    if (rc == RC_OK) {
        struct row_sink sink = {on_row, c};
        c->n_outputs = q.n_outputs;
        begin_batch(c);
        rc = query_run(c->session, &q, source_from(c->source), sink, &c->keep, &result, &err);
        end_batch(c);
    }
    if (rc != RC_OK && err.rc == RC_OK)
        (void)err_set(&err, rc, "the query failed"); /* sent, not returned */
    end_query(c, &err, &result);
    set_number(c, 0);
    source_close(c);
    arena_reset(&c->arena);
}

static void run_inspect(struct connection *c)
{
    struct query_result result = {.n_rows = 0};
    struct err err = ERR_INIT;
    struct bytes_in in = {.p = c->in.p, .n = c->in.n};
    IGNORE(source_inspect(c, &in, &result.total, &err)); /* it is in @err */
    end_query(c, &err, &result);
}

/* A trivial query, answered by DuckDB. */
static void run_ping(struct connection *c)
{
    static const struct query_result none = {.n_rows = 0};
    struct err err = ERR_INIT;
    IGNORE(sql_run(c->duckdb, &err, "SELECT 1")); /* it is in @err */
    end_query(c, &err, &none);
}

static void *connection_main(void *arg)
{
    struct connection *c = arg;
    enum wire_kind kind;
    current = c;
    while (wire_receive(c->fd, &c->in, &kind)) {
        if (kind == WIRE_QUERY)
            run_query(c);
        else if (kind == WIRE_INSPECT)
            run_inspect(c);
        else if (kind == WIRE_PING)
            run_ping(c);
        else
            break;
    }
    _exit(1); /* the server is gone, or confused: it starts another process */
}

static enum rc open_connection(struct connection *c, int index, struct err *err)
{
    c->index = index;
    c->fd = FIRST_CONNECTION_FD + index;
    mutex_init(&c->lock);
    arena_init(&c->arena, LIMIT_QUERY_BYTES);
    buf_init(&c->in, WIRE_LIMIT_BYTES);
    buf_init(&c->out, WIRE_LIMIT_BYTES);
    buf_init(&c->keep, WIRE_LIMIT_BYTES);
    if (duckdb_connect(host.database, &c->duckdb) != DuckDBSuccess)
        return err_set(err, RC_IO, "cannot connect to DuckDB");
    c->session = query_session_new(c->duckdb);
    return thread_start(&c->thread, "query", connection_main, c, err);
}

/* Stops what the server has given up, until it goes. */
static void watch_control(void)
{
    struct {
        uint32_t connection, unused;
        uint64_t number;
    } stop;
    while (wire_read(CONTROL_FD, &stop, sizeof stop)) {
        if (stop.connection >= (uint32_t)host.n_connections)
            continue;
        struct connection *c = &host.connections[stop.connection];
        LOCKED(&c->lock);
        if (c->number != stop.number)
            continue;
        atomic_store(&c->cancelled, true);
        duckdb_interrupt(c->duckdb);
    }
}

/* The order matters: the scheme is allowed while it may be, then the outside is shut, for good. */
static enum rc open_database(uint64_t memory_bytes, const char *temp, struct err *err)
{
    duckdb_connection c = NULL;
    enum rc rc = sql_open(":memory:", 1, memory_bytes, temp, &host.database, &c, err);
    if (rc == RC_OK)
        rc = functions_register(c, err);
    if (rc == RC_OK && !bridge_register(host.database))
        rc = err_set(err, RC_INTERNAL, "DuckDB does not take the file system");
    if (rc == RC_OK)
        rc = sql_run(c, err,
                     "SET allowed_directories=['" BRIDGE_SCHEME
                     "'];SET enable_external_access=false;"
                     "SET lock_configuration=true");
    duckdb_disconnect(&c);
    return rc;
}

int query_main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    uint64_t memory_bytes = 0;
    int64_t n = 0;
    if (argc != 5 || !parse_int64(str_from(argv[2]), &n) || n < 1 || n > LIMIT_CONNECTIONS ||
        !parse_uint64(str_from(argv[3]), &memory_bytes))
        return 2;
    (void)signal(SIGPIPE, SIG_IGN); /* a server that has gone is seen by the write */
    sources_init();
    host.connections = x_array0((size_t)n, sizeof *host.connections);
    struct sandbox sandbox = {.write = {*argv[4] ? argv[4] : NULL}, .memory_bytes = memory_bytes};
    enum rc rc = sandbox_enter(&sandbox, &err);
    if (rc == RC_OK)
        rc = open_database(memory_bytes, sandbox.write[0], &err);
    for (int i = 0; rc == RC_OK && i < n; i++) {
        rc = open_connection(&host.connections[i], i, &err);
        host.n_connections = i + 1;
    }
    if (rc != RC_OK) {
        fprintf(stderr, "offloader: query process: %s\n", err.message);
        return 1;
    }
    watch_control();
    _exit(0); /* threads may be running: nothing here needs saving */
}
