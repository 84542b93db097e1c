/* Which weights of an attention are dropped in training.
 *
 * A sequence (a sample's head, say) has DROP_BYTES random bytes of its own, four words, low bytes
 * first. The weight of query i and key j is kept when word j % 4 of Philox, with the first two as
 * key on the counter (j / 4, i, third, fourth), is at least drop_limit(rate): with a chance of
 * 1 - rate to 2^-24, as in a mask of that rate. So a mask is a function of i and j; kernels make it
 * where weights are, in both directions and on every device the same, and nobody stores it. */
#ifndef NPC_IR_DROP_H
#define NPC_IR_DROP_H

#include <stdbool.h>
#include <stdint.h>

enum { DROP_BYTES = 16, DROP_KEYS = 4 /* of a counter */ };

/* Is it a rate: in [0, 1), also as a float32? */
bool drop_is_rate(double rate);
uint32_t drop_limit(double rate);
/* `word`: of the sequence. */
bool drop_keeps(const uint32_t word[4], uint32_t limit, int64_t i, int64_t j);

#endif
