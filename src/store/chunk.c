/* SPDX-License-Identifier: Apache-2.0 */
/* Access to values. A block is verified when it is first touched: one byte of memory remembers it.
 */
#include "base/hash.h"
#include "base/timeutil.h"
#include "markup/markup.h"
#include "store/store_int.h"

static size_t rows_of_block(const struct store *s, size_t block)
{
    uint64_t left = s->n_rows - (uint64_t)block * BLOCK_ROWS;
    return left < BLOCK_ROWS ? (size_t)left : BLOCK_ROWS;
}

static bool offsets_rise(const uint32_t *offsets, size_t n, size_t n_bytes)
{
    if (offsets[0] != 0 || offsets[n] > n_bytes)
        return false;
    for (size_t i = 0; i < n; i++)
        if (offsets[i] > offsets[i + 1])
            return false;
    return true;
}

/* Where the text of @row begins; of the row after the last: where all end. */
static uint64_t text_offset(const struct chunk_view *v, size_t row)
{
    return v->offsets ? v->offsets[row] : (uint64_t)v->base * row + chunk_code(v, row);
}

/* Of a view on the numbers of plain text: sets where offsets and bytes are. */
static void view_text(const struct chunk_entry *e, struct chunk_view *v)
{
    bool is_packed = e->form == FORM_LENGTHS;
    v->offsets = is_packed ? NULL : (const uint32_t *)(const void *)v->values;
    v->bytes = (const char *)v->values + (is_packed ? packed_bytes(e->bits, v->n_rows + 1)
                                                    : (v->n_rows + 1) * sizeof(uint32_t));
}

static bool texts_lie_within(const struct chunk_entry *e, struct chunk_view *v)
{
    view_text(e, v);
    const char *end = (const char *)v->values - validity_bytes(e, v->n_rows) + e->n_bytes;
    uint64_t before = text_offset(v, 0);
    if (before != 0 || text_offset(v, v->n_rows) > (uint64_t)(end - v->bytes))
        return false;
    for (size_t i = 1; i <= v->n_rows; i++) {
        uint64_t offset = text_offset(v, i);
        if (offset < before)
            return false;
        before = offset;
    }
    return true;
}

void key_limits(const struct store_column *c, int64_t *ret_low, int64_t *ret_high)
{
    *ret_low = INT64_MIN;
    *ret_high = INT64_MAX;
    if (c->dictionary_offsets) {
        *ret_low = 0;
        *ret_high = (int64_t)c->entry->n_dictionary - 1;
    } else if (c->type == TYPE_DATE) {
        *ret_low = DATE_MIN_DAYS;
        *ret_high = DATE_MAX_DAYS;
    } else if (c->type == TYPE_TIMESTAMP) {
        *ret_low = TIMESTAMP_MIN_US;
        *ret_high = TIMESTAMP_MAX_US;
    }
}

/* What a chunk holds may lead anywhere: offsets into its bytes, codes into the dictionary, keys to
 * dates past the calendar. */
static bool contents_are_sane(const struct store *s, int column, const struct chunk_entry *e,
                              size_t n_rows, const uint8_t *p)
{
    const struct store_column *c = &s->columns[column];
    struct chunk_view v;
    codes_view(e, p, n_rows, &v);
    if (c->is_plain_text)
        return texts_lie_within(e, &v);
    int64_t low, high;
    key_limits(c, &low, &high);
    if (low == INT64_MIN)
        return true;
    UNINITIALIZED int64_t keys[BATCH_ROWS];
    for (size_t from = 0; from < n_rows; from += BATCH_ROWS) {
        size_t n = n_rows - from < BATCH_ROWS ? n_rows - from : BATCH_ROWS;
        chunk_keys(&v, from, n, keys);
        for (size_t i = 0; i < n; i++)
            if ((keys[i] < low || keys[i] > high) && !chunk_is_null(&v, from + i))
                return false;
    }
    return true;
}

bool chunk_verify(struct store *s, int column, size_t block, const uint8_t *p)
{
    const struct chunk_entry *e = &s->columns[column].chunks[block];
    return crc32c(0, p, e->n_bytes) == e->crc &&
           contents_are_sane(s, column, e, rows_of_block(s, block), p);
}

