/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: one a call, always whole, nothing in a value can break out of its quotes. */
#include "unit.h"

#include <fcntl.h>

#include "base/log.h"

/* What log_write puts on stderr, through a pipe. */
static int pipe_out[2], kept_stderr;

static int capture(void **state)
{
    (void)state;
    kept_stderr = dup(STDERR_FILENO);
    return pipe(pipe_out) == 0 && dup2(pipe_out[1], STDERR_FILENO) >= 0 ? 0 : -1;
}

static int release(void **state)
{
    (void)state;
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    close(pipe_out[0]);
    close(pipe_out[1]);
    log_configure(LOG_INFO, LOG_FORMAT_TEXT);
    log_set_release(NULL);
    log_set_redactor(NULL);
    return 0;
}

static char *logged(void)
{
    static char text[65536];
    fcntl(pipe_out[0], F_SETFL, O_NONBLOCK);
    ssize_t n = read(pipe_out[0], text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static void test_json(void **state)
{
    (void)state;
    log_configure(LOG_INFO, LOG_FORMAT_JSON);
    log_set_release("v1");
    log_event(LOG_WARN, "swap", "a \"quoted\"\nline", LF_STR("dataset", "kv"), LF_INT("rows", -5),
              LF_DBL("ratio", 0.5), LF_BOOL("warm", true));
    char *text = logged();
    CHECK("one line", strchr(text, '\n') == text + strlen(text) - 1);
    CHECK_STR("fields in order, escaped", text + strcspn(text, ","),
              ",\"level\":\"warn\",\"event\":\"swap\",\"message\":\"a \\\"quoted\\\"\\u000aline\","
              "\"release\":\"v1\",\"dataset\":\"kv\",\"rows\":-5,\"ratio\":0.5,\"warm\":true}\n");
}

static void test_hostile_values(void **state)
{
    (void)state;
    log_event(LOG_ERROR, "e", "m", LF_STR("a", "\x1b[2J"),
              LF_STRN("b", ((struct str){"\0\xff", 2})));
    CHECK_STR("terminal codes, NUL and bytes that are no UTF-8", strstr(logged(), " a="),
              " a=\"\\u001b[2J\" b=\"\\u0000\\u00ff\"\n");
}

static void test_levels(void **state)
{
    (void)state;
    log_configure(LOG_WARN, LOG_FORMAT_TEXT);
    log_event(LOG_INFO, "e", "below the least level");
    CHECK_STR("nothing", logged(), "");
    CHECK("asked", log_enabled(LOG_BUG) && log_enabled(LOG_WARN) && !log_enabled(LOG_INFO));
}

static void test_long_line(void **state)
{
    (void)state;
    static char value[40000];
    memset(value, 'v', sizeof(value) - 1);
    log_configure(LOG_INFO, LOG_FORMAT_JSON);
    log_event(LOG_INFO, "big", "m", LF_STR("value", value));
    char *text = logged();
    size_t n = strlen(text);
    CHECK("a line that is too long is replaced by a whole one",
          n > 2 && n < 500 && strcmp(text + n - 2, "}\n") == 0 && strstr(text, "\"big\""));
}

static size_t star_out(char *text, size_t n)
{
    for (size_t i = 0; i + 6 <= n; i++)
        if (memcmp(text + i, "secret", 6) == 0)
            memset(text + i, '*', 6);
    return n;
}

static void test_redaction(void **state)
{
    (void)state;
    log_set_redactor(star_out);
    log_event(LOG_INFO, "e", "the secret", LF_STR("k", "secret"));
    char *text = logged();
    CHECK("in messages and fields", !strstr(text, "secret") && strstr(text, "k=\"******\"\n"));
}

int main(void)
{
#define CAPTURED(test) cmocka_unit_test_setup_teardown(test, capture, release)
    const struct CMUnitTest tests[] = {
        CAPTURED(test_json),      CAPTURED(test_hostile_values), CAPTURED(test_levels),
        CAPTURED(test_long_line), CAPTURED(test_redaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
