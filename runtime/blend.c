#include "runtime/blend.h"

#include <math.h>

uint32_t blend_first_end(const Blend *b)
{
    return (b->size - 1) * b->step;
}

static uint32_t outputs(const Blend *b)
{
    return b->outputs ? b->outputs : b->size;
}

uint32_t blend_windows(const Blend *b)
{
    uint32_t first = blend_first_end(b);
    return b->length > first ? b->length - first : 0;
}

uint32_t blend_count(const Blend *b, uint32_t frame)
{
    uint32_t count = 0, first = blend_first_end(b);
    for (uint32_t i = 0; i < outputs(b); i++) {
        uint32_t end = frame + i * b->step;
        count += end >= first && end < b->length;
    }
    return count;
}

void blend_add(const Blend *b, float *sum, const float *window, uint32_t end)
{
    uint32_t begin = end - (outputs(b) - 1) * b->step;
    for (uint32_t n = 0; n < b->n_neurons; n++) {
        float *row = sum + (size_t)n * b->length + begin;
        const float *w = window + (size_t)n * outputs(b);
        for (uint32_t i = 0; i < outputs(b); i++)
            row[(size_t)i * b->step] += w[i];
    }
}

void blend_finish(const Blend *b, float *sum)
{
    for (uint32_t t = 0; t < b->length; t++) {
        uint32_t count = blend_count(b, t);
        float divisor = count ? (float)count : 1;
        for (uint32_t n = 0; n < b->n_neurons; n++)
            sum[(size_t)n * b->length + t] /= divisor;
    }
}

void response_precision(const float *std, size_t elems, float *out)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < elems; i++)
        if (!isnan(std[i])) {
            sum += (double)std[i];
            n++;
        }
    double threshold = n ? 0.01 * (sum / (double)n) : NAN;
    for (size_t i = 0; i < elems; i++)
        out[i] = (float)(1 / ((double)std[i] > threshold ? (double)std[i] : threshold));
}
