/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generic cell rate algorithm (ITU-T I.371): tat is the time at which the bucket would be full
 * again. A request moves it by one interval; it is refused when tat would run more than burst
 * intervals ahead of now.
 */
#include "auth/rate.h"

#include <stdatomic.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/thread.h"

#define LIMIT_SPAN_NS (INT64_MAX / 4) /* 73 years: sums of these and a time do not overflow */

struct rate_bucket {
    uint8_t digest[32];
    int64_t interval_ns, burst_ns;
    _Atomic int64_t tat_ns;
    uint64_t refs; /* under registry_lock */
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct map registry; /* digest -> bucket */

struct rate_bucket *rate_bucket_get(const struct key *k)
{
    if (!k->has_rate_limit)
        return NULL;
    LOCKED(&registry_lock);
    struct str digest = {(const char *)k->digest, sizeof k->digest};
    double exact_ns = 1e9 / k->requests_per_second;
    int64_t interval_ns = exact_ns < 1               ? 1
                          : exact_ns > LIMIT_SPAN_NS ? LIMIT_SPAN_NS
                                                     : (int64_t)exact_ns;
    int64_t burst_ns = 0;
    if (__builtin_mul_overflow(interval_ns, k->burst, &burst_ns) || burst_ns > LIMIT_SPAN_NS)
        burst_ns = LIMIT_SPAN_NS;
    struct rate_bucket *b = map_get(&registry, digest);
    if (b && b->interval_ns == interval_ns && b->burst_ns == burst_ns) {
        b->refs++;
        return b;
    }
    struct rate_bucket *fresh = x_alloc0(sizeof *fresh);
    memcpy(fresh->digest, k->digest, sizeof fresh->digest);
    fresh->interval_ns = interval_ns;
    fresh->burst_ns = burst_ns;
    fresh->refs = 1;
    /* The map borrows its key: an entry that is replaced must not keep the old bucket's bytes. */
    (void)map_remove(&registry, digest);
    IGNORE(map_put(&registry, (struct str){(const char *)fresh->digest, sizeof fresh->digest},
                   fresh,
                   NULL)); /* not registered when memory is gone: the limit restarts at a reload */
    return fresh;
}

void rate_bucket_put(struct rate_bucket *b)
{
    if (!b)
        return;
    LOCKED(&registry_lock);
    if (--b->refs)
        return;
    struct str digest = {(const char *)b->digest, sizeof b->digest};
    if (map_get(&registry, digest) == b)
        (void)map_remove(&registry, digest);
    mem_free(b);
}

bool rate_bucket_take(struct rate_bucket *b, int64_t now_us, int64_t *ret_retry_after_s)
{
    int64_t now_ns = now_us * 1000;
    int64_t tat = atomic_load_explicit(&b->tat_ns, memory_order_relaxed);
    for (;;) {
        int64_t next = (tat > now_ns ? tat : now_ns) + b->interval_ns;
        int64_t over_ns = next - now_ns - b->burst_ns;
        if (over_ns > 0) {
            *ret_retry_after_s = (over_ns + 999999999) / 1000000000;
            return false;
        }
        if (atomic_compare_exchange_weak_explicit(&b->tat_ns, &tat, next, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    }
}
