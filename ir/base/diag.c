#include "ir/base/diag.h"

#include <jansson.h>
#include <stdlib.h>

static const struct {
    const char *code, *meaning;
} ROWS[] = {
#define DIAG(code, text) {#code, text},
#include "ir/base/diag.def"
#undef DIAG
};

static const char *KIND[] = {"error", "warning", "note", "help"};

void diags_init(Diags *d, Arena *arena)
{
    memset(d, 0, sizeof *d);
    d->arena = arena;
    vec_push(arena, &d->sources, (Source){"", "", 0});
}

uint32_t diags_add_source(Diags *d, const char *path, const char *text, size_t len)
{
    vec_push(d->arena, &d->sources, (Source){path, text, len});
    return d->sources.len - 1;
}

static void add(Diags *d, DiagKind kind, DiagCode code, Span span, const char *fmt, va_list args)
{
    if (kind == DIAG_KIND_ERROR)
        d->muted = ++d->n_errors > DIAG_LIMIT;
    if (d->muted)
        return;
    Text t = {.arena = d->arena};
    text_vprintf(&t, fmt, args);
    vec_push(d->arena, &d->messages, (DiagMessage){kind, code, span, text_str(&t)});
}

#define ADD(kind, code, span)                                                                      \
    va_list args;                                                                                  \
    va_start(args, fmt);                                                                           \
    add(d, kind, code, span, fmt, args);                                                           \
    va_end(args)

void diag_error(Diags *d, DiagCode code, Span span, const char *fmt, ...)
{
    ADD(DIAG_KIND_ERROR, code, span);
}

void diag_warning(Diags *d, DiagCode code, Span span, const char *fmt, ...)
{
    ADD(DIAG_KIND_WARNING, code, span);
}

void diag_note(Diags *d, Span span, const char *fmt, ...)
{
    ADD(DIAG_KIND_NOTE, DIAG_COUNT, span);
}

void diag_help(Diags *d, const char *fmt, ...)
{
    ADD(DIAG_KIND_HELP, DIAG_COUNT, SPAN_NONE);
}

const char *diag_code_text(DiagCode code)
{
    return code < DIAG_COUNT ? ROWS[code].code : "";
}

const char *diag_code_meaning(DiagCode code)
{
    return code < DIAG_COUNT ? ROWS[code].meaning : "";
}

void diag_place(const Diags *d, Span span, uint32_t *line, uint32_t *column)
{
    const Source *s = &d->sources.at[span.file];
    uint32_t l = 1, start = 0;
    for (uint32_t i = 0; i < span.begin && i < s->len; i++)
        if (s->text[i] == '\n') {
            l++;
            start = i + 1;
        }
    *line = l;
    *column = span.begin - start + 1;
}

const char *diag_place_text(Diags *d, Span span)
{
    if (!span.file)
        return "";
    uint32_t line, column;
    diag_place(d, span, &line, &column);
    return arena_printf(d->arena, "%s:%u:%u", d->sources.at[span.file].path, line, column);
}

static void print_line(const Diags *d, Span span, uint32_t line, uint32_t column, FILE *out)
{
    const Source *s = &d->sources.at[span.file];
    size_t begin = span.begin - (column - 1), end = begin;
    while (end < s->len && s->text[end] != '\n' && s->text[end] != '\r')
        end++;
    fprintf(out, "%5u | ", line);
    for (size_t i = begin; i < end; i++) {
        unsigned char c = (unsigned char)s->text[i];
        fputc(c == '\t' ? ' ' : c < 32 || c == 127 ? '?' : c, out);
    }
    fputs("\n      | ", out);
    for (uint32_t i = 1; i < column; i++)
        fputc(' ', out);
    size_t stop = span.end < end ? span.end : end;
    fputc('^', out);
    for (size_t i = (size_t)span.begin + 1; i < stop; i++)
        if ((s->text[i] & 0xC0) != 0x80)
            fputc('~', out);
    fputc('\n', out);
}

void diags_print(const Diags *d, FILE *out)
{
    for (uint32_t i = 0; i < d->messages.len; i++) {
        const DiagMessage *m = &d->messages.at[i];
        uint32_t line = 0, column = 0;
        if (m->span.file) {
            diag_place(d, m->span, &line, &column);
            fprintf(out, "%s:%u:%u: ", d->sources.at[m->span.file].path, line, column);
        } else if (m->kind == DIAG_KIND_HELP || m->kind == DIAG_KIND_NOTE) {
            fputs("  ", out);
        }
        if (m->code < DIAG_COUNT)
            fprintf(out, "%s[%s]: %s\n", KIND[m->kind], ROWS[m->code].code, m->text);
        else
            fprintf(out, "%s: %s\n", KIND[m->kind], m->text);
        if (m->span.file)
            print_line(d, m->span, line, column, out);
    }
    if (d->n_errors > DIAG_LIMIT)
        fprintf(out, "%u more errors are not shown\n", d->n_errors - DIAG_LIMIT);
}

void diags_print_json(const Diags *d, FILE *out)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < d->messages.len; i++) {
        const DiagMessage *m = &d->messages.at[i];
        uint32_t line = 0, column = 0;
        if (m->span.file)
            diag_place(d, m->span, &line, &column);
        json_array_append_new(all, json_pack("{ss ss ss si si si ss}", "code",
                                             diag_code_text(m->code), "kind", KIND[m->kind], "file",
                                             d->sources.at[m->span.file].path, "line", line,
                                             "column", column, "length",
                                             (int)(m->span.end - m->span.begin), "text", m->text));
    }
    json_dumpf(all, out, JSON_INDENT(1));
    fputc('\n', out);
    json_decref(all);
}
