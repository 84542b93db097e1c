/* Small products in scratch memory, the inner loops of schedules that put their operands there:
 *
 *     out[row, column] (+)= sum over k of a[row, k] b[k, column]
 *
 * Tiles of rows x vectors of columns stay in registers over the whole of k. Rows are rounded up to
 * whole tiles, so `a` can be read and `out` written for up to MICRO_ROWS - 1 rows more; what these
 * hold is of no importance. b and out are aligned to vectors. */
#ifndef NPC_CODEGEN_LLVM_MICRO_H
#define NPC_CODEGEN_LLVM_MICRO_H

#include "codegen/llvm_emit.h"

enum { MICRO_ROWS = 6 };

typedef struct Micro {
    Value a;
    int64_t a_row, a_k; /* distances in floats, here and below */
    Value b;
    int64_t b_k; /* columns are contiguous */
    Value out;
    int64_t out_row;
    Value rows, k;   /* how many; i64 */
    int64_t vectors; /* of columns, when tiles is NULL */
    Value tiles;     /* else: groups of micro_vectors() vectors */
    bool adds;       /* to what `out` holds */
} Micro;

/* Vectors of a register tile. */
int micro_vectors(const Target *target);
void emit_micro(Emitter *e, const Micro *m);

#endif
