/* SPDX-License-Identifier: Apache-2.0 */
/* What one snapshot is made of (snapshots.md): parsing, complete validation, compatibility. */
#ifndef OFFLOADER_MANIFEST_MANIFEST_H
#define OFFLOADER_MANIFEST_MANIFEST_H

#include "base/buf.h"
#include "base/errlist.h"
#include "project/project.h"
#include "schema/schema.h"

enum file_format { FILE_CSV, FILE_PARQUET };
enum quality { QUALITY_PASSED, QUALITY_WARNING, QUALITY_FAILED };
enum compatibility { COMPAT_ADDITIVE_ONLY, COMPAT_EXACT };

struct data_file {
    char *path;     /* as written in the manifest */
    char *location; /* resolved: absolute local path, or URL */
    bool remote;
    enum file_format format;
    bool has_row_count, has_size_bytes, has_sha256;
    uint64_t row_count, size_bytes;
    uint8_t sha256[32];
    char *etag; /* pins a listed remote object; NULL: none */
};

struct manifest {
    char *dataset_id, *snapshot_id;
    int64_t created_at_us, watermark_us;
    struct schema schema;
    struct data_file *files;
    size_t n_files;
    bool has_row_count; /* databricks sources know no count */
    uint64_t row_count, size_bytes;
    char *producer, *upstream_run_id;
    int64_t schema_version;
    enum quality quality;
    enum compatibility compatibility;
};

#define LIMIT_MANIFEST_BYTES (32u << 20)
#define LIMIT_MANIFEST_FILES 100000

/* Where a manifest lives decides what its paths may be. */
struct manifest_origin {
    const char *location;     /* absolute local path, or URL, of the manifest itself */
    const char *project_root; /* not NULL: lives in a project; files may not leave it */
    const char *const *allow; /* buckets or hosts allowed besides its own */
    size_t n_allow;
    const char *shown_as; /* file name for findings; never a bucket */
};

/*
 * Parses and validates everything that needs no data. Every finding is collected; the manifest
 * comes back only when there is no error. @dataset_id NULL skips the dataset_mismatch check.
 */
MUST_CHECK enum rc manifest_parse(struct str text, const struct manifest_origin *origin,
                                  const char *dataset_id, struct errlist *findings,
                                  struct manifest **ret, struct err *err);
/* incompatible_schema and data_quality_failed against the contract. */
void manifest_check_contract(const struct manifest *m, const struct dataset *d,
                             const char *shown_as, struct errlist *findings);
/* Local files: exist, sizes, sha256 (when @checksums), CSV headers. Parquet schemas are the
 * engine's to check (engine_inspect), called by the refresh and by `validate`. */
void manifest_check_local_files(const struct manifest *m, bool checksums, const char *shown_as,
                                struct errlist *findings);
/* The snapshot_id of a manifest that may be wrong otherwise, for records; "" when it has none. */
void manifest_peek_id(struct str text, char ret[201]);
void manifest_free(struct manifest *m);

/* Databricks: the newest transaction's marker body into a manifest-like list of names. */
MUST_CHECK enum rc commit_marker_parse(struct str text, char ***ret_names, size_t *ret_n,
                                       struct err *err);

/* First 16 hex of this is X-Index-Hash: SHA-256 over contract, snapshot_id and each file's path,
 * size and content hash. @file_hashes: 32 bytes a file. */
void manifest_fingerprint(const struct manifest *m, const uint8_t contract_fingerprint[32],
                          const uint8_t (*file_hashes)[32], const uint64_t *file_sizes,
                          uint8_t ret[32]);

#endif
