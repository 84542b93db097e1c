#include "ir/storage.h"

#include <string.h>

static const char *const STORAGE_TEXT[] = {"f32", "bf16", "f16", "u8"};
static const char *const MATH_TEXT[] = {"f32", "tf32", "bf16", "f16"};

const char *storage_text(Storage s)
{
    return STORAGE_TEXT[s];
}

const char *math_text(MathMode m)
{
    return MATH_TEXT[m];
}

bool storage_find(const char *text, Storage *out)
{
    for (int i = 0; i < STORAGE_COUNT; i++)
        if (!strcmp(text, STORAGE_TEXT[i])) {
            *out = (Storage)i;
            return true;
        }
    return false;
}

bool math_find(const char *text, MathMode *out)
{
    for (int i = 0; i < MATH_COUNT; i++)
        if (!strcmp(text, MATH_TEXT[i])) {
            *out = (MathMode)i;
            return true;
        }
    return false;
}

size_t storage_bytes(Storage s)
{
    return s == STORAGE_F32 ? 4 : s == STORAGE_U8 ? 1 : 2;
}

bool storage_has_16_bits(Storage s)
{
    return s == STORAGE_BF16 || s == STORAGE_F16;
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static bool is_nan(uint32_t u)
{
    return (u & 0x7fffffff) > 0x7f800000;
}

/* Drops the last n bits of a float32's mantissa. */
static uint32_t round_bits(uint32_t u, int n)
{
    uint32_t half = (1u << (n - 1)) - 1, odd = u >> n & 1;
    return is_nan(u) ? u | 0x400000 : (u + half + odd) >> n << n;
}

float bf16_to_float(uint16_t x)
{
    return float_of((uint32_t)x << 16);
}

uint16_t float_to_bf16(float x)
{
    return (uint16_t)(round_bits(bits_of(x), 16) >> 16);
}

float float_to_tf32(float x)
{
    return float_of(round_bits(bits_of(x), 13));
}

float f16_to_float(uint16_t x)
{
    uint32_t sign = (uint32_t)(x & 0x8000) << 16, exponent = x >> 10 & 31, mantissa = x & 1023;
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | mantissa << 13);
    if (exponent)
        return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
    float tiny = (float)mantissa * 0x1p-24f; /* subnormal */
    return sign ? -tiny : tiny;
}

uint16_t float_to_f16(float x)
{
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffff;
    if (is_nan(u))
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) /* 65520: the first that rounds to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 puts the last bit at 2^-24 */
        uint32_t sum = bits_of(float_of(magnitude) + 0.5f);
        return (uint16_t)(sign | (sum - 0x3f000000));
    }
    return (uint16_t)(sign | (round_bits(magnitude, 13) - 0x38000000) >> 13);
}

float storage_read(const void *at, Storage s, int64_t i)
{
    if (s == STORAGE_F32)
        return ((const float *)at)[i];
    if (s == STORAGE_U8)
        return ((const uint8_t *)at)[i];
    uint16_t x = ((const uint16_t *)at)[i];
    return s == STORAGE_BF16 ? bf16_to_float(x) : f16_to_float(x);
}

void storage_write(void *at, Storage s, int64_t i, float x)
{
    if (s == STORAGE_F32)
        ((float *)at)[i] = x;
    else if (s == STORAGE_U8)
        ((uint8_t *)at)[i] = (uint8_t)x;
    else
        ((uint16_t *)at)[i] = s == STORAGE_BF16 ? float_to_bf16(x) : float_to_f16(x);
}

float math_round(MathMode m, float x)
{
    switch (m) {
    case MATH_TF32:
        return float_to_tf32(x);
    case MATH_BF16:
        return bf16_to_float(float_to_bf16(x));
    case MATH_F16:
        return f16_to_float(float_to_f16(x));
    default:
        return x;
    }
}
