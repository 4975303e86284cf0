/* SPDX-License-Identifier: Apache-2.0 */
/* What may be fetched (S-12): schemes, users, and addresses in every spelling, refused before any
 * I/O. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/mem.h"
#include "net/net_int.h"
#include "unit.h"

#define PUBLIC NET_REACH_PUBLIC
#define NAMED NET_REACH_NAMED

static const struct {
    const char *why, *url;
    enum net_reach reach;
    bool allow_loopback, is_redirect;
    enum rc rc;
} checks[] = {
    {"https", "https://example.com/a?b=c", PUBLIC, false, false, RC_OK},
    {"a port", "https://example.com:8443/a", PUBLIC, false, false, RC_OK},
    {"a public address", "https://192.0.2.1/a", PUBLIC, false, false, RC_OK},
    {"private networks are the operator's own", "https://10.0.0.1/a", PUBLIC, false, false, RC_OK},
    {"http", "http://example.com/a", PUBLIC, false, false, RC_INVALID},
    {"http in a trial may turn out to be loopback", "http://example.com/a", PUBLIC, true, false,
     RC_OK},
    {"http to a public address is not", "http://192.0.2.1/a", PUBLIC, true, false, RC_INVALID},
    {"http to loopback in a trial", "http://127.0.0.1:1/a", PUBLIC, true, false, RC_OK},
    {"https to loopback", "https://127.0.0.1/", PUBLIC, false, false, RC_INVALID},
    {"https to IPv6 loopback in a trial", "https://[::1]/", PUBLIC, true, false, RC_OK},
    {"link-local stays refused in a trial", "https://169.254.169.254/", PUBLIC, true, false,
     RC_INVALID},
    {"a named endpoint", "http://127.0.0.1:9000/a", NAMED, false, false, RC_OK},
    {"a named metadata server", "http://169.254.169.254/", NAMED, false, false, RC_OK},
    {"a redirect to https", "https://example.com/", PUBLIC, false, true, RC_OK},
    {"a redirect to http", "http://127.0.0.1/", PUBLIC, true, true, RC_INVALID},
    {"a redirect of a named endpoint to http", "http://127.0.0.1/", NAMED, true, true, RC_INVALID},
    {"a user", "https://user@example.com/", PUBLIC, false, false, RC_INVALID},
    {"a user and password", "https://user:pw@example.com/", NAMED, true, false, RC_INVALID},
    {"a user that looks like a host", "https://example.com@169.254.169.254/", PUBLIC, false, false,
     RC_INVALID},
    {"a fragment", "https://example.com/a#b", PUBLIC, false, false, RC_INVALID},
    {"no scheme", "example.com/a", PUBLIC, false, false, RC_INVALID},
    {"no host", "https://", PUBLIC, false, false, RC_INVALID},
    {"empty", "", PUBLIC, false, false, RC_INVALID},
    {"file", "file:///etc/passwd", PUBLIC, true, false, RC_INVALID},
    {"file for a named endpoint", "file:///etc/passwd", NAMED, true, false, RC_INVALID},
    {"file with a host", "file://localhost/etc/passwd", PUBLIC, true, false, RC_INVALID},
    {"FILE", "FILE:///etc/passwd", PUBLIC, true, false, RC_INVALID},
    {"ftp", "ftp://example.com/a", PUBLIC, true, false, RC_INVALID},
    {"gopher", "gopher://127.0.0.1:6379/_FLUSHALL", NAMED, true, false, RC_INVALID},
    {"dict", "dict://127.0.0.1:11211/stats", NAMED, true, false, RC_INVALID},
    {"data", "data:text/plain,x", PUBLIC, true, false, RC_INVALID},
    {"javascript", "javascript:alert(1)", PUBLIC, true, false, RC_INVALID},
    {"ldap", "ldap://example.com/", PUBLIC, true, false, RC_INVALID},
    {"a line break", "https://example.com/a\r\nx: y", PUBLIC, false, false, RC_INVALID},
    {"a space in the host", "https://exa mple.com/", PUBLIC, false, false, RC_INVALID},
    {"an IPv6 zone", "https://[fe80::1%25eth0]/", PUBLIC, true, false, RC_INVALID},
};

static void test_url_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        struct err err = ERR_INIT;
        enum rc rc = url_check(checks[i].url, checks[i].reach, checks[i].allow_loopback,
                               checks[i].is_redirect, &err);
        CHECK_INT(checks[i].why, rc, checks[i].rc);
        CHECK_INT(checks[i].why, strstr(err.message, "pw") == NULL, true);
    }
}

static const char *const forbidden_ipv4[] = {
    "127.0.0.1",       "127.0.0.2",   "127.255.255.254", "127.1.2.3", "169.254.169.254",
    "169.254.170.2",   "169.254.0.1", "169.254.255.255", "0.0.0.0",   "0.1.2.3",
    "100.100.100.200", "224.0.0.1",   "239.255.255.250", "240.0.0.1", "255.255.255.255",
};
static const char *const spellings[] = {
    "https://%u.%u.%u.%u/",
    "https://%u.%u.%u.%u:8443/",
    "https://0x%x.0x%x.0x%x.0x%x/",
    "https://0%o.0%o.0%o.0%o/",
    "https://0x%x.%u.0%o.%u/",
    "https://[::ffff:%u.%u.%u.%u]/",
    "https://[::%u.%u.%u.%u]/",
    "https://[64:ff9b::%u.%u.%u.%u]/",
    "https://[0:0:0:0:0:ffff:%u.%u.%u.%u]:443/",
    "https://[2002:%02x%02x:%02x%02x::1]/",
};
static const char *const whole_spellings[] = {"https://%u/", "https://0x%x/", "https://0%o/"};

static void check_refused(const char *url, size_t *n)
{
    CHECK_INT(url, url_check(url, PUBLIC, false, false, NULL), RC_INVALID);
    CHECK_INT(url, url_check(url, PUBLIC, false, true, NULL), RC_INVALID);
    ++*n;
}

static void test_spellings(void **state)
{
    (void)state;
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(forbidden_ipv4); i++) {
        struct in_addr in;
        assert_int_equal(inet_pton(AF_INET, forbidden_ipv4[i], &in), 1);
        uint32_t a = ntohl(in.s_addr);
        unsigned b[4] = {a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255};
        char url[128];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        for (size_t k = 0; k < ARRAY_LEN(spellings); k++) {
            (void)snprintf(url, sizeof url, spellings[k], b[0], b[1], b[2], b[3]);
            check_refused(url, &n);
        }
        for (size_t k = 0; k < ARRAY_LEN(whole_spellings); k++) {
            (void)snprintf(url, sizeof url, whole_spellings[k], a);
            check_refused(url, &n);
        }
#pragma GCC diagnostic pop
        (void)snprintf(url, sizeof url, "https://%u.%u.%u/", b[0], b[1], b[2] << 8 | b[3]);
        check_refused(url, &n);
        (void)snprintf(url, sizeof url, "https://%u.%u/", b[0], b[1] << 16 | b[2] << 8 | b[3]);
        check_refused(url, &n);
    }
    static const char *const others[] = {
        "https://[::1]/",
        "https://[::]/",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://[fe80::1]/",
        "https://[febf::1]/",
        "https://[ff02::1]/",
        "https://[fd00:ec2::254]/",
        "https://[FE80::1]/",
        "https://127.1/",
        "https://0/",
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        check_refused(others[i], &n);
    assert_true(n >= 200); /* S-12 asks for as many */
}

