/* Many normal numbers at once: the initial values of large parameters.
 *
 * Element i is number i % 4 of Philox block i / 4 of (seed, stream): a function of seed, stream and
 * i alone, the same bits on every vector unit (no operation here may be reassociated or fused). */
#ifndef NPC_RUNTIME_NORMAL_H
#define NPC_RUNTIME_NORMAL_H

#include <stdint.h>

/* out[0 .. n) = mean + sd * standard normal, elements first .. first + n; `first` a multiple of 4.
 * Box-Muller in float32: absolute error of a standard normal below 1e-6, largest value 5.8. */
void normal_fill(uint64_t seed, uint64_t stream, int64_t first, int64_t n, float mean, float sd,
                 float *out);

#endif
