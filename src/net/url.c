/* SPDX-License-Identifier: Apache-2.0 */
/* URLs by libcurl's own parser, so that what is checked is what is connected to. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "base/mem.h"
#include "net/net_int.h"

static void curlu_auto(CURLU **u)
{
    curl_url_cleanup(*u);
}

static void curl_free_auto(char **p)
{
    curl_free(*p);
}

static CURLU *parse(const char *url)
{
    CURLU *u = curl_url();
    /* Only a scheme that is spelled out; no guessing. */
    if (u && (strlen(url) > NET_LIMIT_URL_BYTES ||
              curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)) {
        curl_url_cleanup(u);
        return NULL;
    }
    return u;
}

static char *part(CURLU *u, CURLUPart which, unsigned flags)
{
    char *text = NULL;
    return curl_url_get(u, which, &text, flags) == CURLUE_OK ? text : NULL;
}

void net_url_encode(struct buf *b, struct str s, bool keep_slashes)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '_' || c == '.' || c == '~' || (keep_slashes && c == '/');
        if (plain) {
            buf_putc(b, (char)c);
        } else {
            char code[3] = {'%', digits[c >> 4], digits[c & 15]};
            buf_put(b, code, sizeof code);
        }
    }
}

char *net_url_display(const char *url)
{
    AUTO(curlu_auto) CURLU *u = parse(url);
    AUTO(curl_free_auto) char *scheme = u ? part(u, CURLUPART_SCHEME, 0) : NULL;
    AUTO(curl_free_auto) char *host = u ? part(u, CURLUPART_HOST, 0) : NULL;
    AUTO(curl_free_auto) char *port = u ? part(u, CURLUPART_PORT, 0) : NULL;
    AUTO(curl_free_auto) char *path = u ? part(u, CURLUPART_PATH, 0) : NULL;
    if (!scheme || !host || !path)
        return x_strdup("(not a URL)");
    return x_printf("%s://%s%s%s%.512s", scheme, host, port ? ":" : "", port ? port : "", path);
}

char *url_origin(const char *url)
{
    AUTO(curlu_auto) CURLU *u = parse(url);
    AUTO(curl_free_auto) char *scheme = u ? part(u, CURLUPART_SCHEME, 0) : NULL;
    AUTO(curl_free_auto) char *host = u ? part(u, CURLUPART_HOST, 0) : NULL;
    AUTO(curl_free_auto) char *port = u ? part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT) : NULL;
    if (!scheme || !host || !port)
        return NULL;
    char *origin = x_printf("%s://%s:%s", scheme, host, port);
    for (char *p = origin; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return origin;
}

bool net_url_same_origin(const char *a, const char *b)
{
    AUTO(mem_free_auto) char *left = url_origin(a);
    AUTO(mem_free_auto) char *right = url_origin(b);
    return left && right && strcmp(left, right) == 0;
}

char *url_resolve(const char *base, const char *location)
{
    AUTO(curlu_auto) CURLU *u = parse(base);
    if (!u || strlen(location) > NET_LIMIT_URL_BYTES ||
        curl_url_set(u, CURLUPART_URL, location, CURLU_URLENCODE) != CURLUE_OK)
        return NULL;
    (void)curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0); /* removing a part cannot fail */
    AUTO(curl_free_auto) char *text = part(u, CURLUPART_URL, 0);
    return text ? x_strdup(text) : NULL;
}

/* A host that is an address is judged before anything is sent; names when they are resolved. */
static bool literal_is_allowed(const char *host, enum net_reach reach, bool allow_loopback,
                               bool is_http)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, host, &in.sin_addr) == 1)
        return address_is_allowed((const struct sockaddr *)&in, reach, allow_loopback, is_http);
    if (host[0] == '[') {
        char text[INET6_ADDRSTRLEN] = "";
        size_t n = strcspn(host + 1, "]%");
        if (n >= sizeof text)
            return false;
        memcpy(text, host + 1, n);
        return inet_pton(AF_INET6, text, &in6.sin6_addr) == 1 &&
               address_is_allowed((const struct sockaddr *)&in6, reach, allow_loopback, is_http);
    }
    return true;
}

enum rc url_check(const char *url, enum net_reach reach, bool allow_loopback, bool is_redirect,
                  struct err *err)
{
    AUTO(curlu_auto) CURLU *u = parse(url);
    AUTO(curl_free_auto) char *scheme = u ? part(u, CURLUPART_SCHEME, 0) : NULL;
    AUTO(curl_free_auto) char *host = u ? part(u, CURLUPART_HOST, 0) : NULL;
    AUTO(curl_free_auto) char *user = u ? part(u, CURLUPART_USER, 0) : NULL;
    AUTO(curl_free_auto) char *password = u ? part(u, CURLUPART_PASSWORD, 0) : NULL;
    AUTO(curl_free_auto) char *fragment = u ? part(u, CURLUPART_FRAGMENT, 0) : NULL;
    if (!scheme || !host || !*host)
        return err_set(err, RC_INVALID, "not a URL that can be fetched");
    AUTO(mem_free_auto) char *shown = net_url_display(url);
    bool is_http = strcmp(scheme, "http") == 0;
    if (!is_http && strcmp(scheme, "https") != 0)
        return err_set(err, RC_INVALID, "'%s': only https is fetched", shown);
    if (user || password)
        return err_set(err, RC_INVALID, "'%s': a URL may not carry a user name or password", shown);
    if (fragment)
        return err_set(err, RC_INVALID, "'%s': a '#' in a URL must be written %%23", shown);
    if (is_redirect && is_http)
        return err_set(err, RC_INVALID, "'%s': a redirect may only lead to https", shown);
    if (is_http && reach != NET_REACH_NAMED && !allow_loopback)
        return err_set(err, RC_INVALID,
                       "'%s': http is refused, use https (OFFLOADER_ALLOW_LOOPBACK=1 allows it to "
                       "loopback, for trials)",
                       shown);
    if (!literal_is_allowed(host, reach, allow_loopback, is_http))
        return err_set(err, RC_INVALID,
                       "'%s': loopback, link-local and metadata addresses are refused", shown);
    return RC_OK;
}
