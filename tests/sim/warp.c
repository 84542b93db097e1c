/* Matrix fragments of one warp: d += a b, in the layouts that codegen/cuda_prelude.cuh describes,
 * products and sums in float32. */
#include "ir/storage.h"
#include "tests/sim/driver.h"

#include <string.h>

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* The two numbers of a register. */
static void unpack(SimMma kind, uint32_t u, float *low, float *high)
{
    if (kind == SIM_MMA_BF16) {
        *low = float_of(u << 16);
        *high = float_of(u & 0xffff0000u);
    } else {
        *low = f16_to_float((uint16_t)u);
        *high = f16_to_float((uint16_t)(u >> 16));
    }
}

void warp_mma(SimMma kind, float *const *d, const unsigned *const *a, const unsigned *const *b)
{
    float A[16][16], B[16][8], D[16][8];
    bool is_tf32 = kind == SIM_MMA_TF32;
    int n_k = is_tf32 ? 8 : 16;
    for (int lane = 0; lane < SIM_WARP; lane++) {
        int group = lane / 4, pair = lane % 4;
        for (int i = 0; i < 4; i++) {
            int row = group + i % 2 * 8, k = i / 2 * (n_k / 2);
            if (is_tf32) /* the unit ignores the last 13 bits */
                A[row][k + pair] = float_of(a[lane][i] & 0xffffe000u);
            else
                unpack(kind, a[lane][i], &A[row][k + 2 * pair], &A[row][k + 2 * pair + 1]);
        }
        for (int i = 0; i < 2; i++) {
            int k = i * (n_k / 2);
            if (is_tf32)
                B[k + pair][group] = float_of(b[lane][i] & 0xffffe000u);
            else
                unpack(kind, b[lane][i], &B[k + 2 * pair][group], &B[k + 2 * pair + 1][group]);
        }
        for (int i = 0; i < 4; i++)
            D[group + i / 2 * 8][2 * pair + i % 2] = d[lane][i];
    }
    for (int row = 0; row < 16; row++)
        for (int k = 0; k < n_k; k++)
            for (int column = 0; column < 8; column++)
                D[row][column] += A[row][k] * B[k][column];
    for (int lane = 0; lane < SIM_WARP; lane++)
        for (int i = 0; i < 4; i++)
            d[lane][i] = D[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
}
