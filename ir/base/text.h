/* String builder in an arena, and interned strings (equal text, equal pointer). */
#ifndef NPC_BASE_TEXT_H
#define NPC_BASE_TEXT_H

#include "ir/base/map.h"
#include "ir/base/vec.h"
#include <stdarg.h>

typedef struct Text {
    Arena *arena;
    char *at; /* always terminated once anything was added */
    size_t len, cap;
} Text;

void text_add(Text *t, const char *s);
void text_add_n(Text *t, const char *s, size_t n);
void text_char(Text *t, char c);
__attribute__((format(printf, 2, 3))) void text_printf(Text *t, const char *fmt, ...);
void text_vprintf(Text *t, const char *fmt, va_list args);
/* Never NULL: "" when nothing was added. */
const char *text_str(const Text *t);
/* Shortest decimal that reads back as the same float64 ("0.1", "1e-08", "3"); C locale always. */
void text_double(Text *t, double x);
/* The same without an arena; `out` holds at least DOUBLE_TEXT bytes. */
enum { DOUBLE_TEXT = 40 };
void double_text(char *out, double x);
/* Bytes of the UTF-8 character at s (before the closing 0), 0 when it is not well-formed. */
int utf8_length(const char *s);
/* Reads such a number (also "inf" and "nan", with a sign); C locale always. Returns the first byte
 * after it, or `s` itself when no number stands there. */
const char *text_read_double(const char *s, double *out);

typedef struct Names {
    Arena *arena;
    Map map;
} Names;

const char *name_intern(Names *n, const char *s);
const char *name_intern_n(Names *n, const char *s, size_t len);

#endif
