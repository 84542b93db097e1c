#include "data/stimulus.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/stimulus_noise.h"

/* One film being made. Lengths in pixels scale with the screen: `unit` is 1 at 36 rows. */
typedef struct Film {
    Rng *r;
    size_t frames, height, width;
    double unit;
    float *out; /* [frames, height, width] */
} Film;

const char *stimulus_name(StimulusKind kind)
{
    static const char *const name[STIMULUS_KINDS] = {
        "movie",         "directional pink noise",  "drifting gabor",
        "gaussian dots", "random dot kinematogram", "image",
    };
    return name[kind];
}

static float *frame_of(const Film *f, size_t t)
{
    return f->out + t * f->height * f->width;
}

static float clip_grey(double g)
{
    return (float)(g < 0 ? 0 : g > 255 ? 255 : g);
}

/* Standardised contrast to grey levels, in place. */
static void to_grey(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = clip_grey(STIMULUS_GREY + STIMULUS_CONTRAST * x[i]);
}

/* ---------------------------------------------------------------------------------------- movie */

/* A smooth path: velocity follows noise of the given sd (pixels per frame) over `smooth` frames. */
typedef struct Path {
    double at, velocity, speed, smooth;
} Path;

static Path path_start(Rng *r, double at, double speed, double smooth)
{
    return (Path){at, speed * rng_normal(r), speed, smooth};
}

static void path_step(Path *p, Rng *r)
{
    p->velocity += (p->speed * rng_normal(r) - p->velocity) / p->smooth;
    p->at += p->velocity;
}

/* Adds `gain` times the window of a periodic texture at a fractional place (bilinear). */
static void add_window(const float *texture, size_t rows, size_t columns, double top, double left,
                       float gain, size_t h, size_t w, float *out)
{
    double y0 = floor(top), x0 = floor(left);
    float fy = (float)(top - y0), fx = (float)(left - x0);
    size_t row = (size_t)(int64_t)y0 & (rows - 1), column = (size_t)(int64_t)x0 & (columns - 1);

    for (size_t y = 0; y < h; y++) {
        const float *a = texture + ((row + y) & (rows - 1)) * columns;
        const float *b = texture + ((row + y + 1) & (rows - 1)) * columns;
        for (size_t x = 0; x < w; x++) {
            size_t c = (column + x) & (columns - 1), d = (c + 1) & (columns - 1);
            float upper = a[c] + fx * (a[d] - a[c]), lower = b[c] + fx * (b[d] - b[c]);
            out[y * w + x] += gain * (upper + fy * (lower - upper));
        }
    }
}

/* A soft-edged ellipse that moves on its own and carries its own piece of texture. */
typedef struct Body {
    Path y, x;
    double radius_y, radius_x, level;
    size_t piece_y, piece_x;
} Body;

static Body body_start(const Film *f, const Noise *n)
{
    double h = (double)f->height, w = (double)f->width;
    Body b = {.y = path_start(f->r, rng_between(f->r, 0, h), 0.7 * f->unit, 8),
              .x = path_start(f->r, rng_between(f->r, 0, w), 1.2 * f->unit, 8),
              .radius_y = rng_between(f->r, 0.1, 0.3) * h,
              .radius_x = rng_between(f->r, 0.08, 0.2) * w,
              .level = 1.4 * rng_normal(f->r)};
    b.piece_y = rng_below(f->r, n->height);
    b.piece_x = rng_below(f->r, n->width);
    return b;
}

static void body_draw(const Body *b, const Film *f, const Noise *n, const float *texture,
                      float *out)
{
    for (size_t y = 0; y < f->height; y++) {
        double dy = ((double)y - b->y.at) / b->radius_y;
        const float *piece = texture + ((y + b->piece_y) & (n->height - 1)) * n->width;
        for (size_t x = 0; x < f->width; x++) {
            double dx = ((double)x - b->x.at) / b->radius_x, inside = dy * dy + dx * dx;
            if (inside > 2.5)
                continue;
            float mask = 1.0f / (1.0f + expf(8.0f * (float)(inside - 1)));
            float own = (float)b->level + 0.4f * piece[(x + b->piece_x) & (n->width - 1)];
            float *at = out + y * f->width + x;
            *at += mask * (own - *at);
        }
    }
}

