#include "data/synth_cells.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/stimulus.h"

#define VOLUME_FRAMES (30.0 / 8.0) /* the microscope takes 8 volumes per second */

enum { FIELD_MICRONS = 616, MARGIN = 8 /* pixels of grey around the screen */ };

typedef float Lane __attribute__((vector_size(4 * SYNTH_PANEL)));

/* --------------------------------------------------------------------------------- making cells */

/* What cells of one prototype share, each in 0..1 of its range or as it is. */
typedef struct Prototype {
    double size, angle, phase, cycles, aspect, peak, fast_dip, slow_dip; /* 0..1 */
    double direction, energy;
} Prototype;

static double beta_deviate(Rng *r, double a, double b)
{
    double x = rng_gamma(r, a), y = rng_gamma(r, b);
    return x + y > 0 ? x / (x + y) : 0.5;
}

static Prototype prototype(Rng *r)
{
    Prototype p = {rng_double(r),
                   rng_double(r),
                   rng_double(r),
                   rng_double(r),
                   rng_double(r),
                   rng_double(r),
                   rng_double(r),
                   rng_double(r),
                   0,
                   0};
    if (rng_double(r) < 0.4)
        p.direction = rng_between(r, 0.5, 1.0);
    p.energy = beta_deviate(r, 0.7, 0.7);
    return p;
}

/* A prototype's trait in its range, with a little of the cell's own. */
static double trait(Rng *r, double share, double jitter, double low, double high)
{
    return low + (high - low) * (share + jitter * rng_normal(r));
}

typedef struct Field {
    double y, x, size, angle, phase, cycles, aspect; /* pixels, radians, cycles per pixel */
} Field;

/* Where the cell lies, and where on the screen it therefore looks. */
static void place_cell(Rng *r, SynthCell *cell, Field *f, const double corner[2], double turn,
                       double h, double w)
{
    double x = rng_between(r, 0, FIELD_MICRONS), y = rng_between(r, 0, FIELD_MICRONS);
    double ux = 2 * x / FIELD_MICRONS - 1, uy = 2 * y / FIELD_MICRONS - 1;

    cell->place[0] = llround(x + corner[0]);
    cell->place[1] = llround(y + corner[1]);
    cell->place[2] = 200 + 25 * (int64_t)rng_below(r, 10);
    f->x = w / 2 + 0.34 * w * (ux * cos(turn) + uy * sin(turn)) + 0.03 * w * rng_normal(r);
    f->y = h / 2 - 0.34 * h * (uy * cos(turn) - ux * sin(turn)) + 0.05 * h * rng_normal(r);
}

static double bump(double t, double at, double width)
{
    return exp(-0.5 * (t - at) * (t - at) / (width * width));
}

/* A positive lobe and a dip after it, of length 1. */
static void temporal_filter(float out[SYNTH_HISTORY], double peak, double width, double dip,
                            double dip_at, double dip_width)
{
    double k[SYNTH_HISTORY], square = 0;
    for (int t = 0; t < SYNTH_HISTORY; t++) {
        k[t] = bump(t, peak, width) - dip * bump(t, dip_at, dip_width);
        square += k[t] * k[t];
    }
    for (int t = 0; t < SYNTH_HISTORY; t++)
        out[t] = (float)(k[t] / sqrt(square));
}

static void equip_cell(Rng *r, SynthCell *cell, Field *f, const Prototype *p, double jitter,
                       double unit, double signal)
{
    f->size = fmax(trait(r, p->size, jitter, 2.2, 4.2), 1.0) * unit;
    f->angle = trait(r, p->angle, jitter, 0, M_PI);
    f->phase = trait(r, p->phase, jitter, 0, 2 * M_PI);
    f->cycles = trait(r, p->cycles, jitter, 0.35, 0.75) / (2 * f->size);
    f->aspect = fmax(trait(r, p->aspect, jitter, 1.0, 1.8), 0.5);
    double peak = trait(r, p->peak, jitter, 3.0, 5.0);
    temporal_filter(cell->fast, peak, 1.3, trait(r, p->fast_dip, jitter, 0.4, 0.9), peak + 3.5,
                    1.9);
    temporal_filter(cell->slow, peak + 1.6, 1.6, trait(r, p->slow_dip, jitter, 0.4, 0.9),
                    peak + 5.5, 2.2);
    cell->direction = p->direction;
    cell->energy = p->energy;
    cell->threshold = rng_between(r, 0.2, 0.9);
    cell->run_gain = 0.25 + 0.2 * rng_normal(r);
    cell->pupil_gain = 0.15 + 0.15 * rng_normal(r);
    cell->counts = signal * exp(-0.9 + 0.9 * rng_normal(r));
    cell->decay = rng_between(r, 1.0, 2.2);
    cell->amplitude = exp(2.6 + 0.5 * rng_normal(r));
    cell->scale = 1.0;
}

