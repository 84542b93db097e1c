#include "data/stimulus_noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t noise_grid(size_t n)
{
    size_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

/* Signed frequency of index i, cycles per pixel. */
static double frequency(size_t i, size_t n)
{
    return (i <= n / 2 ? (double)i : (double)i - (double)n) / (double)n;
}

static void fill_tables(Noise *n)
{
    size_t h = n->height, w = n->width, longest = h > w ? h : w;
    double floor_square = 0.25 / (double)(longest * longest), power = 0;

    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            double fy = frequency(y, h), fx = frequency(x, w);
            double f = sqrt(fy * fy + fx * fx + floor_square);
            /* integrated over temporal frequency, 1 / (f^2 + (3 g)^2) leaves 1 / f */
            double a = x + y ? 1.0 / sqrt(f) : 0.0;
            n->amplitude[y * w + x] = (float)a;
            n->keep[y * w + x] = (float)exp(-2.0 * M_PI * f / 3.0);
            power += a * a;
        }
    for (size_t i = 0; i < h * w && power > 0; i++)
        n->amplitude[i] /= (float)sqrt(power);
    for (size_t i = 0; i < longest / 2; i++) {
        n->turn[i] = (float)cos(2.0 * M_PI * (double)i / (double)longest);
        n->turn[longest / 2 + i] = (float)sin(2.0 * M_PI * (double)i / (double)longest);
    }
}

Status noise_open(Noise *n, size_t height, size_t width, Err *err)
{
    size_t cells = height * width, longest = height > width ? height : width;
    *n = (Noise){.height = height, .width = width};
    n->memory = calloc(6 * cells + longest + 2, sizeof(float));
    if (!n->memory)
        return err_set(err, NPC_ERR_MEMORY, "no memory for noise of %zu x %zu pixels", height,
                       width);
    n->amplitude = n->memory;
    n->keep = n->amplitude + cells;
    n->re = n->keep + cells;
    n->im = n->re + cells;
    n->state_re = n->im + cells;
    n->state_im = n->state_re + cells;
    n->turn = n->state_im + cells;
    fill_tables(n);
    return NPC_OK;
}

void noise_close(Noise *n)
{
    free(n->memory);
    *n = (Noise){0};
}

/* ---------------------------------------------------------------------------- Fourier transform */

static void swap_runs(float *a, float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = a[i];
        a[i] = b[i];
        b[i] = x;
    }
}

/* Reorders the axis by reversed bits. */
static void reverse_bits(float *re, float *im, size_t size, size_t stride, size_t run)
{
    for (size_t i = 1, j = 0; i < size; i++) {
        size_t bit = size / 2;
        for (; j & bit; bit /= 2)
            j ^= bit;
        j |= bit;
        if (i < j) {
            swap_runs(re + i * stride, re + j * stride, run);
            swap_runs(im + i * stride, im + j * stride, run);
        }
    }
}

/* (a, b) <- (a + w b, a - w b) for `run` neighbours. */
static void butterflies(float *are, float *aim, float *bre, float *bim, float c, float s,
                        size_t run)
{
    for (size_t i = 0; i < run; i++) {
        float xr = bre[i] * c - bim[i] * s, xi = bre[i] * s + bim[i] * c;
        bre[i] = are[i] - xr;
        bim[i] = aim[i] - xi;
        are[i] += xr;
        aim[i] += xi;
    }
}

/* Unnormalised inverse transform (radix 2) along an axis of `size` elements `stride` apart, for
 * `run` neighbouring lines at once. */
static void transform(const Noise *n, float *re, float *im, size_t size, size_t stride, size_t run)
{
    size_t longest = n->height > n->width ? n->height : n->width;

    reverse_bits(re, im, size, stride, run);
    for (size_t half = 1; half < size; half *= 2)
        for (size_t k = 0; k < half; k++) {
            size_t at = k * (longest / 2 / half);
            float c = n->turn[at], s = n->turn[longest / 2 + at];
            for (size_t i = k; i < size; i += 2 * half)
                butterflies(re + i * stride, im + i * stride, re + (i + half) * stride,
                            im + (i + half) * stride, c, s, run);
        }
}

static void transform_grid(Noise *n)
{
    for (size_t y = 0; y < n->height; y++)
        transform(n, n->re + y * n->width, n->im + y * n->width, n->width, 1, 1);
    transform(n, n->re, n->im, n->height, n->width, n->width);
}

/* ---------------------------------------------------------------------------------------- noise */

/* Mean 0, sd 1; many waves add up, so that the sum is normal although the terms are not. */
static float uniform_deviate(Rng *r)
{
    return (rng_float(r) - 0.5f) * 3.4641016f;
}

void noise_texture(Noise *n, Rng *r, int oriented, double angle, float *out)
{
    size_t h = n->height, w = n->width, cells = h * w;

    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            size_t i = y * w + x;
            /* amplitude is f^-1/2: its square is 1 / f */
            float gain = n->amplitude[i] * n->amplitude[i];
            if (oriented)
                gain *= (float)pow(cos(atan2(frequency(y, h), frequency(x, w)) - angle), 8);
            n->re[i] = gain * uniform_deviate(r);
            n->im[i] = gain * uniform_deviate(r);
        }
    transform_grid(n);
    double square = 0;
    for (size_t i = 0; i < cells; i++)
        square += (double)n->re[i] * n->re[i];
    float scale = square > 0 ? (float)(1.0 / sqrt(square / (double)cells)) : 0.0f;
    for (size_t i = 0; i < cells; i++)
        out[i] = scale * n->re[i];
}

void noise_film_start(Noise *n, Rng *r)
{
    for (size_t i = 0; i < n->height * n->width; i++) {
        n->state_re[i] = n->amplitude[i] * uniform_deviate(r);
        n->state_im[i] = n->amplitude[i] * uniform_deviate(r);
    }
}

const float *noise_film_next(Noise *n, Rng *r)
{
    size_t cells = n->height * n->width;

    memcpy(n->re, n->state_re, cells * sizeof(float));
    memcpy(n->im, n->state_im, cells * sizeof(float));
    transform_grid(n);
    for (size_t i = 0; i < cells; i++) {
        float k = n->keep[i], fresh = sqrtf(1.0f - k * k) * n->amplitude[i];
        n->state_re[i] = k * n->state_re[i] + fresh * uniform_deviate(r);
        n->state_im[i] = k * n->state_im[i] + fresh * uniform_deviate(r);
    }
    return n->re;
}
