/* SPDX-License-Identifier: Apache-2.0 */
/* Records are found first (where does this one end?), then cut into fields. */
#include "engine/csv_reader.h"

#include <errno.h>

#include "base/mem.h"

#define READ_BYTES (1u << 20)

void csv_reader_init(struct csv_reader *r, long (*read)(void *arg, void *p, size_t n), void *arg)
{
    *r = (struct csv_reader){.read = read, .arg = arg};
    buf_init(&r->raw, LIMIT_CSV_RECORD_BYTES + READ_BYTES);
    buf_init(&r->text, LIMIT_CSV_RECORD_BYTES);
    r->fields = x_array0(LIMIT_CSV_FIELDS, sizeof *r->fields);
}

void csv_reader_done(struct csv_reader *r)
{
    buf_done(&r->raw);
    buf_done(&r->text);
    mem_free(r->fields);
    *r = (struct csv_reader){.read = NULL};
}

static enum rc refuse(const struct csv_reader *r, struct err *err, const char *why)
{
    if (r->n_records == 0)
        return err_set_code(err, RC_INVALID, "unreadable_file", "the header: %s", why);
    return err_set_code(err, RC_INVALID, "unreadable_file", "data row %llu: %s",
                        (unsigned long long)r->n_records, why);
}

/* Moves what is left to the front and reads on. */
static enum rc fill(struct csv_reader *r, struct err *err)
{
    if (r->at) {
        memmove(r->raw.p, r->raw.p + r->at, r->raw.n - r->at);
        r->raw.n -= r->at;
        r->at = 0;
    }
    if (!buf_reserve(&r->raw, READ_BYTES)) {
        if (r->raw.failed == BUF_OVER_LIMIT)
            return refuse(r, err, "a record is longer than 64 MiB");
        return err_set(err, RC_NO_MEMORY, "out of memory while reading CSV");
    }
    long n = r->read(r->arg, r->raw.p + r->raw.n, READ_BYTES);
    if (n < 0)
        return err_set_errno(err, RC_IO, errno, "cannot read");
    r->at_end = n == 0;
    r->raw.n += (size_t)n;
    return RC_OK;
}

/*
 * Length of the record at r->at without its line end; *ret_whole with it. False: read on, and the
 * next call goes on where this one stopped. Line ends are looked for once, not behind each quote.
 */
static bool find_record(struct csv_reader *r, size_t *ret_n, size_t *ret_whole)
{
    const char *p = r->raw.p + r->at, *end = p + r->raw.n - r->at;
    const char *here = p + r->n_scanned, *line_end = NULL; /* @end: there is none */
    while (here < end) {
        if (!line_end || line_end < here)
            line_end = memchr(here, '\n', (size_t)(end - here));
        if (!line_end)
            line_end = end;
        const char *stop = r->in_quotes ? end : line_end;
        const char *quote = memchr(here, '"', (size_t)(stop - here));
        if (quote) {
            r->in_quotes = !r->in_quotes; /* a doubled quote flips twice */
            here = quote + 1;
        } else if (line_end < end && !r->in_quotes) {
            *ret_whole = (size_t)(line_end + 1 - p);
            *ret_n = (size_t)(line_end - p) - (line_end > p && line_end[-1] == '\r');
            return true;
        } else {
            here = end;
        }
    }
    r->n_scanned = (size_t)(end - p);
    if (!r->at_end)
        return false;
    *ret_n = *ret_whole = r->n_scanned;
    return true;
}

/* The quoted field at *p: decoded into @ret, *p behind its closing quote. NULL: fine. */
static const char *take_quoted(struct csv_reader *r, const char **p, const char *end,
                               struct csv_field *ret)
{
    const char *from = ++*p;
    size_t before = r->text.n;
    bool doubled = false;
    for (; *p < end; (*p)++) {
        if (**p != '"')
            continue;
        if (*p + 1 < end && (*p)[1] == '"') {
            buf_put(&r->text, from, (size_t)(*p + 1 - from));
            (*p)++;
            from = *p + 1;
            doubled = true;
            continue;
        }
        if (!doubled) {
            ret->text = (struct str){from, (size_t)(*p - from)};
        } else {
            buf_put(&r->text, from, (size_t)(*p - from));
            ret->is_decoded = true;
            ret->decoded_at = before;
            ret->text.n = r->text.n - before;
        }
        (*p)++;
        return *p == end || **p == ',' ? NULL : "text follows a closing quote";
    }
    return "a quote is not closed";
}

static const char *cut(struct csv_reader *r, const char *p, const char *end)
{
    buf_reset(&r->text);
    r->n_fields = 0;
    for (;;) {
        if (r->n_fields == LIMIT_CSV_FIELDS)
            return "more than 4096 fields";
        struct csv_field *f = &r->fields[r->n_fields++];
        *f = (struct csv_field){.text = {p, 0}};
        if (p < end && *p == '"') {
            const char *problem = take_quoted(r, &p, end, f);
            if (problem)
                return problem;
        } else {
            const char *comma = memchr(p, ',', (size_t)(end - p));
            const char *stop = comma ? comma : end;
            f->text.n = (size_t)(stop - p);
            f->is_null = f->text.n == 0;
            if (memchr(p, '"', f->text.n))
                return "a quote inside an unquoted field";
            if (memchr(p, '\r', f->text.n))
                return "a carriage return inside an unquoted field";
            p = stop;
        }
        if (p == end)
            return NULL;
        p++; /* the comma */
    }
}

/* Decoded fields get their pointers once the text buffer no longer moves. */
static bool settle(struct csv_reader *r)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        struct csv_field *f = &r->fields[i];
        if (f->is_decoded)
            f->text.p = r->text.p + f->decoded_at;
        if (!utf8_valid(f->text))
            return false;
    }
    return true;
}

enum rc csv_reader_next(struct csv_reader *r, bool *ret_more, struct err *err)
{
    size_t n = 0, whole = 0;
    while (!(r->raw.n > r->at || r->at_end) || !find_record(r, &n, &whole)) {
        if (r->at_end)
            break;
        enum rc rc = fill(r, err);
        if (rc != RC_OK)
            return rc;
    }
    if (!r->began) {
        r->began = true;
        if (r->raw.n >= 3 && memcmp(r->raw.p, "\xef\xbb\xbf", 3) == 0) {
            r->at = 3;
            r->n_scanned = 0;
            r->in_quotes = false;
            return csv_reader_next(r, ret_more, err);
        }
    }
    *ret_more = r->raw.n > r->at;
    if (!*ret_more)
        return RC_OK;
    const char *p = r->raw.p + r->at;
    const char *problem = cut(r, p, p + n);
    if (r->text.failed)
        return err_set(err, RC_NO_MEMORY, "out of memory while reading CSV");
    if (problem)
        return refuse(r, err, problem);
    if (!settle(r))
        return refuse(r, err, "text is not valid UTF-8");
    r->at += whole;
    r->n_scanned = 0;
    r->in_quotes = false;
    r->n_records++;
    return RC_OK;
}
