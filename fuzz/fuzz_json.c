/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON: the minifier and the parser agree on what JSON is; minifying is idempotent; what the writer
 * makes of a string reads back as the same string.
 */
#include <assert.h>

#include "base/mem.h"
#include "fuzz.h"
#include "markup/markup.h"

#define LIMIT_BYTES ((size_t)16 << 20)

static struct str bytes_of(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

static void minify(struct str text)
{
    struct buf once, twice;
    buf_init(&once, LIMIT_BYTES);
    buf_init(&twice, LIMIT_BYTES);
    if (json_minify(text, &once)) {
        assert(once.n <= text.n);
        assert(utf8_valid(bytes_of(&once)));
        assert(json_minify(bytes_of(&once), &twice));
        assert(str_eq(bytes_of(&once), bytes_of(&twice)));
    } else {
        assert(once.n == 0);
    }
    buf_done(&once);
    buf_done(&twice);
}

static void write_and_read(struct str text)
{
    struct buf b;
    buf_init(&b, LIMIT_BYTES);
    json_put_string(&b, text);
    struct arena arena;
    arena_init(&arena, LIMIT_BYTES);
    struct err err = ERR_INIT;
    const struct node *n = json_parse(bytes_of(&b), &arena, &err);
    assert(n && n->kind == NODE_STRING && str_eq(n->text, text));
    arena_done(&arena);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    minify(text);
    struct arena arena;
    arena_init(&arena, LIMIT_BYTES);
    struct err err = ERR_INIT;
    struct node *root = json_parse(text, &arena, &err);
    assert((root != NULL) == (err.rc == RC_OK));
    arena_done(&arena);
    struct buf b;
    buf_init(&b, LIMIT_BYTES);
    bool is_json = json_minify(text, &b);
    buf_done(&b);
    assert(is_json || !root); /* the parser is the stricter one */
    if (utf8_valid(text) && !memchr(data ? data : (const uint8_t *)"", 0, n))
        write_and_read(text);
    return 0;
}
