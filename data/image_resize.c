#include "data/image_resize.h"

#include <math.h>
#include <stdlib.h>

/* Weights of the source pixels first .. first + n - 1 for target i; they sum to 1. */
static uint32_t weights(uint32_t i, uint32_t source, uint32_t target, uint32_t *first, double *w)
{
    double factor = (double)source / target, reach = factor > 1 ? factor : 1;
    double centre = (i + 0.5) * factor - 0.5, sum = 0;
    int64_t low = (int64_t)ceil(centre - reach), high = (int64_t)floor(centre + reach);
    low = low < 0 ? 0 : low;
    high = high >= source ? source - 1 : high;
    for (int64_t k = low; k <= high; k++) {
        double x = 1 - fabs((double)k - centre) / reach;
        w[k - low] = x > 0 ? x : 0;
        sum += w[k - low];
    }
    for (int64_t k = low; k <= high; k++)
        w[k - low] /= sum;
    *first = (uint32_t)low;
    return (uint32_t)(high - low + 1);
}

bool image_resize(const unsigned char *from, uint32_t rows, uint32_t columns, float *to,
                  uint32_t height, uint32_t width)
{
    uint32_t most = rows > columns ? rows : columns, first, n;
    double *half = calloc((size_t)rows * width + 1, sizeof *half); /* [rows width] */
    double *w = calloc((size_t)most + 3, sizeof *w);
    for (uint32_t i = 0; half && w && i < width; i++) {
        n = weights(i, columns, width, &first, w);
        for (uint32_t row = 0; row < rows; row++)
            for (uint32_t k = 0; k < n; k++)
                half[(size_t)row * width + i] += w[k] * from[(size_t)row * columns + first + k];
    }
    for (uint32_t i = 0; half && w && i < height; i++) {
        n = weights(i, rows, height, &first, w);
        for (uint32_t col = 0; col < width; col++) {
            double sum = 0;
            for (uint32_t k = 0; k < n; k++)
                sum += w[k] * half[(size_t)(first + k) * width + col];
            to[(size_t)i * width + col] = (float)sum;
        }
    }
    bool done = half && w;
    free(half);
    free(w);
    return done;
}
