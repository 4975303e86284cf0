/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest against its dataset's contract, and against the local files it names. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "manifest/manifest_int.h"

#define LIMIT_CSV_HEADER_BYTES (1u << 20)

void manifest_check_contract(const struct manifest *m, const struct dataset *d,
                             const char *shown_as, struct errlist *findings)
{
    struct manifest_reader r = {shown_as, findings, NULL};
    if (m->quality == QUALITY_FAILED)
        manifest_finding(&r, "data_quality_status", "data_quality_failed",
                         "the producer says that this snapshot failed its checks");
    for (size_t i = 0; i < d->schema.n_columns; i++) {
        const struct column *want = &d->schema.columns[i];
        int at = schema_find(&m->schema, str_from(want->name));
        if (at < 0)
            manifest_finding(&r, "schema", "incompatible_schema", "column `%s` is missing",
                             want->name);
        else if (!column_type_widens(m->schema.columns[at].type, want->type))
            manifest_finding(&r, "schema", "incompatible_schema",
                             "column `%s` is %s, the contract says %s", want->name,
                             column_type_name(m->schema.columns[at].type),
                             column_type_name(want->type));
    }
    for (size_t i = 0; m->compatibility == COMPAT_EXACT && i < m->schema.n_columns; i++)
        if (schema_find(&d->schema, str_from(m->schema.columns[i].name)) < 0)
            manifest_finding(&r, "schema", "incompatible_schema",
                             "column `%s` is not in the contract, and the policy is exact",
                             m->schema.columns[i].name);
}

/* ---- CSV header ---- */

/* The next field of a header at *p, decoded into @ret. False at a malformed quote. */
static bool next_field(const char **p, const char *end, struct buf *ret)
{
    buf_reset(ret);
    if (*p == end || **p != '"') {
        while (*p < end && **p != ',' && **p != '\n' && **p != '\r')
            buf_putc(ret, *(*p)++);
        return true;
    }
    for ((*p)++; *p < end; (*p)++) {
        if (**p != '"') {
            buf_putc(ret, **p);
        } else if (*p + 1 < end && (*p)[1] == '"') {
            buf_putc(ret, '"');
            (*p)++;
        } else {
            (*p)++;
            return *p == end || **p == ',' || **p == '\n' || **p == '\r';
        }
    }
    return false;
}

/* Marks each declared column that the header names; says what is wrong with it, NULL when nothing.
 */
static const char *check_header(const char *p, const char *end, const struct schema *s,
                                struct buf *field, char *ret_column, size_t n_column,
                                size_t *ret_position)
{
    AUTO(mem_free_auto) bool *seen = x_array0(s->n_columns, sizeof *seen);
    size_t n_fields = 0;
    for (;;) {
        *ret_position = n_fields + 1;
        if (!next_field(&p, end, field))
            return "the CSV header has a stray quote";
        int column = schema_find(s, (struct str){field->p, field->n});
        (void)snprintf(ret_column, n_column, "%.63s", buf_cstr(field));
        if (column < 0)
            return "the CSV header has a column that is not declared";
        if (seen[column])
            return "the CSV header has a column twice";
        seen[column] = true;
        n_fields++;
        if (p == end || *p != ',')
            break;
        p++;
    }
    for (size_t i = 0; i < s->n_columns && n_fields < s->n_columns; i++) {
        if (!seen[i]) {
            (void)snprintf(ret_column, n_column, "%s", s->columns[i].name);
            return "the CSV header lacks a declared column";
        }
    }
    return NULL;
}

static void check_csv_header(struct manifest_reader *r, const struct data_file *f, const char *at,
                             const struct schema *s)
{
    AUTO(fd_auto) int fd = -1;
    AUTO(mem_free_auto) char *head = try_alloc(LIMIT_CSV_HEADER_BYTES);
    AUTO(buf_done) struct buf field = {0};
    struct err err = ERR_INIT;
    char column[64] = "";
    size_t position = 0;
    ssize_t n = -1;
    buf_init(&field, LIMIT_CSV_HEADER_BYTES);
    if (head && io_open(f->location, O_RDONLY | O_CLOEXEC, 0, &fd, &err) == RC_OK)
        n = pread(fd, head, LIMIT_CSV_HEADER_BYTES, 0);
    if (n < 0) {
        manifest_finding(r, at, "unreadable_file", "`%s` cannot be read", f->path);
        return;
    }
    const char *p = head, *end = head + n;
    if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    const char *problem = check_header(p, end, s, &field, column, sizeof column, &position);
    if (problem && str_is_column(str_from(column)))
        manifest_finding(r, at, "schema_data_mismatch", "`%s`: %s: `%s`", f->path, problem, column);
    else if (problem) /* what stands there may be data: a file without a header */
        manifest_finding(
            r, at, "schema_data_mismatch",
            "`%s`: %s: number %zu is no column name (letters, digits and _, at most 63): "
            "rename it in the file",
            f->path, problem, position);
}

static void check_local_file(struct manifest_reader *r, const struct manifest *m, size_t i,
                             bool checksums)
{
    const struct data_file *f = &m->files[i];
    char at[48];
    struct stat st;
    struct err err = ERR_INIT;
    uint8_t digest[32];
    uint64_t n_bytes;
    (void)snprintf(at, sizeof at, "files[%zu].path", i);
    enum rc rc = io_stat(f->location, &st, &err);
    if (rc != RC_OK || !S_ISREG(st.st_mode)) {
        manifest_finding(r, at, rc == RC_NOT_FOUND ? "missing_file" : "unreadable_file", "`%s` %s",
                         f->path, rc == RC_NOT_FOUND ? "does not exist" : "is no readable file");
        return;
    }
    if (f->has_size_bytes && f->size_bytes != (uint64_t)st.st_size)
        manifest_finding(r, at, "size_mismatch", "`%s` has %lld bytes, the manifest says %llu",
                         f->path, (long long)st.st_size, (unsigned long long)f->size_bytes);
    if (f->format == FILE_CSV)
        check_csv_header(r, f, at, &m->schema);
    if (!checksums || !f->has_sha256)
        return;
    if (io_sha256_file(f->location, digest, &n_bytes, &err) != RC_OK)
        manifest_finding(r, at, "unreadable_file", "`%s` cannot be read", f->path);
    else if (memcmp(digest, f->sha256, sizeof digest) != 0)
        manifest_finding(r, at, "checksum_mismatch", "the SHA-256 of `%s` is not the manifest's",
                         f->path);
}

void manifest_check_local_files(const struct manifest *m, bool checksums, const char *shown_as,
                                struct errlist *findings)
{
    struct manifest_reader r = {shown_as, findings, NULL};
    for (size_t i = 0; i < m->n_files; i++)
        if (!m->files[i].remote)
            check_local_file(&r, m, i, checksums);
}

void manifest_fingerprint(const struct manifest *m, const uint8_t contract_fingerprint[32],
                          const uint8_t (*file_hashes)[32], const uint64_t *file_sizes,
                          uint8_t ret[32])
{
    struct sha256_stream *s = sha256_new();
    sha256_add(s, contract_fingerprint, 32);
    sha256_add(s, m->snapshot_id, strlen(m->snapshot_id) + 1);
    for (size_t i = 0; i < m->n_files; i++) {
        sha256_add(s, m->files[i].path, strlen(m->files[i].path) + 1);
        sha256_add(s, &file_sizes[i], sizeof file_sizes[i]);
        sha256_add(s, file_hashes[i], 32);
    }
    sha256_finish(s, ret);
}
