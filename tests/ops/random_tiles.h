/* Random tile programs of every kind, over random shapes, layouts and indices. */
#ifndef NPC_TESTS_RANDOM_TILES_H
#define NPC_TESTS_RANDOM_TILES_H

#include "ir/tile.h"
#include "tests/ops/dice.h"

static const char *const axis_names[] = {"b", "c", "t", "h", "w", "n"};

typedef struct Maker {
    Arena *arena;
    Dice *dice;
    TileProgram *p;
    int lanes;
    uint32_t from;    /* instructions that new ones may use */
    unsigned allowed; /* axes (bits) that tensors may follow */
} Maker;

static inline TileIndex along(int axis)
{
    return (TileIndex){.n_terms = 1, .axis = {axis}, .coef = {1}};
}

static inline void shuffle(Maker *m, int *order, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int k = (int)dice(m->dice, (uint64_t)i + 1), t = order[i];
        order[i] = order[k];
        order[k] = t;
    }
}

static inline void random_layout(Maker *m, TileLayout *l)
{
    if (dice(m->dice, 3) == 0)
        shuffle(m, l->order, l->shape.rank);
    if (l->shape.rank > 0 && dice(m->dice, 2)) {
        l->lane = (int)dice(m->dice, (uint64_t)l->shape.rank);
        l->lanes = dice(m->dice, 8) ? m->lanes : 4 << dice(m->dice, 3);
    }
}

/* Index of one dimension and its size: the axis itself, a table, a stretched axis, or a pair. */
static inline TileIndex random_index(Maker *m, int axis, int64_t *size, bool load)
{
    int64_t n = m->p->axes.at[axis].size;
    TileIndex x = along(axis);

    *size = n;
    switch (dice(m->dice, 10)) {
    case 0: { /* table: a shift into a larger axis, or blocks exchanged, or anything */
        int kind = (int)dice(m->dice, 3);
        int64_t at = kind ? (int64_t)dice(m->dice, 3) * m->lanes : (int64_t)dice(m->dice, 5);
        int32_t *table = ARENA_ARRAY(m->arena, int32_t, (size_t)n);
        *size = n + at + (int64_t)dice(m->dice, 9);
        for (int64_t i = 0; i < n; i++) {
            table[i] = (int32_t)(i + at);
            if (load && kind == 2)
                table[i] = (int32_t)dice(m->dice, (uint64_t)*size + 1) - 1;
        }
        x.table = table;
        x.table_len = n;
        break;
    }
    case 1:
        x.coef[0] = 2;
        *size = 2 * n;
        break;
    default:
        break;
    }
    return x;
}

static inline int random_tensor(Maker *m, TileIndex index[MAX_RANK], bool output)
{
    TileTensor t = {.buffer = -1, .is_output = output};
    Shape *s = &t.layout.shape;
    int axis[TILE_MAX_AXES], n = 0;

    for (int a = 0; a < (int)m->p->axes.len; a++)
        if (m->allowed >> a & 1)
            axis[n++] = a;
    if (dice(m->dice, 3) == 0)
        shuffle(m, axis, n);
    for (int i = 0; i < n; i++) {
        int64_t size;
        bool first = i + 1 < n && dice(m->dice, 8) == 0;
        if (!output && dice(m->dice, 4) == 0)
            continue;
        TileIndex x = random_index(m, axis[i], &size, !output);
        if (first && !x.table && x.coef[0] == 1) { /* two axes merged in the tensor */
            x.n_terms = 2;
            x.coef[0] = m->p->axes.at[axis[i + 1]].size;
            x.axis[1] = axis[i + 1];
            x.coef[1] = 1;
            size *= x.coef[0];
            i++;
        }
        index[s->rank] = x;
        shape_add(s, axis_names[s->rank], size);
    }
    t.layout = tile_layout_plain(s);
    random_layout(m, &t.layout);
    vec_push(m->arena, &m->p->tensors, t);
    return (int)m->p->tensors.len - 1;
}

static inline int add_inst(Maker *m, TileInst in)
{
    vec_push(m->arena, &m->p->insts, in);
    return (int)m->p->insts.len - 1;
}

static inline int add_prim(Maker *m, Prim prim, int a, int b)
{
    return add_inst(m, (TileInst){.kind = INST_PRIM, .prim = prim, .arg = {a, b, a}});
}

