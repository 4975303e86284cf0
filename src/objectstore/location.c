/* SPDX-License-Identifier: Apache-2.0 */
/* Where an object is: gs://bucket/key, s3://bucket/key (keys are raw bytes), an https URL, or a
 * path. */
#include <string.h>

#include "base/mem.h"
#include "objectstore/objectstore_int.h"

bool objectstore_is_url(const char *location)
{
    struct str s = str_from(location);
    return str_starts(s, "gs://") || str_starts(s, "s3://") || str_starts(s, "https://") ||
           str_starts(s, "http://");
}

static bool bucket_is_fine(struct str b)
{
    if (b.n == 0 || b.n > LIMIT_BUCKET_BYTES || b.p[0] == '.' || b.p[b.n - 1] == '.')
        return false;
    for (size_t i = 0; i < b.n; i++) {
        char c = b.p[i];
        bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_' || c == '.';
        if (!fine || (c == '.' && b.p[i + 1] == '.'))
            return false;
    }
    return true;
}

/* @rest is what follows "gs://". */
static enum rc parse_bucket(const char *rest, struct location *l, struct err *err)
{
    const char *slash = strchr(rest, '/');
    struct str bucket = {rest, slash ? (size_t)(slash - rest) : strlen(rest)};
    const char *key = slash ? slash + 1 : "";
    if (!bucket_is_fine(bucket))
        return err_set(err, RC_INVALID, "'%.300s' does not begin with a bucket's name", l->text);
    if (strlen(key) > LIMIT_KEY_BYTES)
        return err_set(err, RC_INVALID, "'%.100s...': an object's name has at most %d bytes",
                       l->text, LIMIT_KEY_BYTES);
    l->bucket = x_strndup(bucket.p, bucket.n);
    l->key = x_strdup(key);
    return RC_OK;
}

/* For messages: a line break in a name must not look like the end of one. */
static char *shown(const char *url)
{
    char *text = x_strdup(url);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    return text;
}

enum rc location_parse(const char *url, struct location *ret, struct err *err)
{
    struct location l = {.kind = LOCATION_LOCAL, .text = shown(url)};
    struct str s = str_from(url);
    enum rc rc = RC_OK;
    if (str_starts(s, "gs://") || str_starts(s, "s3://")) {
        l.kind = s.p[0] == 'g' ? LOCATION_GS : LOCATION_S3;
        rc = parse_bucket(url + 5, &l, err);
    } else if (str_starts(s, "https://") || str_starts(s, "http://")) {
        l.kind = LOCATION_HTTPS;
        mem_free(l.text);
        l.text = net_url_display(url);
        l.key = x_strdup(url);
    } else if (strstr(url, "://") || s.n == 0) {
        rc = err_set(err, RC_INVALID, "'%.300s' is none of a path, gs://, s3:// and https://",
                     l.text);
    } else {
        l.key = x_strdup(url);
    }
    if (rc == RC_OK)
        *ret = l;
    else
        location_done(&l);
    return rc;
}

void location_done(struct location *l)
{
    mem_free(l->text);
    mem_free(l->bucket);
    mem_free(l->key);
    *l = (struct location){0};
}
