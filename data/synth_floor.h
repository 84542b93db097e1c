/* The linear floor of a synthetic recording: what ridge regression reaches from pixels and state.
 *
 * Features of a frame are the means of a grid of at most 9 x 16 boxes, 3, 6 and 9 frames ago (of an
 * image: now), and the animal's state now. A tenth of the training trials chooses the penalty.
 * Cells are made of Gabor filters, rectified and squared, and move with the eye, so a network that
 * has learned anything of that is above. */
#ifndef NPC_DATA_SYNTH_FLOOR_H
#define NPC_DATA_SYNTH_FLOOR_H

#include "data/ridge.h"
#include "data/synth_cells.h"

typedef struct SynthFloor {
    Ridge ridge;
    size_t height, width, rows, columns; /* pixels, boxes */
    bool of_images, is_solved;
    size_t n_trials; /* learned from */
    float *boxes;    /* [max_frames, rows columns] */
    float *features; /* [max_frames, n_features] */
} SynthFloor;

/* NPC_ERR_MEMORY; max_frames 1: images. */
Status synth_floor_open(SynthFloor *f, size_t height, size_t width, size_t neurons,
                        size_t max_frames, Err *err);
void synth_floor_free(SynthFloor *f);
/* film [frames, height, width]; recorded [neurons, stride]. Training trials come first. */
void synth_floor_learn(SynthFloor *f, const float *film, size_t frames, const SynthState *s,
                       const float *recorded, size_t stride);
/* out [neurons, stride] */
void synth_floor_predict(SynthFloor *f, const float *film, size_t frames, const SynthState *s,
                         float *out, size_t stride);

#endif