/* Column `column` of the panels: envelope times cosine, free of the mean, of length 1. */
static void paint_field(SynthCells *c, size_t column, const Field *f, double shift)
{
    size_t pixels = c->height * c->width;
    float *out = c->panel + column / SYNTH_PANEL * pixels * SYNTH_PANEL + column % SYNTH_PANEL;
    double sum = 0, weight = 0, square = 0;

    for (int pass = 0; pass < 2; pass++) { /* the mean first */
        double mean = pass ? sum / fmax(weight, 1e-300) : 0;
        for (size_t i = 0; i < pixels; i++) {
            double dy = (double)(i / c->width) - f->y, dx = (double)(i % c->width) - f->x;
            double along = dx * cos(f->angle) + dy * sin(f->angle);
            double across = (dy * cos(f->angle) - dx * sin(f->angle)) / f->aspect;
            double envelope = exp(-0.5 * (along * along + across * across) / (f->size * f->size));
            double value = envelope * cos(2 * M_PI * f->cycles * along + f->phase + shift);
            sum += pass ? 0 : value;
            weight += pass ? 0 : envelope;
            value -= envelope * mean;
            square += pass ? value * value : 0;
            out[i * SYNTH_PANEL] = (float)value;
        }
    }
    float scale = square > 0 ? (float)(1.0 / sqrt(square)) : 0.0f;
    for (size_t i = 0; i < pixels; i++)
        out[i * SYNTH_PANEL] *= scale;
}

static Status allocate(SynthCells *c, Err *err)
{
    size_t pixels = c->height * c->width, columns = c->n_panels * SYNTH_PANEL, t = c->max_frames;
    c->cell = calloc(c->n, sizeof *c->cell);
    c->panel = aligned_alloc(64, (columns * pixels * sizeof(float) + 63) / 64 * 64);
    c->product = aligned_alloc(64, (columns * t * sizeof(float) + 63) / 64 * 64);
    c->seen = malloc((t + 4) * pixels * sizeof(float));
    c->level = malloc(c->n * t * sizeof(double));
    c->integral = malloc((t + 1) * sizeof(double));
    c->volume = malloc(3 * (t + 4) * sizeof(double));
    if (!c->cell || !c->panel || !c->product || !c->seen || !c->level || !c->integral ||
        !c->volume) {
        synth_cells_free(c);
        return err_set(err, NPC_ERR_MEMORY, "no memory for %zu cells with fields of %zu pixels",
                       c->n, pixels);
    }
    memset(c->panel, 0, columns * pixels * sizeof(float));
    return NPC_OK;
}

Status synth_cells_make(SynthCells *c, Rng *r, size_t n, size_t height, size_t width,
                        size_t max_frames, uint32_t types, double signal, Err *err)
{
    *c = (SynthCells){.n = n,
                      .height = height,
                      .width = width,
                      .max_frames = max_frames,
                      .n_panels = (2 * n + SYNTH_PANEL - 1) / SYNTH_PANEL};
    NPC_TRY(allocate(c, err));
    double corner[2] = {-1500.0 + (double)rng_below(r, 750), -730.0 + (double)rng_below(r, 350)};
    double turn = 0.25 * rng_normal(r), unit = (double)height / 36;
    Prototype *shared = malloc((types + 1) * sizeof *shared);
    if (!shared) {
        synth_cells_free(c);
        return err_set(err, NPC_ERR_MEMORY, "no memory for %u cell types", types);
    }
    for (uint32_t k = 0; k < types; k++)
        shared[k] = prototype(r);
    for (size_t i = 0; i < n; i++) {
        Prototype p = types ? shared[rng_below(r, types)] : prototype(r);
        Field f;
        place_cell(r, &c->cell[i], &f, corner, turn, (double)height, (double)width);
        equip_cell(r, &c->cell[i], &f, &p, types ? 0.04 : 0.0, unit, signal);
        paint_field(c, i, &f, 0);
        paint_field(c, n + i, &f, M_PI / 2);
    }
    free(shared);
    return NPC_OK;
}

