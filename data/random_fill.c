/* Loops over small arrays that compilers turn into vector code, cloned per vector unit.
 * Logarithm: x = 2^e m, m in [sqrt(1/2), sqrt(2)), log m by the atanh series in s = (m-1)/(m+1).
 * Sine and cosine: the quadrant is taken from the top bits of the uniform number, what remains is
 * an angle in [-pi/4, pi/4], Taylor polynomials. */
#include "data/random_fill.h"
#include "data/philox.h"

#include <string.h>

enum { BLOCKS = 256 }; /* Philox blocks per turn: 1024 numbers */

#if defined(__x86_64__) && defined(__GNUC__)
#define VECTORISED __attribute__((target_clones("avx512f", "avx2", "default")))
#if defined(__clang__)
#undef VECTORISED
#define VECTORISED
#endif
#else
#define VECTORISED
#endif

/* Ten rounds of Philox4x32 on BLOCKS counters (Salmon et al. 2011). */
VECTORISED static void draw(uint64_t seed, uint64_t stream, uint64_t block, uint32_t *restrict c0,
                            uint32_t *restrict c1, uint32_t *restrict c2, uint32_t *restrict c3)
{
    for (int i = 0; i < BLOCKS; i++) {
        uint64_t index = block + (uint64_t)i;
        c0[i] = (uint32_t)index;
        c1[i] = (uint32_t)(index >> 32);
        c2[i] = (uint32_t)stream;
        c3[i] = (uint32_t)(stream >> 32);
    }
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            uint64_t p0 = (uint64_t)c0[i] * 0xD2511F53u, p1 = (uint64_t)c2[i] * 0xCD9E8D57u;
            uint32_t a = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0, b = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
            c0[i] = a;
            c1[i] = (uint32_t)p1;
            c2[i] = b;
            c3[i] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

static inline float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* -2 log((its top 23 bits + 1/2) / 2^23) */
static inline float minus_two_log(uint32_t word)
{
    float x = ((float)(word >> 9) + 0.5f) * 0x1p-23f;
    uint32_t bits = to_bits(x), shifted = bits - 0x3F3504F3u; /* 1/sqrt(2) */
    float e = (float)((int32_t)shifted >> 23);
    float m = from_bits((shifted & 0x007FFFFFu) + 0x3F3504F3u);
    float s = (m - 1) / (m + 1), q = s * s;
    float p = ((0.15384615f * q + 0.18181818f) * q + 0.22222222f) * q + 0.28571429f;
    p = ((p * q + 0.4f) * q + 0.66666667f) * q + 2.0f;
    return -2.0f * (e * 0.69314718f + s * p);
}

/* Two normals from two words: radius from the first, angle from the second. */
VECTORISED static void box_muller(const uint32_t *restrict a, const uint32_t *restrict b,
                                  float *restrict x, float *restrict y)
{
    for (int i = 0; i < BLOCKS; i++) {
        float r = __builtin_sqrtf(minus_two_log(a[i]));
        uint32_t quadrant = b[i] >> 30;
        float t =
            ((float)((b[i] >> 7) & 0x7FFFFFu) + 0.5f - 4194304.0f) * (0.78539816f / 4194304.0f);
        float q = t * t;
        float s = t * (1 + q * (-0.16666667f + q * (8.3333333e-3f + q * -1.9841270e-4f)));
        float c = 1 + q * (-0.5f + q * (4.1666667e-2f + q * (-1.3888889e-3f + q * 2.4801587e-5f)));
        float u = quadrant & 1 ? c : s, v = quadrant & 1 ? s : c;
        uint32_t su = quadrant & 2 ? 0x80000000u : 0;
        uint32_t sv = (quadrant + 1) & 2 ? 0x80000000u : 0;
        x[i] = r * from_bits(to_bits(u) ^ su);
        y[i] = r * from_bits(to_bits(v) ^ sv);
    }
}

/* Each word's top 24 bits as a number in [0, 1), against the rate. */
VECTORISED static void keep(const uint32_t (*restrict word)[BLOCKS], float rate,
                            uint8_t *restrict out)
{
    for (int i = 0; i < BLOCKS; i++)
        for (int k = 0; k < 4; k++)
            out[4 * i + k] = (float)(word[k][i] >> 8) * 0x1p-24f >= rate;
}

VECTORISED static void interleave(const float (*restrict z)[BLOCKS], float mean, float sd,
                                  float *restrict out)
{
    for (int i = 0; i < BLOCKS; i++)
        for (int k = 0; k < 4; k++)
            out[4 * i + k] = mean + sd * z[k][i];
}

typedef struct Words {
    uint32_t at[4][BLOCKS];
} Words;

/* One turn: the elements first .. first + 4 BLOCKS. */
static void normal_turn(uint64_t seed, uint64_t stream, int64_t first, float mean, float sd,
                        float *out)
{
    Words w;
    float z[4][BLOCKS];
    draw(seed, stream, (uint64_t)first / 4, w.at[0], w.at[1], w.at[2], w.at[3]);
    box_muller(w.at[0], w.at[1], z[0], z[1]);
    box_muller(w.at[2], w.at[3], z[2], z[3]);
    interleave((const float(*)[BLOCKS])z, mean, sd, out);
}

static void mask_turn(uint64_t seed, uint64_t stream, int64_t first, float rate, uint8_t *out)
{
    Words w;
    draw(seed, stream, (uint64_t)first / 4, w.at[0], w.at[1], w.at[2], w.at[3]);
    keep((const uint32_t(*)[BLOCKS])w.at, rate, out);
}

void normal_fill(uint64_t seed, uint64_t stream, int64_t first, int64_t n, float mean, float sd,
                 float *out)
{
    int64_t whole = n - n % (4 * BLOCKS);
    float last[4 * BLOCKS];
    for (int64_t at = 0; at < whole; at += 4 * BLOCKS)
        normal_turn(seed, stream, first + at, mean, sd, out + at);
    if (whole == n)
        return;
    normal_turn(seed, stream, first + whole, mean, sd, last);
    memcpy(out + whole, last, (size_t)(n - whole) * sizeof *out);
}

void mask_fill(uint64_t seed, uint64_t stream, int64_t first, int64_t n, double rate, uint8_t *out)
{
    int64_t whole = n - n % (4 * BLOCKS);
    uint8_t last[4 * BLOCKS];
    for (int64_t at = 0; at < whole; at += 4 * BLOCKS)
        mask_turn(seed, stream, first + at, (float)rate, out + at);
    if (whole == n)
        return;
    mask_turn(seed, stream, first + whole, (float)rate, last);
    memcpy(out + whole, last, (size_t)(n - whole));
}

void bytes_fill(uint64_t seed, uint64_t stream, int64_t first, int64_t n, uint8_t *out)
{
    Philox block = {{0}};
    for (int64_t i = 0; i < n; i++) {
        if (i % 16 == 0)
            block = philox_draw(seed, stream, (uint64_t)(first + i) / 16);
        out[i] = (uint8_t)(block.v[i % 16 / 4] >> i % 4 * 8);
    }
}
