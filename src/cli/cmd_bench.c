/* SPDX-License-Identifier: Apache-2.0 */
/* offloader bench: load an endpoint of a running server; throughput and percentiles. */
#include <stdio.h>

#include "base/io.h"
#include "base/mem.h"
#include "bench/bench.h"
#include "cli/cli.h"
#include "cli/secret.h"
#include "markup/markup.h"

#define LIMIT_TARGETS_BYTES (256u << 20)
#define LIMIT_SECONDS 86400

struct setting {
    struct bench_options options;
    char *host, *path, *key;
    struct buf headers, file;
    struct bench_target *targets;
};

static void setting_done(struct setting *s)
{
    mem_free(s->host);
    mem_free(s->path);
    mem_free(s->key);
    mem_free(s->targets);
    buf_done(&s->headers);
    buf_done(&s->file);
}

/* http://host[:port][/], split. */
static bool take_url(const char *url, struct setting *s)
{
    int64_t port = 80;
    if (strncmp(url, "http://", 7) != 0)
        return false;
    const char *host = url + 7;
    size_t n = strcspn(host, ":/");
    const char *rest = host + n;
    if (*rest == ':') {
        size_t n_port = strcspn(rest + 1, "/");
        if (!parse_int64((struct str){rest + 1, n_port}, &port) || port < 1 || port > 65535)
            return false;
        rest += 1 + n_port;
    }
    if (n == 0 || (*rest && strcmp(rest, "/") != 0))
        return false;
    s->host = x_strndup(host, n);
    s->options.host = s->host;
    s->options.port = (int)port;
    return true;
}

/* A line each: path, and after a tab how the body must begin. */
static enum rc read_targets(const char *path, struct setting *s, struct err *err)
{
    size_t n = 0, capacity = 0;
    enum rc rc = io_read_file(path, &s->file, err);
    if (rc != RC_OK)
        return rc;
    const char *end = s->file.p + s->file.n;
    for (const char *p = s->file.p; p < end;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n_line = stop ? (size_t)(stop - p) : (size_t)(end - p);
        const char *tab = memchr(p, '\t', n_line);
        if (n == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            s->targets = x_realloc(s->targets, capacity * sizeof *s->targets);
        }
        struct bench_target *t = &s->targets[n];
        t->path = (struct str){p, tab ? (size_t)(tab - p) : n_line};
        t->expect = tab ? (struct str){tab + 1, n_line - t->path.n - 1} : (struct str){NULL, 0};
        n += n_line > 0;
        p += n_line + 1;
    }
    s->options.targets = s->targets;
    s->options.n_targets = n;
    return n ? RC_OK : err_set(err, RC_INVALID, "%s names no path", path);
}

static bool take_number(const char *flag, double least, double most, double *ret)
{
    const char *text = flag_text(flag);
    return !text || (parse_double(str_from(text), ret) && *ret >= least && *ret <= most);
}

/* An exit status after a message, or -1 to go on. */
static int take_numbers(const struct command *c, struct setting *s)
{
    double connections = 16, seconds = 10, status = 200;
    if (!take_number("connections", 1, BENCH_LIMIT_CONNECTIONS, &connections))
        return usage_error(c, "--connections is a number from 1 to %d", BENCH_LIMIT_CONNECTIONS);
    if (!take_number("seconds", 0.1, LIMIT_SECONDS, &seconds))
        return usage_error(c, "--seconds is a number from 0.1 to %d", LIMIT_SECONDS);
    if (!take_number("rate", 1, 1e7, &s->options.rate))
        return usage_error(c, "--rate is a number of requests a second, at least 1");
    if (!take_number("expect-status", 0, 599, &status))
        return usage_error(c, "--expect-status is an HTTP status, or 0 for any");
    s->options.connections = (int)connections;
    s->options.duration_us = (int64_t)(seconds * 1e6);
    s->options.expect_status = (int)status;
    return -1;
}

static int take_flags(const struct command *c, struct setting *s)
{
    struct err err = ERR_INIT;
    const char *endpoint = flag_text("endpoint"), *params = flag_text("params");
    if (!take_url(flag_text("url"), s))
        return usage_error(c, "--url is http://host:port (TLS belongs to your ingress)");
    if (!endpoint == !flag_given("targets"))
        return usage_error(c, "give either --endpoint or --targets");
    if (flag_given("targets")) {
        if (read_targets(flag_text("targets"), s, &err) != RC_OK)
            return usage_error(c, "--targets: %s", err.message);
    } else {
        s->path =
            x_printf("/v1/endpoints/%s%s%s", endpoint, params ? "?" : "", params ? params : "");
        s->targets = x_array0(1, sizeof *s->targets);
        s->targets[0].path = str_from(s->path);
        s->options.targets = s->targets;
        s->options.n_targets = 1;
    }
    if (secret_read("key", "OFFLOADER_KEY", &s->key, &err) != RC_OK)
        return usage_error(c, "--key: %s", err.message);
    if (s->key && !secret_is_token(s->key))
        return usage_error(c, "the key has a byte that no token has (a space or a line end?)");
    if (s->key)
        buf_printf(&s->headers, "Authorization: Bearer %s\r\n", s->key);
    if (flag_text("header"))
        buf_printf(&s->headers, "%s\r\n", flag_text("header"));
    s->options.headers = buf_cstr(&s->headers);
    return take_numbers(c, s);
}

