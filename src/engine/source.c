/* SPDX-License-Identifier: Apache-2.0 */
/* Where the files of a snapshot are. */
#include <stdatomic.h>

#include "base/mem.h"
#include "engine/engine.h"

struct engine_source *engine_source_alloc(size_t n_files)
{
    static _Atomic uint64_t n_sources;
    struct engine_source *s = x_alloc0(sizeof *s);
    s->id = atomic_fetch_add(&n_sources, 1) + 1;
    s->n_files = n_files;
    s->files = x_array0(n_files, sizeof *s->files);
    return s;
}

struct engine_source *engine_source_new(const struct manifest *m, const char *const *local_paths)
{
    struct engine_source *s = engine_source_alloc(m->n_files);
    for (size_t i = 0; i < m->n_files; i++) {
        const struct data_file *f = &m->files[i];
        s->files[i] = (struct engine_file){
            .location = x_strdup(local_paths[i] ? local_paths[i] : f->location),
            .etag = !local_paths[i] && f->etag ? x_strdup(f->etag) : NULL,
            .size_bytes = local_paths[i] ? 0 : f->size_bytes,
            .format = f->format,
            .is_remote = !local_paths[i],
        };
    }
    schema_copy(&s->declared, &m->schema);
    s->is_exact = m->compatibility == COMPAT_EXACT;
    return s;
}

void engine_source_free(struct engine_source *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_files; i++) {
        mem_free(s->files[i].location);
        mem_free(s->files[i].etag);
    }
    mem_free(s->files);
    schema_done(&s->declared);
    mem_free(s);
}
