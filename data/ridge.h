/* Ridge regression from sums over rows, so that rows need not be kept.
 *
 *     y = bias + w (x - mean) / sd     w least of |y - ..|^2 + penalty rows |w|^2
 *
 * Rows given to choose with decide among a few penalties, one for all targets; the weights are then
 * fitted to all rows. Features of any scale; one that never varies gets the weight 0. Sums and
 * weights are float64, in the order of the rows. */
#ifndef NPC_DATA_RIDGE_H
#define NPC_DATA_RIDGE_H

#include <stdbool.h>
#include <stddef.h>

#include "ir/base/status.h"

typedef struct RidgeSums {
    double rows;
    double *x, *y, *yy; /* [F], [N], [N]: of a feature, of a target, of its squares */
    double *xx, *xy;    /* [F F], its lower half; [F N] */
} RidgeSums;

typedef struct Ridge {
    size_t n_features, n_targets;
    RidgeSums fit, choose; /* after ridge_solve `fit` holds all rows */
    double penalty;
    double *weight;              /* [F N], of features divided by their deviation */
    double *mean, *scale, *bias; /* [F], [F], [N] */
    double *memory, *scratch;
} Ridge;

/* NPC_ERR_MEMORY */
Status ridge_open(Ridge *r, size_t n_features, size_t n_targets, Err *err);
void ridge_free(Ridge *r);
/* x [rows F]; target k of row i is y[k * stride + i]. */
void ridge_add(Ridge *r, const float *x, size_t rows, const float *y, size_t stride, bool choose);
/* Without rows to choose with the penalty is 1. */
void ridge_solve(Ridge *r);
/* out[k * stride + i] of rows x */
void ridge_predict(const Ridge *r, const float *x, size_t rows, float *out, size_t stride);

#endif
