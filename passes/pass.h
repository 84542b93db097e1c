/* The pipeline: from the functions that elaboration made to the programs the runtime runs.
 *
 * A pass is a function from a Func to a new Func of the same module with one job; passes.def lists
 * them in order, with the programs they apply to, and each has its own switch. After every pass the
 * module is verified (in debug and test builds), and `emit` can receive its text. */
#ifndef NPC_PASSES_PASS_H
#define NPC_PASSES_PASS_H

#include "ir/func.h"
#include "ir/recipe.h"
#include "passes/traits.h"

/* What a program is for; a set of bits in passes.def. */
typedef enum ProgramKind {
    PROGRAM_EVAL = 1,     /* predictions with running statistics */
    PROGRAM_GRAD = 2,     /* training-mode outputs, loss and every gradient, nothing updated */
    PROGRAM_STEP = 4,     /* one whole training step: forward, loss, backward, AdamW */
    PROGRAM_FORWARD = 8,  /* training-mode outputs and loss */
    PROGRAM_AVERAGE = 16, /* moving average of every parameter and state */
    PROGRAM_ACCUMULATE =
        32,              /* forward, backward, gradients added to what is there (iter_size > 1) */
    PROGRAM_UPDATE = 64, /* AdamW from accumulated gradients */
    PROGRAM_ATTENTION =
        128, /* of an evaluation the queries and keys of every attention: expose_attention.c */
    PROGRAM_LAST = PROGRAM_ATTENTION,
} ProgramKind;

const char *program_kind_text(ProgramKind kind);

typedef enum FuseLevel {
    FUSE_NONE,        /* every op of the source is a kernel of its own */
    FUSE_ELEMENTWISE, /* element-wise chains join */
    FUSE_FULL,        /* groups around anchors, with prologues, epilogues and reductions */
} FuseLevel;

bool fuse_level_find(const char *text, FuseLevel *out);
const char *fuse_level_text(FuseLevel level);

typedef enum RecomputeMode {
    RECOMPUTE_NONE,   /* every convolution output is kept for the backward pass */
    RECOMPUTE_EXPAND, /* outputs much larger than their inputs are computed again */
} RecomputeMode;

typedef struct OptimizerAttrs {
    double beta1, beta2, eps, weight_decay, ema_decay;
    const RecipeGroup *groups; /* parameters with own factors of rate and decay */
    int64_t n_groups;
    bool schedule_free, clips; /* clips: PROGRAM_UPDATE limits the norm of the gradients */
} OptimizerAttrs;

typedef struct PassOptions {
    FuseLevel fuse;
    TargetTraits target;
    PrecisionMode precision;
    RecomputeMode recompute;
    OptimizerAttrs optimizer;
    double gradient_factor; /* 1 / chunks of an accumulated step */
    uint64_t disabled;      /* bit i: the i-th pass of passes.def is off */
    bool verify;            /* after every pass */
    const char *emit_after; /* pass name, or "all"; NULL: nothing */
    Text *emit;
} PassOptions;

typedef struct PassCx {
    Arena *arena; /* the module's */
    const PassOptions *options;
    ProgramKind kind;
} PassCx;

/* Small gradients vanish in f16: steps scale the loss's gradient by an input. */
static inline bool pass_scales_loss(const PassCx *cx)
{
    return cx->options->precision == PRECISION_F16;
}

typedef struct PassRow {
    const char *name, *help;
    unsigned kinds;
    Func *(*run)(PassCx *cx, const Func *in);
} PassRow;

extern const PassRow PASSES[];
int pass_count(void);
int pass_find(const char *name); /* -1 when there is none */

/* Runs the passes of `kind` over "eval" or "train" of the module; the result is a new function
 * named after the kind. NULL after a diagnostic. */
Func *passes_run(Module *m, ProgramKind kind, const PassOptions *options);

/* ---- the one traversal ---- */

typedef struct Rewrite {
    PassCx *cx;
    const Func *from;
    Func *out;
    Val *to;        /* old id -> new value */
    uint32_t *uses; /* of every value of `from`, results included */
    void *state;
} Rewrite;

/* Sees a node and its already rewritten operands; returns what stands for it. */
typedef Val (*RewriteRule)(Rewrite *r, Val old, const Node *n, const Val *in);

/* Rebuilds what the results need, in order; dead code disappears by not being copied. */
Func *func_rewrite(PassCx *cx, const Func *in, RewriteRule rule, void *state);
/* The copy of the node: a rule's default. */
static inline Val rewrite_keep(Rewrite *r, const Node *n, const Val *in)
{
    return func_copy(r->out, n, in);
}
/* Which values the results need (n + 1 entries, arena). */
bool *func_live(Arena *arena, const Func *f);
uint32_t *func_count_uses(Arena *arena, const Func *f);

/* Declarations of the passes. */
#define PASS(name, kinds, help) Func *pass_##name(PassCx *cx, const Func *in);
#include "passes/passes.def"
#undef PASS

#endif
