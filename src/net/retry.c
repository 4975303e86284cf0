/* SPDX-License-Identifier: Apache-2.0 */
/* How long to wait before asking again. */
#include "base/mem.h"
#include "net/net_int.h"

static time_t time_of(struct str value)
{
    AUTO(mem_free_auto) char *text = x_strndup(value.p, value.n);
    return curl_getdate(text, NULL);
}

int64_t retry_after_ms(struct str value, struct str date, int64_t now_wall_us)
{
    uint64_t seconds;
    value = str_trim(value);
    if (value.n == 0)
        return -1;
    if (value.p[0] >= '0' && value.p[0] <= '9') {
        if (!parse_uint64(value, &seconds))
            return -1;
        return seconds > NET_LIMIT_BACKOFF_MS / 1000 ? NET_LIMIT_BACKOFF_MS
                                                     : (int64_t)seconds * 1000;
    }
    time_t at = time_of(value), from = time_of(date);
    if (at < 0)
        return -1;
    int64_t ms = (int64_t)at * 1000 - (from < 0 ? now_wall_us / 1000 : (int64_t)from * 1000);
    return ms < 0 ? 0 : ms > NET_LIMIT_BACKOFF_MS ? NET_LIMIT_BACKOFF_MS : ms;
}

int64_t retry_backoff_ms(int64_t base_ms, int nth, uint32_t random)
{
    assert(nth >= 1);
    int64_t ms = base_ms << (nth > 8 ? 8 : nth - 1);
    if (ms > NET_LIMIT_BACKOFF_MS)
        ms = NET_LIMIT_BACKOFF_MS;
    /* Half fixed, half random: callers that failed together come back apart. */
    return ms / 2 + (int64_t)((uint64_t)random * (uint64_t)(ms / 2 + 1) >> 32);
}
