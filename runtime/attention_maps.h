/* Attention weights, attention rollout, and maps of places over pixels (specs/viv1t.md 9.1,
 * specs/v1t.md 5; rollout: Abnar and Zuidema 2020, arXiv:2005.00928).
 *
 * Everything is float64, one sequence at a time: what a model of published size attends to would
 * fill many times the memory that its prediction needs. */
#ifndef NPC_RUNTIME_ATTENTION_MAPS_H
#define NPC_RUNTIME_ATTENTION_MAPS_H

#include "runtime/attention_blocks.h"

/* A part of scores, a result of the program: one of the two. */
typedef struct AttentionValues {
    const float *single;
    const double *wide;
} AttentionValues;

/* Numbers of scratch that attention_weights needs. */
int64_t attention_scratch(const AttentionBlock *b);
/* weights [heads kept kept]: row i is what token i attends to, the softmax of its scores over all
 * tokens it sees. Registers are cut away afterwards, so rows sum to less than 1 where there are
 * some. part [n_parts of b] */
void attention_weights(const AttentionBlock *b, const AttentionValues *part, int64_t sample,
                       int64_t sequence, double *scratch, double *weights);

/* ---- rollout ----
 *
 * A_l: the maximum over heads of block l's weights, plus the identity, every row divided by its
 * sum. What is wanted is a row, or the mean of the rows, of A_L .. A_2 A_1 (newest on the left). So
 * a line goes through the blocks from the last to the first, and no matrix of a product is ever
 * made. */

/* line [kept]: a class token's row when there is one, else the mean of the rows. */
void rollout_begin(const AttentionBlock *b, double *line);
/* line <- line A; scratch [2 n] */
void rollout_through(int64_t heads, int64_t n, const double *weights, double *line,
                     double *scratch);

/* (x - min) / (max - min); all 0 when they are equal. */
void attention_min_max(double *x, int64_t n);

/* ---- maps [height width] ---- */

/* Every place's value spread over its pixels, the mean where places overlap, divided by the map's
 * maximum. Pixels that no place covers are 0. */
void attention_fold(const AttentionPlace *place, int64_t n, const double *value, int64_t height,
                    int64_t width, double *map, double *scratch);
/* Bilinear, corners not aligned. */
void attention_resize(const double *x, int64_t rows, int64_t columns, int64_t height, int64_t width,
                      double *map);
/* Columns of the grid that the places stand in row by row; 0 when they stand in none. */
int64_t attention_grid_columns(const AttentionPlace *place, int64_t n);

typedef struct AttentionMoments {
    double x, y;               /* centre of mass minus (width / 2, height / 2), pixels */
    double x_spread, y_spread; /* standard deviation of the column sums and of the row sums */
} AttentionMoments;

/* NaN where the map is 0 throughout. */
AttentionMoments attention_moments(const double *map, int64_t height, int64_t width);

#endif
