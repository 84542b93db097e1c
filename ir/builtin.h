/* The ops of the language: one row each in builtin.c, with arguments, defaults and a sentence. A
 * row checks its arguments by type, and its function emits IR. Private to ir/. */
#ifndef NPC_IR_BUILTIN_H
#define NPC_IR_BUILTIN_H

#include "ir/elaborate_state.h"

typedef enum ArgType {
    ARG_NONE,
    ARG_INT,
    ARG_REAL,
    ARG_RATE, /* in [0, 1) */
    ARG_BOOL,
    ARG_STRING,
    ARG_WORD,     /* a bare word */
    ARG_AXIS,     /* an axis of the value, bare */
    ARG_NEW_AXIS, /* any axis name, bare */
    ARG_AXES,     /* [t h] or t: axes of the value */
    ARG_SIZES,    /* [c: 64]: axes with sizes */
    ARG_STEPS,    /* [h: 2 w: 2]: axes of the value with whole numbers >= 0 */
    ARG_TENSOR,   /* another tensor */
    ARG_SLICES,   /* [n: 0..10]: axes of the value with ranges */
} ArgType;

enum { MAX_ARGS = 12 };

typedef struct ArgDef {
    const char *name;
    ArgType type;
    const char *otherwise; /* default as written, "" for none; NULL: must be given */
} ArgDef;

typedef struct AxisArg {
    const char *axis;
    Span span;
    int64_t size, end; /* SIZES, STEPS: size; SLICES: size..end */
} AxisArg;

typedef struct Arg {
    bool given;
    Span span;
    Val val; /* TENSOR */
    int64_t integer;
    double real;
    bool truth;
    const char *text; /* STRING, WORD, AXIS */
    int n;            /* AXES, SIZES, STEPS, SLICES */
    AxisArg axis[MAX_RANK];
} Arg;

typedef struct NamedInt {
    const char *name;
    int64_t value;
} NamedInt;

struct Builtin;
typedef struct OpCall {
    Elaborator *el;
    const struct Builtin *def;
    Span span;         /* the call */
    Val x;             /* the value it is applied to; of a list its first tensor */
    const Value *item; /* takes_list: the tensors */
    uint32_t n_items;
    const char *label;        /* its label path */
    Arg arg[MAX_ARGS];        /* in the order of the row */
    NamedInt extra[MAX_RANK]; /* rearrange: sizes by name */
    int n_extra;
} OpCall;

typedef struct Builtin {
    const char *name;
    Val (*emit)(OpCall *c);
    const char *doc;
    ArgDef arg[MAX_ARGS];
    bool takes_extra;              /* further `name: int` arguments */
    bool takes_list;               /* it is applied to a list of tensors */
    Value (*emit_list)(OpCall *c); /* instead of emit: its value is a list */
    bool needs_label;              /* it owns parameters or random numbers */
} Builtin;

/* NULL when there is none. */
const Builtin *builtin_find(const char *name);
/* The i-th row; NULL behind the last. */
const Builtin *builtin_at(int i);
Value builtin_call(Elaborator *el, const Builtin *def, const Expr *call, const Value *x,
                   bool first_is_item);

static inline const Shape *op_shape_of(const OpCall *c)
{
    return func_shape(c->el->func, c->x);
}
/* Size of an axis of the value; 0 when it has none of that name. */
int64_t op_axis_size(const OpCall *c, const char *axis);
/* An interned name made of parts, "c" "_in" -> "c_in". */
const char *op_axis_name(const OpCall *c, const char *axis, const char *suffix);
/* The entry of an axis, or NULL. */
const AxisArg *op_step(const Arg *a, const char *axis);
/* Strides and pads stand on axes of the kernel only; otherwise reports it. */
bool op_check_steps(OpCall *c, const Arg *kernel, const Arg *steps);

Val emit_dense(OpCall *c);
Val emit_conv(OpCall *c);
Val emit_batchnorm(OpCall *c);
Val emit_layernorm(OpCall *c);
Val emit_attention(OpCall *c);
Val emit_rotary(OpCall *c);
Val emit_roll(OpCall *c);
Val emit_regions(OpCall *c);
Val emit_offsets(OpCall *c);
Val emit_sinusoids(OpCall *c);
Val emit_sample(OpCall *c);
Val emit_crop(OpCall *c);
Val emit_noise(OpCall *c);
Val emit_penalty(OpCall *c);
Val emit_concat(OpCall *c);
Val emit_unfold(OpCall *c);
Val emit_stack(OpCall *c);
Value emit_split(OpCall *c);
Val emit_hermite(OpCall *c);
Val emit_drop_path(OpCall *c);
Val emit_dropout(OpCall *c);
Val emit_pointwise(OpCall *c);
Val emit_softplus(OpCall *c);
Val emit_clamp(OpCall *c);
Val emit_mean(OpCall *c);
Val emit_sum(OpCall *c);
Val emit_resize(OpCall *c);
Val emit_tile(OpCall *c);
Val emit_take(OpCall *c);
Val emit_pad(OpCall *c);
Val emit_rename(OpCall *c);
Val emit_rearrange(OpCall *c);
Val emit_sincos_position(OpCall *c);

#endif
