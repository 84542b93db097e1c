/* Shared part of the CPU generator: LLVM IR for the kernels of one module.
 *
 * Two layers. The Emitter knows types, loops, vectors, float arithmetic and the mathematical
 * functions; Code evaluates the scalar code of a tile program at a place of the iteration space.
 *
 * Vectors lie along one axis of the program, Code.lane_axis: element i of a vector belongs to axis
 * value Code.axis[lane_axis] + i. What does not vary along it stays a scalar (f32) until an
 * operation with a vector needs it broadcast: test with emit_is_vector.
 *
 * Floating point is strict everywhere: no fast-math flags; a fused multiply-add happens exactly
 * where emit_fma is called. So the same program gives the same bits wherever it runs. */
#ifndef NPC_CODEGEN_LLVM_EMIT_H
#define NPC_CODEGEN_LLVM_EMIT_H

#include "codegen/kernel.h"
#include <llvm-c/Core.h>

typedef LLVMValueRef Value;
typedef LLVMTypeRef Type;
typedef LLVMBasicBlockRef Block;

typedef struct EmitTable {
    const void *at;
    int64_t n;
    Value global;
} EmitTable;

typedef struct Emitter {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    Arena *arena; /* lives as long as the emitter */
    Target target;
    bool has_fma;
    Type i1, i8, i32, i64, f32, f64, ptr;
    /* the function being written */
    const TileProgram *program;
    Value function, call, task, scratch; /* KernelPhase's parameters */
    Value b0, b1, workspace;             /* fields of the call */
    Value *tensor;                       /* per tensor of the program: its storage */
    Block entry;                         /* for allocas */
    unsigned n_globals;
    VEC(EmitTable) tables; /* already written, by address */
} Emitter;

/* A module for the target, empty. */
Emitter *emitter_new(Arena *arena, LLVMContextRef context, const Target *target, const char *name);

/* A function with KernelPhase's signature; the builder stands at its first block, with the fields
 * of the call loaded. End returns void and leaves the function. */
void emit_function_begin(Emitter *e, const TileProgram *p, const char *symbol);
void emit_function_end(Emitter *e);

/* ---- whole numbers (i64 unless said otherwise) ---- */
Value emit_i64(Emitter *e, int64_t n);
Value emit_add(Emitter *e, Value a, Value b);
Value emit_sub(Emitter *e, Value a, Value b);
Value emit_mul(Emitter *e, Value a, Value b);
Value emit_add_n(Emitter *e, Value a, int64_t n);
Value emit_mul_n(Emitter *e, Value a, int64_t n);
Value emit_div_n(Emitter *e, Value a, int64_t n); /* a >= 0, n > 0 */
Value emit_mod_n(Emitter *e, Value a, int64_t n);
Value emit_min(Emitter *e, Value a, Value b);  /* signed */
Value emit_less(Emitter *e, Value a, Value b); /* signed; i1 */
Value emit_select(Emitter *e, Value condition, Value yes, Value no);
/* Splits a flat index into its digits, last size fastest: digit[i] in [0, size[i]). */
void emit_digits(Emitter *e, Value flat, int n, const int64_t *size, Value *digit);

/* ---- control flow ---- */
enum { EMIT_MAX_CARRIED = 96 };

/* for (index = lo; index < hi; index += step), with values carried from one round to the next:
 *     emit_loop_begin(e, &l, lo, hi, 1, 2, init);   use l.index, l.carried[0..1]
 *     Value next[2] = ...;
 *     emit_loop_end(e, &l, next);                   l.result[0..1] are the values after the loop
 * lo >= hi runs no round. */
typedef struct EmitLoop {
    Block before, body, after;
    Value index, hi, guard_lo;
    int64_t step;
    int n_carried;
    Value init[EMIT_MAX_CARRIED], carried[EMIT_MAX_CARRIED], result[EMIT_MAX_CARRIED];
} EmitLoop;

void emit_loop_begin(Emitter *e, EmitLoop *l, Value lo, Value hi, int64_t step, int n_carried,
                     const Value *init);
void emit_loop_end(Emitter *e, EmitLoop *l, const Value *next);

/* if (condition) { ... } else { ... }; else may be left out. No values leave it: use selects or
 * memory. */
typedef struct EmitIf {
    Block no, after;
    bool has_else;
} EmitIf;

void emit_if_begin(Emitter *e, EmitIf *c, Value condition);
void emit_if_else(Emitter *e, EmitIf *c);
void emit_if_end(Emitter *e, EmitIf *c);

/* ---- memory ---- */
/* Address of element `index` (i64) of an array of f32 / f64 at `base`. */
Value emit_at(Emitter *e, Value base, Value index);
Value emit_at_f64(Emitter *e, Value base, Value index);
Value emit_at_bytes(Emitter *e, Value base, Value bytes);
/* `n` floats (1: scalar) at an address, known to be aligned to `align` bytes. */
Value emit_load(Emitter *e, Value address, int n, unsigned align);
void emit_store(Emitter *e, Value address, Value value, unsigned align);
void emit_store_masked(Emitter *e, Value address, Value value, Value mask, unsigned align);
/* Element `index` of an array stored in a type, and `n` of them from there as floats. */
Value emit_element(Emitter *e, Value base, Value index, Storage type);
Value emit_load_stored(Emitter *e, Value address, int n, unsigned align, Storage type);
/* Any type. */
Value emit_load_type(Emitter *e, Type type, Value address, unsigned align);
Value emit_alloca(Emitter *e, Type type, int64_t n, unsigned align); /* in the entry block */
void emit_prefetch(Emitter *e, Value address);
/* Constant data of the module; the same array is written once, so it must not change. */
Value emit_table_i32(Emitter *e, const int32_t *at, int64_t n);
Value emit_table_f64(Emitter *e, const double *at, int64_t n);

