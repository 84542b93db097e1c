#include "data/ridge.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { TOGETHER = 4 /* rows whose products are added at once */ };

static const double PENALTY[] = {0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10};

/* ---- memory ---- */

static size_t sums_size(size_t f, size_t n)
{
    return f + 2 * n + f * f + f * n;
}

static double *sums_place(RidgeSums *s, double *at, size_t f, size_t n)
{
    s->x = at;
    s->y = s->x + f;
    s->yy = s->y + n;
    s->xx = s->yy + n;
    s->xy = s->xx + f * f;
    return s->xy + f * n;
}

Status ridge_open(Ridge *r, size_t n_features, size_t n_targets, Err *err)
{
    size_t f = n_features, n = n_targets;
    size_t scratch = f * f + f * n + 2 * n + TOGETHER * (f + n);
    size_t total = 2 * sums_size(f, n) + f * n + 2 * f + n + scratch;
    *r = (Ridge){.n_features = f, .n_targets = n};
    r->memory = calloc(total, sizeof(double));
    if (!r->memory)
        return err_set(err, NPC_ERR_MEMORY, "no memory for a regression of %zu x %zu", f, n);
    double *at = sums_place(&r->fit, r->memory, f, n);
    at = sums_place(&r->choose, at, f, n);
    r->weight = at;
    r->mean = r->weight + f * n;
    r->scale = r->mean + f;
    r->bias = r->scale + f;
    r->scratch = r->bias + n;
    return NPC_OK;
}

void ridge_free(Ridge *r)
{
    free(r->memory);
    *r = (Ridge){0};
}

/* ---- sums ---- */

/* to[0..n) += sum over k of a[k] rows[k][0..n) */
static void add_scaled(double *to, const double a[TOGETHER], const double *rows, size_t pitch,
                       size_t n)
{
    for (size_t j = 0; j < n; j++)
        to[j] += a[0] * rows[j] + a[1] * rows[pitch + j] + a[2] * rows[2 * pitch + j] +
                 a[3] * rows[3 * pitch + j];
}

/* TOGETHER rows of features and targets, zeros where there are fewer. */
static void add_rows(RidgeSums *s, const double *x, const double *y, size_t f, size_t n)
{
    static const double ones[TOGETHER] = {1, 1, 1, 1};
    for (size_t i = 0; i < f; i++) {
        const double a[TOGETHER] = {x[i], x[f + i], x[2 * f + i], x[3 * f + i]};
        add_scaled(s->xx + i * f, a, x, f, i + 1);
        add_scaled(s->xy + i * n, a, y, n, n);
    }
    add_scaled(s->x, ones, x, f, f);
    add_scaled(s->y, ones, y, n, n);
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < TOGETHER; i++)
            s->yy[k] += y[i * n + k] * y[i * n + k];
}

void ridge_add(Ridge *r, const float *x, size_t rows, const float *y, size_t stride, bool choose)
{
    size_t f = r->n_features, n = r->n_targets;
    RidgeSums *s = choose ? &r->choose : &r->fit;
    double *xs = r->scratch, *ys = xs + TOGETHER * f;
    for (size_t first = 0; first < rows; first += TOGETHER) {
        size_t now = rows - first < TOGETHER ? rows - first : TOGETHER;
        memset(xs, 0, TOGETHER * (f + n) * sizeof *xs);
        for (size_t i = 0; i < now; i++) {
            for (size_t j = 0; j < f; j++)
                xs[i * f + j] = (double)x[(first + i) * f + j];
            for (size_t k = 0; k < n; k++)
                ys[i * n + k] = (double)y[k * stride + first + i];
        }
        add_rows(s, xs, ys, f, n);
    }
    s->rows += (double)rows;
}

/* ---- solving ---- */

/* What standardised features and centred targets sum to: g [F F] lower, c [F N]. */
static void standardise(const Ridge *r, const RidgeSums *s, double *g, double *c)
{
    size_t f = r->n_features, n = r->n_targets;
    for (size_t i = 0; i < f; i++) {
        double m = r->mean[i];
        for (size_t j = 0; j <= i; j++)
            g[i * f + j] =
                (s->xx[i * f + j] - m * s->x[j] - r->mean[j] * s->x[i] + s->rows * m * r->mean[j]) /
                (r->scale[i] * r->scale[j]);
        for (size_t k = 0; k < n; k++)
            c[i * n + k] =
                (s->xy[i * n + k] - m * s->y[k] - r->bias[k] * s->x[i] + s->rows * m * r->bias[k]) /
                r->scale[i];
    }
}

