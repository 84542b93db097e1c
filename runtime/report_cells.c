#include "runtime/report_cells.h"

#include <math.h>
#include <string.h>

void report_cell(Text *out, double x, int decimals)
{
    if (isnan(x))
        text_add(out, " - |");
    else
        text_printf(out, " %.*f |", decimals, x);
}

json_t *report_json_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static const char *text_of(const char *const *text, size_t row_bytes, size_t i)
{
    const char *at;
    memcpy(&at, (const char *)text + i * row_bytes, sizeof at);
    return at;
}

bool report_is_first(const char *const *text, size_t row_bytes, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (!strcmp(text_of(text, row_bytes, k), text_of(text, row_bytes, i)))
            return false;
    return true;
}
