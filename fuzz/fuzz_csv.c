/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CSV reader: the same records whether bytes come one by one or all at once; every field of a
 * record it gives is valid UTF-8.
 */
#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "engine/csv_reader.h"
#include "fuzz.h"

struct source {
    const uint8_t *p;
    size_t n, step;
};

static long read_some(void *arg, void *p, size_t n)
{
    struct source *s = arg;
    if (n > s->step)
        n = s->step;
    if (n > s->n)
        n = s->n;
    if (n)
        memcpy(p, s->p, n);
    s->p += n;
    s->n -= n;
    return (long)n;
}

struct outcome {
    uint64_t records;
    enum rc rc;
    uint8_t digest[SHA256_BYTES];
};

static struct outcome read_all(const uint8_t *data, size_t n, size_t step)
{
    struct source source = {data, n, step};
    struct csv_reader r;
    struct outcome o = {0};
    struct err err = ERR_INIT;
    struct sha256_stream *sum = sha256_new();
    bool more = true;
    csv_reader_init(&r, read_some, &source);
    while ((o.rc = csv_reader_next(&r, &more, &err)) == RC_OK && more) {
        assert(r.n_fields > 0);
        o.records++;
        for (size_t i = 0; i < r.n_fields; i++) {
            const struct csv_field *f = &r.fields[i];
            assert(utf8_valid(f->text) && (!f->is_null || f->text.n == 0));
            sha256_add(sum, &f->is_null, sizeof f->is_null);
            sha256_add(sum, &f->text.n, sizeof f->text.n);
            sha256_add(sum, f->text.p ? f->text.p : "", f->text.n);
        }
    }
    assert(o.rc == RC_OK || err.rc == o.rc);
    csv_reader_done(&r);
    sha256_finish(sum, o.digest);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct outcome whole = read_all(data, n, SIZE_MAX);
    struct outcome bytes = read_all(data, n, 1 + n / 64);
    struct outcome threes = read_all(data, n, 3 + n / 32);
    assert(memcmp(&whole, &bytes, sizeof whole) == 0);
    assert(memcmp(&whole, &threes, sizeof whole) == 0);
    return 0;
}
