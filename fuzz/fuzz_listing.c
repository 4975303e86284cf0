/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of listings. The first byte chooses JSON or XML, the second the prefix. Whatever is
 * accepted has names without the prefix, not empty, without NUL and within the limit; what is
 * refused leaves nothing.
 */
#include <assert.h>
#include <string.h>

#include "fuzz.h"
#include "objectstore/objectstore_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    struct str text = {(const char *)data + 2, n - 2};
    struct str prefix = data[1] & 1 ? STR("p/") : (struct str){0};
    struct listing l = {0};
    struct err err = ERR_INIT;
    enum rc rc = data[0] & 1 ? listing_parse_xml(text, prefix, &l, &err)
                             : listing_parse_json(text, prefix, &l, &err);
    assert(rc == RC_OK || (rc == err.rc && err.message[0] && l.n_items == 0 && !l.next_page));
    for (size_t i = 0; i < l.n_items; i++) {
        size_t name_n = strlen(l.items[i].name);
        assert(name_n > 0 && name_n + prefix.n <= LIMIT_KEY_BYTES);
    }
    assert(!l.next_page || l.next_page[0]);
    listing_done(&l);
    return 0;
}
