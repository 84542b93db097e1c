/* Entry points of the frontend: limits of the text, its first line, and the run of the grammar. */
#include "frontend/parse.h"
#include "frontend/build.h"
#include "frontend/parser.h"

/* The last line of a file may lack its newline. */
int parser_next(Parser *p, Span *span)
{
    int start = p->start;
    if (start == 0) {
        int kind = layout_next(&p->layout, span);
        bool is_first_end = kind == TOKEN_END && !p->has_ended && !p->expression_only;
        p->has_ended |= is_first_end;
        return is_first_end ? TOKEN_NEWLINE : kind;
    }
    p->start = 0;
    *span = (Span){p->file, 0, 0};
    return start;
}

static Parser parser_new(Arena *arena, Names *names, Diags *diags, uint32_t file)
{
    return (Parser){.arena = arena,
                    .names = names,
                    .diags = diags,
                    .file = file,
                    .text = diags->sources.at[file].text};
}

/* False when the text is not worth lexing. */
static bool check_limits(Diags *diags, uint32_t file, const char *text, size_t len)
{
    if (len > PARSE_FILE_LIMIT) {
        diag_error(diags, DIAG_E0004, SPAN_NONE, "%s has %zu bytes; %d is the limit of a file",
                   diags->sources.at[file].path, len, PARSE_FILE_LIMIT);
        return false;
    }
    for (size_t begin = 0; begin < len;) {
        const char *newline = memchr(text + begin, '\n', len - begin);
        size_t end = newline ? (size_t)(newline - text) : len;
        if (end - begin > PARSE_LINE_LIMIT) {
            Span span = {file, (uint32_t)begin, (uint32_t)begin + 1};
            diag_error(diags, DIAG_E0004, span, "this line has %zu bytes; %d is the limit",
                       end - begin, PARSE_LINE_LIMIT);
        }
        begin = end + 1;
    }
    return true;
}

static void collect_comments(Parser *p)
{
    int before = TOKEN_NEWLINE;
    for (uint32_t i = 0; i < p->tokens.len; i++) {
        const Token *t = &p->tokens.at[i];
        if (t->kind == TOKEN_COMMENT)
            vec_push(p->arena, &p->ast->comments,
                     (Comment){{p->file, t->begin, t->end}, before == TOKEN_NEWLINE});
        before = t->kind;
    }
}

/* Reads `nm N` at the beginning of the text: N, or 0 when there is no such line. */
static long header_version(const char *text, size_t len, Span *span)
{
    size_t i = 2;
    long version = 0;

    if (len < 4 || memcmp(text, "nm", 2) != 0)
        return 0;
    while (i < len && (text[i] == ' ' || text[i] == '\t'))
        i++;
    if (i == 2)
        return 0;
    span->begin = (uint32_t)i;
    for (; i < len && text[i] >= '0' && text[i] <= '9' && version < 1000000; i++)
        version = 10 * version + (text[i] - '0');
    span->end = (uint32_t)i;
    return i == len || strchr(" \t\r\n#;", text[i]) ? version : 0;
}

/* Sets ast->version. False if the text is not to be read at all: in a newer version what follows
 * may mean something else. */
static bool check_header(Parser *p, size_t len)
{
    Span span = {p->file, 0, 0};
    long version = header_version(p->text, len, &span);

    if (version == PARSE_LANGUAGE_VERSION) {
        p->ast->version = PARSE_LANGUAGE_VERSION;
    } else if (version > 0) {
        diag_error(p->diags, DIAG_E0003, span,
                   "this file is written in version %ld of the language; version %d is understood",
                   version, PARSE_LANGUAGE_VERSION);
        return false;
    } else {
        diag_error(p->diags, DIAG_E0003, (Span){p->file, 0, 0}, "the first line must be 'nm %d'",
                   PARSE_LANGUAGE_VERSION);
    }
    return true;
}

/* The tokens of the header, or of what looks like one, are not the grammar's. */
static void skip_header(Parser *p)
{
    const Token *t = p->tokens.at;
    if (p->ast->version)
        p->layout.next = 2;
    else if (t->kind == TOKEN_NAME && t->end - t->begin == 2 &&
             !memcmp(p->text + t->begin, "nm", 2))
        while (t[p->layout.next].kind != TOKEN_NEWLINE && t[p->layout.next].kind != TOKEN_END)
            p->layout.next++;
}

AstFile *parse_file(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                    size_t len)
{
    uint32_t file = diags_add_source(diags, path, text, len);
    Parser p = parser_new(arena, names, diags, file);

    p.ast = ARENA_NEW(arena, AstFile);
    p.ast->path = path;
    p.ast->file = file;
    if (!check_limits(diags, file, text, len) || !check_header(&p, len))
        return p.ast;
    lex(arena, diags, file, 0, len, &p.tokens);
    collect_comments(&p);
    layout_init(&p.layout, diags, file, &p.tokens);
    skip_header(&p);
    p.start = TOKEN_START_FILE;
    nm_parse(&p);
    return p.ast;
}

