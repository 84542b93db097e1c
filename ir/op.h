/* Queries over the op table (ops.def). Nobody outside ir/ops says `case OP_MATMUL`: what a pass
 * needs to know about an op is a column here. */
#ifndef NPC_IR_OP_H
#define NPC_IR_OP_H

#include "ir/formula.h"

typedef enum Op {
    OP_NONE,
#define POINTWISE(id, text, arity, consts, formula, ...) OP_##id,
#define OP(id, text, arity, attrs, rules, lowering) OP_##id,
#include "ir/ops.def"
#undef POINTWISE
#undef OP
    OP_COUNT
} Op;

/* How an op becomes a tile program. */
typedef enum Lowering {
    LOWER_LEAF,       /* input, parameter, state, constant, random mask: a buffer, no kernel */
    LOWER_VIEW,       /* other names for the same elements: never a kernel of its own */
    LOWER_POINTWISE,  /* scalar formula over broadcast operands */
    LOWER_INDEX,      /* one axis read through a constant table: pointwise with another address */
    LOWER_GATHER,     /* one axis read at computed positions: pointwise with another address */
    LOWER_REDUCE,     /* sum or variance over axes */
    LOWER_CONTRACT,   /* sum over axes of a product of two tensors */
    LOWER_STENCIL,    /* convolution, its input gradient */
    LOWER_STENCIL_DW, /* its weight gradient */
    LOWER_SCATTER,    /* a sum into computed positions */
    LOWER_ATTEND,     /* attention and its gradients: kernels of their own */
} Lowering;

/* Which members of Attrs an op uses, hence prints and parses. */
typedef enum AttrKind {
    ATTR_NONE,
    ATTR_NAME,     /* name (input, param, state) + the shape is given, not derived */
    ATTR_FILL,     /* k[0] + given shape */
    ATTR_SHAPE,    /* given shape only (iota) */
    ATTR_DATA,     /* data, given shape */
    ATTR_RANDOM,   /* name (stream), k[0] = drop rate, given shape */
    ATTR_CONSTS,   /* k[0..n_consts) */
    ATTR_FORMULA,  /* formula text and k[] */
    ATTR_RENAME,   /* axis -> axis2 */
    ATTR_SPLIT,    /* axis -> (axis2, axis3), size[0] = size of axis2 (outer) */
    ATTR_MERGE,    /* (axis2 outer, axis3 inner) -> axis, placed where axis2 stood */
    ATTR_ORDER,    /* out */
    ATTR_INDEX,    /* axis -> axis2 (may be equal), table[table_len] */
    ATTR_REDUCE,   /* over, k[0] = factor on the result */
    ATTR_CONTRACT, /* over, out */
    ATTR_GATHER,   /* axis */
    ATTR_SCATTER,  /* axis, size0 its size, over */
    ATTR_ATTEND,   /* axis of queries, axis2 of keys, over (scores), k[0] scale, k[1] AttendMask,
                      k[2] the rate at which weights are dropped, k[3] the share of positions
                      without a query, where it is known: for counts of work, nothing else */
    ATTR_CONV,     /* over, out, stencil[] */
} AttrKind;

/* Which keys a query i of an attention sees. */
typedef enum AttendMask {
    ATTEND_SEES_ALL,
    ATTEND_SEES_EARLIER, /* 0 .. i: causal */
    ATTEND_SEES_OTHERS,  /* all but i */
} AttendMask;

enum { ATTEND_UNLIKE = -100 }; /* added to scores of positions of unlike labels */

/* The own label of a position without a query: see attend_asks. */
#define ATTEND_UNASKED (-1e30)

/* Is there a query where the own label is this one? In 16 bits the label above is -inf. */
static inline bool attend_asks(double own)
{
    return own > ATTEND_UNASKED / 2;
}

const char *op_text(Op op);
int op_arity(Op op); /* operands; -1: any number (map) */
AttrKind op_attrs(Op op);
Lowering op_lowering(Op op);
int op_n_rows(Op op);        /* attention: operands that are rows of numbers, the first; else 0 */
bool op_is_pointwise(Op op); /* also "map" */
int op_n_consts(Op op);
const char *op_formula(Op op); /* NULL unless a pointwise row */
/* Derivative formula with respect to operand i; NULL: not differentiable there, or the row has a
 * gradient rule of its own. */
const char *op_derivative(Op op, int i);
/* OP_NONE when there is none of that text. */
Op op_find(const char *text, size_t len);

#endif
