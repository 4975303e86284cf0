/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocation, counted per thread, with a failure that tests can ask for.
 *
 * Only try_ allocations can be made to fail: x_ ones abort by contract, so failing them would test
 * nothing but abort().
 */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static _Thread_local uint64_t allocations;

/* Counts down to the failing allocation; 0 is off. Shared, because the code under test may hand its
 * work to another thread. */
static _Atomic uint64_t fail_in;
static _Atomic bool fail_for_good;

NORETURN static void out_of_memory(size_t bytes)
{
    fprintf(stderr, "offloader: out of memory allocating %zu bytes; give the process more\n",
            bytes);
    abort();
}

static bool must_fail(void)
{
    uint64_t left = atomic_load_explicit(&fail_in, memory_order_relaxed);
    if (LIKELY(left == 0))
        return false;
    while (left > 1) {
        if (atomic_compare_exchange_weak(&fail_in, &left, left - 1))
            return false;
    }
    if (left == 1 && !atomic_load(&fail_for_good))
        atomic_store(&fail_in, 0);
    return left == 1;
}

/* malloc(0) may be NULL, which would read as a failure. */
static size_t at_least_one(size_t bytes)
{
    return bytes ? bytes : 1;
}

void *try_alloc(size_t bytes)
{
    allocations++;
    return must_fail() ? NULL : malloc(at_least_one(bytes));
}

void *try_alloc0(size_t bytes)
{
    allocations++;
    return must_fail() ? NULL : calloc(1, at_least_one(bytes));
}

void *try_array0(size_t n, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, item_bytes, &bytes))
        return NULL;
    return try_alloc0(bytes);
}

void *try_realloc(void *p, size_t bytes)
{
    allocations++;
    return must_fail() ? NULL : realloc(p, at_least_one(bytes));
}

void *x_alloc(size_t bytes)
{
    allocations++;
    void *p = malloc(at_least_one(bytes));
    if (!p)
        out_of_memory(bytes);
    return p;
}

void *x_alloc0(size_t bytes)
{
    allocations++;
    void *p = calloc(1, at_least_one(bytes));
    if (!p)
        out_of_memory(bytes);
    return p;
}

void *x_array0(size_t n, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, item_bytes, &bytes))
        out_of_memory(SIZE_MAX);
    return x_alloc0(bytes);
}

void *x_realloc(void *p, size_t bytes)
{
    allocations++;
    void *grown = realloc(p, at_least_one(bytes));
    if (!grown)
        out_of_memory(bytes);
    return grown;
}

char *x_strndup(const char *s, size_t n)
{
    char *copy = x_alloc(n + 1);
    if (n)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

char *x_strdup(const char *s)
{
    return x_strndup(s, strlen(s));
}

char *x_vprintf(const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    assert(n >= 0);
    char *text = x_alloc((size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

char *x_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = x_vprintf(format, args);
    va_end(args);
    return text;
}

void mem_free(void *p)
{
    free(p);
}

void mem_free_pages(void *p, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)p + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)p + bytes) / page * page;
    if (p && from < to)
        (void)madvise((void *)from, to - from, MADV_DONTNEED); /* else they stay until reused */
    free(p);
}

void mem_free_auto(void *pointer_at)
{
    void *p;
    memcpy(&p, pointer_at, sizeof(p)); /* the variable may be a pointer to any type */
    free(p);
}

uint64_t mem_thread_allocations(void)
{
    return allocations;
}

void mem_fail_nth(uint64_t nth, bool for_good)
{
    atomic_store(&fail_for_good, for_good);
    atomic_store(&fail_in, nth);
}
