/* A syntax error says what was found and what was expected, in words of the language rather than
 * of the grammar: a state that takes numbers takes "an expression"; operators that could go on
 * an expression are not listed. Then come hints for mistakes that are recognised by the tokens
 * around the place. */
#include "frontend/syntax_error.h"
#include "frontend/parser.h"
#include "frontend/suggest.h"

typedef struct Expected {
    const char *const *words;
    int n;
} Expected;

typedef struct Mistake {
    Parser *p;
    Expected expected;
    Token found, before, before2; /* the current token and the two in front of it */
    Span open_span;
    char open; /* innermost open bracket, 0: none */
} Mistake;

static bool expects(const Expected *e, const char *word)
{
    for (int i = 0; i < e->n; i++)
        if (!strcmp(e->words[i], word))
            return true;
    return false;
}

static bool is_any(const char *word, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(word, *list))
            return true;
    return false;
}

/* What begins an expression, goes on one, begins a statement or a declaration. */
static const char *const BEGINS_EXPR[] = {"a name", "a number", "a string", "'('",  "'['",
                                          "'-'",    "'not'",    "'yes'",    "'no'", NULL};
static const char *const CONTINUES[] = {"'+'", "'-'",  "'*'", "'/'",  "'^'",    "'=='", "'!='",
                                        "'<'", "'<='", "'>'", "'>='", "'and'",  "'or'", "'if'",
                                        "'('", "'['",  "'.'", "'|>'", "a unit", NULL};
static const char *const BEGINS_STMT[] = {"'return'", "'for'",     "'if'",    "'part'",
                                          "'param'",  "'replace'", "'stage'", NULL};
static const char *const BEGINS_DECL[] = {"'use'",    "'block'", "'model'",
                                          "'recipe'", "'names'", NULL};

static bool is_covered(const Expected *e, const char *word)
{
    bool in_stmt = expects(e, "'return'"), in_decl = expects(e, "'block'");
    if (in_decl && (is_any(word, BEGINS_DECL) || !strcmp(word, "a name")))
        return true;
    if ((in_decl || in_stmt) && !strcmp(word, "the end of the line"))
        return true;
    if (in_stmt && is_any(word, BEGINS_STMT))
        return true;
    if (expects(e, "a number") && is_any(word, BEGINS_EXPR))
        return true;
    if (expects(e, "'*'") && is_any(word, CONTINUES))
        return true;
    return !strcmp(word, "';'") || !strcmp(word, "'..'") || !strcmp(word, "a bad character");
}

static void add_word(const char **list, int *n, const char *word)
{
    list[(*n)++] = word;
}

/* "a name, ',' or ')'" */
static const char *expected_text(Parser *p, const Expected *e)
{
    const char **list = ARENA_ARRAY(p->arena, const char *, (size_t)e->n + 3);
    Text t = {.arena = p->arena};
    int n = 0;

    if (expects(e, "'block'"))
        add_word(list, &n, "use, block, model, recipe, names, 'name = value'");
    else if (expects(e, "'return'"))
        add_word(list, &n, "a statement");
    else if (expects(e, "a number"))
        add_word(list, &n, "an expression");
    for (int i = 0; i < e->n; i++)
        if (!is_covered(e, e->words[i]))
            add_word(list, &n, e->words[i]);
    for (int i = 0; i < n; i++)
        text_printf(&t, "%s%s", i == 0 ? "" : i + 1 == n ? " or " : ", ", list[i]);
    return n ? text_str(&t) : "something else";
}

static const char *found_text(const Mistake *m)
{
    uint32_t n = m->found.end - m->found.begin;
    const char *at = m->p->text + m->found.begin;
    switch (m->found.kind) {
    case TOKEN_END:
        return m->p->expression_only ? "the end of the text" : "the end of the file";
    case TOKEN_NEWLINE:
        return "the end of the line";
    case TOKEN_STRING:
        return "a string";
    default:
        return arena_printf(m->p->arena, "'%.*s'%s", (int)(n < 40 ? n : 40), at,
                            n < 40 ? "" : "..");
    }
}

static Span span_of(const Mistake *m, Token t)
{
    return (Span){m->p->file, t.begin, t.end};
}

/* Where something is missing at the end of a line or of the file, the place is right behind the
 * last token. */
static Span found_span(const Mistake *m)
{
    Token t = m->found;
    if (t.kind != TOKEN_END && t.kind != TOKEN_NEWLINE)
        return span_of(m, t);
    for (uint32_t back = 1; back < 1000 && (t.kind == TOKEN_END || t.kind == TOKEN_NEWLINE); back++)
        t = layout_before(&m->p->layout, back);
    return (Span){m->p->file, t.end, t.end};
}

static const char *token_text(const Mistake *m, Token t)
{
    return parser_text(m->p, span_of(m, t));
}

static bool begins_line(int kind_before)
{
    return kind_before == TOKEN_NEWLINE || kind_before == '{' || kind_before == '}' ||
           kind_before == ';';
}

static const char *nearest(const char *word, const char *const *list)
{
    Suggest s = suggest_for(word);
    for (; *list; list++)
        suggest_offer(&s, *list);
    return suggest_best(&s);
}

