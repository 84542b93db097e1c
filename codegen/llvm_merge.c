/* Merging of axes: (o, i) become one axis o of size o * i where every tensor that has one of them
 * has both, i directly inside of o in storage, and reads both plainly. */
#include "codegen/llvm_nest.h"

/* The tensor's dimension that follows an axis: -1 none, -2 not plainly or more than one. */
static int plain_dimension(const TileIndex *index, int rank, int axis)
{
    int found = -1;

    for (int d = 0; d < rank; d++)
        for (int i = 0; i < index[d].n_terms; i++) {
            if (index[d].axis[i] != axis)
                continue;
            bool plain = index[d].n_terms == 1 && !index[d].table && index[d].coef[0] == 1;
            found = found == -1 && plain ? d : -2;
        }
    return found;
}

static bool directly_inside(const TileLayout *l, int outer, int inner)
{
    int at = l->shape.rank - 1;

    if (outer == l->lane || inner == l->lane)
        return false;
    while (l->order[at] != inner)
        at--;
    do
        at--;
    while (at >= 0 && l->shape.size[l->order[at]] == 1 && l->order[at] != outer);
    return at >= 0 && l->order[at] == outer;
}

typedef struct Pair {
    const TileProgram *p;
    int outer, inner;
    int *dim_outer, *dim_inner; /* per tensor: -1 none, -3 not seen */
} Pair;

static bool note_access(Pair *m, int tensor, const TileIndex *index)
{
    const TileLayout *l = &m->p->tensors.at[tensor].layout;
    int o = plain_dimension(index, l->shape.rank, m->outer);
    int i = plain_dimension(index, l->shape.rank, m->inner);

    if (m->dim_outer[tensor] == -3) {
        m->dim_outer[tensor] = o;
        m->dim_inner[tensor] = i;
    } else if (m->dim_outer[tensor] != o || m->dim_inner[tensor] != i) {
        return false;
    }
    if (o == -1 && i == -1)
        return true;
    return o >= 0 && i >= 0 && l->shape.size[i] == m->p->axes.at[m->inner].size &&
           directly_inside(l, o, i);
}

static bool note_reduction(Pair *m, const TileReduction *r)
{
    TileIndex index[MAX_RANK] = {0};

    for (int d = 0; d < m->p->tensors.at[r->tensor].layout.shape.rank; d++)
        index[d] = (TileIndex){.n_terms = 1, .axis = {r->axis[d]}, .coef = {1}};
    return note_access(m, r->tensor, index);
}

static bool can_merge(Pair *m)
{
    const TileProgram *p = m->p;

    if (m->outer == m->inner || p->axes.at[m->outer].size == 1 || p->axes.at[m->inner].size == 1 ||
        m->outer == p->batch_axis || m->inner == p->batch_axis)
        return false;
    for (uint32_t t = 0; t < p->tensors.len; t++)
        m->dim_outer[t] = m->dim_inner[t] = -3;
    for (uint32_t i = 0; i < p->insts.len; i++)
        if (p->insts.at[i].kind == INST_LOAD &&
            !note_access(m, p->insts.at[i].tensor, p->insts.at[i].index))
            return false;
    for (uint32_t i = 0; i < p->stores.len; i++)
        if (!note_access(m, p->stores.at[i].tensor, p->stores.at[i].index))
            return false;
    for (uint32_t i = 0; i < p->reductions.len; i++)
        if (!note_reduction(m, &p->reductions.at[i]))
            return false;
    return true;
}

static void drop_inner(TileProgram *p, const Pair *m, int tensor, TileIndex *index)
{
    (void)p;
    if (m->dim_inner[tensor] >= 0)
        index[m->dim_inner[tensor]].n_terms = 0;
}

static void merge(TileProgram *p, const Pair *m)
{
    p->axes.at[m->outer].size *= p->axes.at[m->inner].size;
    p->axes.at[m->inner].size = 1;
    for (uint32_t t = 0; t < p->tensors.len; t++) {
        Shape *s = &p->tensors.at[t].layout.shape;
        if (m->dim_outer[t] < 0)
            continue;
        s->size[m->dim_outer[t]] *= s->size[m->dim_inner[t]];
        s->size[m->dim_inner[t]] = 1;
    }
    for (uint32_t i = 0; i < p->insts.len; i++)
        if (p->insts.at[i].kind == INST_LOAD)
            drop_inner(p, m, p->insts.at[i].tensor, p->insts.at[i].index);
    for (uint32_t i = 0; i < p->stores.len; i++)
        drop_inner(p, m, p->stores.at[i].tensor, p->stores.at[i].index);
}

#define COPY(arena, to, from)                                                                      \
    do {                                                                                           \
        (to)->at = arena_array((arena), (from)->len + 1, sizeof *(from)->at);                      \
        if ((from)->len)                                                                           \
            memcpy((to)->at, (from)->at, (from)->len * sizeof *(from)->at);                        \
    } while (0)

static TileProgram *copy_program(Arena *arena, const TileProgram *p)
{
    TileProgram *q = ARENA_NEW(arena, TileProgram);

    *q = *p;
    COPY(arena, &q->axes, &p->axes);
    COPY(arena, &q->tensors, &p->tensors);
    COPY(arena, &q->insts, &p->insts);
    COPY(arena, &q->stores, &p->stores);
    return q;
}

const TileProgram *nest_merge_axes(Arena *arena, const TileProgram *p)
{
    TileProgram *q = copy_program(arena, p);
    Pair m = {.p = q,
              .dim_outer = ARENA_ARRAY(arena, int, p->tensors.len + 1),
              .dim_inner = ARENA_ARRAY(arena, int, p->tensors.len + 1)};
    bool merged = p->anchor == TILE_MAP;

    if (p->session < 0 && p->anchor == TILE_MAP)
        q->batch_axis = -1; /* always whole */
    while (merged) {
        merged = false;
        for (uint32_t o = 0; o < q->axes.len; o++)
            for (uint32_t i = 0; i < q->axes.len; i++) {
                m.outer = (int)o;
                m.inner = (int)i;
                if (can_merge(&m)) {
                    merge(q, &m);
                    merged = true;
                }
            }
    }
    return q;
}
