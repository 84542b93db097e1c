/* Entry points of the frontend: limits of the text, its first line, and the run of the grammar. */
#include "frontend/parse.h"
#include "frontend/build.h"
#include "frontend/parser.h"

int parser_next(Parser *p, Span *span)
{
    int start = p->start;
    if (start == 0)
        return layout_next(&p->layout, span);
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

static bool token_is(const Parser *p, uint32_t i, int kind, const char *text)
{
    const Token *t = &p->tokens.at[i < p->tokens.len ? i : p->tokens.len - 1];
    return t->kind == kind && t->end - t->begin == strlen(text) &&
           !memcmp(p->text + t->begin, text, strlen(text));
}

/* `nm 1`. A newer version is refused as a whole: what follows may mean something else. */
static bool read_header(Parser *p)
{
    const Token *version = &p->tokens.at[p->tokens.len > 1 ? 1 : 0];
    Span span = {p->file, version->begin, version->end};

    if (token_is(p, 0, TOKEN_NAME, "nm") && token_is(p, 1, TOKEN_NUMBER, "1")) {
        p->ast->version = PARSE_LANGUAGE_VERSION;
        p->layout.next = 2;
        return true;
    }
    if (token_is(p, 0, TOKEN_NAME, "nm") && version->kind == TOKEN_NUMBER) {
        diag_error(p->diags, DIAG_E0003, span,
                   "this file is written in version %s of the language; version %d is understood",
                   parser_text(p, span), PARSE_LANGUAGE_VERSION);
        return false;
    }
    diag_error(p->diags, DIAG_E0003,
               (Span){p->file, 0, p->tokens.at[0].begin == 0 ? p->tokens.at[0].end : 0},
               "the first line must be 'nm %d'", PARSE_LANGUAGE_VERSION);
    if (token_is(p, 0, TOKEN_NAME, "nm"))
        p->layout.next = 1;
    return true;
}

AstFile *parse_file(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                    size_t len)
{
    uint32_t file = diags_add_source(diags, path, text, len);
    Parser p = parser_new(arena, names, diags, file);

    p.ast = ARENA_NEW(arena, AstFile);
    p.ast->path = path;
    p.ast->file = file;
    if (!check_limits(diags, file, text, len))
        return p.ast;
    lex(arena, diags, file, 0, len, &p.tokens);
    collect_comments(&p);
    layout_init(&p.layout, diags, file, &p.tokens);
    if (!read_header(&p))
        return p.ast;
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
