#include "frontend/layout.h"
#include "frontend/parser.h"

void layout_init(Layout *l, Diags *diags, uint32_t file, const Tokens *tokens)
{
    memset(l, 0, sizeof *l);
    l->diags = diags;
    l->file = file;
    l->tokens = tokens;
    l->unclosed_by = UINT32_MAX;
}

static const Token *token_at(const Layout *l, uint32_t i)
{
    return &l->tokens->at[i < l->tokens->len ? i : l->tokens->len - 1];
}

static Span span_of(const Layout *l, const Token *t)
{
    return (Span){l->file, t->begin, t->end};
}

static bool is_in_parens(const Layout *l)
{
    return l->n_open > 0 && l->open[l->n_open - 1] != '{';
}

/* Index of the first token from i on that is neither newline nor comment. */
static uint32_t skip_blank(const Layout *l, uint32_t i)
{
    while (token_at(l, i)->kind == TOKEN_NEWLINE || token_at(l, i)->kind == TOKEN_COMMENT)
        i++;
    return i;
}

static void close_parens(Layout *l)
{
    if (is_in_parens(l)) {
        l->unclosed = l->open_at[l->n_open - 1];
        l->unclosed_by = l->current;
    }
    while (is_in_parens(l))
        l->n_open--;
}

/* No expression holds these words, so a line that begins with one is a new statement. */
static bool begins_statement(int kind)
{
    switch (kind) {
    case TOKEN_USE:
    case TOKEN_BLOCK:
    case TOKEN_MODEL:
    case TOKEN_RECIPE:
    case TOKEN_PART:
    case TOKEN_RETURN:
    case TOKEN_PARAM:
    case TOKEN_REPLACE:
    case TOKEN_STAGE:
        return true;
    default:
        return false;
    }
}

static bool newline_counts(Layout *l, uint32_t after)
{
    int kind = token_at(l, after)->kind;
    if (is_in_parens(l)) {
        if (!begins_statement(kind))
            return false;
        close_parens(l);
    }
    return kind != TOKEN_PIPE && kind != TOKEN_ARROW && kind != TOKEN_ELSE;
}

static bool push(Layout *l, const Token *t, uint32_t index)
{
    if (t->kind == '{')
        close_parens(l);
    if (l->n_open == AST_DEPTH_LIMIT) {
        diag_error(l->diags, DIAG_E0004, span_of(l, t), "brackets nest deeper than %d",
                   AST_DEPTH_LIMIT);
        l->has_ended = true;
        return false;
    }
    l->open[l->n_open] = (char)t->kind;
    l->open_at[l->n_open++] = index;
    return true;
}

static void pop(Layout *l, int kind)
{
    char opening = kind == ')' ? '(' : kind == ']' ? '[' : '{';
    if (kind == '}')
        close_parens(l);
    if (l->n_open > 0 && l->open[l->n_open - 1] == opening)
        l->n_open--;
}

/* `names` and units are names with a place that makes them special. */
static int name_kind(const Layout *l, uint32_t i)
{
    const Token *t = token_at(l, i);
    int before = i > 0 ? token_at(l, i - 1)->kind : TOKEN_NEWLINE;
    if (before == TOKEN_NUMBER && !(l->n_open > 0 && l->open[l->n_open - 1] == '['))
        return TOKEN_UNIT;
    bool is_names = t->end - t->begin == 5 &&
                    !memcmp(l->diags->sources.at[l->file].text + t->begin, "names", 5);
    if (is_names && l->n_open == 0 && before == TOKEN_NEWLINE &&
        token_at(l, i + 1)->kind == TOKEN_NAME)
        return TOKEN_NAMES;
    return TOKEN_NAME;
}

int layout_next(Layout *l, Span *span)
{
    for (;;) {
        uint32_t i = l->next++;
        const Token *t = token_at(l, i);

        l->current = i;
        *span = span_of(l, t);
        if (l->has_ended)
            return TOKEN_END;
        switch (t->kind) {
        case TOKEN_COMMENT:
            continue;
        case TOKEN_NEWLINE:
            l->next = skip_blank(l, i);
            if (newline_counts(l, l->next))
                return TOKEN_NEWLINE;
            continue;
        case '(':
        case '[':
        case '{':
            return push(l, t, i) ? t->kind : TOKEN_END;
        case ')':
        case ']':
        case '}':
            pop(l, t->kind);
            return t->kind;
        case TOKEN_NAME:
            return name_kind(l, i);
        default:
            return t->kind;
        }
    }
}

/* `name =` or a statement keyword at the beginning of a line. */
static bool looks_like_statement(const Layout *l, uint32_t i)
{
    int kind = token_at(l, i)->kind;
    if (kind == TOKEN_NAME)
        return token_at(l, i + 1)->kind == '=';
    return kind == TOKEN_FOR || kind == TOKEN_IF || begins_statement(kind);
}

/* Looks ahead: if a line that looks like a statement comes before the bracket is closed, the
 * bracket is taken for closed now, so that recovery stops at the end of this line. */
void layout_recover(Layout *l)
{
    uint32_t depth = 0;
    if (!is_in_parens(l))
        return;
    while (depth < l->n_open && l->open[l->n_open - 1 - depth] != '{')
        depth++;
    for (uint32_t i = l->next; i < l->tokens->len; i++) {
        int kind = token_at(l, i)->kind;
        if (kind == '(' || kind == '[')
            depth++;
        else if ((kind == ')' || kind == ']') && --depth == 0)
            return;
        else if (kind == '{' || kind == '}' || kind == TOKEN_END ||
                 (kind == TOKEN_NEWLINE && looks_like_statement(l, skip_blank(l, i)))) {
            close_parens(l);
            return;
        }
    }
}

char layout_innermost(const Layout *l, Span *span)
{
    uint32_t i = l->unclosed;
    if (l->unclosed_by != l->current) {
        if (l->n_open == 0)
            return 0;
        i = l->open_at[l->n_open - 1];
    }
    *span = span_of(l, token_at(l, i));
    return (char)token_at(l, i)->kind;
}

Token layout_before(const Layout *l, uint32_t back)
{
    uint32_t i = l->current;
    while (back > 0 && i > 0)
        if (token_at(l, --i)->kind != TOKEN_COMMENT)
            back--;
    return back > 0 ? (Token){TOKEN_NEWLINE, 0, 0} : *token_at(l, i);
}
