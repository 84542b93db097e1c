/* Elements of a mapped npy array: single values, strings, and bulk conversion to float.
 * Element addresses are in memory order, relative to the first element; they may be unaligned. */
#include <math.h>

#include "data/npy.h"

#define LOAD(T, p)                                                                                 \
    ({                                                                                             \
        T load_value;                                                                              \
        memcpy(&load_value, (p), sizeof load_value);                                               \
        load_value;                                                                                \
    })

static double half(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent == 0   ? ldexp(fraction, -24)
                   : exponent < 31 ? ldexp(fraction + 1024, exponent - 25)
                   : fraction      ? NAN
                                   : INFINITY;
    return bits >> 15 ? -value : value;
}

static const unsigned char *address(const Npy *a, uint64_t at)
{
    return a->data + at * a->head.item_bytes;
}

double npy_double(const Npy *a, uint64_t at)
{
    const unsigned char *p = address(a, at);
    switch (a->head.type) {
    case NPY_F16:
        return half(LOAD(uint16_t, p));
    case NPY_F32:
        return (double)LOAD(float, p);
    case NPY_F64:
        return LOAD(double, p);
    case NPY_U64:
        return (double)LOAD(uint64_t, p);
    default:
        return (double)npy_integer(a, at);
    }
}

int64_t npy_integer(const Npy *a, uint64_t at)
{
    const unsigned char *p = address(a, at);
    switch (a->head.type) {
    case NPY_BOOL:
        return *p != 0;
    case NPY_I8:
        return LOAD(int8_t, p);
    case NPY_I16:
        return LOAD(int16_t, p);
    case NPY_I32:
        return LOAD(int32_t, p);
    case NPY_I64:
        return LOAD(int64_t, p);
    case NPY_U8:
        return *p;
    case NPY_U16:
        return LOAD(uint16_t, p);
    case NPY_U32:
        return LOAD(uint32_t, p);
    case NPY_U64:
        return (int64_t)LOAD(uint64_t, p);
    case NPY_F16:
    case NPY_F32:
    case NPY_F64: {
        double v = npy_double(a, at);
        return v > -9.2e18 && v < 9.2e18 ? (int64_t)v : 0;
    }
    case NPY_UNICODE:
        break;
    }
    return 0;
}

/* Bytes of the code point as UTF-8; 0 when it is none. */
static size_t encode(uint32_t c, char out[4])
{
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; --i > 0; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

bool npy_text(const Npy *a, uint64_t at, char *out, size_t out_bytes)
{
    size_t n = 0, points = a->head.type == NPY_UNICODE ? a->head.item_bytes / 4 : 0;
    while (points > 0 && LOAD(uint32_t, address(a, at) + (points - 1) * 4) == 0)
        points--;
    bool good = a->head.type == NPY_UNICODE;
    for (size_t i = 0; i < points && good; i++) {
        char bytes[4];
        size_t k = encode(LOAD(uint32_t, address(a, at) + i * 4), bytes);
        good = k > 0 && n + k < out_bytes;
        if (good)
            memcpy(out + n, bytes, k);
        n += good ? k : 0;
    }
    if (out_bytes)
        out[n] = 0;
    return good;
}

void npy_floats(const Npy *a, uint64_t at, uint64_t stride, size_t n, float *out)
{
    const unsigned char *p = address(a, at);
    size_t hop = stride * a->head.item_bytes;
    if (a->head.type == NPY_F32 && stride == 1 && n)
        memcpy(out, p, n * sizeof *out);
    else if (a->head.type == NPY_F32)
        for (size_t i = 0; i < n; i++)
            out[i] = LOAD(float, p + i * hop);
    else if (a->head.type == NPY_F64)
        for (size_t i = 0; i < n; i++)
            out[i] = (float)LOAD(double, p + i * hop);
    else
        for (size_t i = 0; i < n; i++)
            out[i] = (float)npy_double(a, at + i * stride);
}

void npy_all_floats(const Npy *a, float *out)
{
    const NpyHeader *h = &a->head;
    if (!h->elems)
        return;
    if (!h->fortran || h->rank <= 1) {
        npy_floats(a, 0, 1, h->elems, out);
        return;
    }
    /* one run along the last axis per index of the others, which count up like an odometer */
    uint64_t index[NPY_MAX_RANK] = {0}, last = h->rank - 1, row = h->shape[last];
    for (uint64_t done = 0; done < h->elems; done += row) {
        uint64_t at = 0;
        for (uint32_t i = 0; i < last; i++)
            at += index[i] * h->stride[i];
        npy_floats(a, at, h->stride[last], row, out + done);
        for (uint32_t i = (uint32_t)last; i-- > 0;) {
            if (++index[i] < h->shape[i])
                break;
            index[i] = 0;
        }
    }
}
