#include "ir/base/text.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void reserve(Text *t, size_t more)
{
    if (t->len + more + 1 <= t->cap)
        return;
    size_t cap = t->cap ? t->cap : 64;
    while (cap < t->len + more + 1)
        cap *= 2;
    char *p = arena_alloc(t->arena, cap);
    if (t->len)
        memcpy(p, t->at, t->len);
    t->at = p;
    t->cap = cap;
}

void text_add_n(Text *t, const char *s, size_t n)
{
    reserve(t, n);
    memcpy(t->at + t->len, s, n);
    t->len += n;
    t->at[t->len] = 0;
}

void text_add(Text *t, const char *s)
{
    text_add_n(t, s, strlen(s));
}

void text_char(Text *t, char c)
{
    text_add_n(t, &c, 1);
}

void text_vprintf(Text *t, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    reserve(t, (size_t)n);
    vsnprintf(t->at + t->len, (size_t)n + 1, fmt, again);
    va_end(again);
    t->len += (size_t)n;
}

void text_printf(Text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    text_vprintf(t, fmt, args);
    va_end(args);
}

const char *text_str(const Text *t)
{
    return t->at ? t->at : "";
}

void double_text(char *out, double x)
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(out, DOUBLE_TEXT, "%.*g", digits, x);
        if (strtod(out, NULL) == x || x != x)
            break;
    }
    char point = localeconv()->decimal_point[0];
    for (char *p = out; *p; p++)
        if (*p == point)
            *p = '.';
}

void text_double(Text *t, double x)
{
    char buf[DOUBLE_TEXT];
    double_text(buf, x);
    text_add(t, buf);
}

const char *text_read_double(const char *s, double *out)
{
    char buf[400];
    size_t n = 0, len = strspn(s, "+-");
    if (len > 1)
        return s;
    if (!strncmp(s + len, "inf", 3) || !strncmp(s + len, "nan", 3)) {
        *out = s[len] == 'i' ? (double)INFINITY : (double)NAN;
        *out = copysign(*out, *s == '-' ? -1 : 1);
        return s + len + 3;
    }
    len += strspn(s + len, "0123456789");
    if (s[len] == '.')
        len += 1 + strspn(s + len + 1, "0123456789");
    if (s[len] == 'e' || s[len] == 'E') {
        size_t sign = s[len + 1] == '+' || s[len + 1] == '-';
        size_t digits = strspn(s + len + 1 + sign, "0123456789");
        len += digits ? 1 + sign + digits : 0;
    }
    if (len >= sizeof buf)
        return s;
    for (; n < len; n++)
        buf[n] = s[n] == '.' ? *localeconv()->decimal_point : s[n];
    buf[n] = 0;
    char *end;
    *out = strtod(buf, &end);
    return s + (end - buf);
}

/* RFC 3629, section 4. */
int utf8_length(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    int n = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : *s < 0xf5 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) || (*s == 0xf0 && s[1] < 0x90) ||
        (*s == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

const char *name_intern_n(Names *n, const char *s, size_t len)
{
    MapEntry *e = map_find(&n->map, s, len);
    if (!e)
        e = map_put_n(n->arena, &n->map, s, len, NULL);
    return e->key;
}

const char *name_intern(Names *n, const char *s)
{
    return name_intern_n(n, s, strlen(s));
}
