/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes and ownership macros. The only place for GNU extensions besides cleanup. */
#ifndef OFFLOADER_BASE_COMPILER_H
#define OFFLOADER_BASE_COMPILER_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/banned.h"

#define MUST_CHECK __attribute__((warn_unused_result))
/* Drops a result that must be checked; the reason stands beside it. */
#define IGNORE(call) ((void)!(call))
#define PRINTF_LIKE(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define UNUSED __attribute__((unused))
/* Large room that is written before it is read: spares the zeroing that all other locals get. */
#define UNINITIALIZED __attribute__((uninitialized))
/* For a function that is fast only where its arguments are constants. */
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NORETURN __attribute__((noreturn))

/* AUTO(f) T *x = NULL; calls f(&x) when x leaves its scope. */
#define AUTO(cleanup_function) __attribute__((cleanup(cleanup_function)))

/* Hands over an owned pointer and leaves NULL behind. */
#define TAKE(pointer)                                                                              \
    (__extension__({                                                                               \
        __typeof__(pointer) taken_ = (pointer);                                                    \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    }))

/* Hands over an owned descriptor and leaves -1 behind. */
#define TAKE_FD(fd)                                                                                \
    (__extension__({                                                                               \
        int taken_fd_ = (fd);                                                                      \
        (fd) = -1;                                                                                 \
        taken_fd_;                                                                                 \
    }))

#endif
