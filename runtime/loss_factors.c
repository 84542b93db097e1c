#include "runtime/loss_factors.h"

#include <math.h>

uint32_t loss_chunks(const Recipe *r, uint32_t recordings)
{
    uint32_t parts = r->accumulate > 1 ? (uint32_t)r->accumulate : 1;
    return r->pick == RECIPE_PICK_ROUNDS ? parts * recordings : parts;
}

double loss_chunk_factor(const Recipe *r, uint32_t recordings)
{
    return r->loss_scale == RECIPE_SCALE_SHARE ? 1.0 / loss_chunks(r, recordings) : 1;
}

static double scale(RecipeScale by, const LossCounts *c)
{
    const double trials = (double)c->trials, recordings = (double)c->recordings;
    switch (by) {
    case RECIPE_SCALE_SHARE:
        return 1 / (double)c->chunk;
    case RECIPE_SCALE_NONE:
        break;
    case RECIPE_SCALE_TRIALS:
        return sqrt(trials / (double)c->batch);
    case RECIPE_SCALE_RECORDED:
        return sqrt((double)c->all_trials / (double)c->batch);
    case RECIPE_SCALE_BALANCED:
        return (double)c->sum_trials / (trials * recordings) / (recordings * (double)c->full);
    }
    return 1;
}

LossFactors loss_factors(const Recipe *r, const LossCounts *c)
{
    if (!c->here)
        return (LossFactors){0};
    double part = (double)c->here / (double)c->batch;
    uint32_t n = (uint32_t)c->recordings;
    return (LossFactors){.scale = scale(r->loss_scale, c),
                         .mean = 1 / ((double)c->here * (double)c->outputs),
                         .penalty = part / loss_chunk_factor(r, n)};
}
