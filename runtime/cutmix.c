#include "runtime/cutmix.h"

#include <math.h>
#include <string.h>

static uint32_t clip(int64_t v, uint32_t limit)
{
    return v < 0 ? 0 : v > (int64_t)limit ? limit : (uint32_t)v;
}

CutmixBox cutmix_box(uint32_t height, uint32_t width, double share, uint32_t row, uint32_t column)
{
    double side = sqrt((double)height * width) * sqrt(share);
    int64_t half = (int64_t)side / 2, r = row, c = column;
    return (CutmixBox){clip(r - half, height), clip(r + half, height), clip(c - half, width),
                       clip(c + half, width)};
}

double cutmix_share(const CutmixBox *box, uint32_t height, uint32_t width)
{
    double area = (double)(box->bottom - box->top) * (box->right - box->left);
    return area / ((double)height * width);
}

void cutmix_input(float *x, const float *partner, size_t planes, uint32_t height, uint32_t width,
                  const CutmixBox *box)
{
    size_t row_bytes = (box->right - box->left) * sizeof *x;
    for (size_t p = 0; p < planes; p++)
        for (uint32_t r = box->top; r < box->bottom; r++) {
            size_t at = (p * height + r) * width + box->left;
            memcpy(x + at, partner + at, row_bytes);
        }
}

void cutmix_target(float *y, const float *partner, size_t elems, double share)
{
    for (size_t i = 0; i < elems; i++)
        y[i] = (float)((1 - share) * (double)y[i] + share * (double)partner[i]);
}
