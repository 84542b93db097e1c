/* Random well-typed programs for comparing passes and code generators with the reference.
 *
 * A graph is built by rules that are right by construction, over every op row that can stand in a
 * forward function (pointwise rows with a derivative, batch normalization with its own moments,
 * dense, grouped and batched products, dense and depthwise convolutions over 1 to 3 axes, tables,
 * views, reductions, masks, noise, attention, reads at computed positions, products of overlapping
 * windows). While it is built it is
 * evaluated: a value that grows beyond +-8 is scaled down, so everything stays finite in float32
 * too. The same seed gives the same graph.
 *
 * Leaves: parameters "p0", "p1", ..; inputs "x0", ..; masks "drop0", ..; their values come from
 * random_graph_leaf. Results: outputs "y0", .. (every value that nothing else uses) and the loss
 * "loss", the sum of the outputs' mean squares. */
#ifndef NPC_TESTS_OPS_RANDOM_GRAPH_H
#define NPC_TESTS_OPS_RANDOM_GRAPH_H

#include "ir/eval.h"

typedef struct RandomGraphOptions {
    int min_ops, max_ops; /* building steps, each 1 to 8 nodes; 0, 0: 5 to 40 */
    int64_t max_elems;    /* of one value; 0: 6000 */
} RandomGraphOptions;

/* Adds the function "forward" and its parameters to `m`, which has no such function yet. `o` may be
 * NULL. */
Func *random_graph(Module *m, uint64_t seed, const RandomGraphOptions *o);

/* Leaf values for eval_func, a function of (seed, name, index) alone; context is a uint64_t * to
 * the seed. Parameters and inputs are roughly normal, rounded to float32; masks are as OP_RANDOM
 * says. */
bool random_graph_leaf(void *context, const Node *leaf, double *at);

/* The mean square of a value, of which the loss is made. */
Val random_graph_loss(Func *f, Val v);

/* Does the function still show the failure? */
typedef bool (*GraphFails)(void *context, const Func *f);

/* Looks for a smaller function with the same failure: ends it at the earliest value that fails
 * (output "y0" and its mean square as the loss), then turns values into inputs "cut<id>" and drops
 * what is no longer used, as long as it still fails. `f` must fail. Every candidate is a function
 * "forward" in a module of its own, in the arena of f's module. */
Func *random_graph_shrink(Func *f, GraphFails fails, void *context);

#endif
