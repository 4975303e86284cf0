/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For src/project: typed access to a YAML tree that reports what it does not like, with file, line,
 * column and path, and goes on. Memory of the project comes from one arena; when that is exhausted
 * the whole load unwinds by longjmp to project_load(), which is safe because nothing on the way
 * owns anything outside the arena.
 */
#ifndef OFFLOADER_PROJECT_READ_H
#define OFFLOADER_PROJECT_READ_H

#include <setjmp.h>

#include "markup/markup.h"
#include "project/project.h"

struct reader {
    const char *file; /* relative to the project, for findings */
    struct errlist *findings;
    struct arena *arena; /* the project's */
    jmp_buf *no_memory;
};

void *read_take(struct reader *r, size_t n, size_t item_bytes); /* zeroed; never NULL */
char *read_copy(struct reader *r, struct str s);
/* A path for findings, in the arena. */
const char *read_path(struct reader *r, const char *format, ...) PRINTF_LIKE(2, 3);
void read_finding(struct reader *r, const struct node *at, const char *path, const char *code,
                  const char *hint, const char *format, ...) PRINTF_LIKE(6, 7);
void read_warning(struct reader *r, const struct node *at, const char *path, const char *code,
                  const char *format, ...) PRINTF_LIKE(5, 6);

/* False (and a finding) when @n is no mapping; unknown keys are found against the NULL-ended list.
 */
bool read_map(struct reader *r, const struct node *n, const char *path, const char *const *known);
bool read_list(struct reader *r, const struct node *n, const char *path);

/*
 * Each looks for @key in @map at @path ("" for the top). Absent or null: NULL/false, with a
 * `missing` finding when @required. Of another type: `invalid_type`.
 */
const struct node *read_get(struct reader *r, const struct node *map, const char *path,
                            const char *key, bool required);
char *read_string(struct reader *r, const struct node *map, const char *path, const char *key,
                  bool required);
bool read_integer(struct reader *r, const struct node *map, const char *path, const char *key,
                  bool required, int64_t *ret);
bool read_number(struct reader *r, const struct node *map, const char *path, const char *key,
                 double *ret);
bool read_boolean(struct reader *r, const struct node *map, const char *path, const char *key,
                  bool *ret);
/* A string that is one of the NULL-ended @words: its index, else @otherwise (and a finding). */
int read_word(struct reader *r, const struct node *map, const char *path, const char *key,
              bool required, const char *const *words, int otherwise);
/* A name (`^[a-z][a-z0-9_]{0,62}$`) or a column name; NULL after a finding. */
char *read_name(struct reader *r, const struct node *map, const char *path, const char *key);
char *read_column(struct reader *r, const struct node *map, const char *path, const char *key);
const char *read_join(struct reader *r, const char *path, const char *key);

/* ---- the parts ---- */

void dataset_read(struct reader *r, const struct node *root, struct dataset *ret);
void checks_read(struct reader *r, const struct node *n, const struct schema *schema,
                 struct checks *ret);
/* @datasets may be incomplete: an endpoint on a dataset that failed is checked as far as it goes.
 */
void endpoint_read(struct reader *r, const struct node *root, const struct project *p,
                   struct endpoint *ret);
void params_read(struct reader *r, const struct node *root, struct endpoint *e);
void query_read(struct reader *r, const struct node *root, const struct dataset *d,
                struct endpoint *e);
void keys_read(struct reader *r, const struct node *root, struct project *p);
/* After everything is read: sort columns, fingerprints, contract hashes, the table of keys. */
void project_prepare(struct reader *r, struct project *p);

#endif
