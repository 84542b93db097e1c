/* What tables and JSON of several reports share: numbers that may be missing, rows of a kind. */
#ifndef NPC_RUNTIME_REPORT_CELLS_H
#define NPC_RUNTIME_REPORT_CELLS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "ir/base/text.h"

/* " 0.1234 |", or " - |" where there is no number. */
void report_cell(Text *out, double x, int decimals);
json_t *report_json_number(double x); /* null where there is none */
/* Does no row before row i have its text? `text` is that of the first row, the others' lie
 * `row_bytes` apart. */
bool report_is_first(const char *const *text, size_t row_bytes, size_t i);

#endif
