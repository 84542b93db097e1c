/* How recorded values become what a model sees: x' = (x - shift) scale, element by element.
 *
 * Shift and scale are per row (pixel, neuron or value), per row and frame, or one for all; frames
 * are those of the trial, so a clip is transformed as its trial would be. */
#ifndef NPC_DATA_TRANSFORM_H
#define NPC_DATA_TRANSFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Affine {
    const float *shift, *scale;        /* NULL, both: as recorded */
    uint64_t row_stride, frame_stride; /* between their entries; 0: the same for all */
} Affine;

typedef struct Transform {
    Affine of[4];         /* per Variable */
    bool keeps_negatives; /* else responses below 0 become 0 */
} Transform;

/* n values of one row at frames first, first + step, .., in place. */
static inline void affine_apply(const Affine *a, uint64_t row, uint64_t first, uint32_t step,
                                uint32_t n, float *x)
{
    if (!a->scale)
        return;
    uint64_t at = row * a->row_stride + first * a->frame_stride, stride = step * a->frame_stride;
    for (uint32_t i = 0; i < n; i++, at += stride)
        x[i] = (x[i] - a->shift[at]) * a->scale[at];
}

#endif
