/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and times from text: what is accepted is written in a form that reads back the same. */
#include <assert.h>
#include <math.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/timeutil.h"
#include "fuzz.h"

static struct str bytes_of(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

static void numbers(struct str text, struct buf *b)
{
    int64_t integer, integer_back;
    double number, number_back;
    uint64_t size;
    if (parse_int64(text, &integer)) {
        buf_reset(b);
        buf_put_int64(b, integer);
        assert(parse_int64(bytes_of(b), &integer_back) && integer_back == integer);
        assert(parse_double(text, &number) && number == (double)integer);
    }
    if (parse_double(text, &number)) {
        assert(isfinite(number));
        buf_reset(b);
        buf_put_double(b, number);
        assert(parse_double(bytes_of(b), &number_back) && number_back == number);
    }
    (void)!parse_size_bytes(text, &size);
}

static void times(struct str text, struct buf *b)
{
    int32_t days, days_back;
    int64_t us, us_back;
    if (parse_date(text, &days)) {
        buf_reset(b);
        buf_put_date(b, days);
        assert(parse_date(bytes_of(b), &days_back) && days_back == days);
        assert(str_eq(bytes_of(b), text)); /* one spelling only */
    }
    if (parse_timestamp(text, &us)) {
        buf_reset(b);
        buf_put_timestamp(b, us);
        assert(parse_timestamp(bytes_of(b), &us_back) && us_back == us);
    }
    if (parse_rfc3339(text, &us)) {
        assert(parse_timestamp(text, &us_back) && us_back == us);
        buf_reset(b);
        buf_put_rfc3339(b, us);
        assert(parse_rfc3339(bytes_of(b), &us_back) && us_back == us);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    struct buf b;
    buf_init(&b, 1 << 10);
    numbers(text, &b);
    times(text, &b);
    buf_done(&b);
    return 0;
}
