/* SPDX-License-Identifier: Apache-2.0 */
/* For src/base and its tests: the CRC that needs no CPU instruction. */
#ifndef OFFLOADER_BASE_HASH_INT_H
#define OFFLOADER_BASE_HASH_INT_H

#include "base/compiler.h"

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n);

#endif