void synth_cells_free(SynthCells *c)
{
    free(c->cell);
    free(c->panel);
    free(c->product);
    free(c->seen);
    free(c->level);
    free(c->integral);
    free(c->volume);
    *c = (SynthCells){0};
}

/* ---------------------------------------------------------------------------------------- seeing
 */

/* Contrast at an integer place; beyond the screen it is grey. */
static float contrast_at(const float *frame, size_t h, size_t w, long y, long x)
{
    if (y < 0 || x < 0 || y >= (long)h || x >= (long)w)
        return 0.0f;
    return (frame[(size_t)y * w + (size_t)x] - (float)STIMULUS_GREY) / (float)STIMULUS_CONTRAST;
}

/* The frame as the fields meet it when the eye has turned by (dy, dx) pixels, bilinear. */
static void shifted_frame(const float *frame, size_t h, size_t w, double dy, double dx, float *out)
{
    long y0 = (long)floor(dy), x0 = (long)floor(dx);
    float fy = (float)(dy - (double)y0), fx = (float)(dx - (double)x0);

    for (size_t y = 0; y < h; y++) {
        long row = (long)y + y0;
        float a = contrast_at(frame, h, w, row, x0), b = contrast_at(frame, h, w, row + 1, x0);
        for (size_t x = 0; x < w; x++) {
            long column = (long)x + x0 + 1;
            float c = contrast_at(frame, h, w, row, column);
            float d = contrast_at(frame, h, w, row + 1, column);
            float upper = a + fx * (c - a), lower = b + fx * (d - b);
            out[y * w + x] = upper + fy * (lower - upper);
            a = c;
            b = d;
        }
    }
}

/* Pixels by which fields move per standard deviation of gaze; at most 6. */
static double field_shift(const double *gaze, size_t t, double scale)
{
    return gaze ? fmin(fmax(gaze[t] * scale, -6), 6) : 0.0;
}

/* product[t, panel] = seen[t, :] panel[:, :], four frames at a time. */
static void project(SynthCells *c, size_t frames)
{
    size_t pixels = c->height * c->width, columns = c->n_panels * SYNTH_PANEL;

    memset(c->seen + frames * pixels, 0, 4 * pixels * sizeof(float));
    for (size_t p = 0; p < c->n_panels; p++) {
        const Lane *field = (const Lane *)(c->panel + p * pixels * SYNTH_PANEL);
        for (size_t t = 0; t < frames; t += 4) {
            const float *x = c->seen + t * pixels;
            Lane sum[4] = {{0}};
            for (size_t i = 0; i < pixels; i++) {
                sum[0] += x[i] * field[i];
                sum[1] += x[i + pixels] * field[i];
                sum[2] += x[i + 2 * pixels] * field[i];
                sum[3] += x[i + 3 * pixels] * field[i];
            }
            for (size_t k = 0; k < 4 && t + k < frames; k++)
                memcpy(c->product + (t + k) * columns + p * SYNTH_PANEL, &sum[k], sizeof sum[k]);
        }
    }
}

/* Causal filter of column `column` at frame t; before the trial the screen was grey. */
static double filtered(const SynthCells *c, const float kernel[SYNTH_HISTORY], size_t column,
                       size_t t)
{
    size_t columns = c->n_panels * SYNTH_PANEL;
    double sum = 0;
    for (size_t k = 0; k < SYNTH_HISTORY && k <= t; k++)
        sum += kernel[k] * c->product[(t - k) * columns + column];
    return sum;
}

