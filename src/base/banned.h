/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Functions nobody here may call, refused by the compiler: they are marked deprecated, and warnings
 * are errors. tools/lint knows a few more that are allowed in some rooms only. compiler.h includes
 * this, so every file has it.
 */
#ifndef OFFLOADER_BASE_BANNED_H
#define OFFLOADER_BASE_BANNED_H

#ifndef __cplusplus

#include <stddef.h>

#ifdef __clang__ /* which does not mark what a header has defined inline already; gcc does */
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wignored-attributes"
#endif
#define BANNED(why) __attribute__((deprecated(why)))

BANNED("no bound: use struct buf or snprintf") char *strcpy(char *, const char *);
BANNED("no bound: use struct buf or snprintf") char *strcat(char *, const char *);
BANNED("no bound: use struct buf or snprintf") int sprintf(char *, const char *, ...);
BANNED("may not terminate: use struct str") char *strncpy(char *, const char *, size_t);
BANNED("may not terminate: use struct str") char *strncat(char *, const char *, size_t);
BANNED("hides bad input: use parse_int64") int atoi(const char *);
BANNED("hides bad input: use parse_int64") long atol(const char *);
BANNED("hides bad input: use parse_int64") long long atoll(const char *);
BANNED("hides bad input: use parse_double") double atof(const char *);
BANNED("keeps state between calls: use memchr") char *strtok(char *, const char *);
BANNED("not safe with threads: use strerror_r") char *strerror(int);
BANNED("predictable: use random_bytes") int rand(void);
BANNED("runs a shell: use engine/process.h") int system(const char *);
BANNED("races: use mkstemp") char *mktemp(char *);

#undef BANNED
#ifdef __clang__
#pragma clang diagnostic pop
#endif
#endif
#endif
