/* Random choices of tests: the same numbers everywhere. */
#ifndef NPC_TESTS_DICE_H
#define NPC_TESTS_DICE_H

#include <stdint.h>

typedef struct Dice {
    uint64_t state;
} Dice;

static inline uint64_t dice(Dice *d, uint64_t below)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (d->state >> 33) % below;
}

static inline float dice_float(Dice *d, float low, float high)
{
    return low + (high - low) * (float)dice(d, 1 << 24) / (float)(1 << 24);
}

#endif