/* ---- vectors ---- */
Type emit_vector_type(Emitter *e, Type element, int n); /* n 1: the element itself */
bool emit_is_vector(Value v);
int emit_width(Value v);                      /* 1 for scalars */
Value emit_splat(Emitter *e, Value v, int n); /* scalar to vector; vectors pass */
Value emit_extract(Emitter *e, Value v, int i);
Value emit_insert(Emitter *e, Value v, Value element, int i);
Value emit_undef(Emitter *e, Type t);
Value emit_zero(Emitter *e, Type t);
Value emit_shuffle(Emitter *e, Value a, Value b, const int *index, int n);
/* <n x i1>: is first + i < size. */
Value emit_lane_mask(Emitter *e, Value first, int64_t size, int n);

/* ---- float arithmetic; a scalar with a vector is broadcast ---- */
Value emit_f32(Emitter *e, double x);
Value emit_fadd(Emitter *e, Value a, Value b);
Value emit_fsub(Emitter *e, Value a, Value b);
Value emit_fmul(Emitter *e, Value a, Value b);
Value emit_fdiv(Emitter *e, Value a, Value b);
/* a * b + c: one rounding where the target has FMA, two where not. */
Value emit_fma(Emitter *e, Value a, Value b, Value c);
Value emit_to_f64(Emitter *e, Value v);
Value emit_to_f32(Emitter *e, Value v);
/* Sum of a vector's elements, by halves (fixed order); scalars pass. */
Value emit_sum_lanes(Emitter *e, Value v);
/* LLVM intrinsic overloaded on one type: emit_intrinsic(e, "llvm.fabs", type, args, n). */
Value emit_intrinsic(Emitter *e, const char *name, Type overload, Value *args, int n);
/* A scalar primitive (llvm_math.c). Operands are scalars or vectors of f32. */
Value emit_prim(Emitter *e, Prim prim, Value a, Value b, Value c);

/* ---- the scalar code of a tile program ---- */

typedef struct Code Code;

/* Replaces the load of an instruction: what to use instead, or NULL for the ordinary load. */
typedef Value (*CodeLoad)(Code *code, int inst, void *context);

struct Code {
    Emitter *e;
    const TileProgram *p;
    int lane_axis; /* -1: all values are scalars */
    int lanes;     /* elements of a vector */
    /* Value of each axis here (i64); NULL while not inside its loop. For the lane axis: of element
     * 0, always a multiple of `lanes`. */
    Value axis[TILE_MAX_AXES];
    /* <lanes x i1>, elements inside the lane axis; NULL: all are. Stores and gathers obey it. */
    Value mask;
    Value acc; /* INST_ACC; set it before asking for a value that needs it */
    CodeLoad load;
    void *context;
    /* private */
    int lane;              /* of those taken apart, the one at hand */
    Value whole[MAX_RANK]; /* of the load at hand: computed indices of all lanes */
    unsigned *needs; /* per inst: bit a: its value varies with axis a; bit 31: with the anchor */
    Value *memo;
    int *memo_depth;
    int depth;
    int entered[TILE_MAX_AXES];
};

enum { CODE_NEEDS_ACC = 31 };

/* Code of the emitter's program with vectors along lane_axis (-1 none). */
Code *code_new(Emitter *e, int lane_axis, int lanes);

/* Enters the loop of an axis (or fixes its value). What is asked for inside and does not depend on
 * the axis is kept until code_leave of the axis entered before; so values are computed in the
 * outermost loop where code_hoist (or code_value) was called with all they need at hand. Leave in
 * reverse order. Entering the same axis again after leaving computes anew: that is how to evaluate
 * at several points. */
void code_enter(Code *c, int axis, Value at);
void code_leave(Code *c, int axis);
/* Emits here, now, everything that `inst` is made of and that is already determined by the axes
 * entered so far (and is not a constant). Call after each code_enter for each value wanted. */
void code_hoist(Code *c, int inst);
/* The value of an instruction here; all its axes must have been entered. Computed once, so do not
 * ask for the first time inside of an emit_if whose end the place outlives. */
Value code_value(Code *c, int inst);
/* Forgets the memoised values that depend on the anchor, for a new `acc` at the same place. */
void code_new_acc(Code *c, Value acc);
/* Bits of the axes that each instruction of a program varies with, INST_ACC's among them. */
void code_find_needs(const TileProgram *p, unsigned *needs);
/* Those of one instruction. */
unsigned code_needs(const Code *c, int inst);

/* How a tensor is read or written along the lane axis. */
typedef enum CodeAccess {
    ACCESS_UNIFORM,  /* one element for all lanes */
    ACCESS_VECTOR,   /* consecutive elements */
    ACCESS_SCATTERED /* lane by lane */
} CodeAccess;

CodeAccess code_access(const Code *c, const TileTensor *t, const TileIndex *index);
/* Offset in elements of what `index` reads here (of lane 0), i64; *valid (if not NULL) becomes i1
 * or NULL: false where a table says -1 (the offset is then that of some element). For UNIFORM and
 * VECTOR access. */
Value code_offset(Code *c, const TileTensor *t, const TileIndex *index, Value *valid);
/* Stores the value (scalar or vector) at a store's place, masked where needed. */
void code_store(Code *c, const TileStore *s, Value value);
/* Stores of values along a result's axes (identity-indexed). */
void code_store_at(Code *c, int tensor, const TileIndex *index, Value value);

#endif
