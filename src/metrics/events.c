/* SPDX-License-Identifier: Apache-2.0 */
/* The last events, for /events; each is one log line too. One lock, taken rarely and briefly. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/timeutil.h"
#include "markup/markup.h"
#include "metrics/metrics.h"

#define EVENT_MESSAGE_BYTES 512
#define EVENT_FIELDS_LIMIT 6

static struct {
    pthread_mutex_t lock;
    char *json[EVENTS_KEPT]; /* owned; one object each */
    size_t n, next_at;
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER};

const char *event_type_name(enum event_type t)
{
    static const char *const names[] = {"boot",   "refresh", "swap",  "rollback",
                                        "reload", "drain",   "action"};
    return names[t];
}

static void remember(char *json)
{
    char *old = NULL;
    {
        LOCKED(&ring.lock);
        old = ring.json[ring.next_at];
        ring.json[ring.next_at] = json;
        ring.next_at = (ring.next_at + 1) % EVENTS_KEPT;
        if (ring.n < EVENTS_KEPT)
            ring.n++;
    }
    mem_free(old);
}

void events_add(enum event_type type, const char *dataset, const struct event_field *fields,
                size_t n_fields, const char *format, ...)
{
    char message[EVENT_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args); /* a longer one is cut */
    va_end(args);

    struct buf b;
    struct json_writer w;
    buf_init(&b, 16384);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "at");
    jw_time(&w, wall_us());
    jw_key(&w, "type");
    jw_cstr(&w, event_type_name(type));
    if (dataset) {
        jw_key(&w, "dataset");
        jw_cstr(&w, dataset);
    }
    jw_key(&w, "message");
    jw_cstr(&w, message);
    struct log_field logged[EVENT_FIELDS_LIMIT + 2] = {{.key = NULL}};
    size_t n_logged = 1;
    if (dataset)
        logged[n_logged++] = LF_STR("dataset", dataset);
    for (size_t i = 0; i < n_fields && i < EVENT_FIELDS_LIMIT; i++) {
        jw_key(&w, fields[i].key);
        jw_cstr(&w, fields[i].value);
        if (fields[i].value)
            logged[n_logged++] = LF_STR(fields[i].key, fields[i].value);
    }
    jw_close(&w, '}');
    log_write(LOG_INFO, event_type_name(type), message, logged, n_logged);
    char *json = buf_take_cstr(&b, NULL);
    if (json)
        remember(json);
    buf_done(&b);
}

void events_write_json(struct buf *b)
{
    struct json_writer w;
    jw_init(&w, b);
    jw_open(&w, '{');
    jw_key(&w, "events");
    jw_open(&w, '[');
    {
        LOCKED(&ring.lock);
        for (size_t i = 0; i < ring.n; i++)
            jw_raw(&w, str_from(ring.json[(ring.next_at + EVENTS_KEPT - 1 - i) % EVENTS_KEPT]));
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
}
