/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target is one file fuzz_<name>.c with this function, and seeds in corpus/<name>/. It gives
 * the bytes to the code under test and asserts what must hold for any input; it returns 0, leaks
 * nothing and keeps no state between calls. replay.c or libFuzzer provides main().
 */
#ifndef OFFLOADER_FUZZ_H
#define OFFLOADER_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
