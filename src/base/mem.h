/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only door to malloc. x_ functions abort when memory is gone and are for sizes that our code
 * fixes; try_ functions return NULL and are for sizes that data, config or a client decide.
 * Thread-safe. All release with mem_free().
 */
#ifndef OFFLOADER_BASE_MEM_H
#define OFFLOADER_BASE_MEM_H

#include <stdarg.h>

#include "base/compiler.h"

void *x_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *x_alloc0(size_t bytes) __attribute__((malloc, returns_nonnull));
void *x_array0(size_t n, size_t item_bytes) __attribute__((malloc, returns_nonnull));
void *x_realloc(void *p, size_t bytes) __attribute__((returns_nonnull));
char *x_strdup(const char *s) __attribute__((returns_nonnull));
char *x_strndup(const char *s, size_t n) __attribute__((returns_nonnull));
char *x_printf(const char *format, ...) PRINTF_LIKE(1, 2) __attribute__((returns_nonnull));
char *x_vprintf(const char *format, va_list args) PRINTF_LIKE(1, 0)
    __attribute__((returns_nonnull));

MUST_CHECK void *try_alloc(size_t bytes);
MUST_CHECK void *try_alloc0(size_t bytes);
MUST_CHECK void *try_array0(size_t n, size_t item_bytes); /* NULL on overflow too */
MUST_CHECK void *try_realloc(void *p, size_t bytes);      /* @p stays valid on failure */

void mem_free(void *p); /* NULL is fine */
/* Frees @p of @bytes bytes, and gives its pages back at once, whatever malloc would keep. */
void mem_free_pages(void *p, size_t bytes);
void mem_free_auto(void *pointer_at); /* for AUTO(mem_free_auto): takes the variable's address */

/* Allocations made by this thread so far; tests prove with it that a request makes none. */
uint64_t mem_thread_allocations(void);
/* Tests: the @nth try_ allocation from now (1 = the next) fails, once or from then on. 0 is off. */
void mem_fail_nth(uint64_t nth, bool for_good);

#endif
