/* Between lexer and grammar: which newlines count, which words are units, how deep brackets nest.
 *
 * - A newline ends a statement except inside ( ) and [ ], or when the next line begins with |>, ->
 *   or else. Comments and empty lines vanish.
 * - A word right after a number is its unit, but not directly inside [ ], where it is the next
 *   axis: [b c:5 t].
 * - `names` is a keyword only where a declaration begins.
 * - A line that begins with a word no expression can hold (return, part, block ..) ends open
 *   parentheses: somebody forgot to close them, and the rest of the file is not to suffer. */
#ifndef NPC_FRONTEND_LAYOUT_H
#define NPC_FRONTEND_LAYOUT_H

#include "frontend/tokens.h"

typedef struct Layout {
    Diags *diags;
    uint32_t file;
    const Tokens *tokens;
    uint32_t next;    /* index of the token to hand out next */
    uint32_t current; /* index of the token handed out last */
    char open[AST_DEPTH_LIMIT];
    uint32_t open_at[AST_DEPTH_LIMIT]; /* token index of each open bracket */
    uint32_t n_open;
    uint32_t unclosed;    /* token index of the innermost ( or [ that `unclosed_by` ended */
    uint32_t unclosed_by; /* token index; UINT32_MAX: none */
    bool has_ended;       /* nested too deeply, which was reported: only TOKEN_END follows */
} Layout;

void layout_init(Layout *l, Diags *diags, uint32_t file, const Tokens *tokens);
/* Kind and place of the next token for the grammar. */
int layout_next(Layout *l, Span *span);
/* After a syntax error inside ( ) or [ ]: a line that looks like a statement ends them. */
void layout_recover(Layout *l);
/* The innermost bracket that is open at the current token, or that it ended by force, as a
 * character (0: none), and where it is. */
char layout_innermost(const Layout *l, Span *span);
/* The token `back` places before the current one; comments do not count, newlines do. A newline
 * stands for the beginning of the text. */
Token layout_before(const Layout *l, uint32_t back);

#endif
