#include "runtime/batch.h"

#include "data/map_guard.h"
#include "data/transform.h"
#include "data/trial.h"

enum { MAX_SIDE = 4096, MAX_WINDOW = 4096, MAX_STEP = 1024, MAX_CLIP_ELEMS = 1 << 30 };

static const char *const INPUT_NAMES[INPUT_COUNT] = {"clip", "video", "image", "behavior", "pupil"};

const char *input_name(ModelInput input)
{
    return INPUT_NAMES[input];
}

bool input_find(const char *name, ModelInput *out)
{
    for (int i = 0; i < INPUT_COUNT; i++)
        if (!strcmp(name, INPUT_NAMES[i])) {
            *out = (ModelInput)i;
            return true;
        }
    return false;
}

bool clip_has(const ClipShape *s, ModelInput input)
{
    return (s->inputs ? s->inputs : INPUT_BIT(INPUT_CLIP)) & INPUT_BIT(input);
}

static uint32_t colours(const ClipShape *s)
{
    return s->colours ? s->colours : 1;
}

static uint32_t behaviors(const ClipShape *s)
{
    return s->behaviors ? s->behaviors : 2;
}

InputBlock clip_block(const ClipShape *s, ModelInput input)
{
    size_t plane = (size_t)s->height * s->width;
    switch (input) {
    case INPUT_CLIP:
        return (InputBlock){clip_channels(s), plane};
    case INPUT_BEHAVIOR:
        return (InputBlock){behaviors(s), 1};
    case INPUT_PUPIL:
        return (InputBlock){2, 1};
    default:
        return (InputBlock){colours(s), plane};
    }
}

uint32_t clip_channels(const ClipShape *s)
{
    return (s->channels & CHANNEL_VIDEO ? colours(s) : 0) +
           (s->channels & CHANNEL_BEHAVIOR ? behaviors(s) : 0) +
           (s->channels & CHANNEL_PUPIL ? 2 : 0);
}

uint32_t clip_span(const ClipShape *s)
{
    return (s->size - 1) * s->step + 1;
}

uint32_t clip_outputs(const ClipShape *s)
{
    return s->outputs ? s->outputs : s->size;
}

size_t clip_frame_elems(const ClipShape *s, uint32_t n)
{
    size_t elems = 0;
    for (int i = 0; i < INPUT_COUNT; i++) {
        InputBlock b = clip_block(s, (ModelInput)i);
        elems += clip_has(s, (ModelInput)i) ? b.rows * b.plane : 0;
    }
    return elems * n;
}

size_t clip_input_elems(const ClipShape *s)
{
    return clip_frame_elems(s, s->size);
}

size_t clip_target_elems(const ClipShape *s, uint32_t n_neurons)
{
    return (size_t)n_neurons * clip_outputs(s);
}

Status clip_check(const ClipShape *s, const Recording *r, Err *err)
{
    bool has_picture = clip_has(s, INPUT_CLIP)
                           ? s->channels & CHANNEL_VIDEO
                           : clip_has(s, INPUT_VIDEO) || clip_has(s, INPUT_IMAGE);
    if (clip_has(s, INPUT_CLIP) &&
        (!(s->channels & CHANNEL_ALL) || s->channels & ~(unsigned)CHANNEL_ALL))
        return err_set(err, NPC_ERR_INPUT, "the input needs video, behaviour or pupil channels");
    if (!s->size || s->size > MAX_WINDOW || !s->step || s->step > MAX_STEP)
        return err_set(err, NPC_ERR_INPUT,
                       "a window of %u frames, every %u-th: expected 1 to %d and 1 to %d", s->size,
                       s->step, MAX_WINDOW, MAX_STEP);
    if (clip_outputs(s) > s->size)
        return err_set(err, NPC_ERR_INPUT,
                       "a model that predicts %u frames from windows of %u frames; at most as many "
                       "are possible",
                       clip_outputs(s), s->size);
    if (!s->height || !s->width || s->height > MAX_SIDE || s->width > MAX_SIDE ||
        clip_input_elems(s) > MAX_CLIP_ELEMS)
        return err_set(err, NPC_ERR_INPUT,
                       "an input of %u x %u pixels and %u frames: expected sides of 1 to %d and at "
                       "most %d numbers per clip",
                       s->height, s->width, s->size, MAX_SIDE, MAX_CLIP_ELEMS);
    if (has_picture && (r->height > s->height || r->width > s->width))
        return err_set(err, NPC_ERR_INPUT,
                       "%s: frames of %u x %u pixels do not fit into the input of %u x %u", r->path,
                       r->height, r->width, s->height, s->width);
    return NPC_OK;
}