/* Mean `level` and sd 1 over the scene. */
static void standardise(float *x, size_t n, double level)
{
    double sum = 0, square = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        square += (x[i] - mean) * (x[i] - mean);
    double scale = square > 0 ? 1.0 / sqrt(square / (double)n) : 0.0;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((x[i] - mean) * scale + level);
}

/* Background, flicker and bodies of one scene. */
static void scene(const Film *f, Noise *back, Noise *flicker, float *texture, size_t begin,
                  size_t end)
{
    size_t pixels = f->height * f->width, n_bodies = 1 + rng_below(f->r, 3);
    Path top = path_start(f->r, rng_between(f->r, 0, (double)f->height), 0.6 * f->unit, 12);
    Path left = path_start(f->r, rng_between(f->r, 0, (double)f->width), 1.0 * f->unit, 12);
    Body body[3];

    noise_texture(back, f->r, 0, 0, texture);
    noise_film_start(flicker, f->r);
    for (size_t k = 0; k < n_bodies; k++)
        body[k] = body_start(f, back);
    for (size_t t = begin; t < end; t++) {
        float *out = frame_of(f, t);
        const float *shimmer = noise_film_next(flicker, f->r);
        for (size_t y = 0; y < f->height; y++)
            for (size_t x = 0; x < f->width; x++)
                out[y * f->width + x] = 0.35f * shimmer[y * flicker->width + x];
        add_window(texture, back->height, back->width, top.at, left.at, 0.75f, f->height, f->width,
                   out);
        for (size_t k = 0; k < n_bodies; k++) {
            body_draw(&body[k], f, back, texture, out);
            path_step(&body[k].y, f->r);
            path_step(&body[k].x, f->r);
        }
        path_step(&top, f->r);
        path_step(&left, f->r);
    }
    standardise(frame_of(f, begin), (end - begin) * pixels, 0.25 * rng_normal(f->r));
}

static Status movie(const Film *f, Err *err)
{
    Noise back, flicker = {0};
    NPC_TRY(noise_open(&back, noise_grid(2 * f->height), noise_grid(2 * f->width), err));
    Status status = noise_open(&flicker, noise_grid(f->height), noise_grid(f->width), err);
    float *texture = malloc(back.height * back.width * sizeof *texture);
    if (status == NPC_OK && !texture)
        status = err_set(err, NPC_ERR_MEMORY, "no memory for a film");
    for (size_t begin = 0; status == NPC_OK && begin < f->frames;) {
        size_t end = begin + 30 + rng_below(f->r, 90);
        end = end < f->frames ? end : f->frames;
        scene(f, &back, &flicker, texture, begin, end);
        begin = end;
    }
    if (status == NPC_OK)
        to_grey(f->out, f->frames * f->height * f->width);
    free(texture);
    noise_close(&back);
    noise_close(&flicker);
    return status;
}

/* --------------------------------------------------------------------------------- other kinds */

/* A new orientation every 27 frames; the pattern flows across its stripes. */
static Status pink_noise(const Film *f, Err *err)
{
    Noise n;
    double top = 0, left = 0, angle = 0, speed = 0;
    NPC_TRY(noise_open(&n, noise_grid(2 * f->height), noise_grid(2 * f->width), err));
    float *texture = malloc(n.height * n.width * sizeof *texture);
    Status status = texture ? NPC_OK : err_set(err, NPC_ERR_MEMORY, "no memory for a film");
    memset(f->out, 0, f->frames * f->height * f->width * sizeof(float));
    for (size_t t = 0; status == NPC_OK && t < f->frames; t++) {
        if (t % 27 == 0) {
            angle = (double)rng_below(f->r, 12) * M_PI / 6;
            speed = rng_between(f->r, 0.4, 1.2) * f->unit;
            noise_texture(&n, f->r, 1, angle, texture);
        }
        add_window(texture, n.height, n.width, top, left, 0.9f, f->height, f->width,
                   frame_of(f, t));
        top += speed * sin(angle);
        left += speed * cos(angle);
    }
    if (status == NPC_OK)
        to_grey(f->out, f->frames * f->height * f->width);
    free(texture);
    noise_close(&n);
    return status;
}

