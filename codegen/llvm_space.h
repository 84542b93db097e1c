/* Iteration spaces of the special schedules: which axes are samples, channels and pixels, and
 * accesses that run along flattened pixels.
 *
 * A schedule cuts the axes of a program into three kinds: `outer` axes (the batch first), one
 * channel axis that vectors lie along, and pixels: the axes after the channel in storage, walked by
 * one flat index. In the blocked layout [b c/V t h w V] all of t h w are contiguous at a distance
 * of V floats, so most accesses need the flat index only; others get its digits. */
#ifndef NPC_CODEGEN_LLVM_SPACE_H
#define NPC_CODEGEN_LLVM_SPACE_H

#include "codegen/llvm_emit.h"

enum { SPACE_MAX_INSTS = 1024 };

/* Axes walked by one index, the last fastest. */
typedef struct Flat {
    int n;
    int axis[TILE_MAX_AXES];
    int64_t size[TILE_MAX_AXES];
    int64_t elems; /* product of the sizes */
} Flat;

void flat_add(Flat *f, const TileProgram *p, int axis);
bool flat_has(const Flat *f, int axis);

/* The place in flattened pixels that a Code stands at; its load hook. */
typedef struct FlatPlace {
    const Flat *flat;
    Value at;
    /* != 0: a load also fetches what it will read so many steps of row_axis further on. Rows are
     * too short for the processor's own prefetching, which stops at the end of a page. */
    int64_t rows_ahead;
    int row_axis;
} FlatPlace;

/* Lets the loads of `c` use the flat index of `place`. */
void flat_hook(Code *c, FlatPlace *place);
/* Enters all axes of place->flat at the flat index `at`; leave in reverse order of enter. */
void flat_enter(Code *c, FlatPlace *place, Value at);
void flat_leave(Code *c, FlatPlace *place);
/* Stores like code_store, by the flat index where the tensor allows it. */
void flat_store(Code *c, const FlatPlace *place, const TileStore *s, Value value);
/* Ends a function that used flat_store: what it wrote is seen by whoever sees the task done. */
void flat_store_fence(Emitter *e);

/* Fetches `n` consecutive pixels from `at` of what a load reads, where that is whole vectors that
 * follow the flat index; else nothing. All other axes must be entered. */
void flat_prefetch(Code *c, const Flat *flat, int load, Value at, int64_t n);

/* Outer axes: samples. The index counts from the first sample of the call's range. */
typedef struct Outer {
    Flat flat;
    bool ranged;    /* flat.axis[0] is the batch axis */
    int64_t others; /* product of the sizes of all but the ranged axis */
} Outer;

void outer_init(Outer *o, const TileProgram *p, const Flat *axes);
/* How many there are in the call's range. */
Value outer_count(Emitter *e, const Outer *o);
/* Enters the first n axes at an index over those n axes. */
void outer_enter(Code *c, const Outer *o, int n, Value index);
void outer_leave(Code *c, const Outer *o, int n);
/* Tasks of a phase with `each` tasks per sample. */
void outer_tasks(const Outer *o, int64_t each, KernelSchedule *s, int phase);

/* Per instruction the axes (bits) that it varies with, bit 31 for the anchor; false when the
 * program has more than SPACE_MAX_INSTS instructions. */
bool space_needs(const TileProgram *p, uint32_t *needs);
/* Marks the instructions that `inst` is made of, itself among them. */
void space_used(const TileProgram *p, int inst, bool used[SPACE_MAX_INSTS]);
uint32_t space_axes_of_index(const TileIndex *index, int rank);
/* Bits of the axes of a kind. */
uint32_t space_kind(const TileProgram *p, TileAxisKind kind);
/* Is every store indexed by each of the axes (bits) of size > 1? */
bool space_stores_cover(const TileProgram *p, uint32_t axes);
/* Distance in elements between neighbours on each logical axis, between whole blocks on the lane
 * axis. */
void space_strides(const TileLayout *l, int64_t stride[MAX_RANK]);
/* The axis of `axes` (bits) that lies innermost in the program's first store, blocked axes before
 * all others; -1 when there is none. */
int space_lane_axis(const TileProgram *p, uint32_t axes);
/* The worst access of a product's operands with vectors along an axis. */
CodeAccess space_worst_access(const TileProgram *p, int axis, int lanes);
/* Position of an axis in the storage of the first store: 0 outermost; -1 when absent. */
int space_store_order(const TileProgram *p, int axis);

static inline int64_t div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t round_up(int64_t a, int64_t b)
{
    return div_up(a, b) * b;
}

#endif
