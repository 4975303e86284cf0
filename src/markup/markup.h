/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML 1.2 and JSON text in, one kind of tree out, every node with its line and column.
 * Input limits: YAML depth 32, no aliases or anchors, one document, no tags, no directives, no
 * duplicate keys, no NUL, 1 MiB (the caller reads the file); JSON depth 64, no duplicate keys.
 */
#ifndef OFFLOADER_MARKUP_MARKUP_H
#define OFFLOADER_MARKUP_MARKUP_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/errlist.h"

enum node_kind { NODE_NULL, NODE_BOOL, NODE_INT, NODE_DOUBLE, NODE_STRING, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    int line, column; /* 1-based; 0 in a tree built from JSON */
    struct str text;  /* STRING: decoded; INT/DOUBLE/BOOL/NULL: as written; NUL-terminated */
    int64_t integer;  /* INT (in range; larger integers become DOUBLE) */
    double number;    /* INT and DOUBLE */
    bool boolean;
    struct node *first; /* children of LIST and MAP, in order */
    struct node *next;  /* sibling */
    struct str key;     /* of a MAP's child; NUL-terminated */
    int key_line, key_column;
    size_t n_children;
};

#define LIMIT_YAML_DEPTH 32
#define LIMIT_YAML_KEYS 10000 /* of one mapping */
#define LIMIT_YAML_BYTES (1u << 20)
#define LIMIT_KEYS_FILE_BYTES (64u << 20)
#define LIMIT_JSON_DEPTH 64

/*
 * Plain scalars resolve by the YAML 1.2 core schema (null ~ true false ints floats; `yes`/`no` are
 * strings). On a syntax error one `yaml_error` finding with line and column is added and NULL comes
 * back. An empty document gives a NODE_NULL. The tree lives in @arena.
 */
struct node *yaml_parse(struct str text, const char *file, struct arena *arena,
                        struct errlist *findings);
/*
 * JSON, RFC 8259, without repeated keys and NUL characters. On failure NULL, and @err says
 * "line L column C: why" with code "invalid_json"; @ret_place (may be NULL) has the numbers.
 */
struct json_place {
    int line, column;
};
struct node *json_parse_at(struct str text, struct arena *arena, struct json_place *ret_place,
                           struct err *err);
struct node *json_parse(struct str text, struct arena *arena, struct err *err);

const struct node *node_get(const struct node *map, const char *key); /* NULL when absent */
const struct node *node_at(const struct node *list, size_t at);

/* JSON text out. @s must be valid UTF-8; escapes " \ and controls only. */
void json_put_string(struct buf *b, struct str s);
void json_put_cstr(struct buf *b, const char *s);
/* True when @s can stand between quotes as it is. */
bool json_is_plain(struct str s);
/*
 * Checks RFC 8259 strictly (depth 64, UTF-8, no NaN or Infinity) and appends the text without
 * insignificant white space. False: invalid, @b is as it was. Numbers and strings keep their
 * spelling.
 */
MUST_CHECK bool json_minify(struct str text, struct buf *b);

/* A small writer for documents off the hot path: commas and nesting are its business. */
struct json_writer {
    struct buf *b;
    uint64_t has_item; /* one bit a level */
    int depth;
    bool after_key;
};
void jw_init(struct json_writer *w, struct buf *b);
void jw_open(struct json_writer *w, char bracket);  /* '{' or '[' */
void jw_close(struct json_writer *w, char bracket); /* '}' or ']' */
void jw_key(struct json_writer *w, const char *key);
void jw_str(struct json_writer *w, struct str s);
void jw_cstr(struct json_writer *w, const char *s); /* NULL writes null */
void jw_int(struct json_writer *w, int64_t v);
void jw_uint(struct json_writer *w, uint64_t v);
void jw_double(struct json_writer *w, double v); /* null when not finite */
void jw_bool(struct json_writer *w, bool v);
void jw_null(struct json_writer *w);
void jw_raw(struct json_writer *w, struct str json);  /* already JSON */
void jw_time(struct json_writer *w, int64_t wall_us); /* RFC 3339 string */

#endif
