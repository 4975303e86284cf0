/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XML answers as a walk over their elements that hold text and nothing else. No document type is
 * accepted, so no entity can be defined. Limits: depth 16, 16 KiB of text an element.
 */
#ifndef OFFLOADER_NET_XML_H
#define OFFLOADER_NET_XML_H

#include "base/err.h"
#include "base/str.h"

#define LIMIT_XML_DEPTH 16
#define LIMIT_XML_TEXT_BYTES 16384

struct xml_events { /* what they return other than RC_OK ends the walk with it */
    /* Names without namespace; parent "" at the top. @text borrowed for the call. */
    enum rc (*on_text)(void *arg, const char *parent, const char *name, struct str text,
                       struct err *err);
    enum rc (*on_end)(void *arg, const char *name,
                      struct err *err); /* of every element; may be NULL */
    void *arg;
};
/* RC_INVALID when @text is not well-formed or passes a limit. */
MUST_CHECK enum rc xml_walk(struct str text, const struct xml_events *events, struct err *err);

#endif
