/* SPDX-License-Identifier: Apache-2.0 */
/* Program and module share structures, so they must be of one build. */
#ifndef OFFLOADER_ENGINE_BUILD_H
#define OFFLOADER_ENGINE_BUILD_H

#include "base/commit.h"

#define ENGINE_BUILD OFFLOADER_VERSION " " OFFLOADER_COMMIT

#endif