/* The expression that bytes [begin, end) of a source hold; NULL after an error. */
static Expr *parse_range(Arena *arena, Names *names, Diags *diags, uint32_t file, size_t begin,
                         size_t end)
{
    Parser p = parser_new(arena, names, diags, file);
    AstFile scratch = {0};
    uint32_t n_errors = diags->n_errors;

    p.ast = &scratch;
    p.expression_only = true;
    lex(arena, diags, file, begin, end, &p.tokens);
    layout_init(&p.layout, diags, file, &p.tokens);
    p.start = TOKEN_START_EXPR;
    nm_parse(&p);
    return diags->n_errors == n_errors ? p.expression : NULL;
}

Expr *parse_expression_text(Arena *arena, Names *names, Diags *diags, const char *path,
                            const char *text, size_t len)
{
    uint32_t file = diags_add_source(diags, path, text, len);
    return check_limits(diags, file, text, len) ? parse_range(arena, names, diags, file, 0, len)
                                                : NULL;
}

static size_t name_length(const char *text)
{
    size_t n = 0;
    while ((text[n] >= 'a' && text[n] <= 'z') || (text[n] >= 'A' && text[n] <= 'Z') ||
           text[n] == '_' || (n > 0 && text[n] >= '0' && text[n] <= '9'))
        n++;
    return n;
}

bool parse_set(Arena *arena, Names *names, Diags *diags, const char *text, SetOption *out)
{
    size_t len = strlen(text), at = 0;
    uint32_t file = diags_add_source(diags, "--set", text, len);

    memset(out, 0, sizeof *out);
    if (!check_limits(diags, file, text, len))
        return false;
    for (;; at++) {
        size_t n = name_length(text + at);
        if (n == 0 || (text[at + n] != '.' && text[at + n] != '=')) {
            diag_error(diags, DIAG_E0002, (Span){file, (uint32_t)(at + n), (uint32_t)(at + n)},
                       "expected name=value or name.name=value");
            return false;
        }
        vec_push(arena, &out->path, name_intern_n(names, text + at, n));
        at += n;
        if (text[at] == '=')
            break;
    }
    out->path_span = (Span){file, 0, (uint32_t)at};
    out->value = parse_range(arena, names, diags, file, at + 1, len);
    return out->value != NULL;
}

static void add_text(Arena *arena, StringPieces *out, Text *t, Span span)
{
    if (t->len > 0)
        vec_push(arena, out, (StringPiece){text_str(t), NULL, span});
    *t = (Text){.arena = arena};
}

/* `{expression}` with `at` behind its '{'; returns the place of its '}', 0 after an error. */
static uint32_t expression_piece(Arena *arena, Names *names, Diags *diags, Span span, uint32_t at,
                                 StringPieces *out)
{
    const char *text = diags->sources.at[span.file].text;
    uint32_t end = at;

    while (end < span.end && text[end] != '}')
        end++;
    Span inner = {span.file, at - 1, end < span.end ? end + 1 : end};
    if (end == span.end) {
        diag_error(diags, DIAG_E0005, inner, "the '{' in this string is not closed");
        diag_help(diags, "a brace that is meant as such is written \\{");
        return 0;
    }
    if (end == at) {
        diag_error(diags, DIAG_E0002, inner, "an expression was expected between { and }");
        return 0;
    }
    Expr *e = parse_range(arena, names, diags, span.file, at, end);
    if (e)
        vec_push(arena, out, (StringPiece){NULL, e, inner});
    return e ? end : 0;
}

bool parse_string_pieces(Arena *arena, Names *names, Diags *diags, const Expr *string,
                         StringPieces *out)
{
    Span span = {string->span.file, string->span.begin + 1, string->span.end - 1};
    const char *text = diags->sources.at[span.file].text;
    Text t = {.arena = arena};
    uint32_t from = span.begin;

    memset(out, 0, sizeof *out);
    for (uint32_t i = span.begin; i < span.end; i++) {
        if (text[i] == '\\' && i + 1 < span.end && strchr("\"\\{}", text[i + 1])) {
            text_char(&t, text[++i]);
        } else if (text[i] == '{') {
            add_text(arena, out, &t, (Span){span.file, from, i});
            i = expression_piece(arena, names, diags, span, i + 1, out);
            if (i == 0)
                return false;
            from = i + 1;
        } else {
            text_char(&t, text[i]);
        }
    }
    add_text(arena, out, &t, (Span){span.file, from, span.end});
    return true;
}