/* `n` frames first, first + step, .. of a trial; a sample of them or y [neurons n] */
typedef struct Take {
    const TrialMap *map;
    const ClipShape *shape;
    uint32_t first, step, n;
    float *out;
} Take;

static void fill(float *plane, size_t elems, float value)
{
    for (size_t i = 0; i < elems; i++)
        plane[i] = value;
}

enum { TILE = 64 };

static const Affine *affine_of(const Take *t, Variable v)
{
    static const Affine as_recorded;
    const Transform *change = t->map->recording->transform;
    return change ? &change->of[v] : &as_recorded;
}

/* Up to TILE pixels of one row by up to TILE frames. Time is the last axis on disk, so pixels are
 * read as runs along time and written as rows: a tile in between keeps both sides in cache. */
static void take_tile(const Take *t, uint64_t pixel, uint32_t n_pixels, uint32_t i,
                      uint32_t n_frames, float *x)
{
    const Npy *a = &t->map->var[VAR_VIDEO];
    const uint64_t stride = a->head.stride[a->head.rank - 1];
    size_t plane = (size_t)t->shape->height * t->shape->width;
    uint64_t frame = t->first + (uint64_t)i * t->step;
    float tile[TILE][TILE];
    for (uint32_t p = 0; p < n_pixels; p++) {
        npy_floats(a, trial_row_at(&a->head, pixel + p) + frame * stride, t->step * stride,
                   n_frames, tile[p]);
        affine_apply(affine_of(t, VAR_VIDEO), pixel + p, frame, t->step, n_frames, tile[p]);
    }
    for (uint32_t k = 0; k < n_frames; k++)
        for (uint32_t p = 0; p < n_pixels; p++)
            x[k * plane + p] = tile[p][k];
}

static uint32_t at_most(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Every colour of the picture: [colours n height width] */
static void take_picture(const Take *t, float *x)
{
    const NpyHeader *h = &t->map->var[VAR_VIDEO].head;
    uint32_t height = (uint32_t)h->shape[h->rank - 3], width = (uint32_t)h->shape[h->rank - 2];
    uint32_t top = (t->shape->height - height) / 2, left = (t->shape->width - width) / 2;
    size_t plane = (size_t)t->shape->height * t->shape->width;
    memset(x, 0, colours(t->shape) * plane * t->n * sizeof *x);
    for (uint32_t c = 0; c < colours(t->shape); c++, x += plane * t->n)
        for (uint32_t row = 0; row < height; row++)
            for (uint32_t col = 0; col < width; col += TILE)
                for (uint32_t i = 0; i < t->n; i += TILE)
                    take_tile(t, ((uint64_t)c * height + row) * width + col,
                              at_most(width - col, TILE), i, at_most(t->n - i, TILE),
                              x + i * plane + (size_t)(top + row) * t->shape->width + left + col);
}

/* The rows of a variable, each value filled over `plane` elements: [rows n plane] */
static void take_rows(const Take *t, Variable v, uint32_t rows, size_t plane, float *x)
{
    const Npy *a = &t->map->var[v];
    const NpyHeader *h = &a->head;
    for (uint32_t c = 0; c < rows; c++)
        for (uint32_t i = 0; i < t->n; i++) {
            float value;
            uint64_t frame = t->first + (uint64_t)i * t->step;
            npy_floats(a, c * h->stride[0] + frame * h->stride[1], 1, 1, &value);
            affine_apply(affine_of(t, v), c, frame, 1, 1, &value);
            fill(x + (c * (size_t)t->n + i) * plane, plane, value);
        }
}

/* Picture and planes of the values as channels. */
static void take_clip(const Take *t, float *x)
{
    size_t plane = (size_t)t->shape->height * t->shape->width, channel = t->n * plane;
    if (t->shape->channels & CHANNEL_VIDEO) {
        take_picture(t, x);
        x += colours(t->shape) * channel;
    }
    if (t->shape->channels & CHANNEL_BEHAVIOR) {
        take_rows(t, VAR_BEHAVIOR, behaviors(t->shape), plane, x);
        x += behaviors(t->shape) * channel;
    }
    if (t->shape->channels & CHANNEL_PUPIL)
        take_rows(t, VAR_PUPIL, 2, plane, x);
}

static void take_input(void *cx)
{
    const Take *t = cx;
    float *x = t->out;
    for (int i = 0; i < INPUT_COUNT; i++) {
        InputBlock b = clip_block(t->shape, (ModelInput)i);
        if (!clip_has(t->shape, (ModelInput)i))
            continue;
        if (i == INPUT_CLIP)
            take_clip(t, x);
        else if (i == INPUT_BEHAVIOR || i == INPUT_PUPIL)
            take_rows(t, i == INPUT_BEHAVIOR ? VAR_BEHAVIOR : VAR_PUPIL, b.rows, 1, x);
        else
            take_picture(t, x);
        x += b.rows * t->n * b.plane;
    }
}

enum { AHEAD = 16 /* rows */, LINE = 64 /* bytes */ };

static void take_target(void *cx)
{
    const Take *t = cx;
    const Npy *a = &t->map->var[VAR_RESPONSE];
    const NpyHeader *h = &a->head;
    bool has_rows = h->stride[1] == 1; /* C order */
    uint64_t row_bytes = h->stride[0] * h->item_bytes;
    uint64_t window_bytes = (uint64_t)(t->n - 1) * t->step * h->stride[1] * h->item_bytes;
    const Transform *change = t->map->recording->transform;
    bool keeps_negatives = change && change->keeps_negatives;
    const unsigned char *window = a->data + t->first * h->stride[1] * h->item_bytes;
    for (uint64_t neuron = 0; neuron < h->shape[0]; neuron++) {
        float *y = t->out + neuron * t->n;
        if (has_rows &&
            neuron + AHEAD < h->shape[0]) /* rows are far apart: no hardware prefetcher follows */
            for (uint64_t b = 0; b <= window_bytes; b += LINE)
                __builtin_prefetch(window + (neuron + AHEAD) * row_bytes + b);
        npy_floats(a, neuron * h->stride[0] + t->first * h->stride[1], t->step * h->stride[1], t->n,
                   y);
        affine_apply(affine_of(t, VAR_RESPONSE), neuron, t->first, t->step, t->n, y);
        for (uint32_t i = 0; i < t->n && !keeps_negatives; i++)
            y[i] = y[i] > 0 ? y[i] : 0;
    }
}

static Status take(void (*work)(void *), Take *t, Err *err)
{
    const TrialMap *m = t->map;
    uint64_t last = t->first + (uint64_t)(t->n - 1) * t->step;
    if (!t->n || last >= m->valid)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: trial %u: frames %u to %llu were asked for; the trial has %u valid "
                       "frames",
                       m->recording->path, m->trial, t->first, (unsigned long long)last, m->valid);
    if (!map_guard(work, t))
        return err_set(err, NPC_ERR_IO, "%s: a file of trial %u shrank while it was being read",
                       m->recording->path, m->trial);
    return NPC_OK;
}

