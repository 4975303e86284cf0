/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of many threads folded into one exposition; histograms; labels; slots; events. */
#include "unit.h"

#include "base/mem.h"
#include "base/thread.h"
#include "metrics/metrics.h"

static void on_gauge(void *arg, enum metric m, struct metrics_writer *w)
{
    (void)arg;
    const struct metrics_label label = {"dataset", "a\"b\\c\nd"};
    if (m == METRIC_snapshot_rows)
        metrics_sample(w, &label, 1, 5);
}

static char *scrape(void)
{
    struct buf b;
    buf_init(&b, 16 << 20);
    metrics_scrape(&b, on_gauge, NULL);
    return buf_take_cstr(&b, NULL);
}

/* Value of the sample whose line begins with @name; -1 when there is none. */
static double sample(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, name, n) == 0 && line[n] == ' ')
            return strtod(line + n, NULL);
    return -1;
}

static void *count(void *arg)
{
    int slot = *(int *)arg;
    for (int i = 0; i < 1000; i++) {
        metrics_request(slot, MSTATUS_OK, 1500);
        metrics_cache(slot, MCACHE_HIT);
    }
    return NULL;
}

static void test_threads_fold(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    pthread_t threads[4];
    int slot = metrics_endpoint_register("sales", 1);
    CHECK_INT("the same slot again", metrics_endpoint_register("sales", 1), slot);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        CHECK_OK("starts", thread_start(&threads[i], "unit", count, &slot, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        thread_join(threads[i]);
    AUTO(mem_free_auto) char *text = scrape();
    CHECK_INT("requests",
              sample(text, "offloader_requests_total{endpoint=\"sales\",status=\"ok\"}"), 4000);
    CHECK_INT("hits",
              sample(text, "offloader_response_cache_total{endpoint=\"sales\",result=\"hit\"}"),
              4000);
    CHECK_INT("durations", sample(text, "offloader_request_duration_ms_count{endpoint=\"sales\"}"),
              4000);
    CHECK_INT("their sum", sample(text, "offloader_request_duration_ms_sum{endpoint=\"sales\"}"),
              6000);
    CHECK_INT("1.5 ms is not within 1",
              sample(text, "offloader_request_duration_ms_bucket{endpoint=\"sales\",le=\"1\"}"), 0);
    CHECK_INT("but within 2",
              sample(text, "offloader_request_duration_ms_bucket{endpoint=\"sales\",le=\"2\"}"),
              4000);
    CHECK_INT("and infinity",
              sample(text, "offloader_request_duration_ms_bucket{endpoint=\"sales\",le=\"+Inf\"}"),
              4000);
    metrics_endpoint_unregister(slot);
    metrics_endpoint_unregister(slot);
    AUTO(mem_free_auto) char *after = scrape();
    CHECK("a slot nobody holds is not shown", strstr(after, "sales") == NULL);
    CHECK_INT("and keeps its counts", metrics_endpoint_register("sales", 1), slot);
}

static void test_format(void **state)
{
    (void)state;
    AUTO(mem_free_auto) char *text = scrape();
    CHECK("labels are escaped",
          strstr(text, "offloader_snapshot_rows{dataset=\"a\\\"b\\\\c\\nd\"} 5\n") != NULL);
    for (int m = 0; m < N_METRICS; m++) {
        AUTO(mem_free_auto) char *help =
            x_printf("# HELP %s %s\n", metric_name((enum metric)m), metric_help((enum metric)m));
        char *first = strstr(text, help);
        CHECK(help, !first || !strstr(first + 1, help)); /* a gauge without samples is not shown */
    }
    CHECK("ends with a newline", text[strlen(text) - 1] == '\n');
    int n = 0;
    const double *bounds = metrics_duration_bounds(&n);
    for (int i = 1; i < n; i++)
        CHECK("steps of at most 1.15",
              bounds[i] > bounds[i - 1] && bounds[i] / bounds[i - 1] <= 1.15 + 1e-9);
    CHECK("from 0.05 to 5000", bounds[0] == 0.05 && bounds[n - 1] == 5000);
}

static void test_statuses(void **state)
{
    (void)state;
    static const struct {
        int http;
        enum metrics_status status;
    } rows[] = {
        {200, MSTATUS_OK},           {204, MSTATUS_OK},           {304, MSTATUS_OK},
        {400, MSTATUS_CLIENT_ERROR}, {429, MSTATUS_CLIENT_ERROR}, {499, MSTATUS_CLIENT_ERROR},
        {503, MSTATUS_NOT_READY},    {500, MSTATUS_SERVER_ERROR}, {504, MSTATUS_SERVER_ERROR}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_INT("status", metrics_status_of(rows[i].http), rows[i].status);
}

static void test_config_sync(void **state)
{
    (void)state;
    AUTO(mem_free_auto) char *before = scrape();
    CHECK_INT("there from the start",
              sample(before, "offloader_config_sync_total{result=\"error\"}"), 0);
    for (int i = 0; i < N_MSYNC; i++)
        for (int n = 0; n <= i; n++)
            metrics_config_sync((enum metrics_sync)i);
    AUTO(mem_free_auto) char *text = scrape();
    CHECK_INT("unchanged", sample(text, "offloader_config_sync_total{result=\"unchanged\"}"), 1);
    CHECK_INT("applied", sample(text, "offloader_config_sync_total{result=\"applied\"}"), 2);
    CHECK_INT("error", sample(text, "offloader_config_sync_total{result=\"error\"}"), 3);
}

static void test_events(void **state)
{
    (void)state;
    for (int i = 0; i < EVENTS_KEPT + 10; i++)
        events_add(EVENT_SWAP, "kv", NULL, 0, "number %d", i);
    struct buf b;
    buf_init(&b, 16 << 20);
    events_write_json(&b);
    const char *text = buf_cstr(&b), *newest = strstr(text, "number 509\"");
    CHECK("the newest first", newest && newest < strstr(text, "number 508\""));
    CHECK("the oldest ten are gone", strstr(text, "number 10\"") && !strstr(text, "number 9\""));
    buf_done(&b);
}

static int start(void **state)
{
    (void)state;
    metrics_init(NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_fold), cmocka_unit_test(test_format),
        cmocka_unit_test(test_statuses), cmocka_unit_test(test_config_sync),
        cmocka_unit_test(test_events)};
    return cmocka_run_group_tests(tests, start, NULL);
}
