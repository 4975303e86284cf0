/* SPDX-License-Identifier: Apache-2.0 */
/* Findings on the terminal and as JSON. */
#include "cli/findings.h"

#include "markup/markup.h"

void findings_put_text(struct buf *b, const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            buf_printf(b, "\\x%02x", (unsigned char)*text);
        else
            buf_putc(b, *text);
    }
}

static void put_line(struct buf *b, const struct finding *f)
{
    findings_put_text(b, f->file);
    buf_putc(b, ':');
    if (f->line)
        buf_printf(b, "%d:%d:", f->line, f->column);
    buf_putc(b, ' ');
    if (*f->path) {
        findings_put_text(b, f->path);
        buf_put_literal(b, ": ");
    }
    buf_printf(b, "%s: %s", f->code, f->severity == FINDING_WARNING ? "warning: " : "");
    findings_put_text(b, f->message);
    if (f->hint) {
        buf_put_literal(b, " (");
        findings_put_text(b, f->hint);
        buf_putc(b, ')');
    }
    buf_putc(b, '\n');
}

void findings_print(FILE *to, const struct errlist *findings)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    for (size_t i = 0; i < findings->n_items; i++)
        put_line(&b, &findings->items[i]);
    if (findings->truncated)
        buf_printf(&b, "only the first %d findings are shown\n", LIMIT_FINDINGS);
    (void)fwrite(b.p, 1, b.n, to); /* what does not arrive on stdout shows at exit */
    buf_done(&b);
}

static void put_finding(struct json_writer *w, const struct finding *f)
{
    jw_open(w, '{');
    jw_key(w, "severity");
    jw_cstr(w, f->severity == FINDING_ERROR ? "error" : "warning");
    jw_key(w, "file");
    jw_cstr(w, f->file);
    jw_key(w, "line");
    if (f->line)
        jw_int(w, f->line);
    else
        jw_null(w);
    jw_key(w, "column");
    if (f->line)
        jw_int(w, f->column);
    else
        jw_null(w);
    jw_key(w, "path");
    jw_cstr(w, f->path);
    jw_key(w, "code");
    jw_cstr(w, f->code);
    jw_key(w, "message");
    jw_cstr(w, f->message);
    jw_key(w, "hint");
    jw_cstr(w, f->hint);
    jw_close(w, '}');
}

void findings_print_json(const struct errlist *findings)
{
    struct buf b;
    struct json_writer w;
    buf_init(&b, SIZE_MAX);
    jw_init(&w, &b);
    jw_open(&w, '{');
    jw_key(&w, "valid");
    jw_bool(&w, findings->n_errors == 0);
    jw_key(&w, "errors");
    jw_uint(&w, findings->n_errors);
    jw_key(&w, "warnings");
    jw_uint(&w, findings->n_warnings);
    jw_key(&w, "truncated");
    jw_bool(&w, findings->truncated);
    jw_key(&w, "findings");
    jw_open(&w, '[');
    for (size_t i = 0; i < findings->n_items; i++)
        put_finding(&w, &findings->items[i]);
    jw_close(&w, ']');
    jw_close(&w, '}');
    printf("%s\n", buf_cstr(&b));
    buf_done(&b);
}
