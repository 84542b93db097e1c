/* Works on tokens rather than on the tree, so that no comment and no line break can get lost. The
 * text must have been parsed without errors first.
 *
 * 1. collect   tokens into pieces, each with the number of newlines in front of it
 * 2. settle    newlines around braces that span lines, and of `else`
 * 3. write     lines, each with its indentation: a stack of open brackets knows the columns
 * 4. align     `=` of settings and trailing comments over neighbouring lines */
#include "frontend/format.h"
#include "frontend/parse.h"
#include "frontend/parser.h"
#include "frontend/tokens.h"

enum {
    INDENT = 2,
    CONTINUATION = 4, /* of a line that begins with -> */
    FAR_RIGHT = 60,   /* beyond this column nothing is aligned to an open bracket or a pipe */
    NO_COLUMN = -1
};

typedef struct Piece {
    int kind;
    uint32_t begin, end;
    int newlines;     /* in front of it: 0, 1, or 2 for an empty line */
    bool spans_lines; /* opening and closing braces of a body of several lines */
    bool is_type;     /* [ of a tensor type */
} Piece;

typedef VEC(Piece) Pieces;

typedef struct Line {
    Text text;           /* with its indentation, without a trailing comment */
    const char *comment; /* trailing, or NULL */
    uint32_t comment_bytes;
    int equals;    /* column of the = of a setting that may be aligned, or NO_COLUMN */
    bool is_first; /* an empty line stands before it */
} Line;

/* An open bracket, or the file itself. */
typedef struct Frame {
    int open;         /* 0: the file */
    int content;      /* column of lines inside */
    int outer;        /* column of the line that opened it */
    int start;        /* column where the expression at hand began */
    int pipe;         /* column of its first |>, or NO_COLUMN */
    int head;         /* kind of the statement's first token (frames that hold statements) */
    bool wants_start; /* the next token begins an expression */
    bool is_type;     /* [ of a tensor type */
    bool is_tight;    /* in a tensor type: no blanks around + - * / ^ */
} Frame;

typedef struct Formatter {
    Arena *arena;
    const char *text;
    Pieces pieces;
    VEC(Line) lines;
    Frame frame[AST_DEPTH_LIMIT + 1];
    int n_frames;
} Formatter;

static void collect(Formatter *f, const Tokens *tokens, const AstFile *file)
{
    int newlines = 0;
    uint32_t n_types = 0;

    for (uint32_t i = 0; tokens->at[i].kind != TOKEN_END; i++) {
        const Token *t = &tokens->at[i];
        if (t->kind == TOKEN_NEWLINE) {
            newlines++;
            continue;
        }
        while (n_types < file->type_begins.len && file->type_begins.at[n_types] < t->begin)
            n_types++;
        Piece p = {t->kind, t->begin, t->end, newlines > 1 ? 2 : newlines, false, false};
        p.is_type = n_types < file->type_begins.len && file->type_begins.at[n_types] == t->begin;
        while (p.kind == TOKEN_COMMENT && strchr(" \t\r", f->text[p.end - 1]))
            p.end--;
        vec_push(f->arena, &f->pieces, p);
        newlines = 0;
    }
}

/* Drops ';' at the end of a line or before '}'. */
static void drop_semicolons(Formatter *f)
{
    Pieces *p = &f->pieces;
    uint32_t n = 0;
    int newlines = 0;
    for (uint32_t i = 0; i < p->len; i++) {
        Piece piece = p->at[i];
        const Piece *next = i + 1 < p->len ? &p->at[i + 1] : NULL;
        if (newlines > piece.newlines)
            piece.newlines = newlines;
        newlines = 0;
        bool is_last = !next || next->newlines || next->kind == TOKEN_COMMENT ||
                       next->kind == ';' || next->kind == '}';
        if (piece.kind == ';' && (is_last || piece.newlines || (n && p->at[n - 1].kind == '{')))
            newlines = piece.newlines;
        else
            p->at[n++] = piece;
    }
    p->len = n;
}

