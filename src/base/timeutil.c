/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks and calendar text. Days and civil dates convert by the arithmetic of era, year of era and
 * day of year with March as the first month (as in Howard Hinnant's "chrono-compatible low-level
 * date algorithms"), so there are no tables and no loops.
 */
#include "base/timeutil.h"

#include <time.h>

#define DAYS_PER_ERA 146097  /* 400 years */
#define DAYS_TO_EPOCH 719468 /* from 0000-03-01 to 1970-01-01 */

static int64_t clock_us(clockid_t clock)
{
    struct timespec now;
    int result = clock_gettime(clock, &now);
    assert(result == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t wall_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t wall_coarse_us(void)
{
    return clock_us(CLOCK_REALTIME_COARSE);
}

int64_t boot_us(void)
{
    return clock_us(CLOCK_BOOTTIME);
}

int64_t thread_cpu_us(void)
{
    return clock_us(CLOCK_THREAD_CPUTIME_ID);
}

/* ---- days and dates ---------------------------------------------------------------------------*/

struct date {
    int year, month, day;
};

static int32_t days_of_date(struct date d)
{
    int year = d.month <= 2 ? d.year - 1 : d.year; /* the year begins in March; never negative */
    int era = year / 400;
    int year_of_era = year - era * 400;
    int month_from_march = d.month > 2 ? d.month - 3 : d.month + 9;
    int day_of_year = (153 * month_from_march + 2) / 5 + d.day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH;
}

static struct date date_of_days(int32_t days)
{
    assert(days >= DATE_MIN_DAYS && days <= DATE_MAX_DAYS);
    int shifted = days + DAYS_TO_EPOCH; /* positive from 0001-01-01 on */
    int era = shifted / DAYS_PER_ERA;
    int day_of_era = shifted - era * DAYS_PER_ERA;
    int year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (5 * day_of_year + 2) / 153;
    int day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    int month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    return (struct date){era * 400 + year_of_era + (month <= 2), month, day};
}

static int days_in_month(int year, int month)
{
    if (month == 2)
        return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/* ---- from text --------------------------------------------------------------------------------*/

static bool take_digits(struct str *s, size_t n, int *ret)
{
    if (s->n < n)
        return false;
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        v = v * 10 + (s->p[i] - '0');
    }
    s->p += n;
    s->n -= n;
    *ret = v;
    return true;
}

static bool take_char(struct str *s, char c)
{
    if (!s->n || s->p[0] != c)
        return false;
    s->p++;
    s->n--;
    return true;
}

static bool take_date(struct str *s, int32_t *ret_days)
{
    struct date d;
    if (!take_digits(s, 4, &d.year) || !take_char(s, '-') || !take_digits(s, 2, &d.month) ||
        !take_char(s, '-') || !take_digits(s, 2, &d.day))
        return false;
    if (d.year < 1 || d.month < 1 || d.month > 12 || d.day < 1 ||
        d.day > days_in_month(d.year, d.month))
        return false;
    *ret_days = days_of_date(d);
    return true;
}

bool parse_date(struct str s, int32_t *ret_days)
{
    int32_t days;
    if (!take_date(&s, &days) || s.n)
        return false;
    *ret_days = days;
    return true;
}

/* hh:mm:ss[.fraction]; a leap second is refused: no value of ours can hold it. */
static bool take_time(struct str *s, int64_t *ret_us)
{
    int hour, minute, second;
    if (!take_digits(s, 2, &hour) || !take_char(s, ':') || !take_digits(s, 2, &minute) ||
        !take_char(s, ':') || !take_digits(s, 2, &second))
        return false;
    if (hour > 23 || minute > 59 || second > 59)
        return false;
    int64_t us = ((hour * INT64_C(60) + minute) * 60 + second) * 1000000;
    if (take_char(s, '.')) {
        int64_t unit = 100000;
        if (!s->n || s->p[0] < '0' || s->p[0] > '9')
            return false;
        while (s->n && s->p[0] >= '0' && s->p[0] <= '9') {
            us += (s->p[0] - '0') * unit; /* cut: digits past the sixth count 0 */
            unit /= 10;
            s->p++;
            s->n--;
        }
    }
    *ret_us = us;
    return true;
}

/* Z or ±hh:mm. */
static bool take_offset(struct str *s, int64_t *ret_us)
{
    if (take_char(s, 'Z') || take_char(s, 'z')) {
        *ret_us = 0;
        return true;
    }
    int sign = take_char(s, '+') ? 1 : take_char(s, '-') ? -1 : 0;
    int hour, minute;
    if (!sign || !take_digits(s, 2, &hour) || !take_char(s, ':') || !take_digits(s, 2, &minute) ||
        hour > 23 || minute > 59)
        return false;
    *ret_us = sign * (hour * INT64_C(60) + minute) * 60 * 1000000;
    return true;
}

static bool parse_instant(struct str s, bool lenient, int64_t *ret_us)
{
    int32_t days;
    int64_t time_us, offset_us = 0;
    if (!take_date(&s, &days))
        return false;
    if (!take_char(&s, 'T') && !take_char(&s, 't') && !(lenient && take_char(&s, ' ')))
        return false;
    if (!take_time(&s, &time_us))
        return false;
    if (!(lenient && s.n == 0) && !take_offset(&s, &offset_us))
        return false;
    if (s.n)
        return false;
    int64_t us = (int64_t)days * US_PER_DAY + time_us - offset_us;
    if (us < TIMESTAMP_MIN_US || us > TIMESTAMP_MAX_US)
        return false;
    *ret_us = us;
    return true;
}

bool parse_rfc3339(struct str s, int64_t *ret_us)
{
    return parse_instant(s, false, ret_us);
}

bool parse_timestamp(struct str s, int64_t *ret_us)
{
    return parse_instant(s, true, ret_us);
}

/* ---- to text ----------------------------------------------------------------------------------*/

#define DATE_TEXT_BYTES 10
#define TIME_TEXT_BYTES 8

static char *write_digits(char *out, int v, int n)
{
    for (int i = n - 1; i >= 0; i--) {
        out[i] = (char)('0' + v % 10);
        v /= 10;
    }
    return out + n;
}

static char *write_date(char *out, int32_t days)
{
    struct date d = date_of_days(days);
    out = write_digits(out, d.year, 4);
    *out++ = '-';
    out = write_digits(out, d.month, 2);
    *out++ = '-';
    return write_digits(out, d.day, 2);
}

/* Date, T, time; the microseconds within the second go to @ret_fraction. */
static char *write_instant(char *out, int64_t us, int *ret_fraction)
{
    assert(us >= TIMESTAMP_MIN_US && us <= TIMESTAMP_MAX_US);
    int64_t since_first = us - TIMESTAMP_MIN_US; /* no negative remainders */
    int64_t in_day = since_first % US_PER_DAY;
    int seconds = (int)(in_day / 1000000);
    out = write_date(out, (int32_t)(since_first / US_PER_DAY) + DATE_MIN_DAYS);
    *out++ = 'T';
    out = write_digits(out, seconds / 3600, 2);
    *out++ = ':';
    out = write_digits(out, seconds / 60 % 60, 2);
    *out++ = ':';
    *ret_fraction = (int)(in_day % 1000000);
    return write_digits(out, seconds % 60, 2);
}

void buf_put_date(struct buf *b, int32_t days)
{
    char text[DATE_TEXT_BYTES];
    write_date(text, days);
    buf_put(b, text, sizeof(text));
}

void buf_put_timestamp(struct buf *b, int64_t us)
{
    char text[DATE_TEXT_BYTES + 1 + TIME_TEXT_BYTES + 7];
    int fraction;
    char *out = write_instant(text, us, &fraction);
    *out++ = '.';
    out = write_digits(out, fraction, 6);
    buf_put(b, text, (size_t)(out - text));
}

size_t format_rfc3339(char out[RFC3339_TEXT_BYTES], int64_t us)
{
    int fraction;
    char *end = write_instant(out, us, &fraction);
    if (fraction) {
        *end++ = '.';
        end = write_digits(end, fraction, 6);
    }
    *end++ = 'Z';
    *end = '\0';
    return (size_t)(end - out);
}

void buf_put_rfc3339(struct buf *b, int64_t us)
{
    char text[RFC3339_TEXT_BYTES];
    buf_put(b, text, format_rfc3339(text, us));
}
