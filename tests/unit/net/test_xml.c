/* SPDX-License-Identifier: Apache-2.0 */
/* The XML walk: leaves with their parents, entities, limits, and everything that is refused. */
#include "base/buf.h"
#include "net/xml.h"
#include "unit.h"

static enum rc on_text(void *arg, const char *parent, const char *name, struct str text,
                       struct err *err)
{
    struct buf *b = arg;
    if (strcmp(name, "stop") == 0)
        return err_set(err, RC_CORRUPT, "stopped");
    buf_printf(b, "%s/%s=%.*s;", parent, name, (int)text.n, text.p);
    return RC_OK;
}

static enum rc on_end(void *arg, const char *name, struct err *err)
{
    (void)err;
    buf_printf(arg, "-%s;", name);
    return RC_OK;
}

static void test_walk(void **state)
{
    (void)state;
    static const struct {
        const char *why, *text;
        enum rc rc;
        const char *seen;
    } rows[] = {
        {"a leaf at the top", "<a>x</a>", RC_OK, "/a=x;-a;"},
        {"leaves and a parent", "<a><b>1</b><c/></a>", RC_OK, "a/b=1;-b;a/c=;-c;-a;"},
        {"text beside children is none", "<a>x<b>1</b>y</a>", RC_OK, "a/b=1;-b;-a;"},
        {"entities", "<a>&lt;&amp;&#65;&quot;</a>", RC_OK, "/a=<&A\";-a;"},
        {"namespaces", "<n:a xmlns:n='u'><n:b>1</n:b></n:a>", RC_OK, "a/b=1;-b;-a;"},
        {"CDATA", "<a><![CDATA[<b>]]></a>", RC_OK, "/a=<b>;-a;"},
        {"a declaration", "<?xml version='1.0' encoding='UTF-8'?>\n<a>x</a>\n", RC_OK, "/a=x;-a;"},
        {"a caller's stop", "<a><b>1</b><stop/></a>", RC_CORRUPT, "a/b=1;-b;"},
        {"empty", "", RC_INVALID, ""},
        {"not closed", "<a>", RC_INVALID, ""},
        {"two roots", "<a/><a/>", RC_INVALID, "/a=;-a;"},
        {"an unknown entity", "<a>&x;</a>", RC_INVALID, ""},
        {"a document type", "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", RC_INVALID, ""},
        {"an external one", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", RC_INVALID, ""},
        {"an attack by entities", "<!DOCTYPE a [<!ENTITY x '&y;&y;'><!ENTITY y 'zz'>]><a>&x;</a>",
         RC_INVALID, ""},
        {"sixteen levels",
         "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><b/></a></a></a></a></a></a></a></a></a></a>"
         "</a></a></a></a></a>",
         RC_OK, NULL},
        {"seventeen levels",
         "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><b/></a></a></a></a></a></a></a></a></a>"
         "</a></a></a></a></a></a></a>",
         RC_INVALID, NULL},
        {"a long name",
         "<aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/>",
         RC_INVALID, ""},
        {"invalid UTF-8", "<a>\xff</a>", RC_INVALID, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b;
        struct err err = ERR_INIT;
        buf_init(&b, 4096);
        const struct xml_events events = {on_text, on_end, &b};
        CHECK_INT(rows[i].why, xml_walk(str_from(rows[i].text), &events, &err), rows[i].rc);
        if (rows[i].seen)
            CHECK_STR(rows[i].why, buf_cstr(&b), rows[i].seen);
        buf_done(&b);
    }
}

static void test_text_limit(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        struct buf text, b;
        struct err err = ERR_INIT;
        buf_init(&text, 1u << 20);
        buf_init(&b, 1u << 20);
        const struct xml_events events = {on_text, NULL, &b};
        buf_put_literal(&text, "<a>");
        for (size_t i = 0; i < LIMIT_XML_TEXT_BYTES + over; i++)
            buf_putc(&text, 'x');
        buf_put_literal(&text, "</a>");
        CHECK_INT("text at the limit and one past it",
                  xml_walk((struct str){text.p, text.n}, &events, &err), over ? RC_INVALID : RC_OK);
        buf_done(&text);
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_text_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