/* Positions in half-heights of the screen; waves of cos(2 pi (place / wavelength + cycles)). */
static void gabor_frame(const Film *f, double angle, double wavelength, double cycles, float *out)
{
    double half = ((double)f->height - 1) / 2, middle = ((double)f->width - 1) / 2;

    for (size_t i = 0; i < f->height; i++)
        for (size_t j = 0; j < f->width; j++) {
            double y = ((double)i - half) / half, x = ((double)j - middle) / half;
            double along = x * cos(angle) - y * sin(angle);
            double bump = exp(-(x * x + y * y) / (2 * 0.7 * 0.7));
            double wave = cos(2 * M_PI * (along / wavelength + cycles));
            out[i * f->width + j] = clip_grey(127.5 + 127.5 * bump * wave);
        }
}

static Status gabors(const Film *f, Err *err)
{
    static const double wavelengths[3] = {0.18, 0.38, 0.65}, hertz[3] = {0.6, 1.7, 4.2};
    double angle = 0, wavelength = 1, speed = 0;
    (void)err;
    for (size_t t = 0; t < f->frames; t++) {
        if (t % 25 == 0) {
            angle = (double)rng_below(f->r, 8) * M_PI / 4;
            wavelength = wavelengths[rng_below(f->r, 3)];
            speed = hertz[rng_below(f->r, 3)];
        }
        gabor_frame(f, angle, wavelength, speed * (double)(t % 25) / 30.0, frame_of(f, t));
    }
    return NPC_OK;
}

static Status gaussian_dot(const Film *f, Err *err)
{
    double y0 = 0, x0 = 0, radius = 1, sign = 1;
    (void)err;
    for (size_t t = 0; t < f->frames; t++) {
        float *out = frame_of(f, t);
        if (t % 9 != 0) {
            memcpy(out, frame_of(f, t - 1), f->height * f->width * sizeof *out);
            continue;
        }
        radius = rng_between(f->r, 4, 7) * f->unit;
        y0 = rng_between(f->r, 0.2, 0.8) * (double)f->height;
        x0 = rng_between(f->r, 0.12, 0.88) * (double)f->width;
        sign = rng_below(f->r, 2) ? 1 : -1;
        for (size_t y = 0; y < f->height; y++)
            for (size_t x = 0; x < f->width; x++) {
                double dy = ((double)y - y0) / radius, dx = ((double)x - x0) / radius;
                double bump = exp(-0.5 * (dy * dy + dx * dx));
                out[y * f->width + x] = clip_grey(127.5 + 127.5 * sign * bump);
            }
    }
    return NPC_OK;
}

enum { DOTS = 40 };

typedef struct Dot {
    double y, x, sign;
    int coherent;
} Dot;

/* Adds one blurred dot; beyond four radii nothing is left of it. */
static void dot_draw(const Film *f, const Dot *d, double radius, float *out)
{
    double reach = 4 * radius;
    for (size_t y = 0; y < f->height; y++) {
        double dy = (double)y - d->y;
        if (fabs(dy) > reach)
            continue;
        for (size_t x = 0; x < f->width; x++) {
            double dx = (double)x - d->x;
            if (fabs(dx) <= reach)
                out[y * f->width + x] +=
                    (float)(d->sign * exp(-0.5 * (dy * dy + dx * dx) / (radius * radius)));
        }
    }
}

static double wrapped(double x, double size)
{
    x = fmod(x, size);
    return x < 0 ? x + size : x;
}

