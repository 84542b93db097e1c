/* Which trials show the same film: perceptual hash, cross-validation folds, groups of repeats.
 *
 * Pixels are grey levels 0..255 in float32, NaN after the end of a clip. Videos lie on disk as
 * (H, W, T), time last; a VideoView describes any layout by its strides.
 *
 * Hash and folds: the DwiseNeuro solution (specs/dwiseneuro.md section 4). Repeats: two trials show
 * the same clip when more than 85 % of their frames differ by at most 1 grey level everywhere, NaN
 * counting as -1 (specs/dataset.md section 2). */
#ifndef NPC_DATA_VIDEO_HASH_H
#define NPC_DATA_VIDEO_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "ir/base/status.h"

enum { VIDEO_FOLDS = 7 };

typedef struct VideoView {
    const float *at;
    size_t height, width, frames;
    ptrdiff_t row_stride, column_stride, frame_stride; /* elements; W T, T, 1 on disk */
} VideoView;

/* A view of a dense (H, W, T) array. */
VideoView video_view(const float *at, size_t height, size_t width, size_t frames);

/* 64-bit hash of one frame; row-major coefficients, the first is the most significant bit. */
Status video_frame_hash(const VideoView *v, size_t frame, uint64_t *out, Err *err);
/* Exclusive or of five evenly spaced valid frames. NPC_ERR_INPUT: fewer than five are valid. */
Status video_hash(const VideoView *v, uint64_t *out, Err *err);
/* hash mod n_folds */
uint32_t video_fold(uint64_t hash, uint32_t n_folds);

/* Where the repeat finder reads: the grey levels of one pixel over a trial's stored frames (on disk
 * they are neighbours). `pixel` counts row-major in 0 .. n_pixels-1; `out` takes n_frames[trial].
 */
typedef struct VideoSource {
    void *cx;
    size_t n_trials, n_pixels;
    const size_t *n_frames; /* [n_trials] stored frames */
    Status (*read_pixel)(void *cx, size_t trial, size_t pixel, float *out, Err *err);
} VideoSource;

/* group[trial] = number of its clip, counted in order of first appearance. A trial joins the first
 * clip whose first trial it matches; frames that only one of the two has count as NaN. */
Status video_find_repeats(const VideoSource *s, int64_t *group, Err *err);
/* The same for arrays in memory; all views have equal height and width. */
Status video_find_repeats_of_views(const VideoView *views, size_t n_trials, int64_t *group,
                                   Err *err);

#endif
