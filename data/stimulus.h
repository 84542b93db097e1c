/* Stimuli of synthetic recordings: six kinds of film, grey levels 0..255 at 30 Hz.
 *
 * A film is written as float32 (T, H, W). It depends on nothing but its kind, its size and the
 * state of the random stream. */
#ifndef NPC_DATA_STIMULUS_H
#define NPC_DATA_STIMULUS_H

#include <stddef.h>

#include "ir/base/status.h"
#include "data/philox.h"

typedef enum StimulusKind {
    STIMULUS_MOVIE,        /* scenes of one to four seconds: drifting texture, bodies, flicker */
    STIMULUS_PINK_NOISE,   /* oriented 1/f noise flowing across its orientation */
    STIMULUS_GABOR,        /* drifting Gabors, 25 frames each */
    STIMULUS_GAUSSIAN_DOT, /* one black or white blurred dot, elsewhere every nine frames */
    STIMULUS_RANDOM_DOTS,  /* dots moving together at 50 or 100 % coherence */
    STIMULUS_IMAGE,        /* stills for half a second, grey in between */
    STIMULUS_KINDS
} StimulusKind;

/* Mean and standard deviation of natural films, grey levels. */
#define STIMULUS_GREY 80.0
#define STIMULUS_CONTRAST 57.0

/* "movie", "directional pink noise", "drifting gabor", ... */
const char *stimulus_name(StimulusKind kind);
/* NPC_ERR_MEMORY. `out` has frames * height * width elements. */
Status stimulus_make(StimulusKind kind, Rng *r, size_t frames, size_t height, size_t width,
                     float *out, Err *err);

#endif