static Status window_of(Take *out, const TrialMap *m, const ClipShape *s, uint32_t end, float *to,
                        Err *err)
{
    uint32_t behind = clip_span(s) - 1;
    if (end < behind)
        return err_set(err, NPC_ERR_INPUT, "%s: trial %u: no window of %u frames ends at frame %u",
                       m->recording->path, m->trial, behind + 1, end);
    *out = (Take){m, s, end - behind, s->step, s->size, to};
    return NPC_OK;
}

Status clip_input(const TrialMap *m, const ClipShape *s, uint32_t end, float *x, Err *err)
{
    Take t;
    NPC_TRY(window_of(&t, m, s, end, x, err));
    return take(take_input, &t, err);
}

Status clip_frames(const TrialMap *m, const ClipShape *s, uint32_t first, uint32_t n, float *x,
                   Err *err)
{
    Take t = {m, s, first, 1, n, x};
    return take(take_input, &t, err);
}

void clip_cut(const ClipShape *s, const float *trial, uint32_t length, uint32_t end, float *x)
{
    uint32_t first = end - (clip_span(s) - 1);
    for (int i = 0; i < INPUT_COUNT; i++) {
        InputBlock b = clip_block(s, (ModelInput)i);
        if (!clip_has(s, (ModelInput)i))
            continue;
        for (uint32_t c = 0; c < b.rows; c++, trial += length * b.plane)
            for (uint32_t k = 0; k < s->size; k++, x += b.plane)
                memcpy(x, trial + (first + (size_t)k * s->step) * b.plane, b.plane * sizeof *x);
    }
}

Status clip_target(const TrialMap *m, const ClipShape *s, uint32_t end, float *y, Err *err)
{
    Take t;
    NPC_TRY(window_of(&t, m, s, end, y, err));
    t.first += (s->size - clip_outputs(s)) * s->step;
    t.n = clip_outputs(s);
    return take(take_target, &t, err);
}
