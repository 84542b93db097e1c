/* Sliding-window prediction of a trial: the outputs of all windows that hold a frame are averaged
 * with equal weights, and the submission's factor per response (specs/dwiseneuro.md 5.1, 5.3). Or
 * windows are stitched: every frame is of one window (specs/dynamic-v1fm.md 5). */
#ifndef NPC_DATA_BLEND_H
#define NPC_DATA_BLEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Blend {
    uint32_t length;     /* frames of the trial */
    uint32_t size, step; /* of the window */
    uint32_t n_neurons;
    uint32_t outputs; /* frames at the window's end that are predicted; 0: all */
    bool is_stitched; /* instead of averaged */
    uint32_t from;    /* stitched: one window's outputs begin here, the others' beside it */
} Blend;

/* Windows end at blend_first_end, +1, .., length - 1, those that blend_takes; none when the trial
 * is too short. Stitched ones lie side by side; the first and last may overlap their neighbours,
 * whose frames stay theirs. */
uint32_t blend_windows(const Blend *b);
uint32_t blend_first_end(const Blend *b);
bool blend_takes(const Blend *b, uint32_t end);
/* How many windows give this frame. */
uint32_t blend_count(const Blend *b, uint32_t frame);
/* Adds a window's prediction [neurons outputs] to sum [neurons length], which starts as zeros. */
void blend_add(const Blend *b, float *sum, const float *window, uint32_t end);
/* sum / max(count, 1) in place */
void blend_finish(const Blend *b, float *sum);

/* 1/std where std > 0.01 nanmean(std), else 1/(0.01 nanmean(std)), also where std is NaN. */
void response_precision(const float *std, size_t elems, float *out);

#endif
