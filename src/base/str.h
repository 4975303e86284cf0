/* SPDX-License-Identifier: Apache-2.0 */
/* A borrowed run of bytes with a length; not terminated. */
#ifndef OFFLOADER_BASE_STR_H
#define OFFLOADER_BASE_STR_H

#include <string.h>

#include "base/compiler.h"

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})

static inline struct str str_from(const char *s)
{
    return (struct str){s, s ? strlen(s) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_is(struct str a, const char *s)
{
    return str_eq(a, str_from(s));
}

bool str_eq_nocase(struct str a, struct str b); /* ASCII */
int str_cmp(struct str a, struct str b);        /* by bytes, then length */
struct str str_trim(struct str s);              /* spaces and tabs at both ends */
bool str_starts(struct str s, const char *prefix);
bool str_ends(struct str s, const char *suffix);
bool utf8_valid(struct str s); /* strict: no overlong, surrogates, > U+10FFFF */
/* `^[a-z][a-z0-9_]{0,62}$` and `^[A-Za-z0-9_]{1,63}$` of the spec. */
bool str_is_name(struct str s);
bool str_is_column(struct str s);
/* Closest of @n candidates within edit distance 2 (and less than half the length), else NULL. */
const char *str_nearest(const char *s, const char *const *candidates, size_t n);

/* Numbers, strictly: the whole of @s, no spaces. False leaves @ret as it was. */
MUST_CHECK bool parse_int64(struct str s, int64_t *ret);   /* `[+-]?[0-9]+` within range */
MUST_CHECK bool parse_uint64(struct str s, uint64_t *ret); /* `[0-9]+` within range */
MUST_CHECK bool parse_double(struct str s, double *ret);   /* finite decimal, optional exponent */
MUST_CHECK bool parse_size_bytes(struct str s, uint64_t *ret); /* "64MiB", "10 MB", "123", "5B" */

#endif
