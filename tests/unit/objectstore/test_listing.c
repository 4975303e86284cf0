/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of listings, well-formed, odd, malformed and cut at every byte. */
#include "base/mem.h"
#include "objectstore/objectstore_int.h"
#include "unit.h"

static char *summary(const struct listing *l)
{
    struct buf b;
    buf_init(&b, 1u << 16);
    for (size_t i = 0; i < l->n_items; i++)
        buf_printf(&b, "%s:%llu:%s;", l->items[i].name, (unsigned long long)l->items[i].size_bytes,
                   l->items[i].tag ? l->items[i].tag : "");
    buf_printf(&b, "%s", l->next_page ? l->next_page : "");
    return buf_take_cstr(&b, NULL);
}

#define CONTENTS(key, size) "<Contents><Key>" key "</Key><Size>" size "</Size></Contents>"
#define RESULT(inside) "<ListBucketResult xmlns='http://s3'>" inside "</ListBucketResult>"

static const struct {
    const char *why;
    bool is_xml;
    const char *text, *prefix;
    enum rc rc;
    const char *seen;
} rows[] = {
    {"no objects", false, "{}", "p/", RC_OK, ""},
    {"one", false,
     "{\"items\":[{\"name\":\"p/"
     "a\",\"size\":\"7\",\"generation\":\"99\",\"updated\":\"2026-07-01T00:00:00Z\"}]}",
     "p/", RC_OK, "a:7:99;"},
    {"a size that is a number", false, "{\"items\":[{\"name\":\"p/a\",\"size\":7}]}", "p/", RC_OK,
     "a:7:;"},
    {"a whole bucket", false, "{\"items\":[{\"name\":\"a\",\"size\":\"0\"}]}", "", RC_OK, "a:0:;"},
    {"the prefix itself", false, "{\"items\":[{\"name\":\"p/\",\"size\":\"0\"}]}", "p/", RC_OK, ""},
    {"more to come", false, "{\"nextPageToken\":\"t/+=\"}", "", RC_OK, "t/+="},
    {"an empty token is none", false, "{\"nextPageToken\":\"\"}", "", RC_OK, ""},
    {"unknown members", false,
     "{\"kind\":\"x\",\"prefixes\":[\"q\"],\"items\":[{\"name\":\"a\",\"size\":\"1\",\"x\":{}}]}",
     "", RC_OK, "a:1:;"},
    {"not under the prefix", false, "{\"items\":[{\"name\":\"q/a\",\"size\":\"1\"}]}", "p/",
     RC_INVALID, ""},
    {"shorter than the prefix", false, "{\"items\":[{\"name\":\"p\",\"size\":\"1\"}]}", "p/",
     RC_INVALID, ""},
    {"no name", false, "{\"items\":[{\"size\":\"1\"}]}", "", RC_INVALID, ""},
    {"no size", false, "{\"items\":[{\"name\":\"a\"}]}", "", RC_INVALID, ""},
    {"a size past 64 bits", false,
     "{\"items\":[{\"name\":\"a\",\"size\":\"18446744073709551616\"}]}", "", RC_INVALID, ""},
    {"a negative size", false, "{\"items\":[{\"name\":\"a\",\"size\":\"-1\"}]}", "", RC_INVALID,
     ""},
    {"a list", false, "[]", "", RC_INVALID, ""},
    {"a key twice", false, "{\"items\":[],\"items\":[]}", "", RC_INVALID, ""},
    {"no objects", true, RESULT(""), "p/", RC_OK, ""},
    {"one", true,
     RESULT("<Contents><Key>p/a</Key><LastModified>2026-07-01T00:00:00.000Z</"
            "LastModified><ETag>&quot;e&quot;"
            "</ETag><Size>7</Size></Contents>"),
     "p/", RC_OK, "a:7:\"e\";"},
    {"an ETag without quotes", true,
     RESULT("<Contents><Key>a</Key><ETag>e</ETag><Size>7</Size></Contents>"), "", RC_OK,
     "a:7:\"e\";"},
    {"two, members in another order", true,
     RESULT("<Contents><Size>1</Size><Key>a</Key></Contents>" CONTENTS("b", "2")), "", RC_OK,
     "a:1:;b:2:;"},
    {"encoded, said after the keys", true,
     RESULT(CONTENTS("p/a+b%2Bc%25", "1") "<EncodingType>url</EncodingType>"), "p/", RC_OK,
     "a b+c%:1:;"},
    {"not encoded", true, RESULT(CONTENTS("p/a+b%2B", "1")), "p/", RC_OK, "a+b%2B:1:;"},
    {"encoded badly", true,
     RESULT("<EncodingType>url</EncodingType>" CONTENTS("a%2", "1") CONTENTS("b%zz", "1")), "",
     RC_OK, "a%2:1:;b%zz:1:;"},
    {"an encoded NUL", true, RESULT("<EncodingType>url</EncodingType>" CONTENTS("a%00b", "1")), "",
     RC_INVALID, ""},
    {"more to come", true,
     RESULT("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"), "",
     RC_OK, "t"},
    {"a token at the end is none", true,
     RESULT("<IsTruncated>false</IsTruncated><NextContinuationToken>t</NextContinuationToken>"), "",
     RC_OK, ""},
    {"cut without a token", true, RESULT("<IsTruncated>true</IsTruncated>"), "", RC_INVALID, ""},
    {"common prefixes do not count", true,
     RESULT("<CommonPrefixes><Prefix>q/</Prefix></CommonPrefixes>"), "", RC_OK, ""},
    {"the owner's names do not count", true,
     RESULT("<Contents><Owner><Key>x</Key></Owner><Key>a</Key><Size>1</Size></Contents>"), "",
     RC_OK, "a:1:;"},
    {"not under the prefix", true, RESULT(CONTENTS("q/a", "1")), "p/", RC_INVALID, ""},
    {"no size", true, RESULT("<Contents><Key>a</Key></Contents>"), "", RC_INVALID, ""},
    {"no key", true, RESULT("<Contents><Size>1</Size></Contents>"), "", RC_INVALID, ""},
    {"another document", true, "<Error><Code>x</Code></Error>", "", RC_INVALID, ""},
};

