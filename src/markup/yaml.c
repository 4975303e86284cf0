/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libfyaml's events into a tree of nodes. The parser keeps a stack of open collections, so depth is
 * a counter and not the C stack. Anchors, aliases, tags, directives and a second document are
 * refused: a project file needs none of them, and each is a way to hide something from a reader.
 */
#include <libfyaml.h>
#include <math.h>
#include <stdlib.h>

#include "markup/markup.h"

struct level {
    struct node *collection;
    struct node *last; /* child */
    bool has_key;      /* a map's key was read, its value is next */
    struct str key;
    int key_line, key_column;
};

struct builder {
    struct arena *arena;
    struct errlist *findings;
    const char *file;
    struct level stack[LIMIT_YAML_DEPTH + 1];
    int depth;
    struct node *root;
    int n_documents;
    bool failed;
};

static void refuse(struct builder *b, const struct fy_mark *mark, const char *why)
{
    if (b->failed)
        return;
    b->failed = true;
    errlist_add(b->findings, FINDING_ERROR, b->file, mark ? mark->line + 1 : 0,
                mark ? mark->column + 1 : 0, "", "yaml_error", NULL, "%s", why);
}

/* ---- the core schema for plain scalars ---- */

static bool is_one_of(struct str s, const char *a, const char *b, const char *c)
{
    return str_is(s, a) || str_is(s, b) || str_is(s, c);
}

