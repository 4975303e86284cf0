/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The snapshots a query process reads, by the server's numbers for them. One is described and
 * prepared when the first query for it comes, kept while it is used, and replaced when it has been
 * unused for longest. Its bytes are asked for range by range on the socket of the connection that
 * needs them.
 *
 * Lock: of the list. It is not held while anything is prepared; others wait for that on a
 * condition.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/bridge.h"
#include "engine/parts.h"
#include "engine/query_host.h"

#define LIMIT_SOURCES 64 /* not fewer than connections; CSV rows stay in memory as long */
#define LIMIT_SOURCE_BYTES (64u << 20)

enum source_state { SOURCE_PREPARING, SOURCE_READY, SOURCE_FAILED };

struct host_source {
    struct wire_source described; /* in arena */
    struct arena arena;
    enum source_state state;
    char *from;
    bool has_table;
    int users;
    uint64_t used_at;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct host_source *sources[LIMIT_SOURCES];
    uint64_t clock;
} host;

_Thread_local struct connection *current;

void sources_init(void)
{
    mutex_init(&host.lock);
    cond_init(&host.changed);
}

const struct schema *source_contract(const struct host_source *s)
{
    return &s->described.contract;
}

const char *source_from(const struct host_source *s)
{
    return s->from;
}

/* ---- ranges: bridge.h's other half ---- */

bool bridge_parse_path(const char *path, size_t n, uint64_t *ret_source, uint32_t *ret_file)
{
    struct str s = {path, n}, scheme = STR(BRIDGE_SCHEME);
    uint64_t file = 0;
    if (!str_starts(s, scheme.p))
        return false;
    s = (struct str){s.p + scheme.n, s.n - scheme.n};
    const char *slash = memchr(s.p, '/', s.n);
    if (!slash)
        return false;
    struct str last = {slash + 1, s.n - (size_t)(slash + 1 - s.p)};
    if (!parse_uint64((struct str){s.p, (size_t)(slash - s.p)}, ret_source) ||
        !parse_uint64(last, &file) || file > UINT32_MAX)
        return false;
    *ret_file = (uint32_t)file;
    return true;
}

bool bridge_file_size(uint64_t source, uint32_t file, uint64_t *ret)
{
    const struct host_source *s = current ? current->source : NULL;
    if (!s || s->described.id != source || file >= s->described.n_files)
        return false;
    *ret = s->described.files[file].size_bytes;
    return true;
}

static bool read_piece(uint32_t file, uint64_t offset, void *to, uint32_t n)
{
    struct connection *c = current;
    char head[WIRE_HEAD_BYTES], room[64];
    uint32_t n_body;
    uint8_t fine;
    /* No memory of its own: a question that cannot be asked would be waited for without end. */
    struct buf ask = {.p = room, .capacity = sizeof room, .limit_bytes = sizeof room};
    size_t began = wire_begin(&ask, WIRE_RANGE);
    bytes_put_u32(&ask, file);
    bytes_put_u64(&ask, offset);
    bytes_put_u32(&ask, n);
    wire_finish(&ask, began);
    assert(!ask.failed);
    if (!wire_write(c->fd, ask.p, ask.n) || !wire_read(c->fd, head, sizeof head) ||
        !wire_read(c->fd, &fine, 1))
        _exit(1);
    memcpy(&n_body, head, sizeof n_body);
    if (head[4] != WIRE_BYTES || n_body != (fine ? n + 1 : 1))
        _exit(1);
    if (fine && !wire_read(c->fd, to, n))
        _exit(1);
    return fine;
}

bool bridge_read(uint64_t source, uint32_t file, uint64_t offset, void *to, size_t n)
{
    uint64_t size;
    if (!bridge_file_size(source, file, &size) || offset > size || n > size - offset)
        return false;
    for (char *at = to; n > 0;) {
        uint32_t some = n < WIRE_RANGE_BYTES ? (uint32_t)n : WIRE_RANGE_BYTES;
        if (!read_piece(file, offset, at, some))
            return false;
        at += some;
        offset += some;
        n -= some;
    }
    return true;
}

/* ---- sources ---- */

static void source_free(struct host_source *s)
{
    arena_done(&s->arena);
    mem_free(s->from);
    mem_free(s);
}

