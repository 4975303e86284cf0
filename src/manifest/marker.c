/* SPDX-License-Identifier: Apache-2.0 */
/* A Databricks transaction marker: {"added":[names],"removed":[names]}. */
#include "base/mem.h"
#include "manifest/manifest_int.h"

#define LIMIT_MARKER_MEMORY (UINT64_C(256) << 20)

/* Markers name bare files under their prefix: no step into or out of a directory. */
static bool is_bare_name(struct str s)
{
    if (s.n == 0 || s.n > 1024 || s.p[0] == '.')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f || s.p[i] == '/' || s.p[i] == '\\')
            return false;
    return true;
}

enum rc commit_marker_parse(struct str text, char ***ret_names, size_t *ret_n, struct err *err)
{
    struct arena arena;
    enum rc rc = RC_OK;
    size_t n = 0;
    arena_init(&arena, LIMIT_MARKER_MEMORY);
    const struct node *root = json_parse(text, &arena, err);
    const struct node *added = node_get(root, "added");
    char **names = NULL;
    if (!root) {
        arena_done(&arena);
        return err ? err->rc : RC_INVALID;
    }
    if (!added || added->kind != NODE_LIST) {
        rc = err_set_code(err, RC_INVALID, "invalid_marker", "the marker has no `added` list");
    } else if (added->n_children > LIMIT_MANIFEST_FILES) {
        rc = err_set_code(err, RC_INVALID, "invalid_marker", "the marker lists more than %d files",
                          LIMIT_MANIFEST_FILES);
    } else {
        names = x_array0(added->n_children + 1, sizeof *names);
        for (const struct node *item = added->first; item && rc == RC_OK; item = item->next) {
            if (item->kind != NODE_STRING || !is_bare_name(item->text))
                rc = err_set_code(err, RC_INVALID, "invalid_marker",
                                  "added[%zu] is not a bare file name", n);
            else
                names[n++] = x_strndup(item->text.p, item->text.n);
        }
    }
    arena_done(&arena);
    if (rc != RC_OK) {
        for (size_t i = 0; i < n; i++)
            mem_free(names[i]);
        mem_free(names);
        return rc;
    }
    *ret_names = names;
    *ret_n = n;
    return RC_OK;
}