static enum rc parse(bool is_xml, struct str text, struct str prefix, struct listing *l)
{
    struct err err = ERR_INIT;
    return is_xml ? listing_parse_xml(text, prefix, l, &err)
                  : listing_parse_json(text, prefix, l, &err);
}

static void test_pages(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct listing l = {0};
        CHECK_INT(rows[i].why,
                  parse(rows[i].is_xml, str_from(rows[i].text), str_from(rows[i].prefix), &l),
                  rows[i].rc);
        AUTO(mem_free_auto) char *seen = summary(&l);
        CHECK_STR(rows[i].why, seen, rows[i].seen);
        listing_done(&l);
    }
}

/* A page that was cut on its way is never taken for a shorter one. */
static void test_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t n = 0; n < strlen(rows[i].text); n++) {
            struct listing l = {0};
            CHECK_INT(
                rows[i].why,
                parse(rows[i].is_xml, (struct str){rows[i].text, n}, str_from(rows[i].prefix), &l),
                RC_INVALID);
            CHECK_INT(rows[i].why, l.n_items, 0);
        }
}

static void test_name_limit(void **state)
{
    (void)state;
    char name[LIMIT_KEY_BYTES + 2];
    memset(name, 'x', sizeof name);
    struct listing l = {0};
    CHECK_INT("1,024 bytes",
              listing_add(&l, STR("xx"), (struct str){name, LIMIT_KEY_BYTES}, 0, 0, (struct str){0},
                          NULL),
              RC_OK);
    CHECK_INT("1,025 bytes",
              listing_add(&l, STR("xx"), (struct str){name, LIMIT_KEY_BYTES + 1}, 0, 0,
                          (struct str){0}, NULL),
              RC_INVALID);
    listing_done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_name_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
