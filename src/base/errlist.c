/* SPDX-License-Identifier: Apache-2.0 */
/* Collects findings, bounded, in a plain growing array. */
#include "base/errlist.h"

#include <stdarg.h>
#include <string.h>

#include "base/mem.h"

#define ERRLIST_FIRST_CAPACITY 16

static void grow(struct errlist *list)
{
    if (list->n_items < list->capacity)
        return;
    size_t capacity = list->capacity ? 2 * list->capacity : ERRLIST_FIRST_CAPACITY;
    list->items = x_realloc(list->items, capacity * sizeof(*list->items));
    list->capacity = capacity;
}

void errlist_add(struct errlist *list, enum finding_severity severity, const char *file, int line,
                 int column, const char *path, const char *code, const char *hint,
                 const char *format, ...)
{
    if (severity == FINDING_ERROR)
        list->n_errors++; /* shown or not, it must fail the validation */
    else
        list->n_warnings++;
    if (list->n_items >= LIMIT_FINDINGS) {
        list->truncated = true;
        return;
    }
    grow(list);

    va_list args;
    va_start(args, format);
    list->items[list->n_items++] = (struct finding){
        .severity = severity,
        .file = x_strdup(file ? file : ""),
        .path = x_strdup(path ? path : ""),
        .code = code,
        .message = x_vprintf(format, args),
        .hint = hint ? x_strdup(hint) : NULL,
        .line = line,
        .column = column,
    };
    va_end(args);
}

static bool comes_after(const struct finding *a, const struct finding *b)
{
    int by_file = strcmp(a->file, b->file);
    if (by_file)
        return by_file > 0;
    if (a->line != b->line)
        return a->line > b->line;
    return a->column > b->column;
}

/* Stable, which qsort(3) does not promise: findings at one place keep their order of arrival. */
static void merge(struct finding *to, const struct finding *from, size_t begin, size_t middle,
                  size_t end)
{
    size_t left = begin, right = middle;
    for (size_t at = begin; at < end; at++) {
        bool take_right = right < end && (left >= middle || comes_after(&from[left], &from[right]));
        to[at] = take_right ? from[right++] : from[left++];
    }
}

void errlist_sort(struct errlist *list)
{
    size_t n = list->n_items;
    if (n < 2)
        return;
    struct finding *from = list->items;
    struct finding *to = x_array0(list->capacity, sizeof(*to));
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * width) {
            size_t middle = begin + width < n ? begin + width : n;
            size_t end = begin + 2 * width < n ? begin + 2 * width : n;
            merge(to, from, begin, middle, end);
        }
        struct finding *swap = from;
        from = to;
        to = swap;
    }
    list->items = from;
    mem_free(to);
}

void errlist_done(struct errlist *list)
{
    for (size_t i = 0; i < list->n_items; i++) {
        mem_free(list->items[i].file);
        mem_free(list->items[i].path);
        mem_free(list->items[i].message);
        mem_free(list->items[i].hint);
    }
    mem_free(list->items);
    *list = (struct errlist)ERRLIST_INIT;
}
