#include "ir/drop.h"

#include "ir/base/philox.h"

#include <math.h>

bool drop_is_rate(double rate)
{
    return rate >= 0 && (float)rate < 1;
}

uint32_t drop_limit(double rate)
{
    return (uint32_t)ceil((double)(float)rate * 0x1p24) << 8;
}

bool drop_keeps(const uint32_t word[4], uint32_t limit, int64_t i, int64_t j)
{
    Philox counter = {{(uint32_t)(j / DROP_KEYS), (uint32_t)i, word[2], word[3]}};
    return philox_block(counter, word).v[j % DROP_KEYS] >= limit;
}
