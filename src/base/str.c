/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing, trimming and checking runs of bytes. */
#include "base/str.h"

#define NAME_BYTES_MAX 63
#define NEAREST_DISTANCE_MAX 2
#define NEAREST_BYTES_MAX 64

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    }
    return true;
}

int str_cmp(struct str a, struct str b)
{
    size_t common = a.n < b.n ? a.n : b.n;
    int by_bytes = common ? memcmp(a.p, b.p, common) : 0;
    if (by_bytes)
        return by_bytes;
    return (a.n > b.n) - (a.n < b.n);
}

struct str str_trim(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

bool str_starts(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

bool str_ends(struct str s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

/* Bytes of the sequence that starts at @p, 0 when it breaks the table of well-formed sequences
 * (Unicode 15, table 3-7). */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
    uint8_t lead = p[0];
    uint8_t second_min = 0x80, second_max = 0xbf;
    size_t bytes;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf) {
        bytes = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        bytes = 3;
        if (lead == 0xe0)
            second_min = 0xa0; /* shorter forms exist */
        if (lead == 0xed)
            second_max = 0x9f; /* surrogates */
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        bytes = 4;
        if (lead == 0xf0)
            second_min = 0x90;
        if (lead == 0xf4)
            second_max = 0x8f; /* past U+10FFFF */
    } else {
        return 0;
    }
    if (n < bytes || p[1] < second_min || p[1] > second_max)
        return 0;
    for (size_t i = 2; i < bytes; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return bytes;
}

bool utf8_valid(struct str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    size_t at = 0;
    while (at < s.n) {
        while (s.n - at >= 8) { /* most text is ASCII: eight bytes a step */
            uint64_t word;
            memcpy(&word, p + at, sizeof(word));
            if (word & UINT64_C(0x8080808080808080))
                break;
            at += 8;
        }
        if (at == s.n)
            break;
        size_t bytes = utf8_sequence(p + at, s.n - at);
        if (!bytes)
            return false;
        at += bytes;
    }
    return true;
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool str_is_name(struct str s)
{
    if (s.n < 1 || s.n > NAME_BYTES_MAX || !is_lower(s.p[0]))
        return false;
    for (size_t i = 1; i < s.n; i++) {
        if (!is_lower(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '_')
            return false;
    }
    return true;
}

bool str_is_column(struct str s)
{
    if (s.n < 1 || s.n > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_lower(lower(s.p[i])) && !is_digit(s.p[i]) && s.p[i] != '_')
            return false;
    }
    return true;
}

/* Optimal string alignment: insert, delete, replace, or swap two neighbours, each costs one. */
static size_t edit_distance(const char *a, size_t a_n, const char *b, size_t b_n)
{
    size_t rows[3][NEAREST_BYTES_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_n; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_n; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        size_t *reuse = before;
        before = last;
        last = row;
        row = reuse;
    }
    return last[b_n];
}

const char *str_nearest(const char *s, const char *const *candidates, size_t n)
{
    size_t s_n = strlen(s);
    if (s_n > NEAREST_BYTES_MAX)
        return NULL;
    const char *nearest = NULL;
    size_t nearest_distance = NEAREST_DISTANCE_MAX + 1;
    for (size_t i = 0; i < n; i++) {
        size_t candidate_n = strlen(candidates[i]);
        if (candidate_n > NEAREST_BYTES_MAX)
            continue;
        size_t distance = edit_distance(s, s_n, candidates[i], candidate_n);
        if (distance < nearest_distance && 2 * distance < s_n) {
            nearest = candidates[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}
