#include "runtime/batch.h"

#include "runtime/map_guard.h"

enum { MAX_SIDE = 4096, MAX_WINDOW = 4096, MAX_STEP = 1024, MAX_CLIP_ELEMS = 1 << 30 };

uint32_t clip_channels(const ClipShape *s)
{
    return (s->channels & CHANNEL_VIDEO ? 1 : 0) + (s->channels & CHANNEL_BEHAVIOR ? 2 : 0) +
           (s->channels & CHANNEL_PUPIL ? 2 : 0);
}

uint32_t clip_span(const ClipShape *s)
{
    return (s->size - 1) * s->step + 1;
}

size_t clip_input_elems(const ClipShape *s)
{
    return (size_t)clip_channels(s) * s->size * s->height * s->width;
}

size_t clip_target_elems(const ClipShape *s, uint32_t n_neurons)
{
    return (size_t)n_neurons * s->size;
}

Status clip_check(const ClipShape *s, const Recording *r, Err *err)
{
    if (!(s->channels & CHANNEL_ALL) || s->channels & ~(unsigned)CHANNEL_ALL)
        return err_set(err, NPC_ERR_INPUT, "the input needs video, behaviour or pupil channels");
    if (!s->size || s->size > MAX_WINDOW || !s->step || s->step > MAX_STEP)
        return err_set(err, NPC_ERR_INPUT,
                       "a window of %u frames, every %u-th: expected 1 to %d and 1 to %d", s->size,
                       s->step, MAX_WINDOW, MAX_STEP);
    if (!s->height || !s->width || s->height > MAX_SIDE || s->width > MAX_SIDE ||
        clip_input_elems(s) > MAX_CLIP_ELEMS)
        return err_set(err, NPC_ERR_INPUT,
                       "an input of %u x %u pixels and %u frames: expected sides of 1 to %d and at "
                       "most %d numbers per clip",
                       s->height, s->width, s->size, MAX_SIDE, MAX_CLIP_ELEMS);
    if (s->channels & CHANNEL_VIDEO && (r->height > s->height || r->width > s->width))
        return err_set(err, NPC_ERR_INPUT,
                       "%s: frames of %u x %u pixels do not fit into the input of %u x %u", r->path,
                       r->height, r->width, s->height, s->width);
    return NPC_OK;
}

/* `n` frames first, first + step, .. of a trial; x [c n h w] or y [neurons n] */
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

/* Up to TILE pixels of one row by up to TILE frames. Time is the last axis on disk, so pixels are
 * read as runs along time and written as rows: a tile in between keeps both sides in cache. */
static void take_tile(const Take *t, uint64_t at, uint32_t n_pixels, uint32_t n_frames, float *x)
{
    const Npy *a = &t->map->var[VAR_VIDEO];
    size_t plane = (size_t)t->shape->height * t->shape->width;
    float tile[TILE][TILE];
    for (uint32_t p = 0; p < n_pixels; p++)
        npy_floats(a, at + p * a->head.stride[1], t->step * a->head.stride[2], n_frames, tile[p]);
    for (uint32_t k = 0; k < n_frames; k++)
        for (uint32_t p = 0; p < n_pixels; p++)
            x[k * plane + p] = tile[p][k];
}

static uint32_t at_most(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void take_video(const Take *t, float *x)
{
    const NpyHeader *h = &t->map->var[VAR_VIDEO].head;
    uint32_t height = (uint32_t)h->shape[0], width = (uint32_t)h->shape[1];
    uint32_t top = (t->shape->height - height) / 2, left = (t->shape->width - width) / 2;
    size_t plane = (size_t)t->shape->height * t->shape->width;
    memset(x, 0, plane * t->n * sizeof *x);
    for (uint32_t row = 0; row < height; row++)
        for (uint32_t col = 0; col < width; col += TILE)
            for (uint32_t i = 0; i < t->n; i += TILE) {
                uint64_t frame = t->first + (uint64_t)i * t->step;
                take_tile(t, row * h->stride[0] + col * h->stride[1] + frame * h->stride[2],
                          at_most(width - col, TILE), at_most(t->n - i, TILE),
                          x + i * plane + (size_t)(top + row) * t->shape->width + left + col);
            }
}

/* Two channels of planes, each filled with its frame's value. */
static void take_planes(const Take *t, Variable v, float *x)
{
    const Npy *a = &t->map->var[v];
    const NpyHeader *h = &a->head;
    size_t plane = (size_t)t->shape->height * t->shape->width;
    for (uint32_t c = 0; c < 2; c++)
        for (uint32_t i = 0; i < t->n; i++) {
            float value;
            uint64_t frame = t->first + (uint64_t)i * t->step;
            npy_floats(a, c * h->stride[0] + frame * h->stride[1], 1, 1, &value);
            fill(x + (c * (size_t)t->n + i) * plane, plane, value);
        }
}

static void take_input(void *cx)
{
    const Take *t = cx;
    float *x = t->out;
    size_t channel = (size_t)t->n * t->shape->height * t->shape->width;
    if (t->shape->channels & CHANNEL_VIDEO) {
        take_video(t, x);
        x += channel;
    }
    if (t->shape->channels & CHANNEL_BEHAVIOR) {
        take_planes(t, VAR_BEHAVIOR, x);
        x += 2 * channel;
    }
    if (t->shape->channels & CHANNEL_PUPIL)
        take_planes(t, VAR_PUPIL, x);
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
    const unsigned char *window = a->data + t->first * h->stride[1] * h->item_bytes;
    for (uint64_t neuron = 0; neuron < h->shape[0]; neuron++) {
        float *y = t->out + neuron * t->n;
        if (has_rows &&
            neuron + AHEAD < h->shape[0]) /* rows are far apart: no hardware prefetcher follows */
            for (uint64_t b = 0; b <= window_bytes; b += LINE)
                __builtin_prefetch(window + (neuron + AHEAD) * row_bytes + b);
        npy_floats(a, neuron * h->stride[0] + t->first * h->stride[1], t->step * h->stride[1], t->n,
                   y);
        for (uint32_t i = 0; i < t->n; i++)
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

Status clip_target(const TrialMap *m, const ClipShape *s, uint32_t end, float *y, Err *err)
{
    Take t;
    NPC_TRY(window_of(&t, m, s, end, y, err));
    return take(take_target, &t, err);
}
