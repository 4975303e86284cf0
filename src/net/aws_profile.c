/* SPDX-License-Identifier: Apache-2.0 */
/* The shared credentials and config files: ini text, of which one profile is read. */
#include <string.h>

#include "base/mem.h"
#include "net/credentials_int.h"

void aws_profile_done(struct aws_profile *p)
{
    char *all[] = {
        p->key_id,        p->secret, p->session_token, p->role_arn, p->web_identity_token_file,
        p->source_profile};
    if (p->secret)
        explicit_bzero(p->secret, strlen(p->secret));
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        mem_free(all[i]);
    *p = (struct aws_profile){0};
}

static struct str trim(struct str s)
{
    while (s.n && (unsigned char)s.p[0] <= 0x20)
        s = (struct str){s.p + 1, s.n - 1};
    while (s.n && (unsigned char)s.p[s.n - 1] <= 0x20)
        s.n--;
    return s;
}

/* "[name]", in a config file "[profile name]" for all but the default. */
static bool is_section(struct str line, const char *name, bool is_config)
{
    const char *end = memchr(line.p, ']', line.n);
    struct str inside = trim((struct str){line.p + 1, end ? (size_t)(end - line.p - 1) : 0});
    if (is_config && inside.n > 7 && str_starts(inside, "profile") &&
        (inside.p[7] == ' ' || inside.p[7] == '\t'))
        return str_is(trim((struct str){inside.p + 7, inside.n - 7}), name);
    return str_is(inside, name) && (!is_config || strcmp(name, "default") == 0);
}

static void set(struct aws_profile *p, struct str key, struct str value)
{
    const struct {
        const char *key;
        char **at;
    } known[] = {
        {"aws_access_key_id", &p->key_id},
        {"aws_secret_access_key", &p->secret},
        {"aws_session_token", &p->session_token},
        {"role_arn", &p->role_arn},
        {"web_identity_token_file", &p->web_identity_token_file},
        {"source_profile", &p->source_profile},
        {"credential_source", &p->source_profile}, /* as little supported */
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq_nocase(key, str_from(known[i].key)) && !*known[i].at && value.n)
            *known[i].at = x_strndup(value.p, value.n);
}

void aws_profile_parse(struct str text, const char *name, bool is_config, struct aws_profile *p)
{
    bool inside = false;
    while (text.n) {
        const char *end = memchr(text.p, '\n', text.n);
        struct str line = {text.p, end ? (size_t)(end - text.p) : text.n};
        bool is_nested =
            line.n && (line.p[0] == ' ' || line.p[0] == '\t'); /* "s3 =" and its like */
        text = end ? (struct str){end + 1, text.n - line.n - 1} : (struct str){0};
        line = trim(line);
        if (line.n == 0 || line.p[0] == '#' || line.p[0] == ';')
            continue;
        if (line.p[0] == '[') {
            inside = is_section(line, name, is_config);
            p->found |= inside;
            continue;
        }
        const char *equals = memchr(line.p, '=', line.n);
        if (!inside || is_nested || !equals)
            continue;
        struct str key = trim((struct str){line.p, (size_t)(equals - line.p)});
        set(p, key, trim((struct str){equals + 1, (size_t)(line.p + line.n - equals - 1)}));
    }
}
