/* Clips: the input tensor and the targets of one window of a trial.
 *
 * A window has `size` frames, every `step`-th one, and is addressed by its last frame `end`:
 * end - (size-1) step, .., end - step, end. The input is float32 [c t h w]: the video unchanged,
 * centred in zeros (offset floor((size - frame) / 2) per axis), then each behaviour value, then
 * each pupil coordinate, filled over its whole plane. Targets are the responses at the same
 * frames, negatives set to 0. Source: specs/dwiseneuro.md 2.2-2.4. */
#ifndef NPC_RUNTIME_BATCH_H
#define NPC_RUNTIME_BATCH_H

#include "runtime/recording.h"

enum { CHANNEL_VIDEO = 1, CHANNEL_BEHAVIOR = 2, CHANNEL_PUPIL = 4, CHANNEL_ALL = 7 };

typedef struct ClipShape {
    unsigned channels;      /* CHANNEL_ bits; order video, behaviour, pupil */
    uint32_t height, width; /* of the input; >= the recording's frames */
    uint32_t size, step;    /* frames of a window and their distance */
} ClipShape;

/* 1 + 2 + 2 as selected */
uint32_t clip_channels(const ClipShape *s);
/* (size - 1) step + 1 frames from the first to the last frame of a window */
uint32_t clip_span(const ClipShape *s);
/* Number of floats of one input clip, and of one target of n neurons. */
size_t clip_input_elems(const ClipShape *s);
size_t clip_target_elems(const ClipShape *s, uint32_t n_neurons);
/* Does the recording fit? Sizes are bounded here, so the products above cannot overflow. */
Status clip_check(const ClipShape *s, const Recording *r, Err *err);

/* Window ending at `end` (span - 1 <= end < valid): x [c size h w]. */
Status clip_input(const TrialMap *m, const ClipShape *s, uint32_t end, float *x, Err *err);
/* Frames first .. first + n - 1 one by one: x [c n h w]; for sliding windows over a trial. */
Status clip_frames(const TrialMap *m, const ClipShape *s, uint32_t first, uint32_t n, float *x,
                   Err *err);
/* y [neurons size]; negatives 0 */
Status clip_target(const TrialMap *m, const ClipShape *s, uint32_t end, float *y, Err *err);

#endif
