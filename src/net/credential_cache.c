/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials, kept until shortly before they expire. One caller fetches; the others wait and share
 * what it got, also its failure. While a renewal is tried, what is held is used by all others, and
 * when it fails by all, for as long as it is valid; it is tried again after a pause. Their life is
 * taken from the wall clock once, as they come, and then runs on the monotonic one: a clock that is
 * set neither ends it nor makes every request fetch.
 *
 * Locks: mutex guards everything but fetch and arg; no lock is held during a fetch.
 */
#include <string.h>

#include "base/mem.h"
#include "base/timeutil.h"
#include "net/credentials_int.h"

#define CANCEL_POLL_US 50000
#define LIFE_UNKNOWN_US INT64_C(60000000)
#define RENEW_AGAIN_US INT64_C(30000000)

char *credential_copy(const char *s)
{
    return s ? x_strdup(s) : NULL;
}

static void free_secret(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    mem_free(s);
}

void aws_credentials_done(struct aws_credentials *c)
{
    free_secret(c->key_id);
    free_secret(c->secret);
    free_secret(c->session_token);
    *c = (struct aws_credentials){0};
}

bool credential_is_plain(const char *s)
{
    if (!s || !*s)
        return false;
    for (; *s; s++)
        if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
            return false;
    return true;
}

void form_put(struct buf *b, const char *name, struct str value)
{
    if (b->n)
        buf_putc(b, '&');
    buf_put_cstr(b, name);
    buf_putc(b, '=');
    net_url_encode(b, value, false);
}

void credential_cache_init(struct credential_cache *c, credential_fetch *fetch, void *arg)
{
    *c = (struct credential_cache){.fetch = fetch, .arg = arg};
    mutex_init(&c->mutex);
    cond_init(&c->changed);
}

void credential_cache_done(struct credential_cache *c)
{
    aws_credentials_done(&c->held);
    cond_done(&c->changed);
    mutex_done(&c->mutex);
}

static bool is_refused(const struct aws_credentials *c, const char *refused)
{
    return refused && ((c->key_id && strcmp(c->key_id, refused) == 0) ||
                       (c->session_token && strcmp(c->session_token, refused) == 0));
}

/* That there are none is known until it expires, and not replaced ahead. */
static bool is_good(const struct credential_cache *c, const char *refused, int64_t ahead_us)
{
    if (!c->held.key_id && !c->held.session_token)
        ahead_us = 0;
    return c->held.source && !is_refused(&c->held, refused) &&
           monotonic_us() < c->held_until_us - ahead_us;
}

/*
 * How long to hold what has just come. What a source hands out is not expired; if it looks so, a
 * clock is wrong, and the store will say whether it takes it. It is held for a minute then, lest
 * each request fetches.
 */
static int64_t held_until_us(int64_t expires_us)
{
    if (expires_us == 0)
        return INT64_MAX;
    int64_t life_us = expires_us - wall_us();
    return monotonic_us() + (life_us > 0 ? life_us : CREDENTIALS_AHEAD_US + LIFE_UNKNOWN_US);
}

static void give(const struct aws_credentials *held, struct aws_credentials *ret)
{
    *ret = (struct aws_credentials){
        .key_id = credential_copy(held->key_id),
        .secret = credential_copy(held->secret),
        .session_token = credential_copy(held->session_token),
        .expires_us = held->expires_us,
        .source = held->source,
    };
}

/* With the mutex held, which is let go during the fetch. */
static enum rc fetch(struct credential_cache *c, const char *refused, const _Atomic bool *cancelled,
                     struct aws_credentials *ret, struct err *err)
{
    struct aws_credentials fresh = {0};
    struct err why = ERR_INIT;
    c->fetching = true;
    mutex_unlock(&c->mutex);
    enum rc rc = c->fetch(c->arg, cancelled, &fresh, &why);
    mutex_lock(&c->mutex);
    c->fetching = false;
    c->n_fetches++;
    c->rc = rc;
    c->why = why;
    cond_broadcast(&c->changed);
    if (rc == RC_OK) {
        aws_credentials_done(&c->held);
        c->held = fresh;
        c->held_until_us = held_until_us(fresh.expires_us);
    } else if (!is_good(c, refused, 0)) {
        err_copy(err, &why);
        return rc;
    } else if (rc != RC_CANCELLED) {
        c->pause_until_us = monotonic_us() + RENEW_AGAIN_US;
    }
    give(&c->held, ret);
    return RC_OK;
}

enum rc credential_cache_get(struct credential_cache *c, const char *refused,
                             const _Atomic bool *cancelled, struct aws_credentials *ret,
                             struct err *err)
{
    LOCKED(&c->mutex);
    while (!is_good(c, refused, CREDENTIALS_AHEAD_US)) {
        if (is_good(c, refused, 0) && (c->fetching || monotonic_us() < c->pause_until_us))
            break;
        if (!c->fetching)
            return fetch(c, refused, cancelled, ret, err);
        uint64_t before = c->n_fetches;
        while (c->fetching && c->n_fetches == before) {
            (void)cond_wait_until(&c->changed, &c->mutex, monotonic_us() + CANCEL_POLL_US);
            if (cancelled && atomic_load_explicit(cancelled, memory_order_relaxed))
                return err_set(err, RC_CANCELLED, "cancelled");
        }
        /* The one that fetched gave up for itself: its turn is the next waiter's. */
        if (c->rc == RC_CANCELLED)
            continue;
        if (c->rc != RC_OK && !is_good(c, refused, 0)) {
            err_copy(err, &c->why);
            return c->rc;
        }
        break;
    }
    give(&c->held, ret);
    return RC_OK;
}
