#include "data/synth_floor.h"

#include <stdlib.h>
#include <string.h>

#include "data/stimulus.h"

enum { ROWS = 9, COLUMNS = 16, STATE = 4, CHOOSE = 10, N_LAGS = 3 };

static const size_t LAG[N_LAGS] = {3, 6, 9}; /* frames */

static size_t n_lags(const SynthFloor *f)
{
    return f->of_images ? 1 : N_LAGS;
}

static size_t lag(const SynthFloor *f, size_t k)
{
    return f->of_images ? 0 : LAG[k];
}

Status synth_floor_open(SynthFloor *f, size_t height, size_t width, size_t neurons,
                        size_t max_frames, Err *err)
{
    *f = (SynthFloor){.height = height,
                      .width = width,
                      .rows = height < ROWS ? height : ROWS,
                      .columns = width < COLUMNS ? width : COLUMNS,
                      .of_images = max_frames == 1};
    size_t boxes = f->rows * f->columns, features = n_lags(f) * boxes + STATE;
    f->boxes = malloc(max_frames * boxes * sizeof(float));
    f->features = malloc(max_frames * features * sizeof(float));
    Status s =
        f->boxes && f->features
            ? ridge_open(&f->ridge, features, neurons, err)
            : err_set(err, NPC_ERR_MEMORY, "no memory for features of %zu frames", max_frames);
    if (s != NPC_OK)
        synth_floor_free(f);
    return s;
}

void synth_floor_free(SynthFloor *f)
{
    ridge_free(&f->ridge);
    free(f->boxes);
    free(f->features);
    *f = (SynthFloor){0};
}

/* Mean contrast of every box of a frame. */
static void pool(const SynthFloor *f, const float *frame, float *out)
{
    for (size_t i = 0; i < f->rows; i++)
        for (size_t j = 0; j < f->columns; j++) {
            size_t top = i * f->height / f->rows, bottom = (i + 1) * f->height / f->rows;
            size_t left = j * f->width / f->columns, right = (j + 1) * f->width / f->columns;
            double sum = 0;
            for (size_t y = top; y < bottom; y++)
                for (size_t x = left; x < right; x++)
                    sum += (double)frame[y * f->width + x] - STIMULUS_GREY;
            out[i * f->columns + j] =
                (float)(sum / (double)((bottom - top) * (right - left)) / STIMULUS_CONTRAST);
        }
}

/* features [frames, n_features]; a frame before the first is the first. */
static void find_features(SynthFloor *f, const float *film, size_t frames, const SynthState *s)
{
    size_t boxes = f->rows * f->columns;
    float *at = f->features;
    for (size_t t = 0; t < frames; t++)
        pool(f, film + t * f->height * f->width, f->boxes + t * boxes);
    for (size_t t = 0; t < frames; t++) {
        for (size_t k = 0; k < n_lags(f); k++, at += boxes) {
            size_t then = t > lag(f, k) ? t - lag(f, k) : 0;
            memcpy(at, f->boxes + then * boxes, boxes * sizeof *at);
        }
        const double state[STATE] = {s->running[t], s->pupil[t], s->gaze_x[t], s->gaze_y[t]};
        for (size_t k = 0; k < STATE; k++)
            *at++ = (float)state[k];
    }
}

void synth_floor_learn(SynthFloor *f, const float *film, size_t frames, const SynthState *s,
                       const float *recorded, size_t stride)
{
    size_t first = lag(f, n_lags(f) - 1);
    find_features(f, film, frames, s);
    ridge_add(&f->ridge, f->features + first * f->ridge.n_features, frames - first,
              recorded + first, stride, f->n_trials++ % CHOOSE == CHOOSE - 1);
}

void synth_floor_predict(SynthFloor *f, const float *film, size_t frames, const SynthState *s,
                         float *out, size_t stride)
{
    if (!f->is_solved)
        ridge_solve(&f->ridge);
    f->is_solved = true;
    find_features(f, film, frames, s);
    ridge_predict(&f->ridge, f->features, frames, out, stride);
}
