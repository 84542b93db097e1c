/* Checks of single tokens: keywords, lengths, legal bytes; and the messages about bytes that
 * cannot stand where they do, with a hint where another language's habit is recognised. */
#include "frontend/lex_report.h"
#include "frontend/parse.h"
#include "frontend/parser.h"

static const struct {
    const char *word;
    int kind;
} KEYWORD[] = {
    {"use", TOKEN_USE},         {"block", TOKEN_BLOCK}, {"model", TOKEN_MODEL},
    {"recipe", TOKEN_RECIPE},   {"part", TOKEN_PART},   {"per", TOKEN_PER},
    {"in", TOKEN_IN},           {"for", TOKEN_FOR},     {"if", TOKEN_IF},
    {"else", TOKEN_ELSE},       {"and", TOKEN_AND},     {"return", TOKEN_RETURN},
    {"replace", TOKEN_REPLACE}, {"or", TOKEN_OR},       {"stage", TOKEN_STAGE},
    {"param", TOKEN_PARAM},     {"not", TOKEN_NOT},     {"yes", TOKEN_YES},
    {"no", TOKEN_NO},
};

/* Habits of other languages and what to write instead. */
static const struct {
    const char *text, *help;
} HABIT[] = {
    {"&&", "write 'and'"},
    {"||", "write 'or'"},
    {"!", "write 'not', or '!=' for unequal"},
    {"//", "a comment starts with '#'"},
    {"'", "a string stands in double quotes: \"text\""},
    {"`", "a string stands in double quotes: \"text\""},
    {"%", "there is no remainder operator; use floor(a / b)"},
    {"|", "a pipeline is written with '|>'"},
    {"\xe2\x80\x9c", "a string stands in plain double quotes: \"text\""},
    {"\xe2\x80\x9d", "a string stands in plain double quotes: \"text\""},
    {"\xe2\x80\x98", "a string stands in plain double quotes: \"text\""},
    {"\xe2\x80\x99", "a string stands in plain double quotes: \"text\""},
    {"\xe2\x88\x92", "write the plain minus sign '-'"},
    {"\xe2\x80\x93", "write the plain minus sign '-'"},
    {"\xc3\x97", "write '*'"},
    {"\xe2\x86\x92", "write '->'"},
    {"\xe2\x89\xa4", "write '<='"},
    {"\xe2\x89\xa5", "write '>='"},
    {"\xe2\x89\xa0", "write '!='"},
    {"\xc2\xa0", "this is a no-break space; write a plain space"},
    {"\xef\xbb\xbf", "this is a byte order mark; save the file without it"},
};

static Span token_span(const Lexer *lx)
{
    return (Span){lx->file, lx->begin, lx->end};
}

static void check_length(const Lexer *lx, const char *what)
{
    uint32_t n = lx->end - lx->begin;
    if (n > PARSE_TOKEN_LIMIT)
        diag_error(lx->diags, DIAG_E0004, token_span(lx), "%s of %u bytes is longer than %d", what,
                   n, PARSE_TOKEN_LIMIT);
}

int lex_word(Lexer *lx)
{
    size_t n = lx->end - lx->begin;
    for (size_t i = 0; i < sizeof KEYWORD / sizeof *KEYWORD; i++)
        if (strlen(KEYWORD[i].word) == n && !memcmp(KEYWORD[i].word, lx->text + lx->begin, n))
            return KEYWORD[i].kind;
    check_length(lx, "a name");
    return TOKEN_NAME;
}

int lex_number(Lexer *lx)
{
    check_length(lx, "a number");
    return TOKEN_NUMBER;
}

/* Bytes of the UTF-8 character at p, of which n bytes are left; 0 when malformed. */
static uint32_t character_length(const char *p, size_t n)
{
    char copy[5] = {0}; /* the source itself need not be terminated */
    memcpy(copy, p, n < 4 ? n : 4);
    return (uint32_t)utf8_length(copy);
}

uint32_t lex_illegal_byte(const char *text, uint32_t begin, uint32_t end, uint32_t *n_bytes)
{
    *n_bytes = 1;
    for (uint32_t i = begin; i < end;) {
        uint32_t len = character_length(text + i, end - i);
        bool is_control = (unsigned char)text[i] < 32 && text[i] != '\t';
        if (len == 0 || is_control || text[i] == 127)
            return i;
        i += len;
    }
    return end;
}

/* Reports the first illegal byte of the token; one message is enough for it. */
static void check_text(const Lexer *lx, uint32_t end, const char *what)
{
    uint32_t n, at = lex_illegal_byte(lx->text, lx->begin, end, &n);
    if (at == end)
        return;
    unsigned byte = (unsigned char)lx->text[at];
    Span span = {lx->file, at, at + n};
    if (byte < 0x80)
        diag_error(lx->diags, DIAG_E0001, span, "%s holds the control byte 0x%02x", what, byte);
    else
        diag_error(lx->diags, DIAG_E0001, span, "%s is not valid UTF-8 (byte 0x%02x)", what, byte);
}

int lex_string(Lexer *lx)
{
    check_length(lx, "a string");
    check_text(lx, lx->end, "this string");
    return TOKEN_STRING;
}

int lex_open_string(Lexer *lx)
{
    diag_error(lx->diags, DIAG_E0005, token_span(lx), "this string is not closed on its line");
    diag_help(lx->diags, "end it with '\"'; a quote inside a string is written \\\"");
    return TOKEN_BAD;
}

int lex_comment(Lexer *lx)
{
    if (lx->text[lx->end - 1] == '\r')
        check_text(lx, lx->end - 1, "this comment");
    else
        check_text(lx, lx->end, "this comment");
    return TOKEN_COMMENT;
}

static void help_with_habit(const Lexer *lx)
{
    size_t n = lx->end - lx->begin;
    for (size_t i = 0; i < sizeof HABIT / sizeof *HABIT; i++) {
        size_t len = strlen(HABIT[i].text);
        if (len <= n && !memcmp(HABIT[i].text, lx->text + lx->begin, len)) {
            diag_help(lx->diags, "%s", HABIT[i].help);
            return;
        }
    }
}

int lex_foreign(Lexer *lx)
{
    uint32_t n, at = lex_illegal_byte(lx->text, lx->begin, lx->end, &n);
    if (at < lx->end) {
        diag_error(lx->diags, DIAG_E0001, (Span){lx->file, at, at + n},
                   "the byte 0x%02x is not valid UTF-8", (unsigned char)lx->text[at]);
        return TOKEN_BAD;
    }
    const char *first = lx->text + lx->begin;
    diag_error(lx->diags, DIAG_E0001, token_span(lx),
               "'%.*s' cannot stand here: outside of strings and comments all is plain ASCII",
               (int)character_length(first, lx->end - lx->begin), first);
    help_with_habit(lx);
    return TOKEN_BAD;
}

int lex_bad(Lexer *lx)
{
    unsigned byte = (unsigned char)lx->text[lx->begin];
    int n = (int)(lx->end - lx->begin);
    if (byte < 32 || byte == 127)
        diag_error(lx->diags, DIAG_E0001, token_span(lx),
                   "the control byte 0x%02x cannot stand here", byte);
    else
        diag_error(lx->diags, DIAG_E0001, token_span(lx), "'%.*s' means nothing here", n,
                   lx->text + lx->begin);
    help_with_habit(lx);
    return TOKEN_BAD;
}
