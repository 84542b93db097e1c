/* The formatter of `.nm` files, without options.
 *
 * It keeps the line breaks and comments of the author and settles the rest: blanks between tokens,
 * indentation by two, at most one empty line, pipes below the first pipe of their statement,
 * continued arguments below the first one, `=` of a recipe's settings and comments of neighbouring
 * lines in one column. Formatting twice changes nothing more. */
#ifndef NPC_FRONTEND_FORMAT_H
#define NPC_FRONTEND_FORMAT_H

#include "ir/base/diag.h"

/* False when the text has errors; they were reported and `out` is left alone. */
bool format_text(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                 size_t len, Text *out);

#endif
