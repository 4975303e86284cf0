/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a manifest's files may be. A manifest in a project may not leave it; one in a bucket stays
 * in its bucket; URLs may go only where the origin allows. Nothing is opened here.
 */

#include "base/io.h"
#include "base/mem.h"
#include "manifest/manifest_int.h"

bool url_is_remote(struct str s)
{
    return str_starts(s, "gs://") || str_starts(s, "s3://") || str_starts(s, "https://") ||
           str_starts(s, "http://");
}

struct str url_authority(struct str url)
{
    const char *slashes = url.n > 3 ? memmem(url.p, url.n, "://", 3) : NULL;
    if (!slashes)
        return (struct str){url.p, 0};
    const char *from = slashes + 3, *end = url.p + url.n;
    const char *to = from;
    while (to < end && *to != '/' && *to != '?' && *to != '#')
        to++;
    return (struct str){from, (size_t)(to - from)};
}

static bool has_bad_byte(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return true;
    return false;
}

static bool has_parent_step(struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t n = 0;
        while (i + n < s.n && s.p[i + n] != '/')
            n++;
        if (n == 2 && s.p[i] == '.' && s.p[i + 1] == '.')
            return true;
        i += n + 1;
    }
    return false;
}

static struct str scheme_of(struct str url)
{
    const char *colon = memchr(url.p, ':', url.n);
    return (struct str){url.p, colon ? (size_t)(colon - url.p) : 0};
}

/* A URL in the manifest: is its bucket or host one the manifest may name? */
static bool is_allowed_url(const struct manifest_origin *o, struct str url)
{
    struct str authority = url_authority(url), home = str_from(o->location);
    if (!url_is_remote(home))
        return true;
    if (str_eq(authority, url_authority(home)) && str_eq(scheme_of(url), scheme_of(home)))
        return true;
    for (size_t i = 0; i < o->n_allow; i++)
        if (str_is(authority, o->allow[i]))
            return true;
    return false;
}

static char *resolve_url(struct manifest_reader *r, struct str path, const char *at)
{
    struct str authority = url_authority(path);
    if (authority.n == 0 || memchr(authority.p, '@', authority.n)) {
        manifest_finding(r, at, "unsafe_path", "is not a URL of a file");
        return NULL;
    }
    if (!is_allowed_url(r->origin, path)) {
        manifest_finding(r, at, "unsafe_path",
                         "names another bucket or host than the manifest's; list it under the "
                         "source's `allow`");
        return NULL;
    }
    if (has_parent_step(path)) {
        manifest_finding(r, at, "unsafe_path", "must not hold `..`");
        return NULL;
    }
    return x_strndup(path.p, path.n);
}

static char *resolve_beside_url(struct manifest_reader *r, struct str path, const char *at)
{
    struct str home = str_from(r->origin->location);
    if (path.p[0] == '/' || has_parent_step(path)) {
        manifest_finding(r, at, "unsafe_path",
                         "must be relative to the manifest and not leave its directory");
        return NULL;
    }
    size_t n = home.n;
    while (n > 0 && home.p[n - 1] != '/')
        n--;
    return x_printf("%.*s%.*s", (int)n, home.p, (int)path.n, path.p);
}

static bool is_within(const char *path, const char *root)
{
    size_t n = strlen(root);
    if (n && root[n - 1] == '/')
        n--;
    return strncmp(path, root, n) == 0 && path[n] == '/';
}

static char *resolve_local(struct manifest_reader *r, struct str path, const char *at)
{
    const struct manifest_origin *o = r->origin;
    AUTO(mem_free_auto) char *written = x_strndup(path.p, path.n);
    if (path.p[0] == '/' && o->project_root) {
        manifest_finding(r, at, "unsafe_path", "must be relative: the manifest lives in a project");
        return NULL;
    }
    const char *slash = strrchr(o->location, '/');
    AUTO(mem_free_auto) char *directory =
        slash ? x_strndup(o->location, (size_t)(slash - o->location) + 1) : x_strdup(".");
    char *joined = path_join(directory, written);
    /* Symbolic links first: what counts is where the bytes are. A missing file is found later. */
    if (!o->project_root)
        return joined;
    AUTO(mem_free_auto) char *resolved = path_real(joined);
    bool inside = resolved ? is_within(resolved, o->project_root) : !has_parent_step(path);
    mem_free(joined);
    joined = resolved ? TAKE(resolved) : path_join(directory, written);
    if (inside)
        return joined;
    mem_free(joined);
    manifest_finding(r, at, "unsafe_path", "leaves the project");
    return NULL;
}

char *manifest_resolve_path(struct manifest_reader *r, struct str path, const char *at,
                            bool *ret_remote)
{
    bool home_is_remote = url_is_remote(str_from(r->origin->location));
    *ret_remote = home_is_remote || url_is_remote(path);
    if (path.n == 0) {
        manifest_finding(r, at, "invalid_value", "must not be empty");
        return NULL;
    }
    if (path.n > 4096 || has_bad_byte(path)) {
        manifest_finding(r, at, "unsafe_path", "is too long or holds control characters");
        return NULL;
    }
    if (url_is_remote(path))
        return resolve_url(r, path, at);
    if (memmem(path.p, path.n, "://", 3)) {
        manifest_finding(r, at, "unsafe_path", "must be gs://, s3://, https:// or a path");
        return NULL;
    }
    if (home_is_remote)
        return resolve_beside_url(r, path, at);
    return resolve_local(r, path, at);
}
