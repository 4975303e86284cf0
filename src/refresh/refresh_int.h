/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For src/refresh: a dataset's state, and the steps of an attempt. What happens when is decided by
 * decide.h; a state is its machine beside what the machine only knows by name: snapshots, projects,
 * a thread.
 */
#ifndef OFFLOADER_REFRESH_REFRESH_INT_H
#define OFFLOADER_REFRESH_REFRESH_INT_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "base/thread.h"
#include "manifest/manifest.h"
#include "refresh/decide.h"
#include "refresh/refresh.h"

#define PROGRESS_LOG_US INT64_C(5000000)
#define INDEX_RETRY_US INT64_C(5000000)
#define SCRUB_BYTES_PER_SECOND (UINT64_C(32) << 20)
#define SCRUB_EVERY_US INT64_C(3600000000)
#define COPY_RETRY_US INT64_C(30000000) /* a look at the bucket, where no sync interval is set */

enum build_phase { BUILD_WAITING, BUILD_DOWNLOADING, BUILD_INGESTING };

/* What a source told about its version, for the next conditional request. */
struct source_memory {
    char *url, *tag; /* owned; NULL: nothing is known */
};
void source_memory_done(struct source_memory *memory);

struct state {
    struct refresh *refresh;
    char *id;
    struct machine machine;
    struct project_ref *project; /* served from */
    int index;
    struct project_ref *pending; /* being cut over to; NULL: none */
    int pending_index;
    struct snapshot *active, *previous; /* references; named by the machine */
    int metrics_slot;
    bool is_of_boot; /* /ready waits for it */

    pthread_t thread;
    bool is_started, has_ended;
    int n_waiters;               /* callers that wait for an answer */
    _Atomic bool cancelled;      /* of the running attempt */
    struct attempt last, answer; /* the last one; the last one that somebody asked for */
    bool has_error;
    bool source_reachable, manifest_valid;
    bool quality_warning;
    uint8_t lost[32];    /* fingerprint of what served before the start and is broken; or zeros */
    bool index_is_stale; /* the index on disk could not be written and says less than what serves */
    bool is_moving;      /* see moves.c */
    int64_t index_retry_us; /* monotonic; of the state's own thread; 0: none */
    uint8_t seen[32];       /* what the source looked like then; the machine knows if it counts */
    struct source_memory memory; /* of the state's own thread, no lock */
    uint64_t left_from;          /* the same: the first build that could not be removed; 0: none */
    bool is_materializing;
    enum build_phase phase;
    struct ingest_progress progress;
};

struct refresh {
    struct refresh_options options;
    int lock_fd;
    struct janitor *janitor;
    pthread_mutex_t reload_lock; /* one reload at a time; taken before `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct project_ref *project;   /* the configuration; NULL before refresh_start() */
    struct project_ref *last_keys; /* the last one with auth: required */
    struct state **states;
    size_t n_states;
    int n_materializing;
    bool is_started, stopping, held, ready;
    bool holds_moves; /* a reload waits for moves, or is being applied */
    pthread_t sync_thread;
    bool has_sync_thread, wants_sync;
    pthread_t scrub_thread, warm_thread;
    bool has_scrub_thread, has_warm_thread;
    _Atomic bool scrub_cancelled; /* the warm-up too */
    /* config sync */
    _Atomic bool sync_cancelled;
    char revision[17];
    const char *copy_because; /* literal, NULL: the project did not come from the kept copy */
    const char *sync_result;  /* literal */
    char sync_error[64];
    char sync_text[ERR_MESSAGE_BYTES]; /* of that error */
    uint32_t sync_told; /* checksum of the message that the last event about an error had */
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
    uint32_t store_crc32c;
    bool has_store_crc; /* those of earlier releases do not */
    uint8_t fingerprint[32], contract_fingerprint[32], build_fingerprint[32],
        origin_fingerprint[32];
    bool quality_warning;
    bool is_in_place;             /* nothing is stored: the files are read where they are */
    struct engine_source *source; /* owned; where something reads the files themselves */
};
void facts_done(struct snapshot_facts *f);
/* JSON that io_write_checked() wrote, in @arena; NULL when it is not there or does not verify. */
const struct node *cache_read_checked(const char *path, struct arena *arena, struct err *err);
MUST_CHECK enum rc cache_prepare(const char *cache_dir, int *ret_lock_fd, struct err *err);
/* Removes this dataset's builds older than number @before that could not be removed when they ended
 * (state.left_from); the state's own thread. */
