/* Values of literals. */
#ifndef NPC_FRONTEND_LITERAL_H
#define NPC_FRONTEND_LITERAL_H

#include <stdbool.h>
#include <stdint.h>

/* `digits` is what the lexer takes for a number. The exact value is num/den in lowest terms; den is
 * 0 when it does not fit. False when the float64 value overflows. */
bool literal_number(const char *digits, double *number, int64_t *num, int64_t *den);

#endif
