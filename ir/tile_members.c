/* Programs that are equal but for their tensors, the number of points and constants, as one
 * program.
 *
 * A member is a map over one axis in which every tensor is read and written at the point at hand,
 * or is one number for all points. So a parameter of any shape, its moments and its gradient are
 * walked as they lie in memory, and updates of a hundred parameters differ in addresses, sizes and
 * a few numbers (decay, rate of a group) alone. */
#include "ir/tile.h"

static const char AXIS[] = "i";

static int64_t points_of(const TileProgram *p)
{
    int64_t n = 1;

    for (uint32_t a = 0; a < p->axes.len; a++)
        n *= p->axes.at[a].size;
    return n;
}

/* Elements between neighbours along the axis; the layout has no lanes, the index no table. */
static int64_t step_along(const TileLayout *l, const TileIndex *index, int axis)
{
    int64_t at[MAX_RANK] = {0};

    for (int d = 0; d < l->shape.rank; d++)
        for (int i = 0; i < index[d].n_terms; i++)
            at[d] += index[d].axis[i] == axis ? index[d].coef[i] : 0;
    return tile_layout_offset(l, at);
}

static bool is_one_number(const TileTensor *t)
{
    return !t->is_output && t->layout.shape.rank == 0;
}

/* Is element k of the tensor at point k? */
static bool follows_points(const TileProgram *p, const TileLayout *l, const TileIndex *index)
{
    int64_t step = 1;

    if ((l->lane >= 0 && l->lanes > 1) || tile_layout_elems(l) != points_of(p))
        return false;
    for (int d = 0; d < l->shape.rank; d++)
        if (index[d].table || index[d].computed)
            return false;
    for (int a = (int)p->axes.len - 1; a >= 0; a--) {
        if (p->axes.at[a].size > 1 && step_along(l, index, a) != step)
            return false;
        step *= p->axes.at[a].size;
    }
    return true;
}

static bool is_flat(const TileProgram *p)
{
    if (p->anchor != TILE_MAP || p->reductions.len || p->batch_axis >= 0 || p->members.len)
        return false;
    for (uint32_t i = 0; i < p->insts.len; i++) {
        const TileInst *in = &p->insts.at[i];
        const TileTensor *t = in->kind == INST_LOAD ? &p->tensors.at[in->tensor] : NULL;
        if (t && !is_one_number(t) && !follows_points(p, &t->layout, in->index))
            return false;
    }
    for (uint32_t i = 0; i < p->stores.len; i++) {
        const TileStore *s = &p->stores.at[i];
        if (!follows_points(p, &p->tensors.at[s->tensor].layout, s->index))
            return false;
    }
    return true;
}

static void set_size(TileProgram *p, int64_t size)
{
    p->axes.at[0].size = size;
    for (uint32_t i = 0; i < p->tensors.len; i++) {
        TileTensor *t = &p->tensors.at[i];
        Shape s = {.rank = !is_one_number(t), .size = {size}, .name = {AXIS}};
        Storage type = t->layout.type;
        t->layout = tile_layout_plain(&s);
        t->layout.type = type;
    }
}

static void set_index(const TileProgram *p, int tensor, TileIndex *index)
{
    memset(index, 0, MAX_RANK * sizeof *index);
    if (!is_one_number(&p->tensors.at[tensor]))
        index[0] = (TileIndex){.n_terms = 1, .coef = {1}};
}

/* Tensors and code of its own. */
static TileProgram *copy_of(Arena *arena, const TileProgram *p)
{
    TileProgram *c = ARENA_NEW(arena, TileProgram);

    *c = *p;
    memset(&c->axes, 0, sizeof c->axes);
    memset(&c->tensors, 0, sizeof c->tensors);
    memset(&c->insts, 0, sizeof c->insts);
    memset(&c->stores, 0, sizeof c->stores);
    vec_push(arena, &c->axes, (TileAxis){.name = AXIS, .size = 1, .kind = TILE_PARALLEL});
    for (uint32_t i = 0; i < p->tensors.len; i++)
        vec_push(arena, &c->tensors, p->tensors.at[i]);
    for (uint32_t i = 0; i < p->insts.len; i++)
        vec_push(arena, &c->insts, p->insts.at[i]);
    for (uint32_t i = 0; i < p->stores.len; i++)
        vec_push(arena, &c->stores, p->stores.at[i]);
    return c;
}

