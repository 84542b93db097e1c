/* Graph IR: SSA values over tensors of static shape.
 *
 * A Func is an append-only list of nodes; operands come before users by construction. A Node holds
 * what is true of the program; what an analysis finds out lives in its own table indexed by Val.
 * A Module holds functions ("forward", later "eval", "train", "grad", "update") and the table of
 * parameters and states they refer to by name. Everything lives in the module's arena.
 *
 * VAL_NONE marks an expression that already produced a diagnostic; emitting with it gives VAL_NONE
 * again, silently: one mistake, one message. */
#ifndef NPC_IR_FUNC_H
#define NPC_IR_FUNC_H

#include "ir/base/diag.h"
#include "ir/op.h"
#include "ir/session.h"
#include "ir/shape.h"

typedef struct Val {
    uint32_t id; /* index into Func.nodes; 0 is none */
} Val;
#define VAL_NONE ((Val){0})

enum { MAX_OPERANDS = 10, MAX_STENCIL = 3 };

typedef struct AxisList {
    int n;
    const char *name[MAX_RANK];
} AxisList;

/* One axis of a convolution: out index o, tap k read in index o * stride + k * dilation - pad. */
typedef struct Stencil {
    const char *axis; /* of input and output */
    const char *tap;  /* of the kernel */
    int64_t stride, dilation, pad;
    int64_t in_size; /* input size: the shape of conv_dx */
    int64_t taps;    /* kernel size: the shape of conv_dw */
} Stencil;

typedef struct Attrs {
    const char *name; /* interned */
    double k[FORMULA_MAX_CONSTS];
    const char *formula; /* interned */
    const char *axis, *axis2, *axis3;
    int64_t size0;        /* split: size of the outer part */
    const int32_t *table; /* index */
    int64_t table_len;
    const float *data; /* const: as many as the shape has */
    AxisList over, out;
    int n_stencil;
    Stencil stencil[MAX_STENCIL];
} Attrs;

typedef struct Node {
    Op op;
    uint8_t n_in;
    int16_t session; /* belongs to this recording's readout: runs on its samples only; -1 shared */
    int16_t part;    /* index into Module.parts: where in the source it belongs; -1 none */
    bool backward;   /* made by autodiff */
    bool recompute;  /* a copy made so that its original need not be kept for the backward pass */
    Val in[MAX_OPERANDS];
    Attrs attrs;
    Shape shape;
    Span span;
} Node;

typedef enum ResultRole {
    RESULT_OUTPUT, /* a prediction or a probed intermediate value */
    RESULT_LOSS,   /* scalar */
    RESULT_GRAD,   /* gradient of the loss with respect to the parameter `name` */
    RESULT_STATE,  /* new value of the parameter or state `name`, written in place */
} ResultRole;

typedef struct Result {
    ResultRole role;
    const char *name;
    Val val;
} Result;

typedef struct Module Module;

typedef struct Func {
    Module *module;
    const char *name;
    VEC(Node) nodes; /* [0] is a placeholder */
    VEC(Result) results;
    /* what func_emit gives new nodes */
    Span span;
    int16_t session, part;
    bool backward;
    Val of; /* while a gradient rule runs: the value it is the gradient of */
} Func;

typedef enum InitKind { INIT_CONSTANT, INIT_NORMAL, INIT_UNIFORM, INIT_DATA } InitKind;

typedef struct Init {
    InitKind kind;
    double a, b;       /* constant: a; normal: mean, standard deviation; uniform: low, high */
    const float *data; /* INIT_DATA, logical row-major order */
} Init;

typedef struct Param {
    const char *name; /* dotted path, "core.block0.expand.weight" */
    Shape shape;      /* logical = order on disk */
    Init init;
    int16_t session; /* -1 shared */
    bool is_state;   /* running statistics, frequencies: no gradient, but saved and averaged */
    bool no_decay, frozen;
    double limit; /* entries stay in -limit .. limit; 0: anywhere */
    Span span;
} Param;

struct Module {
    Arena *arena;
    Names *names;
    Diags *diags;
    const char *model;      /* name of the model */
    const char *batch_axis; /* interned: the axis of samples, which recordings' ranges cut */
    VEC(Func *) funcs;
    VEC(Param) params; /* in order of creation */
    Map param_index;   /* name -> (void *)(index + 1) */
    VEC(Session) sessions;
    bool uses_means;         /* some parameter begins at its session's means: whoever trains makes
                                them and builds the module again. Set while elaborating */
    VEC(const char *) parts; /* names for reports: "core.block0", "cortex.0", "readout" */
};

