/* Noise whose power falls with frequency, for stimuli: still textures and films that flicker.
 *
 * Both are sums of plane waves on a periodic grid whose sides are powers of two, made by an inverse
 * Fourier transform of independent random coefficients. In a film every coefficient follows its own
 * first-order process in time; coarse waves live longer, so that the power over space and time
 * falls as 1 / (f_space^2 + (3 f_time)^2). */
#ifndef NPC_DATA_STIMULUS_NOISE_H
#define NPC_DATA_STIMULUS_NOISE_H

#include <stddef.h>

#include "ir/base/status.h"
#include "data/philox.h"

typedef struct Noise {
    size_t height, width;       /* powers of two */
    float *amplitude;           /* [height, width] of each wave; 0 for the constant */
    float *keep;                /* [height, width] share that survives one frame */
    float *re, *im;             /* [height, width] scratch of the transform */
    float *state_re, *state_im; /* [height, width] coefficients of the film's current frame */
    float *turn;                /* [2, longest / 2] cosines and sines */
    float *memory;
} Noise;

/* The smallest power of two that is at least n. */
size_t noise_grid(size_t n);
/* NPC_ERR_MEMORY. */
Status noise_open(Noise *n, size_t height, size_t width, Err *err);
void noise_close(Noise *n);

/* out [height, width], mean 0, sd 1, power 1 / f^2. With `oriented`, waves are weighted by
 * cos^8 of their direction's distance to `angle` (radians). */
void noise_texture(Noise *n, Rng *r, int oriented, double angle, float *out);
/* Starts a film in its steady state, then gives one frame per call: expected mean 0, sd 1. The
 * result [height, width] is valid until the next call. */
void noise_film_start(Noise *n, Rng *r);
const float *noise_film_next(Noise *n, Rng *r);

#endif