/* The files of a source as a job of the loaders: numbers instead of paths. */
static void fill_job(struct connection *c, const struct wire_source *s, struct ingest *g)
{
    *g = (struct ingest){.connection = c->duckdb};
    arena_init(&g->arena, LIMIT_SOURCE_BYTES);
    g->job = (struct child_job){.contract = s->contract,
                                .declared = s->declared,
                                .is_exact = s->is_exact,
                                .is_query = true,
                                .n_files = s->n_files,
                                .tenant_column = -1};
    g->job.files = x_array0(s->n_files, sizeof *g->job.files);
    g->file_rows = x_array0(s->n_files, sizeof *g->file_rows);
    g->file_sizes = x_array0(s->n_files, sizeof *g->file_sizes);
    for (size_t i = 0; i < s->n_files; i++)
        g->job.files[i] = (struct job_file){
            .path = x_printf(BRIDGE_SCHEME "%llu/%zu", (unsigned long long)s->id, i),
            .shown_as = s->files[i].shown_as.p,
            .format = s->files[i].format,
            .is_bridged = true,
            .source = s->id,
            .size_bytes = s->files[i].size_bytes,
            .has_row_count = s->files[i].has_row_count,
            .row_count = s->files[i].row_count};
}

static void drop_job(struct ingest *g)
{
    for (size_t i = 0; i < g->job.n_files; i++)
        mem_free((void *)(uintptr_t)g->job.files[i].path); /* fill_job's own */
    mem_free(g->job.files);
    mem_free(g->file_rows);
    mem_free(g->file_sizes);
    arena_done(&g->arena);
}

/* Parquet is read in place; rows of CSV files are kept in a table, for they have no random access.
 */
static enum rc put_from(struct ingest *g, struct host_source *s, struct buf *from, struct err *err)
{
    char table[32];
    struct parts parts;
    enum rc rc = RC_OK;
    parts_init(&parts, g->job.n_files, LIMIT_SOURCE_BYTES);
    (void)snprintf(table, sizeof table, "s%llu", (unsigned long long)s->described.id);
    g->table = table;
    buf_putc(from, '(');
    for (size_t i = 0; rc == RC_OK && i < g->job.n_files; i++) {
        if (g->job.files[i].format == FILE_CSV) {
            if (!s->has_table)
                rc = csv_create_table(g, err);
            s->has_table = true;
            if (rc == RC_OK)
                rc = csv_load(g, i, err);
            continue;
        }
        rc = parts_add(&parts, g, i, err);
    }
    if (rc == RC_OK)
        rc = parts_finish(&parts, err);
    parts_put_all(&parts, from);
    if (s->has_table)
        buf_printf(from, "%sSELECT * FROM %s", parts.n ? " UNION ALL " : "", table);
    buf_putc(from, ')');
    g->table = NULL; /* its name ends with this call */
    if (rc == RC_OK && from->failed)
        rc = err_set(err, RC_NO_MEMORY, "out of memory for a source");
    parts_done(&parts);
    return rc;
}

static enum rc prepare_source(struct connection *c, struct host_source *s, struct err *err)
{
    struct ingest g;
    struct buf from;
    buf_init(&from, LIMIT_SOURCE_BYTES);
    fill_job(c, &s->described, &g);
    enum rc rc = put_from(&g, s, &from, err);
    if (rc == RC_OK)
        s->from = x_strdup(buf_cstr(&from));
    drop_job(&g);
    buf_done(&from);
    return rc;
}

static void drop_table(struct connection *c, const struct host_source *s)
{
    struct err err = ERR_INIT;
    if (s->has_table) /* what stays behind costs memory only */
        IGNORE(sql_run(c->duckdb, &err, "DROP TABLE IF EXISTS s%llu",
                       (unsigned long long)s->described.id));
}

/* A slot for a new source: an empty one, or the one unused for longest. Under the lock. */
static struct host_source **find_slot(void)
{
    struct host_source **best = NULL;
    for (int i = 0; i < LIMIT_SOURCES; i++) {
        struct host_source **at = &host.sources[i];
        if (!*at)
            return at;
        if ((*at)->users == 0 && (!best || (*at)->used_at < (*best)->used_at))
            best = at;
    }
    return best;
}

static struct host_source *find_source(uint64_t id)
{
    for (int i = 0; i < LIMIT_SOURCES; i++)
        if (host.sources[i] && host.sources[i]->described.id == id)
            return host.sources[i];
    return NULL;
}

/* Asks the server to describe the source of the query at hand. */
static enum rc ask_source(struct connection *c, struct host_source *s, struct err *err)
{
    enum wire_kind kind;
    struct buf body;
    wire_finish(&c->out, wire_begin(&c->out, WIRE_WANT));
    connection_send(c);
    buf_init(&body, WIRE_LIMIT_BYTES);
    if (!wire_receive(c->fd, &body, &kind) || kind != WIRE_SOURCE)
        _exit(1);
    struct bytes_in in = {.p = body.p, .n = body.n};
    enum rc rc = wire_get_source(&in, &s->arena, &s->described, err);
    buf_done(&body);
    return rc;
}

