/* SPDX-License-Identifier: Apache-2.0 */
/* offloader keys create | hash: mint API keys; only digests are ever stored. */
#include <stdio.h>
#include <string.h>

#include "auth/token.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/timeutil.h"
#include "cli/cli.h"
#include "markup/markup.h"

#define TOKEN_BYTES 24 /* 48 hex digits */
#define LIMIT_KEYS_FILE_BYTES (64u << 20)

static void hash_token(const char *token, size_t n, char ret[SHA256_HEX_BYTES])
{
    uint8_t digest[32];
    sha256(token, n, digest);
    hex_encode(digest, sizeof digest, ret);
}

static int run_hash(const struct command *c)
{
    char token[LIMIT_TOKEN_BYTES + 2], hex[SHA256_HEX_BYTES];
    size_t n = fread(token, 1, sizeof token - 1, stdin);
    while (n && (token[n - 1] == '\n' || token[n - 1] == '\r'))
        n--;
    if (n == 0 || n > LIMIT_TOKEN_BYTES)
        return usage_error(c, "give the token on stdin (1 to %d bytes)", LIMIT_TOKEN_BYTES);
    hash_token(token, n, hex);
    printf("%s\n", hex);
    return EXIT_FINE;
}

static void put_quoted(struct buf *b, const char *key, const char *value)
{
    buf_printf(b, "    %s: \"", key);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            buf_putc(b, '\\');
        buf_putc(b, *value);
    }
    buf_put_literal(b, "\"\n");
}

static void put_entry(struct buf *b, const char *id, const char *hash)
{
    const char *tenant = flag_text("tenant"), *expires = flag_text("expires-at");
    /* Names that YAML would take for something else than text. */
    bool is_word = strcmp(id, "null") == 0 || strcmp(id, "true") == 0 || strcmp(id, "false") == 0;
    buf_printf(b, is_word ? "  - id: \"%s\"\n" : "  - id: %s\n", id);
    buf_printf(b, "    hash: \"%s\"\n", hash);
    if (tenant)
        put_quoted(b, "tenant", tenant);
    buf_printf(b, "    endpoints: [%s]\n    status: active\n", flag_text("endpoints"));
    if (expires)
        put_quoted(b, "expires_at", expires);
}

static bool has_id(const struct node *key, const char *id)
{
    const struct node *n = node_get(key, "id");
    return n && str_is(n->text, id);
}

/* Is what the file would hold a list of keys, with one @id, at its end? A list in brackets can not
 * be added to. */
static enum rc check_file(const char *path, const struct buf *file, const char *id, struct err *err)
{
    struct arena arena;
    struct errlist findings = ERRLIST_INIT;
    arena_init(&arena, UINT64_C(64) * LIMIT_KEYS_FILE_BYTES);
    const struct node *root = yaml_parse((struct str){file->p, file->n}, path, &arena, &findings);
    const struct node *keys = root && root->kind == NODE_MAP ? node_get(root, "keys") : NULL;
    const struct node *key = keys && keys->kind == NODE_LIST ? keys->first : NULL;
    enum rc rc = RC_OK;
    for (; key && key->next && rc == RC_OK; key = key->next)
        if (has_id(key, id))
            rc = err_set(err, RC_CONFLICT, "'%s' has a key `%s`: give this one another --id", path,
                         id);
    if (rc == RC_OK && (!key || !has_id(key, id)))
        rc = err_set(err, RC_INVALID,
                     "'%s' has no `keys:` list with a line for each item: add the entry by hand",
                     path);
    arena_done(&arena);
    errlist_done(&findings);
    return rc;
}

/* The file as it is, or the beginning of a new one. */
static enum rc read_keys(const char *path, struct buf *ret, bool *ret_exists, struct err *err)
{
    struct stat st;
    enum rc rc = io_read_file(path, ret, err);
    *ret_exists = rc == RC_OK;
    if (rc == RC_NOT_FOUND && lstat(path, &st) == 0)
        return err_set(err, RC_NOT_FOUND, "'%s' is a symbolic link to nothing", path);
    if (rc == RC_NOT_FOUND || (rc == RC_OK && ret->n == 0)) {
        buf_put_literal(ret, "keys:\n");
        rc = RC_OK;
    }
    return rc;
}

