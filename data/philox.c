#include "data/philox.h"

#include <math.h>

Philox philox_draw(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    Philox counter = {
        {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)}};
    return philox_block(counter, key);
}

uint64_t philox_stream(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (const char *p = name; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    /* names that differ in their last letter shall differ in all bits */
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

float philox_float(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

double philox_double(uint32_t high, uint32_t low)
{
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

void philox_normals(Philox draw, double out[2])
{
    double u = 1.0 - philox_double(draw.v[0], draw.v[1]); /* (0, 1]: the logarithm exists */
    double radius = sqrt(-2.0 * log(u));
    double angle = 6.283185307179586476925 * philox_double(draw.v[2], draw.v[3]);
    out[0] = radius * cos(angle);
    out[1] = radius * sin(angle);
}

float philox_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    return philox_float(philox_draw(seed, stream, index).v[0]);
}

double philox_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    double pair[2];
    philox_normals(philox_draw(seed, stream, index), pair);
    return pair[0];
}

void philox_permutation(uint64_t seed, uint64_t stream, uint32_t n, uint32_t *out)
{
    Rng r = rng_start(seed, stream);
    for (uint32_t i = 0; i < n; i++)
        out[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)rng_below(&r, i), swap = out[i - 1];
        out[i - 1] = out[j];
        out[j] = swap;
    }
}

Rng rng_start(uint64_t seed, uint64_t stream)
{
    return (Rng){.seed = seed, .stream = stream};
}

uint32_t rng_word(Rng *r)
{
    if (r->n_left == 0) {
        r->block = philox_draw(r->seed, r->stream, r->index++);
        r->n_left = 4;
    }
    return r->block.v[4 - r->n_left--];
}

float rng_float(Rng *r)
{
    return philox_float(rng_word(r));
}

double rng_double(Rng *r)
{
    uint32_t high = rng_word(r);
    return philox_double(high, rng_word(r));
}

double rng_between(Rng *r, double low, double high)
{
    return low + (high - low) * rng_double(r);
}

uint64_t rng_below(Rng *r, uint64_t n)
{
    uint64_t reject = (0 - n) % n; /* 2^64 mod n: the first values that would count twice */
    for (;;) {
        uint64_t x = (uint64_t)rng_word(r) << 32;
        x |= rng_word(r);
        if (x >= reject)
            return x % n;
    }
}

double rng_normal(Rng *r)
{
    if (r->has_spare) {
        r->has_spare = 0;
        return r->spare;
    }
    Philox draw;
    for (int i = 0; i < 4; i++)
        draw.v[i] = rng_word(r);
    double pair[2];
    philox_normals(draw, pair);
    r->spare = pair[1];
    r->has_spare = 1;
    return pair[0];
}

double rng_exponential(Rng *r)
{
    return -log(1.0 - rng_double(r));
}

double rng_gamma(Rng *r, double shape)
{
    if (shape < 1.0) { /* gamma(a) = gamma(a + 1) u^(1/a) */
        double u = 1.0 - rng_double(r);
        return rng_gamma(r, shape + 1.0) * pow(u, 1.0 / shape);
    }
    double d = shape - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double x = rng_normal(r), v = 1.0 + c * x;
        if (v <= 0.0)
            continue;
        v = v * v * v;
        double u = 1.0 - rng_double(r);
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

/* Walks the distribution function; the product of uniforms would take as many draws. */
static uint64_t poisson_small(Rng *r, double mean)
{
    double u = rng_double(r), p = exp(-mean), sum = p;
    uint64_t k = 0;
    while (u >= sum && k < 200) { /* at mean 10 the rest beyond 200 is below 1e-150 */
        p *= mean / (double)++k;
        sum += p;
    }
    return k;
}

/* Transformed rejection with squeeze, algorithm PTRS. */
static uint64_t poisson_large(Rng *r, double mean)
{
    double b = 0.931 + 2.53 * sqrt(mean), a = -0.059 + 0.02483 * b;
    double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), v_r = 0.9277 - 3.6224 / (b - 2.0);

    for (;;) {
        double u = rng_double(r) - 0.5, v = 1.0 - rng_double(r), us = 0.5 - fabs(u);
        double k = floor((2.0 * a / us + b) * u + mean + 0.43);
        if (!(k >= 0.0) || (us < 0.013 && v > us))
            continue;
        if (us >= 0.07 && v <= v_r)
            return (uint64_t)fmin(k, 0x1p53);
        int sign;
        double bound = k * log(mean) - mean - lgamma_r(k + 1.0, &sign);
        if (log(v * inverse_alpha / (a / (us * us) + b)) <= bound)
            return (uint64_t)fmin(k, 0x1p53);
    }
}

uint64_t rng_poisson(Rng *r, double mean)
{
    return mean < 10.0 ? poisson_small(r, mean) : poisson_large(r, fmin(mean, 0x1p53));
}
