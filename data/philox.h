/* Counter-based random numbers, made by Philox4x32-10 (ir/base/philox.h).
 *
 * A draw is a pure function of (seed, stream, index): the key is the seed, the counter holds the
 * index in its low and the stream in its high 64 bits. Any thread can make any draw, in any order,
 * and a resumed run continues by its counters alone.
 *
 * `Rng` walks one stream in order, for code that just wants numbers. It is plain data: saving the
 * bytes saves its state. Nothing here allocates or fails. */
#ifndef NPC_DATA_PHILOX_H
#define NPC_DATA_PHILOX_H

#include <stddef.h>

#include "ir/base/philox.h"

/* Four independent words, uniform over all 32-bit values. */
Philox philox_draw(uint64_t seed, uint64_t stream, uint64_t index);
/* Stream id of a dotted path such as "core.block2.dropout" (64-bit FNV-1a, then mixed). */
uint64_t philox_stream(const char *name);

/* Uniform in [0, 1): the top 24 bits of a word, the top 53 bits of two. */
float philox_float(uint32_t word);
double philox_double(uint32_t high, uint32_t low);
/* Box-Muller in float64: two independent standard normals from one draw. */
void philox_normals(Philox draw, double out[2]);
/* One uniform in [0, 1) or one standard normal per index. */
float philox_uniform(uint64_t seed, uint64_t stream, uint64_t index);
double philox_normal(uint64_t seed, uint64_t stream, uint64_t index);
/* A random order of 0 .. n-1 (Fisher-Yates); depends on seed and stream alone. */
void philox_permutation(uint64_t seed, uint64_t stream, uint32_t n, uint32_t *out);

typedef struct Rng {
    uint64_t seed, stream;
    uint64_t index; /* of the next block to draw */
    Philox block;
    uint32_t n_left;    /* words of `block` not yet used */
    uint32_t has_spare; /* `spare` is a normal not yet used */
    double spare;
} Rng;

Rng rng_start(uint64_t seed, uint64_t stream);
uint32_t rng_word(Rng *r);
float rng_float(Rng *r);
double rng_double(Rng *r);
/* low + (high - low) u */
double rng_between(Rng *r, double low, double high);
/* Uniform in 0 .. n-1 without modulo bias (rejection); n > 0. */
uint64_t rng_below(Rng *r, uint64_t n);
double rng_normal(Rng *r);
/* Mean 1. */
double rng_exponential(Rng *r);
/* Shape > 0, scale 1 (Marsaglia & Tsang 2000). */
double rng_gamma(Rng *r, double shape);
/* Mean >= 0: inversion below 10, PTRS above (Hoermann 1993); at most 2^53. */
uint64_t rng_poisson(Rng *r, double mean);

#endif
