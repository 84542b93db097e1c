#include "data/synth_behaviour.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* Noise of sd 1 that forgets over `frames`, in its steady state from the start. */
typedef struct Drift {
    double state, keep, fresh;
} Drift;

static Drift drift_start(Rng *r, double frames)
{
    double keep = exp(-1.0 / frames);
    return (Drift){rng_normal(r), keep, sqrt(1.0 - keep * keep)};
}

static double drift_step(Drift *d, Rng *r)
{
    d->state = d->keep * d->state + d->fresh * rng_normal(r);
    return d->state;
}

/* First-order low-pass. */
static double follow(double *state, double target, double frames)
{
    double keep = exp(-1.0 / frames);
    *state = keep * *state + (1.0 - keep) * target;
    return *state;
}

static void run(Rng *r, size_t n, double *running)
{
    Drift pace = drift_start(r, 60);
    double speed = 0;
    bool moving = false;
    size_t left = 0;

    for (size_t t = 0; t < n; t++) {
        if (left == 0) {
            moving = !moving;
            left = 20 + (size_t)(rng_exponential(r) * (moving ? 240 : 700));
        }
        left--;
        double wanted = fmax(6 + 4 * drift_step(&pace, r), 1.0);
        double v = follow(&speed, moving ? wanted : 0.0, 12);
        double jitter = 0.15 * fabs(rng_normal(r));
        running[t] = v < 0.05 ? 0.0 : v + (v > 0.5 ? jitter : 0.0);
    }
}

/* Mean 0 and sd 1 over the session. */
static void standardise(double *x, size_t n)
{
    double mean = 0, square = 0;
    for (size_t t = 0; t < n; t++)
        mean += x[t] / (double)n;
    for (size_t t = 0; t < n; t++)
        square += (x[t] - mean) * (x[t] - mean);
    double scale = square > 0 ? 1.0 / sqrt(square / (double)n) : 0.0;
    for (size_t t = 0; t < n; t++)
        x[t] = (x[t] - mean) * scale;
}

static void widen(Rng *r, size_t n, const double *running, double *pupil)
{
    Drift slow = drift_start(r, 900);
    double arousal = 0, twitch = 0;

    for (size_t t = 0; t < n; t++)
        pupil[t] = drift_step(&slow, r);
    standardise(pupil, n);
    for (size_t t = 0; t < n; t++) {
        double aroused = follow(&arousal, fmin(running[t], 10) / 10, 60);
        double size = 40 + 28 * aroused + 9 * pupil[t] + 0.6 * follow(&twitch, rng_normal(r), 3);
        pupil[t] = fmax(size, 8.0);
    }
}

/* A saccade about every 110 frames moves both axes at once. */
static void look(Rng *r, size_t n, double *x, double *y)
{
    double at_x = 0, at_y = 0;

    for (size_t t = 0; t < n; t++) {
        double jump = rng_double(r) < 1.0 / 110 ? 1.0 : 0.0;
        at_x = 0.997 * at_x + jump * rng_normal(r) + 0.02 * rng_normal(r);
        at_y = 0.997 * at_y + jump * rng_normal(r) + 0.02 * rng_normal(r);
        x[t] = at_x;
        y[t] = at_y;
    }
    standardise(x, n);
    standardise(y, n);
}

Status synth_behave(Rng *r, size_t n_frames, SynthBehaviour *out, Err *err)
{
    double *p = calloc(n_frames ? n_frames : 1, 4 * sizeof *p);
    if (!p)
        return err_set(err, NPC_ERR_MEMORY, "no memory for a session of %zu frames", n_frames);
    *out = (SynthBehaviour){n_frames, p, p + n_frames, p + 2 * n_frames, p + 3 * n_frames, p};
    run(r, n_frames, out->running);
    widen(r, n_frames, out->running, out->pupil);
    look(r, n_frames, out->gaze_x, out->gaze_y);
    return NPC_OK;
}

void synth_behaviour_free(SynthBehaviour *b)
{
    free(b->memory);
    *b = (SynthBehaviour){0};
}
