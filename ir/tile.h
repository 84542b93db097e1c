/* Tile programs: one kernel, from fused group to generated code.
 *
 * A tile program says what one kernel computes, without saying for which machine: an iteration
 * space of named axes, tensors with their layouts and how the iteration reads them, straight-line
 * scalar code (prologue and epilogue of the anchor), stores and reductions. The CPU generator maps
 * it to vectors and threads, the CUDA generator to blocks and fragments; the interpreter
 * (tile_eval.c) runs it plainly and is what both are compared with.
 *
 * Anchors
 *   MAP         no anchor: the code is evaluated at every point of the parallel axes
 *   CONTRACT    acc[parallel] = sum over the REDUCE axes of code[lhs] * code[rhs]
 *   STENCIL     the same, where lhs is read on the IN axes (input positions of a convolution):
 *               plain:      in = out * stride + tap * dilation - pad
 *               transposed: in = (out + pad - tap * dilation) / stride, where that is whole
 *               and lhs counts as 0 outside of [0, in size) (the value, not its prologue's input)
 *   STENCIL_DW  acc[.., tap] = sum over the REDUCE axes (among them the OUT axes of the
 *               convolution) of code[lhs] (on IN axes) * code[rhs] (on OUT axes)
 *   SCATTER     code[lhs](parallel, reduce) added up at position code[rhs](parallel, reduce) of the
 *               OWN axis of its result; dropped outside of it
 *   ATTEND, ATTEND_BACK  attention and its gradients (ops/attention.c), one sequence per parallel
 *               point; queries, keys, widths, random bytes are OWN axes, operands plain loads
 * The last three write whole slices of their results and have neither stores nor reductions.
 * After the anchor the epilogue code may use INST_ACC, and parallel axes only. Reductions take
 * values at all parallel points, epilogue included, and sum them over the axes their result lacks.
 * A program with members is a map that runs for each of them, with tensors and a number of points
 * of its own (tile_members.c). Pair sums (behind CONTRACT and STENCIL) are the other gradient of
 * the same operation, computed while the anchor's lhs is at hand: dx[p] = sum_r dy[p, r] w[r] and
 * dw[r] = sum_p x[p] dy[p, r]. Only targets that ask for them (passes/traits.h) see any.
 *
 * Everything here is dense arithmetic on small structs; a program lives in an arena. */
#ifndef NPC_IR_TILE_H
#define NPC_IR_TILE_H

#include "ir/base/text.h"
#include "ir/base/diag.h"
#include "ir/op.h"
#include "ir/shape.h"
#include "ir/storage.h"

enum { TILE_MAX_AXES = 16, TILE_MAX_TERMS = 2 };

/* Where the elements of a tensor lie. Without a lane axis the tensor is dense in the order given.
 * With one, that axis is cut into blocks of `lanes`; its block index takes the place of the axis in
 * `order` and the position inside the block is innermost: [b c t h w], lane c, lanes 16 is
 * b, c / 16, t, h, w, c % 16. The axis is padded to whole blocks; what padding lanes hold is
 * unspecified. Buffers start on 64 bytes, and 64 bytes beyond their end can be read. */
typedef struct TileLayout {
    Shape shape;         /* logical */
    int order[MAX_RANK]; /* physical: order[0] is the outermost logical axis */
    int lane;            /* logical axis, or -1 */
    int lanes;           /* 1 when lane is -1 */
    Storage type;        /* of every element */
} TileLayout;

TileLayout tile_layout_plain(const Shape *s);
int64_t tile_layout_elems(const TileLayout *l); /* with padding */
size_t tile_layout_bytes(const TileLayout *l);
bool tile_layout_equal(const TileLayout *a, const TileLayout *b);
/* Offset in elements of a logical index. */
int64_t tile_layout_offset(const TileLayout *l, const int64_t *index);
/* Is the storage the row-major order of the logical axes (lane blocks counted as row-major where
 * the axis is one block of an only axis)? */
bool tile_layout_is_plain(const TileLayout *l);

typedef enum TileAxisKind {
    TILE_PARALLEL,
    TILE_REDUCE, /* summed by the anchor */
    TILE_OWN,    /* walked by the anchor itself */
    TILE_IN,     /* input position of a convolution, derived from an OUT and a tap axis */
} TileAxisKind;

typedef struct TileAxis {
    const char *name;
    int64_t size;
    TileAxisKind kind;
} TileAxis;

