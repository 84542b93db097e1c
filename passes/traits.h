/* What passes know of a target, and the precision of a program. Passes ask for these traits, never
 * which target it is; a new target is a row of traits.c. */
#ifndef NPC_PASSES_TRAITS_H
#define NPC_PASSES_TRAITS_H

#include "ir/storage.h"

/* For which values the kernels of an anchor can do something. */
typedef enum Extent { NOWHERE, FOR_VOLUMES, EVERYWHERE } Extent;

typedef struct AnchorTraits {
    Extent code[2];    /* per operand: given as scalar code (prologue), not as a stored tensor */
    Extent epilogue;   /* pointwise values, stores and reductions behind the anchor */
    Extent reductions; /* of those, sums that keep the channel axis, and perhaps the batch */
} AnchorTraits;

/* Plain products (ir/tile_product.h) that a library computes instead of a kernel of ours. */
typedef struct LibraryTraits {
    bool (*is_there)(void); /* asked when there is a product for it; NULL: there is none */
    double flops;           /* of a product at least.. */
    int64_t side;           /* ..and m, n and k */
} LibraryTraits;

typedef struct TargetTraits {
    bool channels_last; /* every activation lies with its channels innermost, without blocks */
    int lanes;          /* else volumes are blocked over their channels by so many */
    AnchorTraits contract, stencil, stencil_dw;
    bool counts_bytes;      /* memory is slow: what is stored is decided by the bytes that moves */
    bool joins_small;       /* launches cost: small tables of a shape share a kernel, equal updates
                               one program */
    bool updates_behind;    /* a weight gradient's kernel may update its weight */
    bool pairs;             /* both gradients of a depthwise convolution are one kernel */
    int64_t pair_sum_limit; /* of a product, too, when it sums at most so many; 0: never */
    LibraryTraits library;  /* none, unless somebody says so */
} TargetTraits;

/* Vectors of so many floats. */
TargetTraits traits_cpu(int lanes);
/* Blocks of threads with matrix units. */
TargetTraits traits_cuda(void);

/* How activations are stored and what products round their factors to. Parameters, moments,
 * statistics, sums, weight gradients, losses and predictions are float32 always. */
typedef enum PrecisionMode {
    PRECISION_F32,
    PRECISION_TF32, /* of factors only */
    PRECISION_BF16,
    PRECISION_F16,
    PRECISION_COUNT
} PrecisionMode;

bool precision_find(const char *text, PrecisionMode *out);
const char *precision_text(PrecisionMode p);
Storage precision_storage(PrecisionMode p); /* of activations */
MathMode precision_math(PrecisionMode p);   /* of products */

#endif
