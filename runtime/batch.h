/* Clips: the inputs of a model and the targets of one window of a trial.
 *
 * A window has `size` frames, every `step`-th one, and is addressed by its last frame `end`:
 * end - (size-1) step, .., end - step, end. A model takes any of these inputs, found by name:
 *
 *   clip      [c t h w]  the picture, then each behaviour value, then each pupil coordinate, as
 *                        `channels` says, a value filled over its whole plane
 *   video     [c t h w]  the picture alone; image [c h w]: the same of a recording of images
 *   behavior  [k t]      pupil size, running speed (of images: size, its change, speed)
 *   pupil     [k t]      pupil centre
 *
 * Pictures stand in the middle of zeros (offset floor((size - frame) / 2) per axis). All are
 * float32, transformed as the recording says (transform.h). A sample is its inputs one behind the
 * other in this order, each [rows frames plane]: a row is a channel or a value.
 *
 * Targets are the responses at the window's last `outputs` frames, in the same unit as the model
 * predicts: transformed, or as recorded with negatives set to 0. Sources: specs/dwiseneuro.md
 * 2.2-2.4, specs/viv1t.md 5.4. */
#ifndef NPC_RUNTIME_BATCH_H
#define NPC_RUNTIME_BATCH_H

#include "data/recording.h"

enum { CHANNEL_VIDEO = 1, CHANNEL_BEHAVIOR = 2, CHANNEL_PUPIL = 4, CHANNEL_ALL = 7 };

typedef enum ModelInput {
    INPUT_CLIP,
    INPUT_VIDEO,
    INPUT_IMAGE,
    INPUT_BEHAVIOR,
    INPUT_PUPIL,
    INPUT_COUNT,
} ModelInput;

#define INPUT_BIT(input) (1u << (input))

typedef struct ClipShape {
    unsigned channels;      /* of the input clip: CHANNEL_ bits, in the order of the bits */
    uint32_t height, width; /* of the input; >= the recording's frames */
    uint32_t size, step;    /* frames of a window and their distance */
    unsigned inputs;        /* INPUT_BIT of what the model takes; 0: clip alone */
    uint32_t outputs;       /* frames at the window's end that are predicted; 0: all */
    uint32_t colours;       /* channels of a picture; 0: 1 */
    uint32_t behaviors;     /* behaviour values of a frame; 0: 2 */
} ClipShape;

/* How an input lies in a sample: [rows frames plane] */
typedef struct InputBlock {
    uint32_t rows;
    size_t plane;
} InputBlock;

const char *input_name(ModelInput input); /* "clip" .. */
bool input_find(const char *name, ModelInput *out);
bool clip_has(const ClipShape *s, ModelInput input);
InputBlock clip_block(const ClipShape *s, ModelInput input);

/* Of the input clip: 1 + 2 + 2 as selected */
uint32_t clip_channels(const ClipShape *s);
/* (size - 1) step + 1 frames from the first to the last frame of a window */
uint32_t clip_span(const ClipShape *s);
/* Frames of a window that have targets. */
uint32_t clip_outputs(const ClipShape *s);
/* Number of floats of one sample of n frames, of one window, and of one target of n neurons. */
size_t clip_frame_elems(const ClipShape *s, uint32_t n);
size_t clip_input_elems(const ClipShape *s);
size_t clip_target_elems(const ClipShape *s, uint32_t n_neurons);
/* Does the recording fit? Sizes are bounded here, so the products above cannot overflow. */
Status clip_check(const ClipShape *s, const Recording *r, Err *err);

/* Window ending at `end` (span - 1 <= end < valid): a sample of `size` frames. */
Status clip_input(const TrialMap *m, const ClipShape *s, uint32_t end, float *x, Err *err);
/* Frames first .. first + n - 1 one by one: a sample of n frames; for sliding windows. */
Status clip_frames(const TrialMap *m, const ClipShape *s, uint32_t first, uint32_t n, float *x,
                   Err *err);
/* Cuts the window that ends at `end` out of the sample of a whole trial of `length` frames. */
void clip_cut(const ClipShape *s, const float *trial, uint32_t length, uint32_t end, float *x);
/* y [neurons outputs] */
Status clip_target(const TrialMap *m, const ClipShape *s, uint32_t end, float *y, Err *err);

#endif