static void test_encode(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    net_url_encode(&b, STR("aZ09-_.~ +/?#&=%\xc3\xa9:@!$'()*,;"), false);
    CHECK_STR("everything but unreserved", buf_cstr(&b),
              "aZ09-_.~%20%2B%2F%3F%23%26%3D%25%C3%A9%3A%40%21%24%27%28%29%2A%2C%3B");
    buf_reset(&b);
    net_url_encode(&b, STR("a//b/../c d"), true);
    CHECK_STR("slashes kept", buf_cstr(&b), "a//b/../c%20d");
    buf_done(&b);
}

static void test_display(void **state)
{
    (void)state;
    static const struct {
        const char *why, *url, *shown;
    } rows[] = {
        {"no query", "https://h/p?X-Amz-Signature=secret", "https://h/p"},
        {"no user", "https://user:secret@h:1/p", "https://h:1/p"},
        {"not a URL", "::", "(not a URL)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(mem_free_auto) char *shown = net_url_display(rows[i].url);
        CHECK_STR(rows[i].why, shown, rows[i].shown);
    }
}

static void test_origin(void **state)
{
    (void)state;
    static const struct {
        const char *why, *a, *b;
        bool same;
    } rows[] = {
        {"paths differ", "https://h/a", "https://h/b?c", true},
        {"the default port, spelled out", "https://h/a", "https://h:443/", true},
        {"case of the host", "https://H/", "https://h/", true},
        {"another port", "https://h/", "https://h:8443/", false},
        {"another scheme", "http://h:443/", "https://h:443/", false},
        {"a longer name", "https://h.example/", "https://h.example.evil/", false},
        {"not a URL", "h", "h", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_INT(rows[i].why, net_url_same_origin(rows[i].a, rows[i].b), rows[i].same);
}

static void test_resolve(void **state)
{
    (void)state;
    static const struct {
        const char *why, *base, *location, *url;
    } rows[] = {
        {"absolute", "https://a/b", "https://c/d", "https://c/d"},
        {"a path", "https://a/b/c?q", "/d", "https://a/d"},
        {"relative", "https://a/b/c", "d?e=f", "https://a/b/d?e=f"},
        {"scheme-relative", "https://a/b", "//c/d", "https://c/d"},
        {"a fragment goes", "https://a/b", "/c#d", "https://a/c"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(mem_free_auto) char *url = url_resolve(rows[i].base, rows[i].location);
        CHECK_STR(rows[i].why, url ? url : "NULL", rows[i].url);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_url_check), cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_encode),    cmocka_unit_test(test_display),
        cmocka_unit_test(test_origin),    cmocka_unit_test(test_resolve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
