/* What the mouse of a synthetic recording does: one session of running, pupil and gaze at 30 Hz.
 *
 * Running comes in bouts; the pupil widens with it and drifts over minutes; the eye wanders, makes
 * saccades and is pulled back to the centre. */
#ifndef NPC_DATA_SYNTH_BEHAVIOUR_H
#define NPC_DATA_SYNTH_BEHAVIOUR_H

#include <stddef.h>

#include "ir/base/status.h"
#include "data/philox.h"

typedef struct SynthBehaviour {
    size_t n_frames;
    double *running;         /* cm/s, 0 at rest */
    double *pupil;           /* size, pixels of the eye camera */
    double *gaze_x, *gaze_y; /* standardised over the session */
    double *memory;
} SynthBehaviour;

/* Position of the pupil's centre in pixels of the eye camera. */
#define SYNTH_CENTRE_X(gaze) (150.0 + 5.9 * (gaze))
#define SYNTH_CENTRE_Y(gaze) (146.0 + 5.6 * (gaze))

/* NPC_ERR_MEMORY. */
Status synth_behave(Rng *r, size_t n_frames, SynthBehaviour *out, Err *err);
void synth_behaviour_free(SynthBehaviour *b);

#endif