Module *module_new(Arena *arena, Names *names, Diags *diags);
Func *module_add_func(Module *m, const char *name);
/* Of the module, but not among its functions: what passes make. */
Func *func_new(Module *m, const char *name);
Func *module_func(const Module *m, const char *name); /* NULL when absent */
/* NULL when absent. */
Param *module_param(const Module *m, const char *name);
/* Adds; a second parameter of the same name is an E0104 diagnostic and returns NULL. */
Param *module_add_param(Module *m, Param p);
int16_t module_part(Module *m, const char *name); /* finds or adds */

/* ---- building: every emit checks, derives the shape, and returns VAL_NONE after a diagnostic ----
 */

Val func_emit(Func *f, Op op, const Attrs *attrs, const Val *in, int n_in);
/* The same for nodes whose shape is given and not derived (leaves). */
Val func_emit_leaf(Func *f, Op op, const Attrs *attrs, const Shape *shape);
Val func_emit1(Func *f, Op op, Val a);
Val func_emit2(Func *f, Op op, Val a, Val b);

Val func_input(Func *f, const char *name, const Shape *shape);
Val func_param(Func *f, const char *name); /* of module_param, also states: picks PARAM or STATE */
Val func_fill(Func *f, double value, const Shape *shape);       /* rank 0 for a scalar */
Val func_const(Func *f, const float *data, const Shape *shape); /* data lives in the arena */
Val func_random(Func *f, const char *stream, double rate, const Shape *shape);
Val func_noise(Func *f, const char *stream, const Shape *shape);
Val func_bytes(Func *f, const char *stream, const Shape *shape);
Val func_scale(Func *f, Val a, double k);
Val func_offset(Func *f, Val a, double k);
Val func_rename(Func *f, Val a, const char *from, const char *to);
Val func_split(Func *f, Val a, const char *axis, const char *outer, const char *inner,
               int64_t outer_size);
Val func_merge(Func *f, Val a, const char *outer, const char *inner, const char *axis);
/* The same axes in another order; `a` itself when it has that order. */
Val func_reorder(Func *f, Val a, const AxisList *order);
/* The named axes as one, which becomes the last; they keep the order that they have in a. */
Val func_flatten(Func *f, Val a, const AxisList *axes, const char *to);
Val func_index(Func *f, Val a, const char *axis, const char *new_axis, const int32_t *table,
               int64_t n);
/* Has the table of an index places that read nothing, and are 0? */
bool index_leaves_out(const Node *index);
/* factor * sum over the named axes. */
Val func_sum(Func *f, Val a, const AxisList *over, double factor);
Val func_mean(Func *f, Val a, const AxisList *over);
Val func_variance(Func *f, Val a, const AxisList *over, double factor);
/* Sum over `over` (axes of both) of a * b; the result's axes in the order of `out`, which names
 * every remaining axis of a and b. */
Val func_contract(Func *f, Val a, Val b, const AxisList *over, const AxisList *out);
Val func_map(Func *f, const char *formula, const double *k, int n_k, const Val *in, int n_in);

void func_result(Func *f, ResultRole role, const char *name, Val val);
const Result *func_find_result(const Func *f, ResultRole role, const char *name);

static inline Node *func_node(const Func *f, Val v)
{
    return &f->nodes.at[v.id];
}
static inline const Shape *func_shape(const Func *f, Val v)
{
    return &f->nodes.at[v.id].shape;
}

/* Appends a copy of `n` with other operands; same attributes, shape, span, tags. */
Val func_copy(Func *f, const Node *n, const Val *in);

/* ---- text, checking ---- */

void func_print(Text *t, const Func *f);
void module_print(Text *t, const Module *m);
/* Reads what module_print wrote; NULL after diagnostics (E0290). Printing the result gives the same
 * bytes. */
Module *module_parse(Arena *arena, Names *names, Diags *diags, const char *path, const char *text,
                     size_t len);
/* Is the module legal: operands before users, shapes as the rules derive them, names unique,
 * results of the right shape? Returns NULL or a sentence naming the value. */
const char *module_verify(const Module *m, Arena *scratch);

/* ---- gradients ---- */

/* Appends the gradient of node y's operands, given dy; din[i] is VAL_NONE where none flows. The
 * result din[i] has exactly the shape of operand i. */
void op_gradient(Func *f, Val y, Val dy, Val din[MAX_OPERANDS]);
/* Is it what the gradient of batchnorm gives its input? Its operands are those of batchnorm's first
 * four, dy, and the gradients of shift and scale; k0 is eps, k1 one over the number of elements. */
bool node_is_norm_gradient(const Node *n);
/* Floating-point operations of a node, a multiply-add counted as two. */
double op_flops(const Func *f, Val v);

#endif
