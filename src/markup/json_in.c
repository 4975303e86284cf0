/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON text into the same tree as YAML's: RFC 8259, one pass, everything in the caller's arena.
 *
 * Stricter than the RFC where a caller could be misled: no key twice in an object, no NUL character
 * in a string (the tree's text is used as C strings) and no half of a surrogate pair. Recursion is
 * bounded by LIMIT_JSON_DEPTH. Integers past int64 and numbers past double become NODE_DOUBLE.
 */
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "markup/markup.h"

/* Objects with more members than this look for repeated keys by hash. */
#define FEW_MEMBERS 16

struct parser {
    const char *start, *p, *end;
    struct arena *arena;
    const char *problem_at; /* where in the text */
    const char *problem;    /* what; literal */
    bool no_memory;
};

static bool refuse(struct parser *s, const char *at, const char *problem)
{
    s->problem_at = at;
    s->problem = problem;
    return false;
}

static bool out_of_memory(struct parser *s)
{
    s->no_memory = true;
    return false;
}

static void skip_space(struct parser *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

/* ---- strings ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits behind `\u`, -1 when they are none. */
static int32_t read_unit(const struct parser *s, const char *p)
{
    int32_t unit = 0;
    if (s->end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_value(p[i]);
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *to++ = (char)(0xe0 | c >> 12);
        } else {
            *to++ = (char)(0xf0 | c >> 18);
            *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        }
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
    }
    *to++ = (char)(0x80 | (c & 0x3f));
    return to;
}

/* The `\u` escape at s->p, or the pair of them that makes one character. */
static bool take_unicode(struct parser *s, char **to)
{
    int32_t unit = read_unit(s, s->p);
    if (unit < 0)
        return refuse(s, s->p, "\\u needs four hexadecimal digits");
    if (unit == 0)
        return refuse(s, s->p, "a NUL character is not allowed");
    uint32_t c = (uint32_t)unit;
    const char *at = s->p;
    s->p += 6;
    if (c >= 0xdc00 && c < 0xe000)
        return refuse(s, at, "half of a surrogate pair");
    if (c >= 0xd800 && c < 0xdc00) {
        int32_t low = read_unit(s, s->p);
        if (low < 0xdc00 || low >= 0xe000)
            return refuse(s, at, "half of a surrogate pair");
        s->p += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    }
    *to = put_utf8(*to, c);
    return true;
}

static bool take_escape(struct parser *s, char **to)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (s->end - s->p < 2)
        return refuse(s, s->p, "the text ends within a string");
    char c = s->p[1];
    if (c == 'u')
        return take_unicode(s, to);
    const char *found = memchr(letters, c, sizeof(letters) - 1);
    if (!found)
        return refuse(s, s->p, "unknown escape");
    *(*to)++ = meanings[found - letters];
    s->p += 2;
    return true;
}

/* The string whose opening quote is at s->p, decoded. */
static bool take_string(struct parser *s, struct str *ret)
{
    const char *from = s->p + 1, *close = from;
    while (close < s->end && *close != '"')
        close += *close == '\\' && s->end - close > 1 ? 2 : 1;
    if (close >= s->end)
        return refuse(s, s->p, "the text ends within a string");
    /* An escape is never shorter than what it means, so the raw length is room enough. */
    char *text = arena_try(s->arena, (size_t)(close - from) + 1), *to = text;
    if (!text)
        return out_of_memory(s);
    for (s->p = from; *s->p != '"';) {
        if ((unsigned char)*s->p < 0x20)
            return refuse(s, s->p, "control characters in a string must be escaped");
        if (*s->p != '\\')
            *to++ = *s->p++;
        else if (!take_escape(s, &to))
            return false;
    }
    s->p++;
    *to = '\0';
    *ret = (struct str){text, (size_t)(to - text)};
    return true;
}

/* ---- numbers ---- */

static size_t skip_digits(struct parser *s)
{
    const char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - from);
}

static bool skip_number(struct parser *s, bool *ret_is_integer)
{
    *ret_is_integer = true;
    if (*s->p == '-')
        s->p++;
    const char *digits = s->p;
    size_t n = skip_digits(s);
    if (n == 0 || (n > 1 && *digits == '0'))
        return false;
    if (s->p < s->end && *s->p == '.') {
        *ret_is_integer = false;
        s->p++;
        if (skip_digits(s) == 0)
            return false;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        *ret_is_integer = false;
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (skip_digits(s) == 0)
            return false;
    }
    return true;
}

static bool take_number(struct parser *s, struct node *n)
{
    const char *from = s->p;
    bool is_integer;
    if (!skip_number(s, &is_integer))
        return refuse(s, from, "not a JSON number");
    char *text = arena_try_strndup(s->arena, from, (size_t)(s->p - from));
    if (!text)
        return out_of_memory(s);
    n->text = (struct str){text, (size_t)(s->p - from)};
    n->kind = is_integer && parse_int64(n->text, &n->integer) ? NODE_INT : NODE_DOUBLE;
    n->number = n->kind == NODE_INT ? (double)n->integer : strtod(text, NULL);
    return true;
}

/* ---- values ---- */

static bool take_value(struct parser *s, struct node **ret, int depth);

static bool take_word(struct parser *s, struct node *n)
{
    static const struct {
        struct str text;
        enum node_kind kind;
        bool boolean;
    } words[] = {{{"true", 4}, NODE_BOOL, true},
                 {{"false", 5}, NODE_BOOL, false},
                 {{"null", 4}, NODE_NULL, false}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if ((size_t)(s->end - s->p) >= words[i].text.n &&
            memcmp(s->p, words[i].text.p, words[i].text.n) == 0) {
            s->p += words[i].text.n;
            n->kind = words[i].kind;
            n->boolean = words[i].boolean;
            n->text = words[i].text;
            return true;
        }
    }
    return refuse(s, s->p, "a value is expected");
}

