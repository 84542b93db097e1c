#include "ir/base/philox.h"

Philox philox_block(Philox c, const uint32_t key[2])
{
    uint32_t k0 = key[0], k1 = key[1];

    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t a = (uint64_t)PHILOX_FACTOR0 * c.v[0], b = (uint64_t)PHILOX_FACTOR1 * c.v[2];
        c = (Philox){{(uint32_t)(b >> 32) ^ c.v[1] ^ k0, (uint32_t)b,
                      (uint32_t)(a >> 32) ^ c.v[3] ^ k1, (uint32_t)a}};
        k0 += PHILOX_KEY0;
        k1 += PHILOX_KEY1;
    }
    return c;
}
