/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): a
 * bijection of 128-bit counters for every 64-bit key. Numbers of data/philox.h are made of it,
 * and the masks of ir/drop.h. */
#ifndef NPC_IR_BASE_PHILOX_H
#define NPC_IR_BASE_PHILOX_H

#include <stdint.h>

typedef struct Philox {
    uint32_t v[4];
} Philox;

/* The factors of a round, and what the key grows by. */
#define PHILOX_FACTOR0 0xD2511F53u
#define PHILOX_FACTOR1 0xCD9E8D57u
#define PHILOX_KEY0 0x9E3779B9u /* golden ratio */
#define PHILOX_KEY1 0xBB67AE85u /* sqrt(3) - 1 */
enum { PHILOX_ROUNDS = 10 };

Philox philox_block(Philox counter, const uint32_t key[2]);

#endif
