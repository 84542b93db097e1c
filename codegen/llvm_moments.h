/* Sums and variances over samples and pixels, per channel.
 *
 * Each task of the main phase gathers the moments of the pixels it computes, a vector of channels
 * at a time, into its slot of the workspace; a last phase combines the slots in a fixed order in
 * float64 (Chan, Golub & LeVeque 1979). Variances are gathered about the task's first value, so
 * that a large mean does not cancel.
 *
 * A slot belongs to (sample, part of its pixels, channel block) and holds per distinct instruction
 * either its sum, or count, shift, sum and sum of squares of value - shift. */
#ifndef NPC_CODEGEN_LLVM_MOMENTS_H
#define NPC_CODEGEN_LLVM_MOMENTS_H

#include "codegen/llvm_space.h"

enum { MOMENTS_MAX = 8, MOMENT_FIELDS = 4 };

typedef struct Moments {
    const TileProgram *p;
    const Outer *outer;
    int channel;    /* axis */
    int64_t blocks; /* channel blocks of `lanes` */
    int lanes;
    int64_t parts; /* per sample */
    int n;
    int inst[MOMENTS_MAX];
    bool shifted[MOMENTS_MAX];
    size_t offset; /* of the slots in the workspace, bytes */
} Moments;

/* Axes (bits) besides the channel that results of the program's reductions keep: they must be
 * outer axes, in order and before all others except the batch. */
uint32_t moments_kept_axes(const TileProgram *p);
/* Fills in all but `offset`; false when a reduction is of another kind. */
bool moments_init(Moments *m, const TileProgram *p, const Outer *outer, int channel, int lanes,
                  int64_t parts);
size_t moments_bytes(const Moments *m);

/* At a channel block, for the slot of sample * parts + part (from 0 in the call's range): */
Value moments_slot(Emitter *e, const Moments *m, Value sample_part, Value block);
/* Clears the slot; `count` values will come (i64). The Code stands at the task's first pixel. */
void moments_first(Code *c, const Moments *m, Value slot, Value count);
/* What a loop over some of the pixels carries, from zero: moments_begin writes at most
 * 2 * MOMENTS_MAX values and returns their number; moments_end adds them to the slot. */
int moments_begin(Emitter *e, const Moments *m, Value *carried);
void moments_step(Code *c, const Moments *m, Value slot, const Value *carried, Value *next);
void moments_end(Emitter *e, const Moments *m, Value slot, const Value *carried);

/* The body of the last phase; its tasks are the channel blocks. */
void moments_combine(Emitter *e, const Moments *m);

#endif
