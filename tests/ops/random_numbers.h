/* Numbers of random graphs: splitmix64 (Steele, Lea, Flood 2014). */
#ifndef NPC_TESTS_OPS_RANDOM_NUMBERS_H
#define NPC_TESTS_OPS_RANDOM_NUMBERS_H

#include <stdint.h>

static inline uint64_t next_word(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static inline double next_uniform(uint64_t *state)
{
    return (double)(next_word(state) >> 11) * 0x1p-53;
}

#endif
