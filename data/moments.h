/* Number, mean, deviation and range of values that arrive in pieces. While they arrive, `sd` holds
 * the sum of squared deviations; sets are joined as Chan, Golub and LeVeque 1979. */
#ifndef NPC_DATA_MOMENTS_H
#define NPC_DATA_MOMENTS_H

#include <stdint.h>

typedef struct Moments {
    double mean, sd, min, max; /* population sd */
    uint64_t n;
} Moments;

/* Of n finite values. */
Moments moments_of(const float *x, uint32_t n);
void moments_join(Moments *into, const Moments *more);
/* The sum of squares becomes the deviation; 0 of nothing. */
void moments_end(Moments *m);

#endif