TileProgram *tile_flat(Arena *arena, const TileProgram *p)
{
    if (!is_flat(p))
        return NULL;
    TileProgram *flat = copy_of(arena, p);
    set_size(flat, points_of(p));
    for (uint32_t i = 0; i < flat->insts.len; i++)
        if (flat->insts.at[i].kind == INST_LOAD)
            set_index(flat, flat->insts.at[i].tensor, flat->insts.at[i].index);
    for (uint32_t i = 0; i < flat->stores.len; i++)
        set_index(flat, flat->stores.at[i].tensor, flat->stores.at[i].index);
    return flat;
}

const char *tile_body(Arena *arena, const TileProgram *flat)
{
    Text t = {.arena = arena};
    TileProgram *c = copy_of(arena, flat);

    set_size(c, 1);
    c->session = -1;
    for (uint32_t i = 0; i < c->insts.len; i++)
        c->insts.at[i].number = 0;
    tile_print(&t, c, true);
    return text_str(&t);
}

/* Members before this one may have it already: a rate, or what several of them read. */
static int add_tensor(Arena *arena, TileProgram *p, const TileTensor *t, uint32_t before)
{
    for (uint32_t i = 0; i < before && !t->is_output; i++) {
        const TileTensor *o = &p->tensors.at[i];
        if (!o->is_output && o->buffer == t->buffer && tile_layout_equal(&o->layout, &t->layout))
            return (int)i;
    }
    vec_push(arena, &p->tensors, *t);
    return (int)p->tensors.len - 1;
}

int tile_n_numbers(const TileProgram *p)
{
    int n = 0;

    for (uint32_t i = 0; i < p->insts.len; i++)
        n += p->insts.at[i].kind == INST_CONST;
    return n;
}

static const double *numbers_of(Arena *arena, const TileProgram *p)
{
    double *number = ARENA_ARRAY(arena, double, (size_t)tile_n_numbers(p) + 1);
    int n = 0;

    for (uint32_t i = 0; i < p->insts.len; i++)
        if (p->insts.at[i].kind == INST_CONST)
            number[n++] = p->insts.at[i].number;
    return number;
}

TileProgram *tile_join(Arena *arena, TileProgram *const *flat, uint32_t n)
{
    TileProgram *p = copy_of(arena, flat[0]);

    p->axes.at[0].size = flat[0]->axes.at[0].size;
    p->session = -1;
    p->flops = 0;
    p->tensors.len = 0;
    for (uint32_t i = 0; i < n; i++) {
        const TileProgram *one = flat[i];
        uint32_t before = p->tensors.len;
        int *tensor = ARENA_ARRAY(arena, int, one->tensors.len);
        for (uint32_t k = 0; k < one->tensors.len; k++)
            tensor[k] = add_tensor(arena, p, &one->tensors.at[k], before);
        TileMember m = {one->axes.at[0].size, one->session, (int)one->tensors.len, tensor,
                        numbers_of(arena, one)};
        vec_push(arena, &p->members, m);
        p->flops += one->flops;
    }
    return p;
}

TileProgram *tile_member(Arena *arena, const TileProgram *p, uint32_t i)
{
    const TileMember *m = &p->members.at[i];
    TileProgram *one = copy_of(arena, p);

    one->axes.at[0].size = m->size;
    one->session = m->session;
    memset(&one->members, 0, sizeof one->members);
    one->tensors.len = 0;
    for (int k = 0; k < m->n; k++)
        vec_push(arena, &one->tensors, p->tensors.at[m->tensor[k]]);
    int n = 0;
    for (uint32_t k = 0; k < one->insts.len; k++)
        if (one->insts.at[k].kind == INST_CONST)
            one->insts.at[k].number = m->number[n++];
    return one;
}
