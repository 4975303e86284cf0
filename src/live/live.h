/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the writing side (refresh) and the reading side (serve) meet. A view is everything a
 * request needs - catalog, keys, active snapshots - immutable and published in one step; so a
 * mixture of two configurations or two snapshots cannot be expressed.
 *
 * Model
 *  snapshot     one frozen copy of a dataset, open for reading; reference-counted; its generation
 *               number is unique in the process and part of every cache key, so a swap invalidates
 *               by construction.
 *  project_ref  a loaded project, shared by the views that serve something of it.
 *  view         an immutable set of served datasets and endpoints. A dataset under a blue-green
 *               cutover is served from its old project until its new snapshot is ready; the rest of
 *               the view is the new one's already.
 *
 * How readers pin without locks: a loop owns a live_reader that caches the current view and one
 * reference to it. live_peek() compares one atomic sequence number with the cached one; only when a
 * view was published since does it take the publisher's mutex, ref the new view and unref the old.
 * The view is therefore valid on that thread until its next live_peek(). A request that leaves the
 * thread takes its own reference (view_ref). live_publish() tells on_publish, which makes each loop
 * peek, so that an idle loop does not keep an old view.
 *
 * Invariants
 *  I1  A published view never changes.
 *  I2  A snapshot is unmapped, and its directory removed when discard asks for it, only after its
 *      last reference is gone, and on no event loop.
 *  I3  view_endpoint.active was built for exactly view_endpoint.dataset's contract (asserted on
 *      build).
 */
#ifndef OFFLOADER_LIVE_LIVE_H
#define OFFLOADER_LIVE_LIVE_H

#include <stdatomic.h>

#include "base/timeutil.h"
#include "engine/engine.h"
#include "plan/plan.h"
#include "project/project.h"
#include "store/store.h"

/* ---- snapshots ---- */

struct snapshot {
    _Atomic uint64_t refs;
    uint64_t generation; /* unique in the process, rising */
    char *dataset_id, *snapshot_id;
    int64_t watermark_us, created_at_us;
    uint64_t n_rows, n_bytes; /* bytes on disk of the serving form (remote: of the files) */
    uint8_t fingerprint[32];  /* manifest_fingerprint() */
    char watermark_text[RFC3339_TEXT_BYTES];
    char index_hash[17]; /* its first 16 hex digits */
    char *model_tag;     /* owned: `producer/upstream_run_id`, or `databricks/<tid>` */
    uint8_t contract_fingerprint[32], build_fingerprint[32], origin_fingerprint[32];
    bool quality_warning;
    /* At least one of the two; both modes are served from either until a rebuild adds the other. */
    struct store *store;          /* local_table; NULL: built when every endpoint was remote_scan */
    struct engine_source *source; /* remote_scan, or OFFLOADER_ENGINE=duckdb; NULL otherwise */
    char *directory;              /* its cache directory */
    _Atomic bool warm;            /* warm-up finished (metrics: cold requests) */
    _Atomic bool is_broken;       /* its store does not verify: quarantined when it goes */
    _Atomic bool discard;         /* remove @directory when the last reference goes */
    /* Called once, on the thread that drops the last reference (an event loop, often); what it is
     * given must be passed to snapshot_destroy(), then or later. NULL: destroyed at once. */
    void (*on_release)(struct snapshot *s);
    void *owner;               /* of on_release */
    struct snapshot *released; /* link for on_release */
    _Atomic bool is_reported;  /* a request found it broken, and has said so */
    struct snapshot *reported; /* link for who was told */
};

/* Zeroed, refs = 1, generation assigned. */
struct snapshot *snapshot_new(void);
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s); /* NULL is fine */
/* Unmaps and frees; @s has no references left. */
void snapshot_destroy(struct snapshot *s);
/* How old its data is at @now_us (wall clock); 0 for a watermark that is still to come, as after
 * the clock was set back. */
static inline int64_t snapshot_age_us(const struct snapshot *s, int64_t now_us)
{
    return now_us > s->watermark_us ? now_us - s->watermark_us : 0;
}

/* ---- projects ---- */

struct project_ref {
    _Atomic uint64_t refs;
    struct project *project; /* owned */
};
struct project_ref *project_ref_new(struct project *taken);
struct project_ref *project_ref_get(struct project_ref *p);
void project_ref_put(struct project_ref *p);

/* ---- views ---- */

struct view_dataset {
    const struct dataset *dataset; /* of the project it is served from */
    struct snapshot *active;       /* NULL: not ready */
    struct snapshot *previous;     /* rollback target, also read by cursors; NULL: none */
};

struct rate_bucket; /* auth/rate.h */

struct view_endpoint {
    const struct endpoint *endpoint;
    const struct dataset *dataset;
    struct snapshot *active, *previous; /* borrowed from the view_dataset; NULL: 503 */
    struct plan_shape *shape;           /* owned by the view: prepared for planning and encoding */
    int grant_ordinal;                  /* bit in the view's keys; -1: no key is granted it */
    int metrics_slot;
    /* A dataset held back by a cutover: the keys of the project it comes from, asked for the tenant
     * of a key that has none in the current keys; NULL otherwise. */
    const struct project *held_keys;
};

struct view {
    _Atomic uint64_t refs;
    uint64_t sequence;
    struct project_ref *project;   /* the current configuration */
    struct project_ref *keys_from; /* usually the same; older while `auth: none` is deferred */
    const struct project *keys;
    bool auth_required;
    struct view_endpoint *endpoints;
    size_t n_endpoints;
    const struct view_endpoint **by_name; /* n_endpoints, in order of name */
    struct view_dataset *datasets;
    size_t n_datasets;
    struct rate_bucket **rate_buckets; /* per key of @keys; NULL: no limit */
    struct project_ref **held;         /* further projects that something is served from */
    size_t n_held;
};

/* What one dataset is served with. Borrowed for the call of view_new, which takes its own
 * references. */
struct view_input {
    struct project_ref *project;        /* the current one, or the older one of a held dataset */
    int dataset;                        /* index in that project */
    struct snapshot *active, *previous; /* may be NULL */
};
/*
 * @current: the configuration; @inputs: one for each dataset that is served, in any order.
 * Endpoints of a held dataset are as its own project has them, where the current one still names
 * them: also one that its project has at another dataset, while that is served with the contract it
 * had. Those which only the current one has stay away (404) until the cutover. auth_required stays
 * true while a tenant-scoped endpoint is served, and the keys then come from @keys_from.
 */
struct view *view_new(struct project_ref *current, struct project_ref *keys_from,
                      const struct view_input *inputs, size_t n_inputs);
struct view *view_ref(struct view *v);
void view_unref(struct view *v);
const struct view_endpoint *view_endpoint(const struct view *v, struct str name);

/* ---- publishing ---- */

struct live;
struct live_reader;

/* @on_publish (may be NULL) is called after each publish, on the publisher's thread. */
struct live *live_new(void (*on_publish)(void *arg), void *arg);
void live_free(struct live *l);
void live_publish(struct live *l,
                  struct view *taken); /* any thread; order of calls is the order seen */
struct view *live_get(struct live *l); /* owned reference; NULL before the first publish */

struct live_reader *live_reader_new(struct live *l);
void live_reader_free(struct live_reader *r);
/* Borrowed until the next live_peek of this reader; NULL before the first publish. One atomic load.
 */
struct view *live_peek(struct live_reader *r);

#endif
