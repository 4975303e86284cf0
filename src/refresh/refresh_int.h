/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For src/refresh: a dataset's state and the steps of an attempt.
 *
 *   idle ─ due, asked for, or reloaded ─▶ running ─ resolve ─ check ─ materialize ─▶ settle ─▶ idle
 *
 * A state is served from `project`. While `pending` is set, a new contract is being built aside and
 * attempts are for it; it becomes `project` together with its first snapshot, in one view.
 */
#ifndef OFFLOADER_REFRESH_REFRESH_INT_H
#define OFFLOADER_REFRESH_REFRESH_INT_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "base/thread.h"
#include "manifest/manifest.h"
#include "refresh/refresh.h"

#define RETRY_FIRST_US INT64_C(1000000)
#define CUTOVER_RETRY_FIRST_US INT64_C(30000000)
#define CUTOVER_RETRY_LIMIT_US INT64_C(600000000)
#define RETRY_LIMIT_US INT64_C(30000000) /* where there is no interval */

struct state {
    struct refresh *refresh;
    char *id;
    struct project_ref *project; /* served from */
    int index;
    struct project_ref *pending; /* NULL: none */
    int pending_index;
    struct snapshot *active, *previous; /* references */
    char *quarantined;                  /* snapshot id; NULL: none */
    int metrics_slot;

    pthread_t thread;
    bool is_started, is_running, is_removed;
    bool wants_check, wants_forced, wants_override;
    _Atomic bool cancelled; /* of the running attempt */
    uint64_t n_asked, n_answered; /* forced refreshes: asked for and settled */
    int64_t next_us; /* monotonic; 0: not by itself */
    int failures;
    struct attempt last;
    bool has_error;
    bool source_reachable, manifest_valid;
    bool quality_warning;
    uint8_t seen[32]; /* what the manifest and its files looked like at the last attempt */
    bool has_seen;
    bool is_materializing;
    struct ingest_progress progress;
    uint64_t broken_generation;
};

struct refresh {
    struct refresh_options options;
    int lock_fd;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct project_ref *project;   /* the configuration */
    struct project_ref *last_keys; /* the last one with auth: required */
    struct state **states;
    size_t n_states;
    int n_materializing;
    bool stopping, held, ready;
    pthread_t sync_thread;
    bool has_sync_thread;
    /* config sync */
    uint8_t walked[32];
    bool has_walked;
    const char *sync_result; /* literal */
    char sync_error[64];
    int64_t sync_checked_us, sync_applied_us;
    uint64_t n_temporary;
};

static inline const struct dataset *state_dataset(const struct state *s)
{
    return &s->project->project->datasets[s->index];
}

/* ---- cache_dir.c: directories of snapshots ---- */
struct snapshot_facts { /* snapshot.json */
    char *snapshot_id, *model_tag;
    int64_t watermark_us, created_at_us;
    uint64_t n_rows, n_bytes;
    uint8_t fingerprint[32], contract_fingerprint[32];
    bool quality_warning;
    struct engine_source *source; /* owned; where something reads the files themselves */
};
void facts_done(struct snapshot_facts *f);
MUST_CHECK enum rc cache_prepare(const char *cache_dir, int *ret_lock_fd, struct err *err);
/* An empty directory to build in, and one to spill in; owned paths. */
MUST_CHECK enum rc cache_begin_build(struct state *s, uint64_t number, char **ret_build, char **ret_temp,
                                     struct err *err);
/* Makes the build durable under its final name (owned). */
MUST_CHECK enum rc cache_finish_build(struct state *s, const char *build, const struct snapshot_facts *facts,
                                      uint64_t number, char **ret_directory, struct err *err);
/* Writes the dataset's index: active, previous, quarantined. Under the lock. */
MUST_CHECK enum rc cache_write_index(const struct state *s, struct err *err);
/* What the cache has for @s: sets active, previous, quarantined; moves away what does not verify and
 * removes what nobody names. */
void cache_warm_start(struct state *s);
void cache_quarantine(const struct refresh *r, const char *directory);
/* Takes facts->source over. */
struct snapshot *cache_make_snapshot(const struct state *s, struct snapshot_facts *facts,
                                     const char *directory, struct err *err);

/* ---- resolve.c ---- */
/*
 * Reads the manifest of @d (of project @p). *ret_manifest NULL with RC_OK: nothing changed since
 * @seen. RC_INVALID: the manifest is at fault. @ret_id: its snapshot's id where it can be told, also
 * then. @ret_seen: what the manifest looks like.
 */
MUST_CHECK enum rc resolve_manifest(const struct project *p, const struct dataset *d, const uint8_t *seen,
                                    struct manifest **ret_manifest, char ret_id[201],
                                    uint8_t ret_seen[32], struct err *err);

/* ---- gates.c ---- */
/* RC_INVALID with code check_failed: which check, the value, the limit. @active NULL: none. */
MUST_CHECK enum rc gates_check(const struct dataset *d, const struct manifest *m,
                               const struct ingest_report *report, const struct snapshot *active,
                               int64_t now_us, struct err *err);

/* ---- materialize.c ---- */
struct order { /* what an attempt is to do, copied out of the state */
    struct project_ref *project;
    const struct dataset *dataset;
    bool forced, override_checks, is_cutover;
    char *active_id, *quarantined; /* owned */
    struct snapshot *active;       /* a reference */
    uint8_t seen[32];
    bool has_seen;
};
struct outcome {
    enum attempt_status status;
    struct snapshot *snapshot; /* a reference; OK only */
    char snapshot_id[201];
    struct err err;
    bool source_reachable, manifest_valid, quality_warning;
    uint8_t seen[32];
    bool has_seen;
};
void attempt_run(struct state *s, const struct order *o, struct outcome *ret);

/* ---- refresh.c ---- */
void publish_locked(struct refresh *r);
void *state_main(void *arg);
struct state *state_new_locked(struct refresh *r, struct project_ref *p, int index);
void state_start(struct state *s);
struct state *state_find(const struct refresh *r, struct str id);
/* ---- reload.c ---- */
void *sync_main(void *arg);
/* ---- status.c ---- */
bool readiness_locked(struct refresh *r);

#endif
