#include "frontend/literal.h"
#include "ir/base/text.h"

#include <math.h>
#include <stdlib.h>

/* Mantissa without its point, and the power of ten that belongs to it. */
static bool read_decimal(const char *digits, int64_t *mantissa, int64_t *exponent)
{
    bool after_point = false;
    *mantissa = 0;
    *exponent = 0;
    for (; *digits && *digits != 'e' && *digits != 'E'; digits++) {
        if (*digits == '.') {
            after_point = true;
            continue;
        }
        if (__builtin_mul_overflow(*mantissa, 10, mantissa) ||
            __builtin_add_overflow(*mantissa, *digits - '0', mantissa))
            return false;
        *exponent -= after_point;
    }
    long e = *digits ? strtol(digits + 1, NULL, 10) : 0;
    if (e <= -1000 || e >= 1000)
        return false;
    *exponent += e;
    return true;
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

static bool scale_by_tens(int64_t *x, int64_t n)
{
    for (; n > 0; n--)
        if (__builtin_mul_overflow(*x, 10, x))
            return false;
    return true;
}

bool literal_number(const char *digits, double *number, int64_t *num, int64_t *den)
{
    int64_t exponent;

    *number = 0; /* of digits too long to be read, which the lexer has reported */
    text_read_double(digits, number);
    *den = 1;
    if (!read_decimal(digits, num, &exponent)) {
        *den = 0;
    } else if (*num != 0) {
        for (; exponent < 0 && *num % 10 == 0; exponent++)
            *num /= 10;
        if (!scale_by_tens(num, exponent) || !scale_by_tens(den, -exponent))
            *den = 0;
    }
    if (*den > 1) {
        int64_t common = gcd(*num, *den);
        *num /= common;
        *den /= common;
    }
    return isfinite(*number);
}
