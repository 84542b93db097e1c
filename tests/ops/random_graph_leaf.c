/* Values of the leaves of random graphs. */
#include "tests/ops/random_graph.h"
#include "tests/ops/random_numbers.h"

#include <math.h>

bool random_graph_leaf(void *context, const Node *leaf, double *at)
{
    uint64_t state = *(uint64_t *)context;
    for (const char *s = leaf->attrs.name; *s; s++)
        state = (state ^ (unsigned char)*s) * 0x100000001B3u;
    int64_t n = shape_elems(&leaf->shape);
    double rate = leaf->attrs.k[0];
    for (int64_t i = 0; i < n; i++) {
        double u = next_uniform(&state), sum = -2;
        for (int k = 0; k < 4; k++)
            sum += next_uniform(&state); /* variance 1/3: near normal, bounded */
        at[i] = leaf->op == OP_RANDOM  ? u >= rate
                : leaf->op == OP_BYTES ? floor(256 * u)
                                       : (double)(float)(sum * 1.7);
    }
    return true;
}
