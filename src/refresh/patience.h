/* SPDX-License-Identifier: Apache-2.0 */
/* For src/refresh: a flag that turns true after a while, for calls that take a cancellation. */
#ifndef OFFLOADER_REFRESH_PATIENCE_H
#define OFFLOADER_REFRESH_PATIENCE_H

#include <stdatomic.h>

#include "base/thread.h"

struct patience {          /* in place: patience_begin, patience_end */
    _Atomic bool *is_over; /* borrowed */
    bool has_thread, has_ended;
    int64_t until_us; /* monotonic */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};
/* Sets @is_over after @us. Without a thread to be had it never does: slower, not wrong. */
void patience_begin(struct patience *p, int64_t us, _Atomic bool *is_over);
void patience_end(struct patience *p);

#endif