/* A body of several lines begins and ends on lines of its own. */
static void settle_braces(Formatter *f)
{
    uint32_t open[AST_DEPTH_LIMIT];
    int depth = 0;
    for (uint32_t i = 0; i < f->pieces.len; i++) {
        Piece *p = &f->pieces.at[i];
        if (p->kind == '{')
            open[depth++] = i;
        if (p->kind != '}')
            continue;
        uint32_t first = open[--depth];
        for (uint32_t k = first + 1; k <= i && !p->spans_lines; k++)
            p->spans_lines = f->pieces.at[k].newlines > 0 || f->pieces.at[k].spans_lines;
        if (!p->spans_lines)
            continue;
        f->pieces.at[first].spans_lines = true;
        p->newlines = 1;
        Piece *inner = &f->pieces.at[first + 1];
        if (inner->kind != TOKEN_COMMENT || inner->newlines > 0)
            inner->newlines = 1;
    }
}

static void settle_else(Formatter *f)
{
    for (uint32_t i = 1; i < f->pieces.len; i++)
        if (f->pieces.at[i].kind == TOKEN_ELSE && f->pieces.at[i - 1].kind == '}')
            f->pieces.at[i].newlines = 0;
}

static bool ends_operand(int kind)
{
    return kind == TOKEN_NAME || kind == TOKEN_NUMBER || kind == TOKEN_STRING ||
           kind == TOKEN_YES || kind == TOKEN_NO || kind == ')' || kind == ']';
}

static const Frame *top(const Formatter *f)
{
    return &f->frame[f->n_frames - 1];
}

/* Is the piece a minus sign in front of its operand? */
static bool is_sign(const Formatter *f, uint32_t i)
{
    if (f->pieces.at[i].kind != '-')
        return false;
    while (i > 0 && f->pieces.at[--i].kind == TOKEN_COMMENT)
        continue;
    return !ends_operand(f->pieces.at[i].kind);
}

static bool space_before_bracket(const Formatter *f, const Piece *before, const Piece *p)
{
    if (p->is_type && before->kind != ':')
        return true;
    if (p->kind == '(' && before->kind == TOKEN_NAME)
        return top(f)->head == TOKEN_USE && f->n_frames == 1;
    if (p->kind == '(')
        return true;
    return !ends_operand(before->kind);
}

static bool is_arithmetic(int kind)
{
    return kind == '+' || kind == '-' || kind == '*' || kind == '/' || kind == '^';
}

/* Between two pieces of one line; `i` is the second. */
static bool needs_space(const Formatter *f, uint32_t i)
{
    const Piece *before = &f->pieces.at[i - 1], *p = &f->pieces.at[i];

    if (before->kind == '(' || before->kind == '[' || p->kind == ')' || p->kind == ']')
        return false;
    if (p->kind == ',' || p->kind == ';' || p->kind == ':')
        return false;
    if (p->kind == '.' || before->kind == '.' || p->kind == TOKEN_RANGE ||
        before->kind == TOKEN_RANGE)
        return false;
    if (before->kind == ':')
        return !top(f)->is_type;
    if (is_sign(f, i - 1))
        return false;
    if (top(f)->is_tight && (is_arithmetic(before->kind) || is_arithmetic(p->kind)))
        return false;
    if (before->kind == '{' && p->kind == '}')
        return false;
    if (p->kind == '(' || p->kind == '[')
        return space_before_bracket(f, before, p);
    return true;
}

static int pipe_column(const Frame *t)
{
    int column = t->pipe != NO_COLUMN ? t->pipe : t->start;
    return column <= FAR_RIGHT ? column : t->content + CONTINUATION;
}

/* Column of a line that begins with piece i; comments stand like what follows them. */
static int line_column(const Formatter *f, uint32_t i)
{
    const Frame *t = top(f);
    bool is_comment = f->pieces.at[i].kind == TOKEN_COMMENT;

    while (i + 1 < f->pieces.len && f->pieces.at[i].kind == TOKEN_COMMENT)
        i++;
    switch (f->pieces.at[i].kind) {
    case TOKEN_PIPE:
        return pipe_column(t);
    case TOKEN_ARROW:
        return t->content + CONTINUATION;
    case '}':
        return is_comment ? t->content : t->outer;
    case ')':
    case ']':
        return is_comment || t->content != t->outer + INDENT ? t->content : t->outer;
    default:
        return t->content;
    }
}

