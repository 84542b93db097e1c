/* Many random numbers at once: initial values of parameters, masks, noise and bytes of a step.
 *
 * Element i is number i % 4 of Philox block i / 4 of (seed, stream): a function of seed, stream and
 * i alone, the same bits on every vector unit (no operation here may be reassociated or fused).
 * `first`, the index of the first element, is a multiple of 4. */
#ifndef NPC_DATA_RANDOM_FILL_H
#define NPC_DATA_RANDOM_FILL_H

#include <stdint.h>

/* out[0 .. n) = mean + sd * standard normal, elements first .. first + n.
 * Box-Muller in float32: absolute error of a standard normal below 1e-6, largest value 5.8. */
void normal_fill(uint64_t seed, uint64_t stream, int64_t first, int64_t n, float mean, float sd,
                 float *out);
/* Dropout: out[0 .. n) = 0 with probability `rate` < 1, otherwise 1. */
void mask_fill(uint64_t seed, uint64_t stream, int64_t first, int64_t n, double rate, uint8_t *out);
/* Whole numbers 0 .. 255: element i is byte i % 16 of block i / 16, low bytes of a word first;
 * `first` is a multiple of 16. */
void bytes_fill(uint64_t seed, uint64_t stream, int64_t first, int64_t n, uint8_t *out);

#endif