/* How a tensor's axis follows the iteration: index = sum of coef * axis, or table[axis] (one term;
 * -1 in the table reads as 0), or what an instruction computes (no term; rounded to the nearest
 * whole number; positions outside of the axis read as 0), or 0 with no term. Only loads have
 * computed ones. */
typedef struct TileIndex {
    int n_terms;
    int axis[TILE_MAX_TERMS];
    int64_t coef[TILE_MAX_TERMS];
    const int32_t *table;
    int64_t table_len;
    int computed; /* 1 + the instruction; 0: none */
} TileIndex;

typedef struct TileTensor {
    TileLayout layout;
    bool is_output;
    int buffer; /* whose it is: meaning given by the plan (index of a value), -1 none */
} TileTensor;

typedef enum TileInstKind {
    INST_LOAD,  /* tensor read at index[] */
    INST_CONST, /* number */
    INST_ACC,   /* what the anchor computed */
    INST_PRIM,  /* prim of earlier instructions */
} TileInstKind;

typedef struct TileInst {
    TileInstKind kind;
    Prim prim;
    int arg[3];
    double number;
    int tensor;                /* INST_LOAD */
    TileIndex index[MAX_RANK]; /* INST_LOAD: per logical axis of the tensor */
} TileInst;

typedef struct TileStore {
    int inst, tensor;
    TileIndex index[MAX_RANK];
} TileStore;

typedef enum TileReduceKind {
    TILE_SUM,
    TILE_VARIANCE, /* biased; computed with a shift, never as E[x^2] - E[x]^2 of raw values */
    TILE_PAIR_SUM, /* of inst[parallel] * code[lhs][parallel, reduce] */
} TileReduceKind;

/* tensor[axes] = factor * (sum or variance of inst over the parallel axes not among `axes`). The
 * result's axes are identity-indexed parallel axes; of a pair sum also every REDUCE axis. The inst
 * of a pair sum does not use the accumulator; both its factors are rounded as `math` says, and
 * points where the anchor skips lhs (outside of the input, between strides) are skipped. */
typedef struct TileReduction {
    TileReduceKind kind;
    int inst, tensor;
    double factor;
    int axis[MAX_RANK]; /* per logical axis of the tensor: the program's axis */
} TileReduction;

typedef struct TileStencil {
    int out, tap, in; /* axes */
    int64_t stride, dilation, pad;
    bool transposed;
} TileStencil;

typedef enum TileAnchor {
    TILE_MAP,
    TILE_CONTRACT,
    TILE_STENCIL,
    TILE_STENCIL_DW,
    TILE_SCATTER,
    TILE_ATTEND,
    TILE_ATTEND_BACK,
    TILE_ANCHOR_COUNT
} TileAnchor;

/* A slice that an anchor writes: per logical axis of the tensor the program's axis. */
typedef struct TileResult {
    int tensor; /* -1: not wanted */
    int axis[MAX_RANK];
} TileResult;

enum { ATTEND_QUERY, ATTEND_KEY, ATTEND_VALUE, ATTEND_DY, ATTEND_LOG_SUM, ATTEND_CENTRE };
enum { ATTEND_BIAS, ATTEND_OWN, ATTEND_THEIRS, ATTEND_ADDITIONS }; /* behind these */
enum { TILE_MAX_OPERANDS = 10, TILE_MAX_RESULTS = 4 };
enum { ATTEND_Y, ATTEND_L };                            /* results of ATTEND */
enum { ATTEND_DQ, ATTEND_DK, ATTEND_DV, ATTEND_DBIAS }; /* results of ATTEND_BACK */

/* Operands: q[n d], k[m d], v[m e], and going back dy[n e], log_sum[n], centre[n]; with additions
 * also bias[n m] and the labels own[n], theirs[m]; own says which queries there are, too
 * (attend_asks). q, k, v and dy may be code, all others are loads. The bias' gradient is a sum over
 * the parallel axes that it lacks. If weights are dropped, the last operand is bytes[byte]
 * (ir/drop.h). */
typedef struct TileAttend {
    int n, m, d, e;                 /* axes: queries, keys, width of both, width of values */
    int operand[TILE_MAX_OPERANDS]; /* instructions */
    double scale;
    AttendMask mask;
    bool adds;   /* has additions */
    double drop; /* rate at which weights are dropped; 0: none are */
    int byte;    /* if so, the axis of DROP_BYTES random bytes */
} TileAttend;