/* Coherent dots share a direction for two seconds; the others turn at every frame. */
static void dots_move(const Film *f, Dot *dot, double angle)
{
    double h = (double)f->height, w = (double)f->width, step = 0.8 * f->unit;
    for (int k = 0; k < DOTS; k++) {
        double turn = dot[k].coherent ? angle : rng_between(f->r, 0, 2 * M_PI);
        dot[k].y = wrapped(dot[k].y + step * sin(turn), h);
        dot[k].x = wrapped(dot[k].x + step * cos(turn), w);
    }
}

static Status random_dots(const Film *f, Err *err)
{
    Dot dot[DOTS];
    double angle = 0, radius = 1.3 * f->unit;
    size_t pixels = f->height * f->width;
    (void)err;
    for (int k = 0; k < DOTS; k++)
        dot[k] = (Dot){rng_between(f->r, 0, (double)f->height),
                       rng_between(f->r, 0, (double)f->width), rng_below(f->r, 2) ? 1 : -1, 0};
    for (size_t t = 0; t < f->frames; t++) {
        if (t % 60 == 0) {
            double share = rng_below(f->r, 2) ? 1.0 : 0.5;
            angle = (double)rng_below(f->r, 8) * M_PI / 4;
            for (int k = 0; k < DOTS; k++)
                dot[k].coherent = rng_double(f->r) < share;
        }
        dots_move(f, dot, angle);
        float *out = frame_of(f, t);
        memset(out, 0, pixels * sizeof *out);
        for (int k = 0; k < DOTS; k++)
            dot_draw(f, &dot[k], radius, out);
        for (size_t i = 0; i < pixels; i++)
            out[i] = clip_grey(127.5 + 120.0 * out[i]);
    }
    return NPC_OK;
}

/* One still: texture with a contour across it, as contrast. */
static void still(const Film *f, Noise *n, float *texture, float *out)
{
    double angle = rng_between(f->r, 0, M_PI), y0 = rng_between(f->r, 0, (double)f->height),
           x0 = rng_between(f->r, 0, (double)f->width);
    noise_texture(n, f->r, 0, 0, texture);
    for (size_t y = 0; y < f->height; y++)
        for (size_t x = 0; x < f->width; x++) {
            double side = ((double)x - x0) * cos(angle) + ((double)y - y0) * sin(angle);
            out[y * f->width + x] =
                (float)(0.8 * texture[y * n->width + x] + 0.6 * tanh(side / (1.5 * f->unit)));
        }
}

/* Each image stays for 15 frames, then grey for 9 to 15. */
static Status images(const Film *f, Err *err)
{
    Noise n;
    size_t pixels = f->height * f->width;
    NPC_TRY(noise_open(&n, noise_grid(f->height), noise_grid(f->width), err));
    float *texture = malloc(n.height * n.width * sizeof *texture);
    Status status = texture ? NPC_OK : err_set(err, NPC_ERR_MEMORY, "no memory for a film");
    memset(f->out, 0, f->frames * pixels * sizeof(float));
    for (size_t begin = 0; status == NPC_OK && begin < f->frames;) {
        still(f, &n, texture, frame_of(f, begin));
        for (size_t t = begin + 1; t < begin + 15 && t < f->frames; t++)
            memcpy(frame_of(f, t), frame_of(f, begin), pixels * sizeof(float));
        begin += 15 + 9 + rng_below(f->r, 7);
    }
    if (status == NPC_OK)
        to_grey(f->out, f->frames * pixels);
    free(texture);
    noise_close(&n);
    return status;
}

Status stimulus_make(StimulusKind kind, Rng *r, size_t frames, size_t height, size_t width,
                     float *out, Err *err)
{
    static Status (*const make[STIMULUS_KINDS])(const Film *, Err *) = {
        movie, pink_noise, gabors, gaussian_dot, random_dots, images,
    };
    Film f = {r, frames, height, width, (double)height / 36.0, out};
    return make[kind](&f, err);
}