/* A source that waited for is either ready or gone from the list. */
static struct host_source *wait_source(uint64_t id)
{
    struct host_source *s;
    LOCKED(&host.lock);
    while ((s = find_source(id)) && s->state == SOURCE_PREPARING)
        cond_wait(&host.changed, &host.lock);
    if (s) {
        s->users++;
        s->used_at = ++host.clock;
    }
    return s;
}

/* Puts an empty source in the list, for others to wait for. NULL: somebody else just did. */
static struct host_source *begin_source(uint64_t id, struct host_source **ret_old)
{
    struct host_source *s = x_alloc0(sizeof *s);
    arena_init(&s->arena, LIMIT_SOURCE_BYTES);
    LOCKED(&host.lock);
    struct host_source **slot = find_source(id) ? NULL : find_slot();
    if (!slot) {
        source_free(s);
        return NULL;
    }
    *ret_old = *slot;
    s->described.id = id;
    s->users = 1;
    s->used_at = ++host.clock;
    *slot = s;
    return s;
}

static void end_source(struct host_source *s, bool fine)
{
    LOCKED(&host.lock);
    s->state = fine ? SOURCE_READY : SOURCE_FAILED;
    for (int i = 0; !fine && i < LIMIT_SOURCES; i++)
        if (host.sources[i] == s)
            host.sources[i] = NULL;
    cond_broadcast(&host.changed);
}

enum rc source_open(struct connection *c, uint64_t id, struct err *err)
{
    for (;;) {
        struct host_source *old = NULL;
        c->source = wait_source(id);
        if (c->source)
            return RC_OK;
        struct host_source *s = begin_source(id, &old);
        if (!s) /* no connection holds two: there are fewer sources in use than slots, or a race */
            continue;
        if (old) {
            drop_table(c, old);
            source_free(old);
        }
        c->source = s;
        enum rc rc = ask_source(c, s, err);
        if (rc == RC_OK)
            rc = prepare_source(c, s, err);
        end_source(s, rc == RC_OK);
        if (rc == RC_OK)
            return RC_OK;
        drop_table(c, s);
        c->source = NULL;
        source_free(s);
        return rc;
    }
}

void source_close(struct connection *c)
{
    LOCKED(&host.lock);
    if (c->source)
        c->source->users--;
    c->source = NULL;
}

/* ---- inspection ---- */

static void put_finding(struct connection *c, size_t file, const struct err *err)
{
    size_t began = wire_begin(&c->out, WIRE_FINDING);
    bytes_put_u32(&c->out, (uint32_t)file);
    bytes_put_text(&c->out, str_from(err->code));
    bytes_put_text(&c->out, str_from(err->message));
    wire_finish(&c->out, began);
}

/* Schema and row count of one Parquet file; its rows are added to @rows. */
static enum rc inspect_file(struct ingest *g, size_t i, uint64_t *rows, struct err *err)
{
    const struct job_file *f = &g->job.files[i];
    uint64_t n = 0;
    enum rc rc = parquet_check(g, i, NULL, NULL, err);
    if (rc == RC_OK)
        rc = parquet_count(g, i, &n, err);
    *rows += rc == RC_OK ? n : 0;
    if (rc == RC_OK && f->has_row_count && f->row_count != n)
        rc = err_set_code(err, RC_INVALID, "row_count_mismatch",
                          "%s: has %llu rows, the manifest says %llu", f->shown_as,
                          (unsigned long long)n, (unsigned long long)f->row_count);
    return rc;
}

enum rc source_inspect(struct connection *c, struct bytes_in *message, uint64_t *ret_rows,
                       struct err *err)
{
    struct host_source s = {.state = SOURCE_PREPARING};
    struct ingest g;
    arena_init(&s.arena, LIMIT_SOURCE_BYTES);
    enum rc rc = wire_get_source(message, &s.arena, &s.described, err);
    if (rc == RC_OK) {
        c->source = &s;
        fill_job(c, &s.described, &g);
        for (size_t i = 0; i < g.job.n_files; i++) {
            struct err problem = ERR_INIT;
            if (g.job.files[i].format == FILE_PARQUET &&
                inspect_file(&g, i, ret_rows, &problem) != RC_OK)
                put_finding(c, i, &problem);
        }
        drop_job(&g);
        c->source = NULL;
    }
    arena_done(&s.arena);
    return rc;
}