static void push(Formatter *f, uint32_t i, int column, int line_indent)
{
    const Piece *p = &f->pieces.at[i];
    const Frame *t = top(f);
    bool is_last = i + 1 < f->pieces.len && f->pieces.at[i + 1].newlines > 0;
    bool has_comment = i + 1 < f->pieces.len && f->pieces.at[i + 1].kind == TOKEN_COMMENT;
    Frame inner = {.open = p->kind, .outer = line_indent, .pipe = NO_COLUMN, .is_type = p->is_type};

    inner.is_tight = p->is_type || (t->is_tight && p->kind != '{');
    if (p->kind == '{') {
        inner.outer = t->content;
        inner.content = t->content + INDENT;
        inner.head = t->head;
    } else {
        bool hangs = is_last || has_comment || column > FAR_RIGHT;
        inner.content = hangs ? line_indent + INDENT : column;
        inner.wants_start = true;
    }
    inner.start = inner.content;
    f->frame[f->n_frames++] = inner;
}

static bool holds_statements(const Frame *t)
{
    return t->open == 0 || t->open == '{';
}

/* What the piece at `column` means for the columns of later lines. */
static void track(Formatter *f, uint32_t i, int column, int line_indent)
{
    const Piece *p = &f->pieces.at[i];
    Frame *t = &f->frame[f->n_frames - 1];

    if (t->wants_start) {
        t->start = column;
        t->pipe = NO_COLUMN;
        t->wants_start = false;
    }
    switch (p->kind) {
    case '(':
    case '[':
    case '{':
        push(f, i, column + 1, line_indent);
        break;
    case ')':
    case ']':
    case '}':
        f->n_frames--;
        break;
    case TOKEN_PIPE:
        if (t->pipe == NO_COLUMN)
            t->pipe = column;
        break;
    case '=':
    case ',':
    case ':':
    case TOKEN_RETURN:
        t->wants_start = true;
        break;
    default:
        break;
    }
}

/* A statement may begin at piece i: forget the columns of the one before. */
static void begin_statement(Formatter *f, uint32_t i, int column)
{
    Frame *t = &f->frame[f->n_frames - 1];
    int kind = f->pieces.at[i].kind;
    if (!holds_statements(t) || kind == TOKEN_PIPE || kind == TOKEN_ARROW || kind == TOKEN_ELSE ||
        kind == TOKEN_COMMENT || kind == '}')
        return;
    t->head = kind;
    t->start = column;
    t->pipe = NO_COLUMN;
    t->wants_start = false;
}

static Line *line_begin(Formatter *f, uint32_t i)
{
    int column = line_column(f, i);
    vec_push(f->arena, &f->lines,
             (Line){.text = {.arena = f->arena},
                    .equals = NO_COLUMN,
                    .is_first = f->pieces.at[i].newlines > 1});
    Line *line = &f->lines.at[f->lines.len - 1];
    text_printf(&line->text, "%*s", column, "");
    begin_statement(f, i, column);
    return line;
}

/* `name = ..` directly in a recipe or stage. */
static bool is_setting(const Formatter *f, uint32_t i)
{
    const Frame *t = top(f);
    int owner = f->n_frames > 1 ? f->frame[f->n_frames - 2].head : 0;
    return t->open == '{' && (owner == TOKEN_RECIPE || owner == TOKEN_STAGE) &&
           f->pieces.at[i].kind == TOKEN_NAME && i + 1 < f->pieces.len &&
           f->pieces.at[i + 1].kind == '=';
}

/* A statement that goes on in the next line keeps its = where it is: columns depend on it. */
static bool continues(const Formatter *f, uint32_t i)
{
    while (i < f->pieces.len && f->pieces.at[i].kind == TOKEN_COMMENT)
        i++;
    return i < f->pieces.len && (!holds_statements(top(f)) || f->pieces.at[i].kind == TOKEN_PIPE);
}

/* Writes the pieces of one line from i on; returns the index behind them. */
static uint32_t write_line(Formatter *f, uint32_t i)
{
    Line *line = line_begin(f, i);
    int indent = (int)line->text.len, equals = NO_COLUMN;
    uint32_t first = i;
    bool setting = is_setting(f, i);

    for (; i < f->pieces.len && (i == first || f->pieces.at[i].newlines == 0); i++) {
        const Piece *p = &f->pieces.at[i];
        if (p->kind == TOKEN_COMMENT && i > first) {
            line->comment = f->text + p->begin;
            line->comment_bytes = p->end - p->begin;
            i++;
            break;
        }
        if (i > first && needs_space(f, i))
            text_char(&line->text, ' ');
        if (i > first && (f->pieces.at[i - 1].kind == ';' || f->pieces.at[i - 1].kind == '{'))
            begin_statement(f, i, (int)line->text.len);
        if (setting && i == first + 1)
            equals = (int)line->text.len;
        track(f, i, (int)line->text.len, indent);
        text_add_n(&line->text, f->text + p->begin, p->end - p->begin);
    }
    line->equals = continues(f, i) ? NO_COLUMN : equals;
    return i;
}

