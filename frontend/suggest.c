#include "frontend/suggest.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>

enum { LETTERS = 63 };

/* Lower case without '_'; returns the length, LETTERS + 1 when it does not fit. */
static size_t normalise(char *out, const char *word)
{
    size_t n = 0;
    for (; *word; word++) {
        if (*word == '_')
            continue;
        if (n == LETTERS)
            return LETTERS + 1;
        out[n++] = *word >= 'A' && *word <= 'Z' ? (char)(*word + 32) : *word;
    }
    out[n] = 0;
    return n;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned suggest_distance(const char *a, const char *b)
{
    char s[LETTERS + 1], t[LETTERS + 1];
    unsigned d[LETTERS + 1][LETTERS + 1];
    size_t n = normalise(s, a), m = normalise(t, b);

    if (n > LETTERS || m > LETTERS)
        return UINT_MAX;
    for (size_t i = 0; i <= n; i++)
        d[i][0] = (unsigned)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            unsigned changed = d[i - 1][j - 1] + (s[i - 1] != t[j - 1]);
            d[i][j] = least(changed, least(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && s[i - 1] == t[j - 2] && s[i - 2] == t[j - 1])
                d[i][j] = least(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[n][m];
}

Suggest suggest_for(const char *word)
{
    return (Suggest){word, NULL, UINT_MAX};
}

void suggest_offer(Suggest *s, const char *candidate)
{
    size_t n = strlen(s->word);
    unsigned limit = n < 3 ? 0 : n < 6 ? 1 : (unsigned)(n / 3);
    unsigned d = suggest_distance(s->word, candidate);
    if (d <= limit && d < s->distance) {
        s->best = candidate;
        s->distance = d;
    }
}

const char *suggest_best(const Suggest *s)
{
    return s->best;
}