void cache_remove_left(struct state *s, uint64_t before);
/* An empty directory to build in, and one to spill in; owned paths. */
MUST_CHECK enum rc cache_begin_build(struct state *s, uint64_t number, char **ret_build,
                                     char **ret_temp, struct err *err);
/* Makes the build durable under its final name (owned). */
MUST_CHECK enum rc cache_finish_build(struct state *s, const char *build,
                                      const struct snapshot_facts *facts, uint64_t number,
                                      char **ret_directory, struct err *err);
/* Writes the dataset's index: what is active, what previous (NULL: none), what quarantined ("":
 * none). */
MUST_CHECK enum rc cache_write_index(const struct state *s, const struct snapshot *active,
                                     const struct snapshot *previous, const char *quarantined,
                                     struct err *err);
/* What the cache has for @s: sets active and previous and starts its machine; moves away what does
 * not verify and removes what nobody names. */
void cache_warm_start(struct state *s);
/* @s is of no project any more: nothing of it is named after this. */
void cache_forget(const struct state *s);
/* Removes the directories of datasets that @p does not have. */
void cache_remove_strangers(const struct refresh *r, const struct project *p);
void cache_quarantine(const struct refresh *r, const char *path);
/* Takes facts->source over. NULL with RC_CORRUPT: what is in @directory does not verify, or is not
 * what @facts and the contract of @d say. */
struct snapshot *cache_make_snapshot(const struct state *s, const struct dataset *d,
                                     struct snapshot_facts *facts, const char *directory,
                                     struct err *err);

/* ---- resolve.c ---- */
struct resolve_job { /* borrowed for the call */
    const struct project *project;
    const struct dataset *dataset;
    struct objectstore *store;
    struct source_memory *memory; /* the calling thread's */
    const uint8_t *seen;          /* at the last attempt; NULL: read in any case */
    bool has_active;
    const _Atomic bool *cancelled;
};
struct resolved {
    struct manifest *manifest; /* owned; NULL with RC_OK: nothing new, or no snapshot */
    bool is_untouched;         /* the source looks as it did: nothing was read */
    char snapshot_id[201];     /* its id where it can be told, also on failure */
    uint8_t seen[32];          /* what the source looked like */
    bool has_seen;
    bool reachable;
};
/* RC_INVALID: the manifest is at fault; anything else: network, disk. */
MUST_CHECK enum rc resolve_manifest(const struct resolve_job *job, struct resolved *ret,
                                    struct err *err);
/* RC_INVALID with the first error's code and message, or RC_OK. */
enum rc first_finding(const struct errlist *findings, struct err *err);
/* Gives an error of the object store its contract code. Returns @rc. */
enum rc blame_source(enum rc rc, struct err *err);

/* ---- gates.c ---- */
/* RC_INVALID with code check_failed: which check, the value, the limit. @active NULL: none. */
MUST_CHECK enum rc gates_check(const struct dataset *d, const struct manifest *m,
                               const struct ingest_report *report, const struct snapshot *active,
                               int64_t now_us, struct err *err);

