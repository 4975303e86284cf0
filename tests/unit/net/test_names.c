/* SPDX-License-Identifier: Apache-2.0 */
/* A name service that does not answer: a transfer that waits for it ends when it should, and the
 * client's thread with it. */
#include <netdb.h>

#include "base/thread.h"
#include "base/timeutil.h"
#include "net/net.h"
#include "unit.h"

#define LONGEST_US 10000000 /* so that a client that waits for the name fails and does not hang */

static pthread_mutex_t mutex;
static pthread_cond_t changed;
static int n_waiting;
static bool answers;

/* In the place of the system's, for libcurl too: it ends when the test says so. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    int64_t until_us = monotonic_us() + LONGEST_US;
    (void)node, (void)service, (void)hints, (void)ret;
    LOCKED(&mutex);
    n_waiting++;
    cond_broadcast(&changed);
    while (!answers && cond_wait_until(&changed, &mutex, until_us))
        ;
    n_waiting--;
    cond_broadcast(&changed);
    return EAI_AGAIN;
}

struct caller {
    struct net *net;
    _Atomic bool cancelled;
    enum rc rc;
    struct err err;
};

static void *fetch(void *arg)
{
    struct caller *c = arg;
    struct net_response r = {0};
    const struct net_request q = {
        .url = "http://mute.test/", .reach = NET_REACH_NAMED, .cancelled = &c->cancelled};
    c->rc = net_fetch(c->net, &q, &r, &c->err);
    net_response_done(&r);
    return NULL;
}

static void test_mute_name_service(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        int64_t connect_timeout_ms;
        bool is_cancelled;
        enum rc rc;
    } rows[] = {
        {"the time to connect is over", 200, false, RC_UNAVAILABLE},
        {"the caller gives up", 60000, true, RC_CANCELLED},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct caller c = {0};
        struct err err = ERR_INIT;
        pthread_t thread;
        CHECK_OK(rows[i].why,
                 net_new(&(struct net_options){.connect_timeout_ms = rows[i].connect_timeout_ms},
                         &c.net, &err),
                 &err);
        mutex_lock(&mutex);
        answers = false;
        mutex_unlock(&mutex);
        CHECK_OK(rows[i].why, thread_start(&thread, "caller", fetch, &c, &err), &err);
        mutex_lock(&mutex);
        while (n_waiting == 0)
            cond_wait(&changed, &mutex);
        mutex_unlock(&mutex);
        atomic_store(&c.cancelled, rows[i].is_cancelled);
        thread_join(thread);
        net_free(c.net);
        CHECK_INT(rows[i].why, c.rc, rows[i].rc);
        mutex_lock(&mutex);
        CHECK_INT("the name is still looked up", n_waiting, 1);
        answers = true;
        cond_broadcast(&changed);
        while (n_waiting > 0)
            cond_wait(&changed, &mutex);
        mutex_unlock(&mutex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mute_name_service)};
    mutex_init(&mutex);
    cond_init(&changed);
    metrics_init(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