/* ---- results ---- */

static const struct {
    const char *name;
    double share;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};

static double us(uint64_t ns)
{
    return (double)ns / 1000.0;
}

static void print_json(const struct bench_result *r)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 65536);
    jw_init(&w, &b);
    jw_open(&w, '{');
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {{"requests", r->n_answers},          {"failed", r->n_failed},
                  {"wrong_status", r->n_wrong_status}, {"wrong_body", r->n_wrong_body},
                  {"unanswered", r->n_unanswered},     {"bytes", r->n_bytes}};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        jw_key(&w, counts[i].key);
        jw_uint(&w, counts[i].value);
    }
    jw_key(&w, "seconds");
    jw_double(&w, (double)r->elapsed_us / 1e6);
    jw_key(&w, "latency_us");
    jw_open(&w, '{');
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++) {
        jw_key(&w, quantiles[i].name);
        jw_double(&w, us(histogram_quantile(&r->latency, quantiles[i].share)));
    }
    jw_key(&w, "max");
    jw_double(&w, us(r->latency.max_ns));
    jw_close(&w, '}');
    jw_key(&w, "complaint");
    jw_cstr(&w, r->complaint);
    jw_close(&w, '}');
    printf("%s\n", buf_cstr(&b));
    buf_done(&b);
}

static void print_text(const struct bench_result *r)
{
    double seconds = (double)r->elapsed_us / 1e6;
    printf("%llu requests in %.1f s: %.0f a second, %.1f MB/s\n", (unsigned long long)r->n_answers,
           seconds, (double)r->n_answers / seconds, (double)r->n_bytes / 1e6 / seconds);
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        printf("  %-6s %9.0f us\n", quantiles[i].name,
               us(histogram_quantile(&r->latency, quantiles[i].share)));
    printf("  %-6s %9.0f us\n", "max", us(r->latency.max_ns));
    printf("failed %llu, other status %llu, other body %llu, not answered in time %llu\n",
           (unsigned long long)r->n_failed, (unsigned long long)r->n_wrong_status,
           (unsigned long long)r->n_wrong_body, (unsigned long long)r->n_unanswered);
    if (r->complaint[0])
        printf("the first of them: %s\n", r->complaint);
}

static int run(const struct command *c)
{
    struct setting s = {.headers = {.limit_bytes = 65536},
                        .file = {.limit_bytes = LIMIT_TARGETS_BYTES}};
    struct bench_result *r = x_alloc0(sizeof *r);
    struct err err = ERR_INIT;
    int status = take_flags(c, &s);
    if (status < 0 && bench_run(&s.options, r, &err) != RC_OK) {
        fprintf(stderr, "offloader bench: %s\n", err.message);
        status = EXIT_FINDINGS;
    }
    if (status < 0) {
        if (flag_given("json"))
            print_json(r);
        else
            print_text(r);
        bool fine = !r->n_failed && !r->n_wrong_status && !r->n_wrong_body && r->n_answers > 0;
        status = fine ? EXIT_FINE : EXIT_FINDINGS;
    }
    setting_done(&s);
    mem_free(r);
    return status;
}

static const struct flag flags[] = {
    {"url", "URL", "http://127.0.0.1:4000", "the API port of a running server"},
    {"endpoint", "NAME", NULL, "the endpoint to ask"},
    {"key", "TOKEN", NULL, "a bearer token, @FILE, or OFFLOADER_KEY"},
    {"params", "QUERY", NULL, "its params, percent-encoded: a=1&b=2"},
    {"connections", "N", "16", "connections, one request in flight each"},
    {"seconds", "N", "10", "how long"},
    {"rate", "N", NULL,
     "requests a second at fixed times (open loop); without it each follows an answer"},
    {"targets", "FILE", NULL, "many paths, a line each; after a tab, how the body must begin"},
    {"header", "LINE", NULL, "a further header line, as `If-None-Match: *`"},
    {"expect-status", "N", "200", "another status is an error; 0: any will do"},
    {"json", NULL, NULL, "print the result as one JSON document"},
    {NULL, NULL, NULL, NULL},
};

const struct command command_bench = {
    .name = "bench",
    .summary = "Load an endpoint of a running server; print throughput and percentiles.",
    .usage = "--endpoint NAME | --targets FILE [flags]",
    .example = "offloader bench --endpoint usage_summary --key @key.txt "
               "--params 'from=2026-08-04&to=2026-08-31' --rate 500",
    .flags = flags,
    .run = run,
};