/* The code once more: for other tensors of the program, another size of its one axis and other
 * numbers. What the code says is the first member's. */
typedef struct TileMember {
    int64_t size;
    int session;          /* -1, or the recording without whose samples it does not run */
    int n;                /* tensors of the code: the program's first .. */
    const int *tensor;    /* .. and what stands for each of them here */
    const double *number; /* of every INST_CONST, in order */
} TileMember;

typedef struct TileProgram {
    const char *name;  /* "core.block0.expand", for people */
    const char *place; /* "model.nm:40, 42": lines of the source it came from; NULL: unknown */
    int session;       /* -1, or the recording whose samples it runs on */
    int batch_axis;    /* the axis that a session's sample range cuts to [b0, b1); -1 none */
    TileAnchor anchor;
    int lhs, rhs; /* operands of CONTRACT, STENCIL, STENCIL_DW and SCATTER; else -1 */
    TileAttend attend;
    TileResult result[TILE_MAX_RESULTS]; /* of SCATTER (the first), ATTEND and ATTEND_BACK */
    MathMode math;                       /* CONTRACT: what the operands are rounded to */
    bool by_library; /* CONTRACT: a plain product (tile_product.h), computed by a library */
    VEC(TileAxis) axes;
    VEC(TileTensor) tensors;
    VEC(TileInst) insts;
    VEC(TileStore) stores;
    VEC(TileReduction) reductions;
    VEC(TileStencil) stencils;
    VEC(TileMember) members; /* none: the code runs once, as it is */
    double flops;            /* of one run */
    Span span;
} TileProgram;

/* Does the anchor write its results itself? Then there is no code behind it. */
static inline bool tile_is_whole(const TileProgram *p)
{
    return p->anchor >= TILE_SCATTER;
}
/* Operands of attention but for additions, which stand behind them, and random bytes, the last. */
static inline int tile_additions(const TileProgram *p)
{
    return p->anchor == TILE_ATTEND ? 3 : p->anchor == TILE_ATTEND_BACK ? 6 : 0;
}
static inline int tile_n_operands(const TileProgram *p)
{
    return tile_additions(p) + (p->attend.adds ? ATTEND_ADDITIONS : 0) + (p->attend.drop > 0);
}
static inline int tile_n_results(const TileProgram *p)
{
    return p->anchor == TILE_ATTEND        ? 2
           : p->anchor == TILE_ATTEND_BACK ? 4
                                           : p->anchor == TILE_SCATTER;
}

/* The program over one axis of all its points, when it is a map in which every tensor but single
 * numbers lies in their order; else NULL. */
TileProgram *tile_flat(Arena *arena, const TileProgram *p);
/* The code of a flat program as text: those that have it in common can be joined. */
const char *tile_body(Arena *arena, const TileProgram *flat);
/* One program with a member for each; name and place are the first's. */
TileProgram *tile_join(Arena *arena, TileProgram *const *flat, uint32_t n);
/* Member i alone, as a program of its own that shares nothing with `p` but its strings. */
TileProgram *tile_member(Arena *arena, const TileProgram *p, uint32_t i);

/* Instructions of the kind INST_CONST. */
int tile_n_numbers(const TileProgram *p);

/* Does any load read at positions that are computed? */
bool tile_computes_positions(const TileProgram *p);

/* Bytes that one run reads and writes at least: every tensor once, padding included; of a tensor
 * read through a table, what the table reaches. */
double tile_bytes(const TileProgram *p);

/* Text form; parses back to the same program. With `anonymous` it leaves out what does not change
 * the generated code (names, buffers, span): the key under which kernels are shared and cached. */
void tile_print(Text *t, const TileProgram *p, bool anonymous);
TileProgram *tile_parse(Arena *arena, Names *names, Diags *diags, const char *path,
                        const char *text, size_t len);
/* NULL when legal, or a sentence. */
const char *tile_verify(const TileProgram *p, Arena *scratch);

/* Range of the batch axis; {0, its size} unless a session's. */
typedef struct TileRange {
    int64_t b0, b1;
} TileRange;

/* Runs the program plainly, with float64 arithmetic. tensor[i] is the storage of p->tensors.at[i]
 * in its layout and type. Padding lanes are left alone. Of a program with members all run: without
 * samples of a member's recording it is for the caller to run tile_member's programs instead. */
void tile_eval(const TileProgram *p, void *const *tensor, TileRange range);

#endif
