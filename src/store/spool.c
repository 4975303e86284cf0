/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text waits in a spool file until all of it has been seen: only then is it known whether a
 * dictionary pays. One file for all columns, as there may be more of them than open files. A
 * spooled block: rows u32, bytes u32, validity, ends, bytes; until it is encoded, its chunk entry
 * says where it is.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "base/mem.h"
#include "store/writer_int.h"

static enum rc open_spool(struct store_writer *w, struct err *err)
{
    AUTO(mem_free_auto) char *path = path_join(w->directory, ".spool");
    enum rc rc = io_open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600, &w->spool_fd, err);
    if (rc == RC_OK &&
        unlink(path) != 0) /* nobody else needs its name, and a crash leaves nothing */
        return err_set(err, RC_IO, "cannot unlink a spool file");
    return rc;
}

enum rc spool_block(struct store_writer *w, struct column_build *c, struct err *err)
{
    uint32_t head[2] = {(uint32_t)w->n_in_block, (uint32_t)c->text.n};
    enum rc rc = w->spool_fd < 0 ? open_spool(w, err) : RC_OK;
    if (rc != RC_OK)
        return rc;
    buf_reset(&w->chunk);
    buf_put(&w->chunk, head, sizeof head);
    buf_put(&w->chunk, c->valid, w->n_in_block);
    buf_put(&w->chunk, c->text_ends, w->n_in_block * sizeof *c->text_ends);
    buf_put(&w->chunk, c->text.p, c->text.n);
    if (w->chunk.failed || c->text.failed)
        return err_set(err, RC_NO_MEMORY, "out of memory while gathering text");
    rc = io_pwrite_all(w->spool_fd, w->chunk.p, w->chunk.n, w->spool_bytes, "spool file", err);
    c->chunks[w->n_blocks] = (struct chunk_entry){.at = w->spool_bytes};
    w->spool_bytes += w->chunk.n;
    buf_reset(&c->text);
    return rc;
}

/* A dictionary pays when texts repeat: then a row costs a code instead of an offset and its bytes.
 */
static bool dictionary_pays(const struct store_writer *w, const struct column_build *c)
{
    const struct distinct *d = &c->distinct;
    return d->is_alive && c->type == TYPE_VARCHAR && (d->n <= 256 || d->n <= w->n_rows / 2);
}

static enum rc write_dictionary(struct store_writer *w, struct column_build *c, struct err *err)
{
    struct distinct *d = &c->distinct;
    struct buf image;
    uint32_t end = 0;
    if (!distinct_sort(d))
        return err_set(err, RC_NO_MEMORY, "out of memory while sorting a dictionary");
    buf_init(&image, SIZE_MAX);
    buf_put(&image, &end, sizeof end);
    for (uint32_t i = 0; i < d->n; i++) {
        end += (uint32_t)distinct_entry(d, d->sorted[i]).n;
        buf_put(&image, &end, sizeof end);
    }
    for (uint32_t i = 0; i < d->n; i++)
        buf_put_str(&image, distinct_entry(d, d->sorted[i]));
    enum rc rc = image.failed
                     ? err_set(err, RC_NO_MEMORY, "out of memory while writing a dictionary")
                     : writer_append(w, image.p, image.n, &c->entry.dictionary_at, err);
    c->entry.dictionary_bytes = image.n;
    c->entry.dictionary_crc = crc32c(0, image.p, image.n);
    c->entry.n_dictionary = d->n;
    c->entry.flags |= COLUMN_HAS_DICTIONARY;
    buf_done(&image);
    return rc;
}

static void texts_to_codes(struct column_build *c, size_t n_rows, const uint8_t *valid,
                           const uint32_t *ends, const char *bytes)
{
    for (size_t i = 0; i < n_rows; i++) {
        uint32_t from = i ? ends[i - 1] : 0;
        c->valid[i] = valid[i];
        c->keys[i] = 0;
        if (valid[i])
            c->keys[i] =
                c->distinct
                    .rank[distinct_find(&c->distinct, (struct str){bytes + from, ends[i] - from})];
    }
}

enum rc spool_finish(struct store_writer *w, struct column_build *c, struct err *err)
{
    bool coded = dictionary_pays(w, c);
    struct buf block;
    enum rc rc = coded ? write_dictionary(w, c, err) : RC_OK;
    if (!coded)
        c->entry.flags |= COLUMN_TEXT_PLAIN;
    if (c->needs_no_escape)
        c->entry.flags |= COLUMN_NEEDS_NO_ESCAPE;
    buf_init(&block, SIZE_MAX);
    for (size_t i = 0; rc == RC_OK && i < w->n_blocks; i++) {
        uint64_t at = c->chunks[i].at;
        uint32_t head[2];
        rc = io_pread_all(w->spool_fd, head, sizeof head, at, "spool file", err);
        if (rc != RC_OK)
            break;
        size_t n = (size_t)head[0] * 5 + head[1];
        buf_reset(&block);
        if (!buf_reserve(&block, n)) {
            rc = err_set(err, RC_NO_MEMORY, "out of memory while encoding text");
            break;
        }
        rc = io_pread_all(w->spool_fd, block.p, n, at + sizeof head, "spool file", err);
        if (rc != RC_OK)
            break;
        const uint8_t *valid = (const uint8_t *)block.p;
        memcpy(c->text_ends, block.p + head[0], head[0] * sizeof *c->text_ends);
        const char *bytes = block.p + (size_t)head[0] * 5;
        if (coded) {
            texts_to_codes(c, head[0], valid, c->text_ends, bytes);
            rc = encode_keys(w, c, i, head[0], c->keys, c->valid, err);
        } else {
            rc = encode_text(w, c, i, head[0], valid, c->text_ends, (struct str){bytes, head[1]},
                             err);
        }
    }
    buf_done(&block);
    distinct_done(&c->distinct);
    return rc;
}
