#include "runtime/distill.h"

#include <string.h>

static double total(const float *weight, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)weight[i];
    return sum;
}

void weights_normalise(const float *weight, size_t n, float *share)
{
    double sum = total(weight, n);
    for (size_t i = 0; i < n; i++)
        share[i] = sum != 0 ? (float)((double)weight[i] / sum) : 0;
}

double distill_weight(const float *weight, size_t n, double ratio)
{
    size_t empty = 0;
    for (size_t i = 0; i < n; i++)
        empty += weight[i] == 0;
    return empty ? ratio / (1 - ratio) * total(weight, n) / (double)empty : 0;
}

void distill_fill(float *target, const float *teacher, const float *weight, size_t stride,
                  size_t batch, size_t elems)
{
    for (size_t b = 0; b < batch; b++)
        if (weight[b * stride] == 0)
            memcpy(target + b * elems, teacher + b * elems, elems * sizeof *target);
}

void distill_fill_weights(float *weight, size_t n, double ratio)
{
    float filled = (float)distill_weight(weight, n, ratio);
    for (size_t i = 0; i < n; i++)
        weight[i] = weight[i] == 0 ? filled : weight[i];
}
