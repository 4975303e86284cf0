/* SPDX-License-Identifier: Apache-2.0 */
/* For query_client.c: a question that may take seconds, asked beside those who want the answer. */
#ifndef OFFLOADER_ENGINE_HEALTH_H
#define OFFLOADER_ENGINE_HEALTH_H

#include <stdatomic.h>
#include <stdbool.h>

struct health; /* thread-safe */
/* @ask runs on a thread of this object's own, which starts with the first want. It ends soon once
 * @cancelled. */
struct health *health_new(void (*ask)(void *arg, const _Atomic bool *cancelled), void *arg);
void health_free(struct health *h); /* waits for a question under way, which is cancelled */
/* Asks once more, unless that was done within the last second. Returns at once. */
void health_want(struct health *h);

#endif