const struct chunk_view *chunk_view(struct store_scratch *x, int column, size_t block)
{
    struct store *s = x->store;
    struct store_column *c = &s->columns[column];
    struct chunk_view *v = &x->views[column];
    if (x->view_blocks[column] == block + 1)
        return v;
    const struct chunk_entry *e = &c->chunks[block];
    const uint8_t *p = s->map + e->at;
    if (UNLIKELY(!atomic_load_explicit(&c->verified[block], memory_order_acquire))) {
        scratch_expect(x, e->at, e->n_bytes);
        if (!chunk_verify(s, column, block, p))
            store_mark_broken(x);
        atomic_store_explicit(&c->verified[block], 1, memory_order_release);
    }
    codes_view(e, p, rows_of_block(s, block), v);
    if (c->is_plain_text)
        view_text(e, v);
    x->view_blocks[column] = block + 1;
    return v;
}

struct str chunk_text(const struct chunk_view *v, size_t row)
{
    uint64_t from = text_offset(v, row);
    return (struct str){v->bytes + from, text_offset(v, row + 1) - from};
}

bool store_key_at(struct store_scratch *x, int column, uint64_t row, int64_t *ret)
{
    const struct chunk_view *v = chunk_view(x, column, (size_t)(row / BLOCK_ROWS));
    size_t at = (size_t)(row % BLOCK_ROWS);
    if (chunk_is_null(v, at))
        return false;
    *ret = chunk_key(v, at);
    return true;
}

/* ---- dictionaries ---- */

static void verify_dictionary(struct store_scratch *x, int column)
{
    struct store_column *c = &x->store->columns[column];
    const struct column_entry *e = c->entry;
    if (LIKELY(atomic_load_explicit(&c->dictionary_verified, memory_order_acquire)))
        return;
    scratch_expect(x, e->dictionary_at, e->dictionary_bytes);
    size_t n_offsets = ((size_t)e->n_dictionary + 1) * sizeof(uint32_t);
    if (crc32c(0, x->store->map + e->dictionary_at, (size_t)e->dictionary_bytes) !=
            e->dictionary_crc ||
        !offsets_rise(c->dictionary_offsets, e->n_dictionary,
                      (size_t)e->dictionary_bytes - n_offsets))
        store_mark_broken(x);
    atomic_store_explicit(&c->dictionary_verified, 1, memory_order_release);
}

struct str dictionary_text(struct store_scratch *x, int column, int64_t code)
{
    const struct store_column *c = &x->store->columns[column];
    verify_dictionary(x, column);
    uint32_t from = c->dictionary_offsets[code];
    return (struct str){c->dictionary_bytes + from, c->dictionary_offsets[code + 1] - from};
}

int64_t dictionary_lower(struct store_scratch *x, int column, struct str s, bool *ret_equal)
{
    int64_t low = 0, high = x->store->columns[column].entry->n_dictionary;
    *ret_equal = false;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = str_cmp(dictionary_text(x, column, middle), s);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
        *ret_equal |= order == 0;
    }
    return low;
}

struct str store_text_at(struct store_scratch *x, int column, uint64_t row)
{
    const struct chunk_view *v = chunk_view(x, column, (size_t)(row / BLOCK_ROWS));
    size_t at = (size_t)(row % BLOCK_ROWS);
    if (x->store->columns[column].is_plain_text)
        return chunk_text(v, at);
    return dictionary_text(x, column, chunk_key(v, at));
}

/* ---- values ---- */

void value_from_key(struct store_scratch *x, int column, int64_t key, struct value *ret)
{
    const struct store_column *c = &x->store->columns[column];
    switch (c->type) {
    case TYPE_DATE:
    case TYPE_TIMESTAMP:
    case TYPE_INTEGER:
    case TYPE_BIGINT:
        *ret = (struct value){.kind = VALUE_INT, .integer = key};
        return;
    case TYPE_DOUBLE:
        *ret = (struct value){.kind = VALUE_DOUBLE, .number = key_to_double(key)};
        return;
    case TYPE_BOOLEAN:
        *ret = (struct value){.kind = VALUE_BOOL, .boolean = key != 0};
        return;
    case TYPE_VARCHAR:
    case TYPE_JSON:
        *ret = (struct value){.kind = VALUE_TEXT,
                              .plain = c->needs_no_escape,
                              .text = dictionary_text(x, column, key)};
        return;
    }
}

void value_at(struct store_scratch *x, int column, uint64_t row, struct value *ret)
{
    const struct store_column *c = &x->store->columns[column];
    const struct chunk_view *v = chunk_view(x, column, (size_t)(row / BLOCK_ROWS));
    size_t at = (size_t)(row % BLOCK_ROWS);
    if (chunk_is_null(v, at))
        *ret = (struct value){.kind = VALUE_NULL};
    else if (c->is_plain_text)
        *ret = (struct value){
            .kind = VALUE_TEXT, .plain = c->needs_no_escape, .text = chunk_text(v, at)};
    else
        value_from_key(x, column, chunk_key(v, at), ret);
}
