/* SENSORIUM 2023 scores: single-trial correlation, correlation to average, noise ceilings.
 *
 * Values are float32, sums are float64. A score is computed per neuron of one recording; `out`
 * holds n_neurons float64. Only frames `burn_in` and later of a trial's response count; a
 * prediction is aligned with the END of its trial and may be shorter at its start, never shorter
 * than the scored part. Both must already be cut to the trial's valid length.
 *
 * Errors: NPC_ERR_INPUT when a prediction is too short (names the trial), when no frame or no clip
 * with enough repeats is left; NPC_ERR_MEMORY. Nothing is written to `out` then.
 *
 * Source: the competition's starter kit; correlation to average is equation 2 of its paper; the two
 * ceilings follow the library the kit uses; CC_norm is Schoppe et al. 2016. */
#ifndef NPC_DATA_METRICS_H
#define NPC_DATA_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "ir/base/status.h"

#define METRICS_EPS 1e-8
#define METRICS_EXPLAINABLE 0.15 /* specs/v1t.md, section 2 */
enum { METRICS_BURN_IN = 50 };   /* frames */

/* One array [neurons, frames]; strides in elements (n_frames and 1 when dense). */
typedef struct Trace {
    const float *at;
    size_t n_frames;
    ptrdiff_t neuron_stride, frame_stride;
} Trace;

typedef struct ScoreTrial {
    Trace response;
    Trace prediction; /* unused by the ceilings */
    int64_t group;    /* trials of one group repeat one clip */
} ScoreTrial;

typedef struct ScoreSet {
    const ScoreTrial *trial;
    size_t n_trials, n_neurons, burn_in;
} ScoreSet;

/* mean(((a - mean a) / (sd a + eps)) ((b - mean b) / (sd b + eps))), population sd. A constant
 * trace gives 0, a NaN gives NaN, n = 0 gives NaN. */
double metrics_correlation(const double *a, const double *b, size_t n, double eps);

/* One correlation over the scored frames of all trials laid end to end. NaN becomes 0. */
Status metrics_single_trial(const ScoreSet *s, double *out, Err *err);
/* Both sides averaged over the repeats of each clip with at least `min_repeats`, cut to the
 * shortest repeat; then one correlation over all clips laid end to end. NaN becomes 0. */
Status metrics_to_average(const ScoreSet *s, size_t min_repeats, double *out, Err *err);
/* The other reading in circulation: a correlation per clip, then the mean over clips. NaN becomes
 * 0. */
Status metrics_to_average_per_video(const ScoreSet *s, size_t min_repeats, double *out, Err *err);
/* CC_norm: per clip covariance over predicted and signal power, then the mean over the clips whose
 * signal power exceeds 1e-4 (NaN if none does). Clips with at least two repeats. */
Status metrics_normalised(const ScoreSet *s, double *out, Err *err);

/* FEVE, of images: 1 - (e - v) / (t - v), e mean squared error and t variance over all trials, v
 * mean over images of the variance over repeats (both n - 1). NaN where less than
 * METRICS_EXPLAINABLE of t is not v. Images with at least two repeats. Predictions in the unit of
 * the responses. */
Status metrics_explained(const ScoreSet *s, double *out, Err *err);

/* Each trial with the mean of its clip's other repeats, pooled over trials (underestimates). */
Status metrics_leave_one_out_ceiling(const ScoreSet *s, double *out, Err *err);
/* s / sqrt(s (s + v)): s variance over frames of the repeat mean, v mean variance over repeats
 * (overestimates). NaN for a neuron that never varies. */
Status metrics_conservative_ceiling(const ScoreSet *s, double *out, Err *err);

/* NaN -> 0, in place; returns how many there were. */
size_t metrics_nan_to_zero(double *scores, size_t n);

typedef enum MetricsWeighting {
    METRICS_OVER_NEURONS,   /* mean over all neurons of all recordings at once */
    METRICS_OVER_RECORDINGS /* mean over the recordings' means */
} MetricsWeighting;

/* NaN when there is nothing to average. */
double metrics_over_recordings(const double *const *scores, const size_t *n_neurons,
                               size_t n_recordings, MetricsWeighting weighting);

#endif