static inline void random_code(Maker *m, bool acc)
{
    static const Prim prims[] = {PRIM_ADD, PRIM_SUB,     PRIM_MUL,  PRIM_MAX, PRIM_MIN,
                                 PRIM_ABS, PRIM_SIGMOID, PRIM_TANH, PRIM_NEG, PRIM_ADD};
    int n = 1 + (int)dice(m->dice, 3);

    for (int i = 0; i < n; i++) {
        TileInst in = {.kind = INST_LOAD};
        in.tensor = random_tensor(m, in.index, false);
        add_inst(m, in);
    }
    add_inst(m, (TileInst){.kind = INST_CONST, .number = 0.75});
    if (acc) {
        int sum = add_inst(m, (TileInst){.kind = INST_ACC});
        add_prim(m, PRIM_SUB, sum, sum - 2);
    }
    for (int i = (int)dice(m->dice, 6); i > 0; i--) {
        uint64_t have = m->p->insts.len - m->from;
        int a = (int)(m->from + dice(m->dice, have)), b = (int)(m->from + dice(m->dice, have));
        add_prim(m, prims[dice(m->dice, 10)], a, b);
    }
}

static inline void random_reduction(Maker *m)
{
    TileReduction r = {.kind = dice(m->dice, 2) ? TILE_SUM : TILE_VARIANCE,
                       .inst = (int)m->p->insts.len - 1 - (int)dice(m->dice, 2),
                       .factor = 0.5};
    TileTensor t = {.buffer = -1, .is_output = true};
    uint64_t mode = dice(m->dice, 4);

    r.factor = r.kind == TILE_SUM ? 0.02 : 0.5;
    for (int a = 0; a < (int)m->p->axes.len; a++) {
        bool keep = mode == 0 ? false : mode == 1 ? a == 1 : dice(m->dice, 2);
        if (!keep || !(m->allowed >> a & 1))
            continue;
        r.axis[t.layout.shape.rank] = a;
        shape_add(&t.layout.shape, axis_names[t.layout.shape.rank], m->p->axes.at[a].size);
    }
    t.layout = tile_layout_plain(&t.layout.shape);
    random_layout(m, &t.layout);
    vec_push(m->arena, &m->p->tensors, t);
    r.tensor = (int)m->p->tensors.len - 1;
    vec_push(m->arena, &m->p->reductions, r);
}

static inline void random_results(Maker *m)
{
    int stores = (int)dice(m->dice, 3), reductions = (int)dice(m->dice, 3);

    if (stores + reductions == 0)
        stores = 1;
    for (int i = 0; i < stores; i++) {
        TileStore s = {.inst = (int)m->p->insts.len - 1 - (int)dice(m->dice, 2)};
        s.tensor = random_tensor(m, s.index, true);
        vec_push(m->arena, &m->p->stores, s);
    }
    for (int i = 0; i < reductions; i++)
        random_reduction(m);
}

static inline TileProgram *new_program(Maker *m, int n_axes, int64_t points)
{
    TileProgram *p = ARENA_NEW(m->arena, TileProgram);

    m->p = p;
    m->allowed = ~0u;
    *p = (TileProgram){.name = "random", .session = -1, .batch_axis = -1, .lhs = -1, .rhs = -1};
    for (int a = 0; a < n_axes; a++) {
        int64_t size = 1 + (int64_t)dice(m->dice, dice(m->dice, 3) ? 11 : 37);
        size = size > points ? points : size;
        points /= size;
        vec_push(m->arena, &p->axes, (TileAxis){axis_names[a], size, TILE_PARALLEL});
    }
    if (dice(m->dice, 2)) {
        p->session = 0;
        p->batch_axis = 0;
    }
    return p;
}

static inline TileProgram *random_map(Arena *arena, Dice *d, int lanes)
{
    Maker m = {.arena = arena, .dice = d, .lanes = lanes};
    int64_t points = dice(d, 8) ? 4000 : 60000;

    new_program(&m, 1 + (int)dice(d, 5), points);
    random_code(&m, false);
    random_results(&m);
    return m.p;
}

static inline unsigned axes_of(const TileProgram *p, unsigned kinds)
{
    unsigned bits = 0;

    for (uint32_t a = 0; a < p->axes.len; a++)
        bits |= kinds >> p->axes.at[a].kind & 1 ? 1u << a : 0;
    return bits;
}