static int append(const struct command *c, const char *path, const char *id,
                  const struct buf *entry)
{
    struct buf file;
    struct err err = ERR_INIT;
    bool exists;
    buf_init(&file, LIMIT_KEYS_FILE_BYTES);
    enum rc rc = read_keys(path, &file, &exists, &err);
    if (rc == RC_OK && file.p[file.n - 1] != '\n')
        buf_putc(&file, '\n');
    buf_put(&file, entry->p, entry->n);
    if (rc == RC_OK)
        rc = check_file(path, &file, id, &err);
    if (rc == RC_OK)
        rc = exists ? io_replace_file(path, file.p, file.n, &err)
                    : io_write_file(path, file.p, file.n, 0600, &err);
    buf_done(&file);
    if (rc == RC_OK)
        return EXIT_FINE;
    fprintf(stderr, "offloader %s: %s\n", c->name, err.message);
    return EXIT_FINDINGS;
}

static bool endpoints_are_names(const char *list)
{
    while (*list) {
        size_t n = strcspn(list, ",");
        if (!str_is_name(str_trim((struct str){list, n})))
            return false;
        list += n + (list[n] == ',');
    }
    return true;
}

static void print_json(const char *id, const char *token, const char *hash)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, 65536);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "id");
    jw_cstr(&w, id);
    jw_key(&w, "token");
    jw_cstr(&w, token);
    jw_key(&w, "hash");
    jw_cstr(&w, hash);
    jw_close(&w, '}');
    printf("%s\n", buf_cstr(&b));
    buf_done(&b);
}

static bool is_plain_text(const char *s)
{
    struct str text = str_from(s);
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return text.n > 0 && utf8_valid(text);
}

static int run_create(const struct command *c)
{
    uint8_t secret[TOKEN_BYTES];
    char hex[2 * TOKEN_BYTES + 1], token[sizeof hex + 8], hash[SHA256_HEX_BYTES];
    const char *id = flag_text("id"), *endpoints = flag_text("endpoints"),
               *file = flag_text("append");
    int64_t at_us;
    struct buf entry;
    if (!str_is_name(str_from(id)))
        return usage_error(c, "--id must be a name (a-z, 0-9 and _)");
    if (!endpoints || !*endpoints || !endpoints_are_names(endpoints))
        return usage_error(c, "--endpoints must list the endpoints this key may call");
    if (flag_given("tenant") && !is_plain_text(flag_text("tenant")))
        return usage_error(c, "--tenant must be text without control characters");
    if (flag_given("expires-at") && !parse_rfc3339(str_from(flag_text("expires-at")), &at_us))
        return usage_error(c, "--expires-at must be an RFC 3339 time such as 2027-01-31T00:00:00Z");
    random_bytes(secret, sizeof secret);
    hex_encode(secret, sizeof secret, hex);
    size_t n = (size_t)snprintf(token, sizeof token, "offl_%s", hex);
    hash_token(token, n, hash);
    buf_init(&entry, 65536);
    put_entry(&entry, id, hash);
    int status = file ? append(c, file, id, &entry) : EXIT_FINE;
    if (status == EXIT_FINE && flag_given("json")) {
        print_json(id, token, hash);
    } else if (status == EXIT_FINE) {
        printf("token (shown once): %s\n\n", token);
        printf(file ? "added to %s:\n" : "entry for the keys file:\n", file);
        printf("%s", buf_cstr(&entry));
    }
    if (status == EXIT_FINE && file && (fflush(stdout) != 0 || ferror(stdout)))
        fprintf(stderr, "offloader %s: the token is lost: take the key `%s` out of '%s' again\n",
                c->name, id, file);
    buf_done(&entry);
    return status;
}

static int run(const struct command *c)
{
    const char *word = positional(0);
    if (word && strcmp(word, "create") == 0)
        return run_create(c);
    if (word && strcmp(word, "hash") == 0)
        return run_hash(c);
    return usage_error(c, "say what to do: `keys create` or `keys hash`");
}

static const struct flag flags[] = {
    {"id", "NAME", "key1", "the key's id"},
    {"tenant", "TEXT", NULL, "the tenant it is bound to"},
    {"endpoints", "A,B", NULL, "the endpoints it may call"},
    {"expires-at", "TIME", NULL, "RFC 3339; past it the key is refused"},
    {"append", "FILE", NULL, "add the entry to this keys file"},
    {"json", NULL, NULL, "print id, token and hash as one JSON document"},
    {NULL, NULL, NULL, NULL},
};

const struct command command_keys = {
    .name = "keys",
    .summary = "Mint an API key, or hash a token from stdin.",
    .usage = "create --endpoints A,B [flags] | hash",
    .words = "create hash",
    .example = "offloader keys create --id acme --tenant t_acme --endpoints usage_summary",
    .flags = flags,
    .max_positional = 1,
    .run = run,
};
