/* What deciding on storage (fuse_store.c) and forming groups (fuse.c) share. */
#ifndef NPC_PASSES_FUSE_H
#define NPC_PASSES_FUSE_H

#include "passes/plan.h"

typedef struct Fuser {
    Arena *arena;
    const Func *f;
    const Layouts *layouts;
    const TargetTraits *target;
    FuseLevel level;
    Groups *g;
    bool *live;
    VEC(Val) * users; /* per value */
    bool *is_result;
    int *chain;           /* pointwise ops that reading a value repeats */
    bool *fixed;          /* depends on parameters and states only */
    const char **updates; /* of a value written over a parameter or state: its name, or NULL */
    const bool *forced;
    Val *home; /* per materialised value: the anchor whose kernel can compute it, or none */
    Val *pair; /* of an input gradient: its weight gradient; and the other way round */
} Fuser;

typedef VEC(Val) Vals;

bool fuse_is_anchor(Op op);
const AnchorTraits *fuse_anchor_traits(const Fuser *z, Op op); /* NULL for what is no anchor */
bool fuse_covers(const Fuser *z, Extent extent, Val v);
void fuse_add_unique(Arena *arena, Vals *v, Val x);
/* The stored values (and leaves) that computing `v` reads. */
void fuse_add_sources(const Fuser *z, Val v, Vals *out);
/* The points at which a value is computed: of a reduction, those it sums. */
const Shape *fuse_space_of(const Func *f, Val v);
bool fuse_same_space(const Shape *a, const Shape *b);
/* Is `source` read by `v` at the point where it is computed (no index, no view in between)? */
bool fuse_reads_in_place(const Fuser *z, Val v, Val source);

/* Fills materialised and home. */
void fuse_choose_stored(Fuser *z);

#endif