static size_t skip_digits(struct str s, size_t at)
{
    while (at < s.n && s.p[at] >= '0' && s.p[at] <= '9')
        at++;
    return at;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool looks_like_float(struct str s)
{
    size_t at = (s.n && (s.p[0] == '-' || s.p[0] == '+')) ? 1 : 0, from = at;
    at = skip_digits(s, at);
    size_t digits = at - from;
    if (at < s.n && s.p[at] == '.') {
        from = ++at;
        at = skip_digits(s, at);
        digits += at - from;
    }
    if (digits == 0)
        return false;
    if (at < s.n && (s.p[at] == 'e' || s.p[at] == 'E')) {
        at++;
        if (at < s.n && (s.p[at] == '-' || s.p[at] == '+'))
            at++;
        from = at;
        at = skip_digits(s, at);
        if (at == from)
            return false;
    }
    return at == s.n;
}

static bool parse_based(struct str s, int64_t *ret)
{
    int base = s.n > 2 && s.p[0] == '0' ? (s.p[1] == 'x' ? 16 : s.p[1] == 'o' ? 8 : 0) : 0;
    uint64_t v = 0;
    if (!base)
        return false;
    for (size_t i = 2; i < s.n; i++) {
        char c = s.p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : 99;
        if (digit >= base || v > (uint64_t)INT64_MAX / (unsigned)base)
            return false;
        v = v * (unsigned)base + (unsigned)digit;
    }
    if (v > (uint64_t)INT64_MAX)
        return false;
    *ret = (int64_t)v;
    return true;
}

static void resolve_plain(struct node *n)
{
    struct str s = n->text;
    if (s.n == 0 || str_is(s, "~") || is_one_of(s, "null", "Null", "NULL")) {
        n->kind = NODE_NULL;
    } else if (is_one_of(s, "true", "True", "TRUE") || is_one_of(s, "false", "False", "FALSE")) {
        n->kind = NODE_BOOL;
        n->boolean = s.p[0] == 't' || s.p[0] == 'T';
    } else if (parse_int64(s, &n->integer) || parse_based(s, &n->integer)) {
        n->kind = NODE_INT;
        n->number = (double)n->integer;
    } else if (looks_like_float(s)) {
        n->kind = NODE_DOUBLE;
        n->number = strtod(s.p, NULL);
    } else if (is_one_of(s, ".nan", ".NaN", ".NAN")) {
        n->kind = NODE_DOUBLE;
        n->number = (double)NAN;
    } else {
        struct str unsigned_part =
            s.p[0] == '-' || s.p[0] == '+' ? (struct str){s.p + 1, s.n - 1} : s;
        if (is_one_of(unsigned_part, ".inf", ".Inf", ".INF")) {
            n->kind = NODE_DOUBLE;
            n->number = s.p[0] == '-' ? -(double)INFINITY : (double)INFINITY;
        }
    }
}

/* ---- building ---- */

static bool has_key(const struct node *map, struct str key)
{
    for (const struct node *child = map->first; child; child = child->next)
        if (str_eq(child->key, key))
            return true;
    return false;
}

static struct node *add_node(struct builder *b, enum node_kind kind, const struct fy_mark *mark)
{
    struct node *n = arena_try(b->arena, sizeof *n);
    if (!n) {
        refuse(b, mark, "the file needs more memory than is allowed");
        return NULL;
    }
    n->kind = kind;
    n->line = mark ? mark->line + 1 : 0;
    n->column = mark ? mark->column + 1 : 0;
    n->text = STR("");
    if (b->depth == 0) {
        b->root = n;
        return n;
    }
    struct level *top = &b->stack[b->depth - 1];
    if (top->collection->kind == NODE_MAP) {
        n->key = top->key;
        n->key_line = top->key_line;
        n->key_column = top->key_column;
        top->has_key = false;
    }
    if (top->last)
        top->last->next = n;
    else
        top->collection->first = n;
    top->last = n;
    top->collection->n_children++;
    return n;
}

static bool wants_key(const struct builder *b)
{
    return b->depth > 0 && b->stack[b->depth - 1].collection->kind == NODE_MAP &&
           !b->stack[b->depth - 1].has_key;
}

/* A scalar begins at its quote; the parser's mark stands behind it. */
static const struct fy_mark *scalar_begin(enum fy_scalar_style style, const struct fy_mark *mark,
                                          struct fy_mark *room)
{
    if (!mark || (style != FYSS_SINGLE_QUOTED && style != FYSS_DOUBLE_QUOTED))
        return mark;
    *room = *mark;
    room->column--;
    return room;
}

static void on_scalar(struct builder *b, struct fy_event *e)
{
    struct fy_mark room;
    enum fy_scalar_style style =
        e->scalar.value ? fy_token_scalar_style(e->scalar.value) : FYSS_PLAIN;
    const struct fy_mark *mark = scalar_begin(style, fy_event_start_mark(e), &room);
    size_t n = 0;
    const char *p = e->scalar.value ? fy_token_get_text(e->scalar.value, &n) : "";
    if (!p || !utf8_valid((struct str){p, n}) || (n && memchr(p, 0, n))) {
        refuse(b, mark, "text must be valid UTF-8 without NUL");
        return;
    }
    char *copy = arena_try_strndup(b->arena, p, n);
    if (!copy) {
        refuse(b, mark, "the file needs more memory than is allowed");
        return;
    }
    struct str text = {copy, n};
    if (wants_key(b)) {
        struct level *top = &b->stack[b->depth - 1];
        if (top->collection->n_children == LIMIT_YAML_KEYS) {
            refuse(b, mark, "a mapping has more than 10000 keys");
            return;
        }
        if (has_key(top->collection, text)) {
            refuse(b, mark, "a key stands twice in one mapping");
            return;
        }
        top->has_key = true;
        top->key = text;
        top->key_line = mark ? mark->line + 1 : 0;
        top->key_column = mark ? mark->column + 1 : 0;
        return;
    }
    struct node *node = add_node(b, NODE_STRING, mark);
    if (!node)
        return;
    node->text = text;
    if (style == FYSS_PLAIN)
        resolve_plain(node);
}

static void on_open(struct builder *b, enum node_kind kind, const struct fy_mark *mark)
{
    if (wants_key(b)) {
        refuse(b, mark, "a key must be a scalar");
        return;
    }
    if (b->depth == LIMIT_YAML_DEPTH) {
        refuse(b, mark, "nested deeper than 32 levels");
        return;
    }
    struct node *node = add_node(b, kind, mark);
    if (node)
        b->stack[b->depth++] = (struct level){.collection = node};
}

static void on_event(struct builder *b, struct fy_event *e)
{
    const struct fy_mark *mark = fy_event_start_mark(e);
    switch (e->type) {
    case FYET_SCALAR:
        if (e->scalar.anchor || e->scalar.tag)
            refuse(b, mark, "anchors and tags are not allowed");
        else
            on_scalar(b, e);
        break;
    case FYET_MAPPING_START:
        if (e->mapping_start.anchor || e->mapping_start.tag)
            refuse(b, mark, "anchors and tags are not allowed");
        else
            on_open(b, NODE_MAP, mark);
        break;
    case FYET_SEQUENCE_START:
        if (e->sequence_start.anchor || e->sequence_start.tag)
            refuse(b, mark, "anchors and tags are not allowed");
        else
            on_open(b, NODE_LIST, mark);
        break;
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        assert(b->depth > 0);
        b->depth--;
        break;
    case FYET_ALIAS:
        refuse(b, mark, "aliases are not allowed");
        break;
    case FYET_DOCUMENT_START:
        if (++b->n_documents > 1)
            refuse(b, mark, "a second document in one file is not allowed");
        break;
    case FYET_NONE:
    case FYET_STREAM_START:
    case FYET_STREAM_END:
    case FYET_DOCUMENT_END:
        break;
    }
}

static void report_syntax(struct builder *b, struct fy_diag *diag)
{
    void *at = NULL;
    const struct fy_diag_error *first = fy_diag_errors_iterate(diag, &at);
    if (b->failed)
        return;
    b->failed = true;
    errlist_add(b->findings, FINDING_ERROR, b->file, first && first->line >= 0 ? first->line : 1,
                first && first->column >= 0 ? first->column : 1, "", "yaml_error", NULL, "%s",
                first && first->msg ? first->msg : "the file is not valid YAML");
}

/* The first byte that is NUL or ends no character: characters are counted, as the parser does. */
static struct fy_mark bad_byte_at(struct str text, bool *ret_is_nul)
{
    struct fy_mark at = {0};
    *ret_is_nul = false;
    for (size_t i = 0, n = 1; i < text.n; i += n) {
        *ret_is_nul = text.p[i] == 0;
        for (n = 1; n <= 4 && i + n <= text.n && !utf8_valid((struct str){text.p + i, n}); n++)
            continue;
        if (*ret_is_nul || n > 4 || i + n > text.n)
            break;
        at.column = text.p[i] == '\n' ? 0 : at.column + 1;
        at.line += text.p[i] == '\n';
    }
    return at;
}

/* Only comments stand before a directive; before another one, a document that is refused. */
static bool has_directive(struct str text, struct fy_mark *ret_at)
{
    size_t i = str_starts(text, "\xef\xbb\xbf") ? 3 : 0;
    *ret_at = (struct fy_mark){0};
    while (i < text.n && text.p[i] != '%') {
        while (i < text.n && (text.p[i] == ' ' || text.p[i] == '\t'))
            i++;
        if (i < text.n && text.p[i] == '#')
            while (i < text.n && text.p[i] != '\n' && text.p[i] != '\r')
                i++;
        if (i == text.n || (text.p[i] != '\n' && text.p[i] != '\r'))
            return false;
        ret_at->line += text.p[i] == '\n' || i + 1 == text.n || text.p[i + 1] != '\n';
        i++;
    }
    return i < text.n;
}

/* What the parser would not see, or would put up with. */
static void check_text(struct builder *b, struct str text)
{
    struct fy_mark at;
    bool is_nul;
    if (!utf8_valid(text) || (text.n && memchr(text.p, 0, text.n))) {
        at = bad_byte_at(text, &is_nul);
        refuse(b, &at, is_nul ? "a NUL byte is not allowed" : "the file is not valid UTF-8");
    } else if (has_directive(text, &at)) {
        refuse(b, &at, "directives are not allowed");
    }
}

struct node *yaml_parse(struct str text, const char *file, struct arena *arena,
                        struct errlist *findings)
{
    struct builder b = {.arena = arena, .findings = findings, .file = file};
    check_text(&b, text);
    if (b.failed)
        return NULL;
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    diag_cfg.level = FYET_ERROR;
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = {
        .search_path = "", .flags = FYPCF_QUIET | FYPCF_DEFAULT_VERSION_1_2, .diag = diag};
    struct fy_parser *parser = fy_parser_create(&cfg);
    if (!parser || fy_parser_set_string(parser, text.n ? text.p : " ", text.n ? text.n : 1)) {
        refuse(&b, NULL, "the file needs more memory than is allowed");
    } else {
        struct fy_event *e;
        while (!b.failed && (e = fy_parser_parse(parser)) != NULL) {
            on_event(&b, e);
            fy_parser_event_free(parser, e);
        }
        if (!b.failed && (fy_parser_get_stream_error(parser) || fy_diag_got_error(diag)))
            report_syntax(&b, diag);
    }
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    if (b.failed)
        return NULL;
    if (!b.root)
        return add_node(&(struct builder){.arena = arena, .findings = findings, .file = file},
                        NODE_NULL, &(struct fy_mark){0});
    return b.root;
}
