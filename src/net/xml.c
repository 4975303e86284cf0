/* SPDX-License-Identifier: Apache-2.0 */
/* expat, wrapped: a stack of names and the text of the innermost element. */
#include "net/xml.h"

#include <expat.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define LIMIT_NAME_BYTES 64

struct walk {
    XML_Parser parser;
    const struct xml_events *events;
    char names[LIMIT_XML_DEPTH + 1][LIMIT_NAME_BYTES]; /* [0] is "" */
    int depth;
    bool has_children; /* of the innermost element that is open */
    struct buf text;
    enum rc rc;
    struct err why;
};

static void stop(struct walk *w, enum rc rc)
{
    w->rc = rc;
    (void)XML_StopParser(w->parser, XML_FALSE); /* fails only when it has stopped */
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct walk *w = arg;
    const char *colon = strrchr(name, ':');
    const char *plain = colon ? colon + 1 : name;
    (void)attributes;
    if (w->depth == LIMIT_XML_DEPTH || strlen(plain) >= LIMIT_NAME_BYTES) {
        stop(w, err_set(&w->why, RC_INVALID, "XML is nested too deeply or has too long a name"));
        return;
    }
    w->depth++;
    memcpy(w->names[w->depth], plain, strlen(plain) + 1);
    w->has_children = false;
    buf_reset(&w->text);
}

static void XMLCALL on_characters(void *arg, const XML_Char *p, int n)
{
    struct walk *w = arg;
    buf_put(&w->text, p, (size_t)n);
    if (w->text.failed && w->rc == RC_OK)
        stop(w, buf_rc(&w->text) == RC_NO_MEMORY
                    ? err_set(&w->why, RC_NO_MEMORY, "out of memory for XML")
                    : err_set(&w->why, RC_INVALID, "an XML element has more than %d bytes",
                              LIMIT_XML_TEXT_BYTES));
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
    struct walk *w = arg;
    const struct xml_events *e = w->events;
    enum rc rc = RC_OK;
    (void)name;
    if (w->rc != RC_OK)
        return; /* expat still ends an empty element whose start stopped it */
    if (!w->has_children)
        rc = e->on_text(e->arg, w->names[w->depth - 1], w->names[w->depth],
                        (struct str){w->text.p, w->text.n}, &w->why);
    if (rc == RC_OK && e->on_end)
        rc = e->on_end(e->arg, w->names[w->depth], &w->why);
    w->depth--;
    w->has_children = true;
    buf_reset(&w->text);
    if (rc != RC_OK)
        stop(w, rc);
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public, int has_internal)
{
    struct walk *w = arg;
    (void)name, (void)system, (void)public, (void)has_internal;
    stop(w, err_set(&w->why, RC_INVALID, "XML with a document type is refused"));
}

enum rc xml_walk(struct str text, const struct xml_events *events, struct err *err)
{
    struct walk w = {.events = events};
    w.parser = XML_ParserCreate(NULL);
    if (!w.parser)
        return err_set(err, RC_NO_MEMORY, "out of memory for an XML parser");
    buf_init(&w.text, LIMIT_XML_TEXT_BYTES);
    XML_SetUserData(w.parser, &w);
    XML_SetElementHandler(w.parser, on_start, on_end);
    XML_SetCharacterDataHandler(w.parser, on_characters);
    XML_SetStartDoctypeDeclHandler(w.parser, on_doctype);
    bool fits = text.n <= INT32_MAX;
    enum XML_Status status =
        fits ? XML_Parse(w.parser, text.p ? text.p : "", (int)text.n, 1) : XML_STATUS_ERROR;
    if (w.rc != RC_OK)
        err_copy(err, &w.why);
    else if (status != XML_STATUS_OK)
        w.rc = err_set(err, RC_INVALID, "the XML is malformed: %s",
                       XML_ErrorString(XML_GetErrorCode(w.parser)));
    XML_ParserFree(w.parser);
    buf_done(&w.text);
    return w.rc;
}
