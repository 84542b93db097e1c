/* What random graphs are made with: choices, and values with what they turn out to be. */
#ifndef NPC_TESTS_RANDOM_GRAPH_GEN_H
#define NPC_TESTS_RANDOM_GRAPH_GEN_H

#include "tests/ops/random_graph.h"
#include "tests/ops/random_numbers.h"

#include <assert.h>
#include <math.h>

typedef struct Gen {
    Module *m;
    Func *f;
    Arena *arena;
    uint64_t seed, state;
    int64_t max_elems;
    int n_params, n_inputs, n_masks;
    VEC(EvalTensor) values; /* of all nodes so far */
    VEC(Val) pool;          /* what later steps may use */
} Gen;

/* ---- choices ---- */

/* low .. high, both included. */
static inline int64_t between(Gen *g, int64_t low, int64_t high)
{
    return low + (int64_t)(next_word(&g->state) % (uint64_t)(high - low + 1));
}

static inline bool chance(Gen *g, double p)
{
    return next_uniform(&g->state) < p;
}

/* ---- adding nodes ---- */

/* Evaluates what was emitted since the last call. */
static inline void catch_up(Gen *g)
{
    if (!g->values.len)
        vec_push(g->arena, &g->values, (EvalTensor){0});
    while (g->values.len < g->f->nodes.len) {
        Val v = {g->values.len};
        const Node *n = func_node(g->f, v);
        const EvalTensor *in[MAX_OPERANDS] = {0};
        EvalTensor out;
        for (int i = 0; i < n->n_in; i++)
            in[i] = &g->values.at[n->in[i].id];
        eval_node(g->arena, g->f, v, in, &out);
        if (n->op == OP_PARAM || n->op == OP_INPUT || n->op == OP_RANDOM || n->op == OP_BYTES)
            random_graph_leaf(&g->seed, n, out.at);
        vec_push(g->arena, &g->values, out);
    }
}

static inline double largest(Gen *g, Val v)
{
    double max = 0;
    catch_up(g);
    const EvalTensor *t = &g->values.at[v.id];
    for (int64_t i = 0; i < shape_elems(&t->shape); i++)
        max = fmax(max, fabs(t->at[i]));
    return max;
}

/* Offers a value to later steps, scaled into +-8; a power of two keeps it exact. */
static inline Val offer(Gen *g, Val v)
{
    assert(v.id);
    double max = largest(g, v);
    assert(isfinite(max));
    if (max > 8)
        v = func_scale(g->f, v, exp2(-ceil(log2(max / 4))));
    vec_push(g->arena, &g->pool, v);
    return v;
}

static inline const Shape *shape_of(Gen *g, Val v)
{
    return func_shape(g->f, v);
}

static inline Val new_param(Gen *g, const Shape *shape)
{
    Param p = {.name = arena_printf(g->arena, "p%d", g->n_params++),
               .shape = *shape,
               .init = {.kind = INIT_NORMAL, .b = 1},
               .session = -1};
    module_add_param(g->m, p);
    return func_param(g->f, p.name);
}

static inline Val new_input(Gen *g, const Shape *shape)
{
    return func_input(g->f, arena_printf(g->arena, "x%d", g->n_inputs++), shape);
}

static inline const char *axis_name(Gen *g, const char *s)
{
    return name_intern(g->m->names, s);
}

/* Recent values are preferred, so that graphs become deep. */
static inline Val pick(Gen *g)
{
    int64_t n = g->pool.len, a = between(g, 0, n - 1), b = between(g, 0, n - 1);
    return g->pool.at[a > b ? a : b];
}

static inline bool has(Gen *g, Val v, const char *axis)
{
    return shape_axis(shape_of(g, v), axis) >= 0;
}

static inline int64_t size_of(Gen *g, Val v, const char *axis)
{
    const Shape *s = shape_of(g, v);
    return s->size[shape_axis(s, axis)];
}

/* Some value that has the axis, or none. */
static inline Val pick_with(Gen *g, const char *axis)
{
    for (int tries = 0; tries < 12; tries++) {
        Val v = pick(g);
        if (has(g, v, axis))
            return v;
    }
    return VAL_NONE;
}

/* A random part of the axes of `s`; all of them with chance `all`. */
static inline Shape some_axes(Gen *g, const Shape *s, double all)
{
    Shape part = {0};
    bool every = chance(g, all);
    for (int i = 0; i < s->rank; i++)
        if (every || chance(g, 0.5))
            shape_add(&part, s->name[i], s->size[i]);
    return part;
}

/* Axes agree in size, and the result is neither too big nor of too high rank. */
static inline bool fits(Gen *g, Val a, Val b)
{
    Shape all = *shape_of(g, a);
    const Shape *s = shape_of(g, b);
    for (int i = 0; i < s->rank; i++) {
        int p = shape_axis(&all, s->name[i]);
        if (p >= 0 ? all.size[p] != s->size[i] : !shape_add(&all, s->name[i], s->size[i]))
            return false;
    }
    return all.rank <= 6 && shape_elems(&all) <= g->max_elems;
}

/* A partner for a pointwise op: a value, a parameter over some axes, or a constant. */
static inline Val partner(Gen *g, Val a)
{
    for (int tries = 0; tries < 4 && chance(g, 0.8); tries++) {
        Val b = pick(g);
        if (fits(g, a, b))
            return b;
    }
    Shape part = some_axes(g, shape_of(g, a), 0.2);
    return chance(g, 0.9) ? new_param(g, &part)
                          : func_fill(g->f, (double)between(g, -3, 3) / 2, &part);
}

#endif