static void insert_blanks(Arena *arena, Text *t, int at, int n)
{
    Text wider = {.arena = arena};
    text_add_n(&wider, t->at, (size_t)at);
    text_printf(&wider, "%*s", n, "");
    text_add_n(&wider, t->at + at, t->len - (size_t)at);
    *t = wider;
}

static int indent_of(const Line *line)
{
    int n = 0;
    while (line->text.at[n] == ' ')
        n++;
    return n;
}

/* Settings of equal indentation on neighbouring lines. */
static void align_equals(Formatter *f)
{
    for (uint32_t begin = 0, end; begin < f->lines.len; begin = end) {
        int widest = f->lines.at[begin].equals;
        end = begin + 1;
        if (widest == NO_COLUMN)
            continue;
        for (; end < f->lines.len; end++) {
            const Line *l = &f->lines.at[end];
            if (l->equals == NO_COLUMN || l->is_first ||
                indent_of(l) != indent_of(&f->lines.at[begin]))
                break;
            widest = l->equals > widest ? l->equals : widest;
        }
        for (uint32_t i = begin; i < end; i++)
            insert_blanks(f->arena, &f->lines.at[i].text, f->lines.at[i].equals,
                          widest - f->lines.at[i].equals);
    }
}

/* Display columns: UTF-8 continuation bytes do not count. */
static int width(const Text *t)
{
    int n = 0;
    for (size_t i = 0; i < t->len; i++)
        n += (t->at[i] & 0xC0) != 0x80;
    return n;
}

static void add_comments(Formatter *f)
{
    for (uint32_t begin = 0, end; begin < f->lines.len; begin = end) {
        int widest = 0;
        for (end = begin; end < f->lines.len && f->lines.at[end].comment; end++) {
            if (end > begin && f->lines.at[end].is_first)
                break;
            int w = width(&f->lines.at[end].text);
            widest = w > widest ? w : widest;
        }
        for (uint32_t i = begin; i < end; i++) {
            Line *l = &f->lines.at[i];
            text_printf(&l->text, "%*s", widest - width(&l->text) + 2, "");
            text_add_n(&l->text, l->comment, l->comment_bytes);
        }
        end += end == begin;
    }
}

/* Wider spacing can carry a line over the limit of the language. */
static bool check_lines(const Formatter *f, Diags *diags)
{
    for (uint32_t i = 0; i < f->lines.len; i++)
        if (f->lines.at[i].text.len > PARSE_LINE_LIMIT) {
            diag_error(diags, DIAG_E0004, SPAN_NONE,
                       "formatted, line %u would have more than %d bytes; break it first", i + 1,
                       PARSE_LINE_LIMIT);
            return false;
        }
    return true;
}

bool format_text(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                 size_t len, Text *out)
{
    uint32_t n_errors = diags->n_errors;
    const AstFile *file = parse_file(arena, names, diags, path, text, len);
    Formatter f = {.arena = arena, .text = text, .n_frames = 1};
    Tokens tokens = {0};

    if (diags->n_errors > n_errors)
        return false;
    f.frame[0] = (Frame){.pipe = NO_COLUMN};
    lex(arena, diags, file->file, 0, len, &tokens);
    collect(&f, &tokens, file);
    drop_semicolons(&f);
    settle_braces(&f);
    settle_else(&f);
    for (uint32_t i = 0; i < f.pieces.len;)
        i = write_line(&f, i);
    align_equals(&f);
    add_comments(&f);
    if (!check_lines(&f, diags))
        return false;
    for (uint32_t i = 0; i < f.lines.len; i++) {
        text_add(out, f.lines.at[i].is_first && i > 0 ? "\n" : "");
        text_add_n(out, f.lines.at[i].text.at, f.lines.at[i].text.len);
        text_char(out, '\n');
    }
    return true;
}
