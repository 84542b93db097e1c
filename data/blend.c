#include "data/blend.h"

#include <math.h>

uint32_t blend_first_end(const Blend *b)
{
    return (b->size - 1) * b->step;
}

static uint32_t outputs(const Blend *b)
{
    return b->outputs ? b->outputs : b->size;
}

/* Frames a step apart are a row of their own; `at` is a place in it, as is a window's end. */
static uint32_t first_place(const Blend *b)
{
    return b->size - 1;
}

static bool begins_side_by_side(const Blend *b, uint32_t at)
{
    return (at + 1) % outputs(b) == b->from / b->step % outputs(b);
}

bool blend_takes(const Blend *b, uint32_t end)
{
    uint32_t at = end / b->step;
    if (end < blend_first_end(b) || end >= b->length)
        return false;
    return !b->is_stitched || at == first_place(b) || begins_side_by_side(b, at) ||
           end + b->step >= b->length;
}

uint32_t blend_windows(const Blend *b)
{
    uint32_t n = 0;
    for (uint32_t end = blend_first_end(b); end < b->length; end++)
        n += blend_takes(b, end);
    return n;
}

/* The first window that ends at or behind the frame, its last output or an earlier one. */
static uint32_t owner(const Blend *b, uint32_t frame)
{
    uint32_t end = frame;
    while (end < b->length && !blend_takes(b, end))
        end += b->step;
    return end;
}

static bool gives(const Blend *b, uint32_t end, uint32_t frame)
{
    return !b->is_stitched || owner(b, frame) == end;
}

uint32_t blend_count(const Blend *b, uint32_t frame)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < outputs(b); i++) {
        uint32_t end = frame + i * b->step;
        count += blend_takes(b, end) && gives(b, end, frame);
    }
    return count;
}

void blend_add(const Blend *b, float *sum, const float *window, uint32_t end)
{
    uint32_t begin = end - (outputs(b) - 1) * b->step;
    for (uint32_t i = 0; i < outputs(b); i++) {
        uint32_t frame = begin + i * b->step;
        if (!gives(b, end, frame))
            continue;
        for (uint32_t n = 0; n < b->n_neurons; n++)
            sum[(size_t)n * b->length + frame] += window[(size_t)n * outputs(b) + i];
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
