/* Plain products: tile programs that are nothing but a product of matrices, or of a batch of them,
 *
 *     c[i, j] = sum over l of a[i, l] b[l, j]
 *
 * with matrices as libraries take them, column by column: element (i, j) of one that is not
 * transposed is at i + j ld, of one that is at j + i ld, and the next of the batch `stride` behind.
 * Factors are stored tensors, the sums are stored as they are, no recording's range cuts them. */
#ifndef NPC_IR_TILE_PRODUCT_H
#define NPC_IR_TILE_PRODUCT_H

#include "ir/tile.h"

typedef struct TileMatrix {
    int tensor;
    Storage type; /* as it is stored */
    bool transposed;
    int64_t ld, stride; /* elements; stride 0: all of the batch share it */
} TileMatrix;

/* All sizes and distances but the strides fit into an int. */
typedef struct TileProduct {
    int64_t m, n, k, batch;
    TileMatrix a, b, c; /* m x k, k x n, m x n; c is not transposed */
    Storage factor;     /* a and b when they are multiplied; one that is stored otherwise is float32
                           and has to be converted. c is stored as they, or in float32 */
} TileProduct;

/* False when the program is none. */
bool tile_product(const TileProgram *p, TileProduct *out);

#endif