/* Operands, epilogue and results of an anchor over axes already made. */
static inline void random_anchor(Maker *m)
{
    TileProgram *p = m->p;
    TileInst rhs = {.kind = INST_LOAD};

    m->allowed = axes_of(p, 7);
    random_code(m, false);
    p->lhs = (int)p->insts.len - 1;
    m->allowed = axes_of(p, 3);
    rhs.tensor = random_tensor(m, rhs.index, false);
    p->rhs = add_inst(m, rhs);
    m->from = p->insts.len;
    m->allowed = axes_of(p, 1);
    random_code(m, true);
    random_results(m);
}

static inline TileProgram *random_contraction(Arena *arena, Dice *d, int lanes)
{
    Maker m = {.arena = arena, .dice = d, .lanes = lanes};
    TileProgram *p = new_program(&m, 2 + (int)dice(d, 3), 2000);

    p->anchor = TILE_CONTRACT;
    p->axes.at[dice(d, 4) ? p->axes.len - 1 : 0].kind = TILE_REDUCE;
    random_anchor(&m);
    return p;
}

/* Convolutions and gradients of their weights: axes out, tap, channel, perhaps samples, in. */
static inline TileProgram *random_stencil(Arena *arena, Dice *d, int lanes)
{
    Maker m = {.arena = arena, .dice = d, .lanes = lanes};
    TileProgram *p = new_program(&m, 2 + (int)dice(d, 2), 150);
    int n = (int)p->axes.len;
    bool weights = dice(d, 2);

    p->anchor = weights ? TILE_STENCIL_DW : TILE_STENCIL;
    if (n == 3)
        p->axes.at[dice(d, 2) ? 0 : 2].kind = dice(d, 2) ? TILE_REDUCE : TILE_PARALLEL;
    TileAxis out = {"o", 1 + (int64_t)dice(d, 12), weights ? TILE_REDUCE : TILE_PARALLEL};
    TileAxis tap = {"k", 1 + (int64_t)dice(d, 4), weights ? TILE_PARALLEL : TILE_REDUCE};
    TileAxis in = {"i", 1 + (int64_t)dice(d, 12), TILE_IN};
    vec_push(arena, &p->axes, out);
    vec_push(arena, &p->axes, tap);
    vec_push(arena, &p->axes, in);
    vec_push(arena, &p->stencils,
             (TileStencil){n, n + 1, n + 2, 1 + (int64_t)dice(d, 3), 1 + (int64_t)dice(d, 2),
                           (int64_t)dice(d, 3), dice(d, 2)});
    random_anchor(&m);
    return p;
}

/* One or two long axes: rows are cut into pieces, sums cross them. */
static inline TileProgram *random_long(Arena *arena, Dice *d, int lanes)
{
    Maker m = {.arena = arena, .dice = d, .lanes = lanes};
    TileProgram *p = new_program(&m, 1, 1);
    int64_t shorter = 1 + (int64_t)dice(d, 40);

    p->axes.at[0].size = (100000 + (int64_t)dice(d, 200000)) / shorter;
    vec_push(arena, &p->axes, (TileAxis){axis_names[1], shorter, TILE_PARALLEL});
    random_code(&m, false);
    random_results(&m);
    random_reduction(&m);
    return p;
}

/* Sums over samples of large tensors: partial results of samples would be too large. */
static inline TileProgram *random_wide(Arena *arena, Dice *d, int lanes)
{
    Maker m = {.arena = arena, .dice = d, .lanes = lanes};
    TileProgram *p = new_program(&m, 3, 1);
    TileReduction r = {.kind = dice(d, 2) ? TILE_SUM : TILE_VARIANCE, .factor = 0.5};
    TileTensor t = {.buffer = -1, .is_output = true};

    p->session = p->batch_axis = -1;
    p->axes.at[0].size = 40 + (int64_t)dice(d, 10);
    p->axes.at[1].size = 5 + (int64_t)dice(d, 4);
    p->axes.at[2].size = (dice(d, 2) ? 1000 : 36000) + (int64_t)dice(d, 100);
    random_code(&m, false);
    r.inst = (int)p->insts.len - 1;
    for (int a = 1; a < 3; a++) {
        r.axis[a - 1] = a;
        shape_add(&t.layout.shape, axis_names[a], p->axes.at[a].size);
    }
    t.layout = tile_layout_plain(&t.layout.shape);
    vec_push(arena, &p->tensors, t);
    r.tensor = (int)p->tensors.len - 1;
    vec_push(arena, &p->reductions, r);
    return p;
}

#endif
