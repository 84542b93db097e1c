/* Runs tile programs by compiled kernels and by the interpreter, on the same random storage. */
#ifndef NPC_TESTS_TILE_RUN_H
#define NPC_TESTS_TILE_RUN_H

#include "codegen/kernel.h"
#include "tests/ops/dice.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static inline float *tile_buffer(const TileTensor *t)
{
    size_t bytes = ((size_t)tile_layout_elems(&t->layout) * 4 + 64 + 63) / 64 * 64;
    float *p = aligned_alloc(64, bytes);
    for (size_t i = 0; i < bytes / 4; i++)
        p[i] = NAN;
    return p;
}

/* Fills the logical elements; padding stays NaN, so that code that uses it shows. */
static inline void tile_fill(const TileTensor *t, float *p, Dice *d, float low, float high)
{
    const Shape *s = &t->layout.shape;
    int64_t n = shape_elems(s), at[MAX_RANK];

    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i;
        for (int k = s->rank - 1; k >= 0; k--) {
            at[k] = rest % s->size[k];
            rest /= s->size[k];
        }
        p[tile_layout_offset(&t->layout, at)] = dice_float(d, low, high);
    }
}

/* All phases, the tasks of each in a shuffled order. */
static inline void tile_run(const Kernel *k, float *const *tensor, TileRange range, Dice *d)
{
    size_t scratch_bytes = (k->schedule.scratch_bytes + 64 + 63) / 64 * 64;
    size_t workspace_bytes = (k->schedule.workspace_bytes + 64 + 63) / 64 * 64;
    char *scratch = aligned_alloc(64, scratch_bytes);
    char *workspace = aligned_alloc(64, workspace_bytes);
    KernelCall call = {k, tensor, range, workspace};

    memset(workspace, 0xff, workspace_bytes);
    for (int p = 0; p < k->schedule.n_phases; p++) {
        int64_t n = k->schedule.tasks[p], each = k->schedule.tasks_per_sample[p];
        n = each ? (range.b1 - range.b0) * each : n;
        int64_t step = n > 1 ? 1 + (int64_t)dice(d, (uint64_t)n) : 1;
        while (n > 1) {
            int64_t a = step, b = n;
            while (b) {
                int64_t t = a % b;
                a = b;
                b = t;
            }
            if (a == 1)
                break;
            step = step % n + 1;
        }
        for (int64_t i = 0; i < n; i++) {
            memset(scratch, 0xff, scratch_bytes);
            k->phase[p](&call, i * step % n, scratch);
        }
    }
    free(scratch);
    free(workspace);
}

/* Largest |a - b| / (1 + |b|) over the logical elements of a tensor; infinite where exactly one is
 * NaN or where memory behind the tensor changed. */
static inline double tile_difference(const TileTensor *t, const float *a, const float *b)
{
    const Shape *s = &t->layout.shape;
    int64_t n = shape_elems(s), at[MAX_RANK];
    double worst = 0;

    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i;
        for (int k = s->rank - 1; k >= 0; k--) {
            at[k] = rest % s->size[k];
            rest /= s->size[k];
        }
        int64_t o = tile_layout_offset(&t->layout, at);
        double x = a[o], y = b[o];
        if (isnan(x) && isnan(y))
            continue;
        double difference = fabs(x - y) / (1 + fabs(y));
        if (!(difference <= worst))
            worst = isnan(difference) ? (x == y ? worst : INFINITY) : difference;
    }
    for (int64_t i = tile_layout_elems(&t->layout); i < tile_layout_elems(&t->layout) + 16; i++)
        if (!isnan(a[i]))
            return INFINITY;
    return worst;
}

/* Difference of a kernel from the interpreter over all outputs; prints the program when it is
 * larger than the tolerance. Inputs are uniform in [-2, 2]. */
static inline double tile_check(const TileProgram *p, const Kernel *k, TileRange range, Dice *d,
                                double tolerance)
{
    float **x = calloc(p->tensors.len, sizeof *x), **y = calloc(p->tensors.len, sizeof *y);
    double worst = 0;

    for (uint32_t i = 0; i < p->tensors.len; i++) {
        x[i] = tile_buffer(&p->tensors.at[i]);
        y[i] = x[i];
        if (p->tensors.at[i].is_output)
            y[i] = tile_buffer(&p->tensors.at[i]);
        else
            tile_fill(&p->tensors.at[i], x[i], d, -2, 2);
    }
    tile_run(k, x, range, d);
    tile_eval(p, (void *const *)y, range);
    for (uint32_t i = 0; i < p->tensors.len; i++) {
        if (!p->tensors.at[i].is_output)
            continue;
        double difference = tile_difference(&p->tensors.at[i], x[i], y[i]);
        if (difference > tolerance) {
            Arena arena = {0};
            Text text = {.arena = &arena};
            tile_print(&text, p, false);
            fprintf(stderr, "t%u differs by %g, range %lld..%lld:\n%s", i, difference,
                    (long long)range.b0, (long long)range.b1, text_str(&text));
            arena_free(&arena);
        }
        worst = fmax(worst, difference);
    }
    for (uint32_t i = 0; i < p->tensors.len; i++) {
        if (y[i] != x[i])
            free(y[i]);
        free(x[i]);
    }
    free(x);
    free(y);
    return worst;
}

#endif
