/* The cells of a synthetic recording: from what the mouse sees and does to recorded responses.
 *
 * A cell is a quadrature pair of Gabor fields (even, odd) and a fast and a slow temporal filter:
 *
 *     a = fast * even - d slow * odd      b = fast * odd + d slow * even       (* along time)
 *     drive = (1 - e) max(a, 0) + e sqrt((a^2 + b^2) / 2)
 *     rate  = (0.08 + 1.6 max(drive / scale - threshold, 0)^1.3) gain(running, pupil)
 *
 * with d its direction selectivity and e between linear-nonlinear (0) and energy model (1). Fields
 * follow cortical position and move with the eye. Spikes are Poisson, seen through a decay like
 * that of calcium, sampled at 8 Hz and interpolated to the 30 Hz of the film. */
#ifndef NPC_DATA_SYNTH_CELLS_H
#define NPC_DATA_SYNTH_CELLS_H

#include <stddef.h>
#include <stdint.h>

#include "ir/base/status.h"
#include "data/philox.h"

enum {
    SYNTH_HISTORY = 16, /* frames of the temporal filters */
    SYNTH_PANEL = 8     /* fields side by side, so that their products are formed together */
};

typedef struct SynthCell {
    float fast[SYNTH_HISTORY], slow[SYNTH_HISTORY];
    double direction, energy, threshold, run_gain, pupil_gain;
    double counts;    /* spikes per volume at unit rate: the reliability */
    double decay;     /* volumes */
    double amplitude; /* response units per spike */
    double scale;     /* drive that counts as 1 */
    int64_t place[3]; /* micrometres */
} SynthCell;

typedef struct SynthCells {
    size_t n, height, width, max_frames;
    SynthCell *cell;
    size_t n_panels;
    float *panel;     /* [n_panels, height * width, SYNTH_PANEL]: even fields, then odd ones */
    float *seen;      /* [max_frames, height * width]: what falls on the fields, scratch */
    float *product;   /* [max_frames, n_panels * SYNTH_PANEL], scratch */
    double *level;    /* [n, max_frames]: drive or rate, result */
    double *integral; /* [max_frames + 1], scratch */
    double *volume;   /* [3, volumes of max_frames], scratch */
} SynthCells;

/* What the mouse does during a trial, [frames] each; gaze NULL: the eye rests. */
typedef struct SynthState {
    const double *running, *pupil, *gaze_x, *gaze_y;
} SynthState;

/* `types` > 0: cells are jittered copies of so many prototypes. `signal` multiplies spike counts.
 * NPC_ERR_MEMORY. */
Status synth_cells_make(SynthCells *c, Rng *r, size_t n, size_t height, size_t width,
                        size_t max_frames, uint32_t types, double signal, Err *err);
void synth_cells_free(SynthCells *c);

/* level[n, max_frames] = drive of a film [frames, height, width] of grey levels, not yet scaled. */
void synth_cells_drive(SynthCells *c, const float *film, size_t frames, const SynthState *s);
/* level: drive -> rate, about 1 on average for natural films. */
void synth_cells_rate(SynthCells *c, size_t frames, const SynthState *s);
/* Recorded and expected responses [n, stride] of the rate in `level`; frames and later stay. */
void synth_cells_observe(SynthCells *c, Rng *r, size_t frames, float *recorded, float *expected,
                         size_t stride);

#endif
