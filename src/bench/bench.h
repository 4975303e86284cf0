/* SPDX-License-Identifier: Apache-2.0 */
/* A load generator for one HTTP server: closed or open loop, every answer checked. */
#ifndef OFFLOADER_BENCH_BENCH_H
#define OFFLOADER_BENCH_BENCH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define BENCH_LIMIT_CONNECTIONS 4096
#define BENCH_LIMIT_ANSWER_BYTES (64u << 20)

/* ---- latencies: 64 steps a power of two, so within 1.6 % of what was measured ---- */

#define HISTOGRAM_STEPS 64
#define HISTOGRAM_SLOTS (HISTOGRAM_STEPS * 36)

struct histogram {
    uint64_t counts[HISTOGRAM_SLOTS];
    uint64_t n, max_ns;
};
void histogram_add(struct histogram *h, uint64_t ns);
/* The value that @share (0 to 1) of all are not above, in ns; 0 when there is none. */
uint64_t histogram_quantile(const struct histogram *h, double share);

/* ---- a run ---- */

struct bench_target {  /* borrowed */
    struct str path;   /* with its query, percent-encoded */
    struct str expect; /* how the body must begin; n = 0: anything */
};

struct bench_options { /* borrowed */
    const char *host;
    int port;
    const struct bench_target *targets; /* asked for in turn */
    size_t n_targets;
    const char *headers; /* complete lines, CRLF each; NULL: none */
    int connections;
    double rate; /* requests a second; 0: closed loop */
    int64_t duration_us;
    int expect_status; /* 0: any */
};

struct bench_result {
    uint64_t n_answers; /* whole ones */
    uint64_t n_failed;  /* connections refused, cut or not understood */
    uint64_t n_wrong_status, n_wrong_body;
    uint64_t n_unanswered; /* open loop: due, but not answered when the time was up */
    uint64_t n_bytes;
    int64_t elapsed_us;
    char complaint[256]; /* about the first answer that was wrong; "" when none was */
    struct histogram latency;
};

/* Blocks for the duration. RC_UNAVAILABLE: nothing listens there; RC_INVALID: no such host. */
MUST_CHECK enum rc bench_run(const struct bench_options *options, struct bench_result *ret,
                             struct err *err);

#endif
