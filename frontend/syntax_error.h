/* Syntax errors in the user's words. */
#ifndef NPC_FRONTEND_SYNTAX_ERROR_H
#define NPC_FRONTEND_SYNTAX_ERROR_H

#include "frontend/build.h"

/* The current token is not one of `expected` (names of the grammar's tokens, as parser.y words
 * them). Also prepares the layout for recovery. */
void syntax_error_report(Parser *p, const char *const *expected, int n);
/* The grammar's stack is full. */
void syntax_error_depth(Parser *p, Span at);

#endif
