/* What the lexer rules call: checks of one token and the messages about it. Each returns the kind
 * of the token that goes to the parser. */
#ifndef NPC_FRONTEND_LEX_REPORT_H
#define NPC_FRONTEND_LEX_REPORT_H

#include "frontend/tokens.h"

typedef struct Lexer {
    Arena *arena;
    Diags *diags;
    uint32_t file;
    const char *text;    /* of the whole source */
    uint32_t begin, end; /* the token at hand */
} Lexer;

int lex_word(Lexer *lx); /* a keyword or a name */
int lex_number(Lexer *lx);
int lex_string(Lexer *lx);
int lex_open_string(Lexer *lx); /* its closing quote is missing on the line */
int lex_comment(Lexer *lx);
int lex_foreign(Lexer *lx); /* bytes beyond ASCII outside of strings and comments */
int lex_bad(Lexer *lx);     /* an ASCII byte, or an operator of other languages */

/* The first byte in [begin, end) that is no legal text (control byte, malformed UTF-8), and how
 * many bytes it covers; `end` when all is well. */
uint32_t lex_illegal_byte(const char *text, uint32_t begin, uint32_t end, uint32_t *n_bytes);

#endif