/* `blok f(..)`, `retrun x`: the word in front of the place is the mistake. */
static bool report_keyword(const Mistake *m)
{
    static const char *const DECLS[] = {"use", "block", "model", "recipe", "names", NULL};
    static const char *const STMTS[] = {"return", "for",     "if",    "else", "part",
                                        "param",  "replace", "stage", NULL};
    bool is_word = m->found.kind == TOKEN_NAME || m->found.kind == TOKEN_STRING ||
                   m->found.kind == TOKEN_NUMBER || m->found.kind == '{';
    if (m->before.kind != TOKEN_NAME || !begins_line(m->before2.kind) || !is_word)
        return false;
    const char *word = token_text(m, m->before);
    const char *best = nearest(word, m->open ? STMTS : DECLS);
    if (!best)
        return false;
    diag_error(m->p->diags, DIAG_E0002, span_of(m, m->before), "there is no keyword '%s'", word);
    diag_help(m->p->diags, "did you mean '%s'?", best);
    return true;
}

static bool is_keyword(int kind)
{
    return kind >= TOKEN_USE && kind <= TOKEN_NO;
}

static bool wants_more(int kind)
{
    static const int KINDS[] = {'+', '-', '*', '/', '^', '<', '>', '=', ',', ':', 0};
    for (const int *k = KINDS; *k; k++)
        if (kind == *k)
            return true;
    return kind == TOKEN_PIPE || kind == TOKEN_ARROW || kind == TOKEN_AND || kind == TOKEN_OR ||
           kind == TOKEN_EQ || kind == TOKEN_NE || kind == TOKEN_LE || kind == TOKEN_GE;
}

/* One hint at most; the first that fits. */
static void add_help(const Mistake *m)
{
    Diags *d = m->p->diags;
    const Expected *e = &m->expected;
    int found = m->found.kind, before = m->before.kind;
    const char *word = token_text(m, m->found), *name = token_text(m, m->before);

    if (found == TOKEN_NUMBER && before == TOKEN_NAME && m->open == '[')
        diag_help(d, "a size is joined to its axis by ':': %s:%s", name, word);
    else if (found == '=' && expects(e, "'{'"))
        diag_help(d, "to compare, write '=='");
    else if (found == ':' && before == TOKEN_NAME && m->open != '(' && m->open != '[')
        diag_help(d, "write %s = ..", name);
    else if (found == '=' && before == TOKEN_NAME && expects(e, "':'"))
        diag_help(d, "a parameter has a type: %s: int = ..", name);
    else if (found == '*' && before == '*')
        diag_help(d, "a power is written a ^ b");
    else if (found == '.' && !expects(e, "'.'") && expects(e, "a number"))
        diag_help(d, "a number begins with a digit: 0.5");
    else if (found == TOKEN_NEWLINE && wants_more(before))
        diag_help(d, "an expression goes on in the next line only inside ( ) or [ ], or when that "
                     "line begins with |>");
    else if (found == TOKEN_NAME && !strcmp(word, "elif"))
        diag_help(d, "write 'else if'");
    else if (is_keyword(found) && expects(e, "a name") && !expects(e, "'return'") &&
             !expects(e, "'block'"))
        diag_help(d, "'%s' is a keyword and cannot be a name", word);
    else if (found == '}' && m->open == 0)
        diag_help(d, "there is no '{' that it would close");
    else if (found == TOKEN_NAME && before == TOKEN_NAME && m->before2.kind == TOKEN_NUMBER)
        diag_help(d, "one word after a number is its unit; a second one cannot follow");
}

/* Names the bracket that was left open when the place is on a later line than it. */
static void add_note(const Mistake *m)
{
    uint32_t line, open_line, column;
    const Expected *e = &m->expected;
    bool may_close =
        m->open == '{' ? m->found.kind == TOKEN_END : expects(e, "')'") || expects(e, "']'");
    if (!m->open || !may_close)
        return;
    diag_place(m->p->diags, span_of(m, m->found), &line, &column);
    diag_place(m->p->diags, m->open_span, &open_line, &column);
    if (line != open_line || m->found.kind == TOKEN_NEWLINE || m->found.kind == TOKEN_END)
        diag_note(m->p->diags, m->open_span, "this '%c' is not closed", m->open);
}

void syntax_error_report(Parser *p, const char *const *expected, int n)
{
    Mistake m = {.p = p, .expected = {expected, n}};
    m.found = layout_before(&p->layout, 0);
    m.before = layout_before(&p->layout, 1);
    m.before2 = layout_before(&p->layout, 2);
    m.open = layout_innermost(&p->layout, &m.open_span);

    /* reported by the lexer or the layout */
    if (m.found.kind != TOKEN_BAD && !p->layout.has_ended && !report_keyword(&m)) {
        diag_error(p->diags, DIAG_E0002, found_span(&m), "expected %s, found %s",
                   expected_text(p, &m.expected), found_text(&m));
        add_help(&m);
        add_note(&m);
    }
    layout_recover(&p->layout);
}

void syntax_error_depth(Parser *p, Span at)
{
    if (!p->is_too_deep)
        diag_error(p->diags, DIAG_E0004, at, "this nests deeper than %d", AST_DEPTH_LIMIT);
    p->is_too_deep = true;
}