/* Is @key a key of @map already? True without memory, too. @seen takes over once there are many. */
static bool is_repeated(struct parser *s, const struct node *map, struct map *seen, struct str key)
{
    if (map->n_children < FEW_MEMBERS)
        return node_get(map, key.p) != NULL;
    if (map->n_children == FEW_MEMBERS) {
        for (struct node *n = map->first; n; n = n->next)
            if (!map_put(seen, n->key, n, NULL))
                return !out_of_memory(s);
    }
    void *former = NULL;
    return !map_put(seen, key, s, &former) ? !out_of_memory(s) : former != NULL;
}

static bool take_key(struct parser *s, const struct node *map, struct map *seen, struct str *ret)
{
    const char *at = s->p;
    if (s->p == s->end || *s->p != '"')
        return refuse(s, s->p, "a key in quotes is expected");
    if (!take_string(s, ret))
        return false;
    if (is_repeated(s, map, seen, *ret))
        return s->no_memory ? false : refuse(s, at, "the key stands there twice");
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return refuse(s, s->p, "':' is expected");
    s->p++;
    return true;
}

static bool take_members(struct parser *s, struct node *n, struct map *seen, int depth)
{
    char close = n->kind == NODE_MAP ? '}' : ']';
    struct node *last = NULL, *child;
    skip_space(s);
    if (s->p < s->end && *s->p == close) {
        s->p++;
        return true;
    }
    for (;;) {
        struct str key = {0};
        skip_space(s);
        if ((n->kind == NODE_MAP && !take_key(s, n, seen, &key)) ||
            !take_value(s, &child, depth + 1))
            return false;
        child->key = key;
        *(last ? &last->next : &n->first) = child;
        last = child;
        n->n_children++;
        skip_space(s);
        if (s->p == s->end)
            return refuse(s, s->p, close == '}' ? "'}' is missing" : "']' is missing");
        if (*s->p == close) {
            s->p++;
            return true;
        }
        if (*s->p != ',')
            return refuse(s, s->p,
                          close == '}' ? "',' or '}' is expected" : "',' or ']' is expected");
        s->p++;
    }
}

static bool take_collection(struct parser *s, struct node *n, int depth)
{
    struct map seen = {0};
    if (depth > LIMIT_JSON_DEPTH)
        return refuse(s, s->p, "nested deeper than 64 levels");
    n->kind = *s->p == '{' ? NODE_MAP : NODE_LIST;
    s->p++;
    bool fine = take_members(s, n, &seen, depth);
    map_done(&seen);
    return fine;
}

static bool take_value(struct parser *s, struct node **ret, int depth)
{
    struct node *n = arena_try(s->arena, sizeof(*n));
    if (!n)
        return out_of_memory(s);
    *ret = n;
    n->text = STR("");
    skip_space(s);
    if (s->p == s->end)
        return refuse(s, s->p, "the text ends where a value is expected");
    char c = *s->p;
    if (c == '{' || c == '[')
        return take_collection(s, n, depth);
    if (c == '"') {
        n->kind = NODE_STRING;
        return take_string(s, &n->text);
    }
    if (c == '-' || (c >= '0' && c <= '9'))
        return take_number(s, n);
    return take_word(s, n);
}

/* ---- the whole text ---- */

static void find_place(const struct parser *s, const char *at, struct json_place *ret)
{
    *ret = (struct json_place){1, 1};
    for (const char *p = s->start; p < at; p++) {
        if (*p == '\n') {
            ret->line++;
            ret->column = 1;
        } else if (((unsigned char)*p & 0xc0) != 0x80) { /* continuation bytes are no columns */
            ret->column++;
        }
    }
}

struct node *json_parse_at(struct str text, struct arena *arena, struct json_place *ret_place,
                           struct err *err)
{
    _Static_assert(LIMIT_JSON_DEPTH == 64, "a message above says the depth");
    const char *start = text.p ? text.p : "";
    struct parser s = {.start = start, .p = start, .end = start + text.n, .arena = arena};
    struct node *root = NULL;
    struct json_place place;
    bool fine = utf8_valid(text) ? take_value(&s, &root, 1) : refuse(&s, start, "not valid UTF-8");
    skip_space(&s);
    if (fine && s.p < s.end)
        fine = refuse(&s, s.p, "something follows the value");
    if (fine)
        return root;
    if (s.no_memory) {
        (void)err_set(err, RC_NO_MEMORY, "the JSON text needs more memory than is allowed");
        return NULL;
    }
    find_place(&s, s.problem_at, &place);
    if (ret_place)
        *ret_place = place;
    (void)err_set_code(err, RC_INVALID, "invalid_json", "line %d column %d: %s", place.line,
                       place.column, s.problem);
    return NULL;
}

struct node *json_parse(struct str text, struct arena *arena, struct err *err)
{
    return json_parse_at(text, arena, NULL, err);
}

const struct node *node_get(const struct node *map, const char *key)
{
    if (!map || map->kind != NODE_MAP)
        return NULL;
    for (const struct node *child = map->first; child; child = child->next)
        if (str_is(child->key, key))
            return child;
    return NULL;
}

const struct node *node_at(const struct node *list, size_t at)
{
    const struct node *child = list ? list->first : NULL;
    while (child && at--)
        child = child->next;
    return child;
}