/* Mean and deviation of what `fit` holds. */
static void find_moments(Ridge *r)
{
    size_t f = r->n_features;
    const RidgeSums *s = &r->fit;
    double rows = fmax(s->rows, 1);
    for (size_t i = 0; i < f; i++) {
        r->mean[i] = s->x[i] / rows;
        double square = s->xx[i * f + i] / rows, variance = square - r->mean[i] * r->mean[i];
        r->scale[i] = variance > 1e-12 * square ? sqrt(variance) : INFINITY;
    }
    for (size_t k = 0; k < r->n_targets; k++)
        r->bias[k] = s->y[k] / rows;
}

/* g = l l', in place: positive definite, the penalty is on its diagonal. */
static void factor(double *g, size_t f)
{
    for (size_t i = 0; i < f; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = g[i * f + j];
            for (size_t k = 0; k < j; k++)
                sum -= g[i * f + k] * g[j * f + k];
            g[i * f + j] = i == j ? sqrt(sum) : sum / g[j * f + j];
        }
}

/* w = (l l')^-1 w, [F N] */
static void substitute(const double *l, size_t f, double *w, size_t n)
{
    for (size_t i = 0; i < f; i++) {
        for (size_t j = 0; j < i; j++)
            for (size_t k = 0; k < n; k++)
                w[i * n + k] -= l[i * f + j] * w[j * n + k];
        for (size_t k = 0; k < n; k++)
            w[i * n + k] /= l[i * f + i];
    }
    for (size_t i = f; i-- > 0;) {
        for (size_t j = i + 1; j < f; j++)
            for (size_t k = 0; k < n; k++)
                w[i * n + k] -= l[j * f + i] * w[j * n + k];
        for (size_t k = 0; k < n; k++)
            w[i * n + k] /= l[i * f + i];
    }
}

static void solve_with(Ridge *r, double penalty)
{
    size_t f = r->n_features;
    double *g = r->scratch;
    find_moments(r);
    standardise(r, &r->fit, g, r->weight);
    for (size_t i = 0; i < f; i++)
        g[i * f + i] += penalty * fmax(r->fit.rows, 1);
    factor(g, f);
    substitute(g, f, r->weight, r->n_targets);
}

/* Squared error on the rows to choose with, each target as a share of its variance there:
 * sum (y - bias)^2 - 2 w'c + w'g w. */
static double error_of_choice(Ridge *r)
{
    size_t f = r->n_features, n = r->n_targets;
    const RidgeSums *s = &r->choose;
    double *g = r->scratch, *c = g + f * f, *left = c + f * n, *all = left + n, error = 0;
    standardise(r, s, g, c);
    for (size_t k = 0; k < n; k++)
        left[k] = all[k] = s->yy[k] - 2 * r->bias[k] * s->y[k] + s->rows * r->bias[k] * r->bias[k];
    for (size_t i = 0; i < f; i++)
        for (size_t k = 0; k < n; k++)
            left[k] -= 2 * r->weight[i * n + k] * c[i * n + k];
    for (size_t i = 0; i < f; i++)
        for (size_t j = 0; j <= i; j++) {
            double twice = (i == j ? 1 : 2) * g[i * f + j];
            for (size_t k = 0; k < n; k++)
                left[k] += twice * r->weight[i * n + k] * r->weight[j * n + k];
        }
    for (size_t k = 0; k < n; k++)
        error += all[k] > 0 ? left[k] / all[k] : 0;
    return error;
}

static void join(RidgeSums *to, const RidgeSums *from, size_t f, size_t n)
{
    to->rows += from->rows;
    for (size_t i = 0; i < sums_size(f, n); i++) /* they lie in one piece */
        to->x[i] += from->x[i];
}

void ridge_solve(Ridge *r)
{
    double least = INFINITY;
    r->penalty = 1;
    for (size_t i = 0; r->choose.rows > 0 && i < sizeof PENALTY / sizeof *PENALTY; i++) {
        solve_with(r, PENALTY[i]);
        double error = error_of_choice(r);
        if (error < least) {
            least = error;
            r->penalty = PENALTY[i];
        }
    }
    join(&r->fit, &r->choose, r->n_features, r->n_targets);
    solve_with(r, r->penalty);
}

void ridge_predict(const Ridge *r, const float *x, size_t rows, float *out, size_t stride)
{
    size_t f = r->n_features, n = r->n_targets;
    double *sum = r->scratch;
    for (size_t i = 0; i < rows; i++) {
        memcpy(sum, r->bias, n * sizeof *sum);
        for (size_t j = 0; j < f; j++) {
            double z = ((double)x[i * f + j] - r->mean[j]) / r->scale[j];
            for (size_t k = 0; k < n; k++)
                sum[k] += z * r->weight[j * n + k];
        }
        for (size_t k = 0; k < n; k++)
            out[k * stride + i] = (float)sum[k];
    }
}
