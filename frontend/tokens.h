/* The tokens of a text, with its comments and newlines: what the lexer hands on.
 *
 * Kinds are those of the grammar (parser.y). What is wrong with a byte or a literal is reported
 * while lexing; a byte that cannot stand anywhere becomes a TOKEN_BAD, about which the parser stays
 * silent. The last token is always TOKEN_END. */
#ifndef NPC_FRONTEND_TOKENS_H
#define NPC_FRONTEND_TOKENS_H

#include "frontend/ast.h"

typedef struct Token {
    int kind;
    uint32_t begin, end; /* bytes of the source */
} Token;

typedef VEC(Token) Tokens;

/* Lexes bytes [begin, end) of a source of `diags`. */
void lex(Arena *arena, Diags *diags, uint32_t file, size_t begin, size_t end, Tokens *out);

#endif
