/* From a function to kernels and memory: layouts, groups, tile programs, buffers.
 *
 *   layout.c       where each value's elements lie, per target
 *   precise.c      which values are float32 in every precision
 *   fuse_store.c   which values are stored
 *   fuse.c         which are computed together in one kernel
 *   tile_groups.c  each group as a tile program, named by group_names.c
 *   join_updates.c updates that are equal but for their tensors as one
 *   plan_buffers.c order of launches, lifetimes, offsets, what happens in place
 *
 * The plan is static: every byte a program needs is known here, before anything runs. */
#ifndef NPC_PASSES_PLAN_H
#define NPC_PASSES_PLAN_H

#include "ir/tile.h"
#include "passes/pass.h"

/* ---- layouts ---- */

typedef struct Layouts {
    TileLayout *of;   /* per value: how it lies if it is stored */
    bool *is_volume;  /* per value: activation with a channel axis and several of space and time, or
                         of tokens */
    int *channel;     /* per value: its channel axis, when it has one that sums may keep; else -1 */
    bool *is_precise; /* per value: computed and stored in float32 in every precision */
} Layouts;

/* Channels last: activations have their channels innermost. Else volumes of depthwise convolutions
 * are blocked over their channel axis by the target's lanes, tokens and other volumes have their
 * channels innermost, and other activations put their channel axis first, so that products over it
 * are plain matrix products. Parameters, states and inputs keep their logical
 * order. Activations are stored as the precision says. */
Layouts layouts_choose(Arena *arena, const Func *f, const PassOptions *options);
/* Per value: must it be computed and stored in float32 whatever the precision (precise.c)? */
bool *find_precise(Arena *arena, const Func *f);
/* The layout of a view of a stored value, when the same storage expresses it. */
bool layout_of_view(const TileLayout *stored, const Node *view, TileLayout *out);

/* What is stored for the new value of a parameter or state: `v`, or what it is a merge of when both
 * have the same plain storage. */
Val layout_written(const Func *f, Val v);

/* ---- groups ---- */

typedef struct Group {
    Val anchor;       /* contraction or stencil; none: element-wise */
    Val pair;         /* the weight gradient computed along with it, or none */
    VEC(Val) members; /* stored pointwise values and reductions computed along with it */
    Shape space;      /* iteration: all parallel axes */
    int session, part;
    bool backward;
    uint32_t order; /* position among the launches */
} Group;

typedef struct Groups {
    VEC(Group) at;
    int *group_of;      /* per value: index of the group that computes it, -1 */
    bool *materialised; /* per value: an anchor, a reduction, or a pointwise value that is stored or
                           feeds others of its group from a register */
    bool *is_stored;    /* per value: some other group or a result reads it */
} Groups;

/* `forced` (may be NULL): values that must be stored whatever the rules say. */
Groups groups_form(Arena *arena, const Func *f, const Layouts *layouts, const PassOptions *options,
                   const bool *forced);

/* A weight gradient's names for the axes of the input gradient that it is computed with, and its
 * operand x that meets the common one. */
typedef struct PairAxes {
    Val x;
    int n;
    const char *theirs[MAX_RANK + 1], *ours[MAX_RANK + 1];
} PairAxes;

/* "core.block0 backward lerp+adamw"; "models/dwiseneuro.nm:40, 42", or NULL. */
const char *group_name(Arena *arena, const Func *f, const Group *g);
const char *group_place(Arena *arena, const Func *f, const Group *g);

/* Can `d` be computed in the kernel of `e` as a pair sum? */
bool pair_match(const Func *f, const TargetTraits *target, Val e, Val d, PairAxes *out);
const char *pair_axis(const PairAxes *p, const char *theirs);

/* Joins equal updates among those that may: tile[] per group, NULL when another's has it. */
void updates_join(Arena *arena, const Func *f, Groups *groups, TileProgram **tile,
                  const bool *may_join);

/* ---- the plan ---- */

typedef enum BufferKind {
    BUFFER_INPUT,      /* filled by the runtime: inputs, random masks */
    BUFFER_PERSISTENT, /* parameters and states, by name */
    BUFFER_CONSTANT,   /* iota */
    BUFFER_ARENA,      /* offset into the one allocation of a program */
    BUFFER_PREPARED,   /* depends on parameters only: computed when they change, kept */
} BufferKind;

/* Inputs that are made of seed and step. */
typedef enum RandomKind {
    RANDOM_NONE,
    RANDOM_MASK,  /* 0 and 1 */
    RANDOM_NOISE, /* standard normal numbers */
    RANDOM_BYTES, /* 0 .. 255 */
} RandomKind;

typedef struct PlanBuffer {
    BufferKind kind;
    const char *name; /* of inputs, random streams and persistent tensors; else NULL */
    Val val;
    TileLayout layout;
    size_t bytes;    /* rounded up to 64 */
    size_t offset;   /* ARENA, PREPARED */
    int first, last; /* launches that touch it */
    int same_as;     /* shares another buffer's memory (in place), or -1 */
    RandomKind random;
    double drop_rate; /* of a mask */
} PlanBuffer;

static inline bool plan_is_random(const PlanBuffer *b)
{
    return b->random != RANDOM_NONE;
}

typedef struct Launch {
    const TileProgram *tile;
    int session; /* -1: always runs; else only with samples of that recording */
    int part;    /* index into Module.parts, -1 */
    bool backward;
    bool is_prepare; /* run when parameters change, not at every call */
    VEC(int)
    clear; /* buffers to zero first: others read what samples of other recordings leave
              unwritten */
    size_t workspace_bytes, workspace_offset;
    double bytes;    /* that it moves: tensors, workspace, what is read again */
    VEC(Val) values; /* what it computes */
} Launch;

typedef struct Plan {
    const Func *f;
    ProgramKind kind;
    FuseLevel fuse;
    VEC(PlanBuffer) buffers;
    VEC(Launch) launches; /* prepare launches first */
    int n_prepare;
    int *buffer_of; /* per value, -1 */
    size_t arena_bytes, prepared_bytes, input_bytes;
    int n_ops;           /* ops of the function that do arithmetic: kernels before fusion */
    double flops, bytes; /* of one full run, prepare launches left out */
} Plan;

/* What the way a program is computed adds to its tensors. */
typedef struct KernelCost {
    size_t workspace_bytes; /* memory while it runs, written and read once */
    double again_bytes;     /* of tensors that are read more than once, each further time */
    size_t library_bytes;   /* memory while it runs, behind the workspace: a library's own, of which
                               nobody knows what moves there */
} KernelCost;

typedef KernelCost (*CostOf)(void *context, const TileProgram *tile);

/* Builds the plan of a function. `cost` may be NULL: nothing is added. */
Plan *plan_build(Arena *arena, const Func *f, ProgramKind kind, const PassOptions *options,
                 CostOf cost, void *context);
void plan_print(Text *t, const Plan *plan);
/* All tile programs of a plan, one after the other. */
void plan_print_tiles(Text *t, const Plan *plan);

/* One group as a tile program; tensors' `buffer` is the id of the value stored there. NULL when
 * some view in it cannot be expressed as an address: *blocked is the value that has to be stored.
 */
TileProgram *tile_from_group(Arena *arena, const Func *f, const TargetTraits *target,
                             const Layouts *layouts, const Groups *groups, const Group *g,
                             Val *blocked);

#endif
