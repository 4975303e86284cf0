/* SPDX-License-Identifier: Apache-2.0 */
/* How the blocks that queries have read were encoded: what no table held is not tested. */
#include <stdio.h>

#include "encodings.h"
#include "store/store_int.h"

static const char *const names[N_ENCODINGS] = {"constant", "whole bytes",       "packed",
                                               "decimal",  "in steps",          "split",
                                               "text",     "text of one length"};

static size_t encoding_of(const struct chunk_entry *e)
{
    enum { CONSTANT, WHOLE, PACKED, DECIMAL, STEPS, SPLIT, TEXT, ONE_LENGTH };
    if (e->width == WIDTH_TEXT)
        return e->form == FORM_LENGTHS && !e->bits ? ONE_LENGTH : TEXT;
    switch ((enum chunk_form)e->form) {
    case FORM_DECIMAL:
        return DECIMAL;
    case FORM_STEPS:
        return STEPS;
    case FORM_SPLIT:
        return SPLIT;
    case FORM_KEYS:
    case FORM_LENGTHS:
    case N_FORMS:
        break;
    }
    return e->bits ? PACKED : e->width ? WHOLE : CONSTANT;
}

void encodings_add(const struct store *s, uint64_t counts[N_ENCODINGS])
{
    for (size_t i = 0; i <= s->n_columns; i++)
        for (size_t block = 0; block < s->n_blocks; block++)
            if (atomic_load(&s->columns[i].verified[block]))
                counts[encoding_of(&s->columns[i].chunks[block])]++;
}

bool encodings_print(const uint64_t counts[N_ENCODINGS])
{
    bool all = true;
    printf("blocks read:");
    for (size_t i = 0; i < N_ENCODINGS; i++) {
        printf("%s %llu %s", i ? "," : "", (unsigned long long)counts[i], names[i]);
        all &= counts[i] > 0;
    }
    printf("\n");
    return all;
}
