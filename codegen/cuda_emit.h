/* Shared part of the CUDA generator: lines of text, kernels, and the scalar code of a tile program
 * at a place of the iteration space.
 *
 * The generator walks a program and writes C. Where the index on every axis has a name
 * (CudaText.axis), cuda_value writes the instructions that a value needs, once per scope, and
 * returns how the value is called. With a vector axis a thread computes `lanes` neighbouring points
 * along it at once: values that differ between them are arrays of that length. */
#ifndef NPC_CODEGEN_CUDA_EMIT_H
#define NPC_CODEGEN_CUDA_EMIT_H

#include "codegen/cuda.h"

typedef struct CudaValue {
    const char *name;
    bool is_vector; /* name is an array of `lanes`; else one number for all of them */
} CudaValue;

typedef struct CudaTable {
    const int32_t *at;
    int64_t n;
    const char *name;
} CudaTable;

typedef struct CudaText {
    const TileProgram *p;
    const char *symbol;
    Arena *arena;
    Text tables, out; /* constant tables, and the kernels behind them */
    int indent, n_names;
    VEC(CudaTable) known_tables;
    bool has_sums;   /* the workspace holds the anchor's sums, float32 in the order of the parallel
                        axes */
    int first_phase; /* of a part of the program: added to the numbers of its kernels */
    int min_blocks;  /* that a multiprocessor should hold of the next kernel: limits registers */

    /* where the scalar code stands */
    const char *axis[TILE_MAX_AXES]; /* int expression; of the vector axis, the first lane's; NULL:
                                        not known here */
    int vector, lanes;               /* -1 and 1: one point at a time */
    CudaValue acc;                   /* what INST_ACC is called */
    CudaValue *memo;                 /* per instruction; name NULL: not yet written in this scope */
} CudaText;

/* ---- text ---- */

__attribute__((format(printf, 2, 3))) void cuda_line(CudaText *c, const char *fmt, ...);
/* The same, followed by an opening brace; what follows is indented until cuda_close. */
__attribute__((format(printf, 2, 3))) void cuda_open(CudaText *c, const char *fmt, ...);
void cuda_close(CudaText *c);
/* Opens what is done for all i < n, by each of `threads` threads for every threads-th: a loop only
 * where one has more than one, as NVRTC writes out four turns of a loop whose end it does not know.
 */
void cuda_open_each(CudaText *c, const char *i, int64_t n, const char *thread, int threads);
/* A name that is used nowhere else in the kernel: prefix and a number. */
const char *cuda_name(CudaText *c, const char *prefix);

/* void symbol_phase(tensors or table, workspace, range), with the early return of a recording
 * without samples and, where there is a batch axis, ints b0 and b1. The head comment names the
 * program. */
void cuda_kernel_begin(CudaText *c, int phase, const CudaPhase *shape, const char *what);
void cuda_kernel_end(CudaText *c);
/* Of a pointer to elements. */
const char *cuda_type(Storage s);

/* ---- the iteration space ---- */

/* Vectors along the axis: 8, 4 or 1, such that they divide its size; 8 only where some tensor has
 * 16 bits, so that no access is wider than it must. */
int cuda_lanes(const TileProgram *p, int axis);
/* Name for the index on an axis: "i_c". */
const char *cuda_axis_name(const CudaText *c, int axis);
/* Declares the indices of the axes from a flat index (an int or long long expression), the last
 * axis fastest, and enters them. The vector axis counts in whole vectors. */
void cuda_digits(CudaText *c, const char *flat, const int *axes, int n);
/* Number of points of the axes; vectors along the vector axis. */
int64_t cuda_points(const TileProgram *p, const int *axes, int n, int vector, int lanes);
/* Parallel axes in order; the number of them. */
int cuda_axes(const TileProgram *p, TileAxisKind kind, int axes[TILE_MAX_AXES]);

/* Values and axes entered after cuda_scope are forgotten at cuda_scope_end: what is written inside
 * of braces must not be used behind them. */
typedef struct CudaScope {
    CudaValue *memo;
    const char *axis[TILE_MAX_AXES];
    CudaValue acc;
    int vector, lanes;
} CudaScope;

CudaScope cuda_scope(CudaText *c);
void cuda_scope_end(CudaText *c, CudaScope s);

/* ---- scalar code ---- */

/* Does the instruction depend on the axis? On INST_ACC? */
bool cuda_depends(const TileProgram *p, int inst, int axis);
bool cuda_uses_acc(const TileProgram *p, int inst);

/* Writes what the instruction needs and does not yet stand in this scope. */
CudaValue cuda_value(CudaText *c, int inst);
/* "v7[l]" or "v7": the value as an expression at lane `lane` (any text). */
const char *cuda_at(const CudaText *c, CudaValue v, const char *lane);
/* Writes the value to where the index says, all lanes. */
void cuda_store(CudaText *c, int tensor, const TileIndex *index, CudaValue v);
/* "t3 + offset" of an element; *zero, if not NULL, receives a condition under which the element
 * counts as 0 (a table's hole), or NULL when there is none. */
const char *cuda_address(CudaText *c, int tensor, const TileIndex *index, const char *lane,
                         const char **zero);
/* Can a vector of this access be moved at once? */
bool cuda_is_contiguous(const CudaText *c, int tensor, const TileIndex *index);
/* Rounds an expression to what the program's products are rounded to. */
const char *cuda_rounded(const CudaText *c, const char *expression);
/* Enters the input positions of the stencils from the output positions and taps; returns the
 * condition under which all of them lie inside of the input. */
const char *cuda_enter_inputs(CudaText *c);

#endif
