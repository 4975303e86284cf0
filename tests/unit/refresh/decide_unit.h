/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of the refresh machine. */
#ifndef OFFLOADER_TESTS_UNIT_REFRESH_DECIDE_UNIT_H
#define OFFLOADER_TESTS_UNIT_REFRESH_DECIDE_UNIT_H

#include "unit.h"

#include "refresh/decide.h"

#define SECOND INT64_C(1000000)

/* Contract @c, origin @o, build @b: told apart by one byte. */
static inline struct contract contract(int c, int o, int b)
{
    struct contract k = {{0}, {0}, {0}, {0}};
    k.contract[0] = (uint8_t)c;
    k.origin[0] = (uint8_t)o;
    k.build[0] = (uint8_t)(16 * c + b);
    return k;
}

#endif