/* ---- materialize.c ---- */
struct order { /* what an attempt is to do, copied out of the state */
    struct errand errand;
    struct project_ref *project;
    const struct dataset *dataset;
    struct snapshot *active; /* a reference */
    uint8_t lost[32];
    uint8_t seen[32];
    bool has_seen;
};
struct outcome {
    enum attempt_status status;
    struct snapshot *snapshot; /* a reference; OK only */
    char snapshot_id[201];
    struct err err;
    bool source_reachable, manifest_valid, quality_warning;
    bool was_untouched;   /* UNCHANGED because the source looks as it did */
    bool was_quarantined; /* UNCHANGED because the id was rolled back from */
    uint8_t seen[32];
    bool has_seen;
};
void attempt_run(struct state *s, const struct order *o, struct outcome *ret);
struct build { /* one snapshot being made; owned by build_snapshot() */
    struct state *state;
    uint64_t number;
    char *parent, *target, *spill;
    int64_t logged_us; /* monotonic: progress was last on the log */
};
/* Shown in diagnostics, and on the log when it takes long. */
void build_progress(struct build *b, enum build_phase phase,
                    const struct ingest_progress *progress);

/* ---- place.c ---- */
/*
 * Fills @ret_paths (owned strings, one a file) with local paths: remote files are downloaded into
 * @directory first. @only_stat: nothing is downloaded, remote paths stay NULL. Either way each
 * remote file of @m is pinned afterwards. @ret_reachable is set when the store, not the file, is
 * the trouble.
 */
MUST_CHECK enum rc place_files(struct build *b, struct manifest *m, const char *directory,
                               bool only_stat, char **ret_paths, bool *ret_reachable,
                               struct err *err);

/* ---- attempt.c ---- */
void *state_main(void *arg);

/* Can the store of @source's first remote file still be read? Where queries read files in place, a
 * credential that expired is to be seen before they fail. */
bool probe_source(struct state *s, const struct engine_source *source);

/* ---- moves.c ---- */
/* Waits for its turn: keep @s from being freed (n_waiters, or on its own thread), and look again at
 * what was known before. */
void state_begin_move_locked(struct state *s);
void state_end_move_locked(struct state *s);
/* cache_write_index() of a dataset that is being moved, without the lock meanwhile; @quarantined is
 * borrowed. Sets index_is_stale when it fails. */
MUST_CHECK enum rc state_write_index_locked(struct state *s, struct snapshot *active,
                                            struct snapshot *previous, const char *quarantined,
                                            struct err *err);
/* No dataset moves between the two; the caller has reload_lock. */
void refresh_hold_moves_locked(struct refresh *r);
void refresh_release_moves_locked(struct refresh *r);

/* ---- refresh.c ---- */
void publish_locked(struct refresh *r);
struct state *state_new(struct refresh *r, struct project_ref *p, int index);
void state_add_locked(struct refresh *r, struct state *s);
void state_start(struct state *s);
void state_free(struct state *s);
struct state *state_find(const struct refresh *r, struct str id);
void contract_of(const struct dataset *d, struct contract *ret);
/* For a reference that is given up together with the directory. NULL is fine. */
void discard(struct snapshot *s);
/* ---- reload.c ---- */
void note_copy_locked(struct refresh *r);
/* Is a file under @directory read by what serves? @arg is the struct refresh. */
bool is_read_from(void *arg, const char *directory);
void *sync_main(void *arg);
/* ---- scrub.c ---- */
void *scrub_main(void *arg);
/* A reference to each snapshot with a store that serves or may serve again; mem_free() the array. */
struct snapshot **refresh_list_stores(struct refresh *r, size_t *ret_n);
/* ---- warm.c ---- */
void *warm_main(void *arg);
bool refresh_any_cold_locked(const struct refresh *r);
/* Reads ahead what leads to rows; as store_warm_up(). */
MUST_CHECK enum rc snapshot_warm_up(struct snapshot *s, const _Atomic bool *cancelled,
                                    struct err *err);
/* ---- status.c ---- */
bool readiness_locked(struct refresh *r);
/* ---- janitor.c: on a thread of its own, for those who may not wait: closes snapshots and removes
 * their directories, reports what is broken ---- */
struct janitor;
MUST_CHECK enum rc janitor_new(struct refresh *r, struct janitor **ret, struct err *err);
void janitor_free(struct janitor *j); /* after the last snapshot that it was to close */
void janitor_adopt(struct janitor *j, struct snapshot *s); /* sets on_release */
void janitor_report(struct janitor *j, struct snapshot *s); /* refresh_report_broken(); once each */

#endif