void synth_cells_drive(SynthCells *c, const float *film, size_t frames, const SynthState *s)
{
    size_t pixels = c->height * c->width;
    double per_y = 1.1 * (double)c->height / 36, per_x = 1.5 * (double)c->width / 64;

    for (size_t t = 0; t < frames; t++)
        shifted_frame(film + t * pixels, c->height, c->width, field_shift(s->gaze_y, t, per_y),
                      field_shift(s->gaze_x, t, per_x), c->seen + t * pixels);
    project(c, frames);
    for (size_t i = 0; i < c->n; i++) {
        const SynthCell *cell = &c->cell[i];
        double d = cell->direction, e = cell->energy;
        for (size_t t = 0; t < frames; t++) {
            double a = filtered(c, cell->fast, i, t) - d * filtered(c, cell->slow, c->n + i, t);
            double b = filtered(c, cell->fast, c->n + i, t) + d * filtered(c, cell->slow, i, t);
            c->level[i * c->max_frames + t] =
                (1 - e) * fmax(a, 0) + e * sqrt(0.5 * (a * a + b * b));
        }
    }
}

void synth_cells_rate(SynthCells *c, size_t frames, const SynthState *s)
{
    for (size_t i = 0; i < c->n; i++) {
        const SynthCell *cell = &c->cell[i];
        for (size_t t = 0; t < frames; t++) {
            double *level = &c->level[i * c->max_frames + t];
            double evoked = 0.08 + 1.6 * pow(fmax(*level / cell->scale - cell->threshold, 0), 1.3);
            double arousal = cell->run_gain * tanh(s->running[t] / 6) +
                             cell->pupil_gain * (s->pupil[t] - 46) / 14;
            *level = evoked * exp(fmin(fmax(arousal, -1.5), 1.5));
        }
    }
}

/* ------------------------------------------------------------------------------------- observing
 */

/* Integral of the rate up to a time in frames; the film's first and last frame bound it. */
static double integral_at(const double *integral, size_t frames, double time)
{
    double held = fmin(fmax(time, 0), (double)frames);
    size_t low = (size_t)held < frames ? (size_t)held : frames - 1;
    return integral[low] + (held - (double)low) * (integral[low + 1] - integral[low]);
}

/* Events per volume -> trace per frame: decay, then linear interpolation between volumes. */
static void trace_of(const double *events, double *state, size_t n_volumes, const SynthCell *cell,
                     double first, size_t frames, float *out)
{
    double keep = exp(-1.0 / cell->decay), now = 0;
    for (size_t k = 0; k < n_volumes; k++) {
        now = keep * now + (1 - keep) * events[k];
        state[k] = now;
    }
    for (size_t t = 0; t < frames; t++) {
        double at = ((double)t - first) / VOLUME_FRAMES;
        at = fmin(fmax(at, 0), (double)n_volumes - 1.001);
        size_t low = (size_t)at;
        double part = at - (double)low;
        out[t] = (float)(((1 - part) * state[low] + part * state[low + 1]) * cell->amplitude);
    }
}

void synth_cells_observe(SynthCells *c, Rng *r, size_t frames, float *recorded, float *expected,
                         size_t stride)
{
    double first = rng_double(r) * VOLUME_FRAMES; /* volumes are not in step with the film */
    size_t n_volumes = (size_t)ceil(((double)frames - first) / VOLUME_FRAMES) + 1;
    double *mean = c->volume, *spikes = mean + c->max_frames + 4,
           *state = spikes + c->max_frames + 4;

    for (size_t i = 0; i < c->n; i++) {
        const SynthCell *cell = &c->cell[i];
        c->integral[0] = 0;
        for (size_t t = 0; t < frames; t++)
            c->integral[t + 1] = c->integral[t] + c->level[i * c->max_frames + t];
        for (size_t k = 0; k < n_volumes; k++) {
            double end = first + (double)k * VOLUME_FRAMES;
            double inside = integral_at(c->integral, frames, end) -
                            integral_at(c->integral, frames, end - VOLUME_FRAMES);
            mean[k] = fmax(inside, 0) * cell->counts / VOLUME_FRAMES;
            spikes[k] = (double)rng_poisson(r, mean[k]);
            if (spikes[k] > 0)
                spikes[k] *= rng_gamma(r, 6.0) / 6.0; /* no two events look alike */
        }
        trace_of(spikes, state, n_volumes, cell, first, frames, recorded + i * stride);
        trace_of(mean, state, n_volumes, cell, first, frames, expected + i * stride);
    }
}
