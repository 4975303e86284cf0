/* SPDX-License-Identifier: Apache-2.0 */
/* Text of a param's value, as sent, into its type: one function for the planner and the validator.
 */
#include "base/timeutil.h"
#include "project/project.h"

static struct str keep(struct arena *arena, const char *p, size_t n)
{
    char *copy = arena_try_strndup(arena, p, n);
    return copy ? (struct str){copy, n} : (struct str){NULL, 0};
}

/* Is @sent, with its last byte read as @last, this text? */
static bool is_text(struct str sent, char last, const char *want)
{
    size_t n = strlen(want);
    if (sent.n != n || n == 0)
        return sent.n == n;
    return memcmp(sent.p, want, n - 1) == 0 && last == want[n - 1];
}

/* Aliases and, for an enum, the list: does the value mean something? *@ret is what it means. */
static bool matches(const struct param *p, struct str sent, char last, struct str *ret)
{
    for (size_t i = 0; i < p->n_aliases; i++) {
        if (is_text(sent, last, p->aliases[i].from)) {
            *ret = str_from(p->aliases[i].to);
            return true;
        }
    }
    for (size_t i = 0; p->type == PARAM_ENUM && i < p->n_enum_values; i++) {
        if (is_text(sent, last, p->enum_values[i])) {
            *ret = str_from(p->enum_values[i]);
            return true;
        }
    }
    return false;
}

static enum param_problem check_text(const struct param *p, struct str sent,
                                     struct param_value *ret)
{
    struct str value = sent;
    char last = sent.n ? sent.p[sent.n - 1] : 0;
    bool known = matches(p, sent, last, &value);
    if (!known &&
        last == ' ') /* `EMERALD ` as a client sends it that forgot to encode `EMERALD+` */
        known = matches(p, sent, '+', &value);
    if (p->type == PARAM_ENUM && !known)
        return PARAM_BAD_ENUM;
    ret->text = value;
    return PARAM_FINE;
}

static enum param_problem check_integer(const struct param *p, struct str sent, struct arena *arena,
                                        struct param_value *ret)
{
    int64_t v;
    char text[24];
    struct buf b = {.p = text, .capacity = sizeof text, .limit_bytes = sizeof text};
    if (!parse_int64(sent, &v))
        return PARAM_BAD_TYPE;
    if (p->has_min && v < p->min_integer)
        return PARAM_BELOW_MIN;
    if (p->has_max && v > p->max_integer)
        return PARAM_ABOVE_MAX;
    buf_put_int64(&b, v);
    ret->integer = v;
    ret->text = keep(arena, b.p, b.n);
    return PARAM_FINE;
}

static enum param_problem check_number(const struct param *p, struct str sent, struct arena *arena,
                                       struct param_value *ret)
{
    double v;
    char text[40];
    struct buf b = {.p = text, .capacity = sizeof text, .limit_bytes = sizeof text};
    if (!parse_double(sent, &v))
        return PARAM_BAD_TYPE;
    if (p->has_min && v < p->min_number)
        return PARAM_BELOW_MIN;
    if (p->has_max && v > p->max_number)
        return PARAM_ABOVE_MAX;
    ret->number = v == 0 ? 0 : v;
    buf_put_double(&b, ret->number);
    ret->text = keep(arena, b.p, b.n);
    return PARAM_FINE;
}

static enum param_problem check_timestamp(struct str sent, struct arena *arena,
                                          struct param_value *ret)
{
    char repaired[64], text[RFC3339_TEXT_BYTES];
    /* "...12:00:00 02:00": the + of the offset was decoded to a space. */
    if (sent.n > 6 && sent.n < sizeof repaired && sent.p[sent.n - 6] == ' ' &&
        sent.p[sent.n - 3] == ':') {
        memcpy(repaired, sent.p, sent.n);
        repaired[sent.n - 6] = '+';
        sent.p = repaired;
    }
    if (!parse_rfc3339(sent, &ret->integer))
        return PARAM_BAD_TYPE;
    ret->text = keep(arena, text, format_rfc3339(text, ret->integer));
    return PARAM_FINE;
}

enum param_problem param_check(const struct param *p, struct str sent, struct arena *arena,
                               struct param_value *ret)
{
    int32_t days;
    *ret = (struct param_value){.text = sent};
    switch (p->type) {
    case PARAM_STRING:
    case PARAM_ENUM:
        return check_text(p, sent, ret);
    case PARAM_INTEGER:
        return check_integer(p, sent, arena, ret);
    case PARAM_NUMBER:
        return check_number(p, sent, arena, ret);
    case PARAM_BOOLEAN:
        if (!str_is(sent, "true") && !str_is(sent, "false"))
            return PARAM_BAD_TYPE;
        ret->boolean = sent.p[0] == 't';
        return PARAM_FINE;
    case PARAM_DATE:
        if (!parse_date(sent, &days))
            return PARAM_BAD_TYPE;
        ret->integer = days;
        return PARAM_FINE;
    case PARAM_TIMESTAMP:
        return check_timestamp(sent, arena, ret);
    }
    return PARAM_BAD_TYPE;
}
