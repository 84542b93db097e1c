#include "ir/ops/rules.h"

#include <assert.h>

Module *module_new(Arena *arena, Names *names, Diags *diags)
{
    Module *m = ARENA_NEW(arena, Module);
    m->arena = arena;
    m->names = names;
    m->diags = diags;
    m->model = "";
    return m;
}

Func *func_new(Module *m, const char *name)
{
    Func *f = ARENA_NEW(m->arena, Func);
    f->module = m;
    f->name = name_intern(m->names, name);
    f->session = f->part = -1;
    vec_push(m->arena, &f->nodes, (Node){.session = -1, .part = -1});
    return f;
}

Func *module_add_func(Module *m, const char *name)
{
    Func *f = func_new(m, name);
    vec_push(m->arena, &m->funcs, f);
    return f;
}

Func *module_func(const Module *m, const char *name)
{
    for (uint32_t i = 0; i < m->funcs.len; i++)
        if (!strcmp(m->funcs.at[i]->name, name))
            return m->funcs.at[i];
    return NULL;
}

Param *module_param(const Module *m, const char *name)
{
    uintptr_t i = (uintptr_t)map_get(&m->param_index, name);
    return i ? &m->params.at[i - 1] : NULL;
}

static void intern_shape(Names *names, Shape *s)
{
    for (int i = 0; i < s->rank; i++)
        s->name[i] = name_intern(names, s->name[i]);
}

Param *module_add_param(Module *m, Param p)
{
    const Param *old = module_param(m, p.name);
    if (old) {
        diag_error(m->diags, DIAG_E0104, p.span, "the parameter '%s' is defined twice", p.name);
        diag_note(m->diags, old->span, "it was defined here first");
        return NULL;
    }
    p.name = name_intern(m->names, p.name);
    intern_shape(m->names, &p.shape);
    vec_push(m->arena, &m->params, p);
    map_put(m->arena, &m->param_index, p.name, (void *)(uintptr_t)m->params.len);
    return &m->params.at[m->params.len - 1];
}

int16_t module_part(Module *m, const char *name)
{
    for (uint32_t i = 0; i < m->parts.len; i++)
        if (!strcmp(m->parts.at[i], name))
            return (int16_t)i;
    vec_push(m->arena, &m->parts, name_intern(m->names, name));
    return (int16_t)(m->parts.len - 1);
}

/* ---- emitting ---- */

static void intern(Names *names, const char **s)
{
    if (*s)
        *s = name_intern(names, *s);
}

static void intern_attrs(Names *names, Attrs *a)
{
    intern(names, &a->name);
    intern(names, &a->formula);
    intern(names, &a->axis);
    intern(names, &a->axis2);
    intern(names, &a->axis3);
    for (int i = 0; i < a->over.n; i++)
        intern(names, &a->over.name[i]);
    for (int i = 0; i < a->out.n; i++)
        intern(names, &a->out.name[i]);
    for (int i = 0; i < a->n_stencil; i++) {
        intern(names, &a->stencil[i].axis);
        intern(names, &a->stencil[i].tap);
    }
}

static Val append(Func *f, const Node *n)
{
    vec_push(f->module->arena, &f->nodes, *n);
    return (Val){f->nodes.len - 1};
}

static Val emit(Func *f, Op op, const Attrs *attrs, const Val *in, int n_in, const Shape *given)
{
    assert(n_in <= MAX_OPERANDS && (op_arity(op) < 0 || op_arity(op) == n_in));
    Node n = {.op = op,
              .n_in = (uint8_t)n_in,
              .session = f->session,
              .part = f->part,
              .backward = f->backward,
              .span = f->span};
    for (int i = 0; i < n_in; i++) {
        if (!in[i].id)
            return VAL_NONE;
        assert(in[i].id < f->nodes.len);
        n.in[i] = in[i];
    }
    if (attrs)
        n.attrs = *attrs;
    intern_attrs(f->module->names, &n.attrs);
    if (given)
        n.shape = *given;
    intern_shape(f->module->names, &n.shape);

    RuleCx cx = {f->module->diags, f, &n};
    Shape shape;
    if (!op_shape(&cx, &shape))
        return VAL_NONE;
    n.shape = shape;
    return append(f, &n);
}

Val func_emit(Func *f, Op op, const Attrs *attrs, const Val *in, int n_in)
{
    return emit(f, op, attrs, in, n_in, NULL);
}

Val func_emit_leaf(Func *f, Op op, const Attrs *attrs, const Shape *shape)
{
    return emit(f, op, attrs, NULL, 0, shape);
}

Val func_emit1(Func *f, Op op, Val a)
{
    return emit(f, op, NULL, &a, 1, NULL);
}

Val func_emit2(Func *f, Op op, Val a, Val b)
{
    return emit(f, op, NULL, (Val[]){a, b}, 2, NULL);
}

Val func_input(Func *f, const char *name, const Shape *shape)
{
    return func_emit_leaf(f, OP_INPUT, &(Attrs){.name = name}, shape);
}

Val func_param(Func *f, const char *name)
{
    const Param *p = module_param(f->module, name);
    if (!p) {
        diag_error(f->module->diags, DIAG_E0102, f->span, "there is no parameter '%s'", name);
        return VAL_NONE;
    }
    return func_emit_leaf(f, p->is_state ? OP_STATE : OP_PARAM, &(Attrs){.name = name}, &p->shape);
}

Val func_fill(Func *f, double value, const Shape *shape)
{
    return func_emit_leaf(f, OP_FILL, &(Attrs){.k = {value}}, shape);
}

Val func_random(Func *f, const char *stream, double rate, const Shape *shape)
{
    return func_emit_leaf(f, OP_RANDOM, &(Attrs){.name = stream, .k = {rate}}, shape);
}

Val func_const(Func *f, const float *data, const Shape *shape)
{
    return func_emit_leaf(f, OP_CONST, &(Attrs){.data = data}, shape);
}

Val func_noise(Func *f, const char *stream, const Shape *shape)
{
    return func_emit_leaf(f, OP_NOISE, &(Attrs){.name = stream}, shape);
}

Val func_bytes(Func *f, const char *stream, const Shape *shape)
{
    return func_emit_leaf(f, OP_BYTES, &(Attrs){.name = stream}, shape);
}

static Val emit_attrs1(Func *f, Op op, Val a, Attrs attrs)
{
    return emit(f, op, &attrs, &a, 1, NULL);
}

Val func_scale(Func *f, Val a, double k)
{
    return emit_attrs1(f, OP_SCALE, a, (Attrs){.k = {k}});
}

Val func_offset(Func *f, Val a, double k)
{
    return emit_attrs1(f, OP_OFFSET, a, (Attrs){.k = {k}});
}

Val func_rename(Func *f, Val a, const char *from, const char *to)
{
    return emit_attrs1(f, OP_RENAME, a, (Attrs){.axis = from, .axis2 = to});
}

Val func_split(Func *f, Val a, const char *axis, const char *outer, const char *inner,
               int64_t outer_size)
{
    return emit_attrs1(f, OP_SPLIT, a,
                       (Attrs){.axis = axis, .axis2 = outer, .axis3 = inner, .size0 = outer_size});
}

Val func_merge(Func *f, Val a, const char *outer, const char *inner, const char *axis)
{
    return emit_attrs1(f, OP_MERGE, a, (Attrs){.axis = axis, .axis2 = outer, .axis3 = inner});
}

static bool in_order(const Shape *s, const AxisList *order)
{
    if (s->rank != order->n)
        return false;
    for (int i = 0; i < s->rank; i++)
        if (strcmp(s->name[i], order->name[i]))
            return false;
    return true;
}

Val func_reorder(Func *f, Val a, const AxisList *order)
{
    if (a.id && in_order(func_shape(f, a), order))
        return a;
    return emit_attrs1(f, OP_REORDER, a, (Attrs){.out = *order});
}

Val func_flatten(Func *f, Val a, const AxisList *axes, const char *to)
{
    const Shape s = *func_shape(f, a);
    AxisList order = {0};
    int n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < s.rank; i++)
            if (list_has(axes, s.name[i]) == (pass == 1))
                order.name[order.n++] = s.name[i], n += pass;
    a = func_reorder(f, a, &order);
    const char *last = order.name[order.n - n];
    for (int i = order.n - n + 1; i < order.n; i++) {
        a = func_merge(f, a, last, order.name[i], to);
        last = to;
    }
    return last == to ? a : func_rename(f, a, last, to);
}

Val func_index(Func *f, Val a, const char *axis, const char *new_axis, const int32_t *table,
               int64_t n)
{
    int32_t *own = ARENA_ARRAY(f->module->arena, int32_t, (size_t)(n > 0 ? n : 0));
    if (n > 0)
        memcpy(own, table, sizeof *own * (size_t)n);
    return emit_attrs1(f, OP_INDEX, a,
                       (Attrs){.axis = axis, .axis2 = new_axis, .table = own, .table_len = n});
}

bool index_leaves_out(const Node *index)
{
    for (int64_t i = 0; i < index->attrs.table_len; i++)
        if (index->attrs.table[i] < 0)
            return true;
    return false;
}

Val func_sum(Func *f, Val a, const AxisList *over, double factor)
{
    return emit_attrs1(f, OP_SUM, a, (Attrs){.over = *over, .k = {factor}});
}

Val func_mean(Func *f, Val a, const AxisList *over)
{
    if (!a.id)
        return VAL_NONE;
    const Shape *s = func_shape(f, a);
    double n = 1;
    for (int i = 0; i < over->n; i++) {
        int p = shape_axis(s, over->name[i]); /* a missing axis is reported by func_sum */
        n *= p < 0 ? 1 : (double)s->size[p];
    }
    return func_sum(f, a, over, 1 / n);
}

Val func_variance(Func *f, Val a, const AxisList *over, double factor)
{
    return emit_attrs1(f, OP_VARIANCE, a, (Attrs){.over = *over, .k = {factor}});
}

Val func_contract(Func *f, Val a, Val b, const AxisList *over, const AxisList *out)
{
    return emit(f, OP_CONTRACT, &(Attrs){.over = *over, .out = *out}, (Val[]){a, b}, 2, NULL);
}

Val func_map(Func *f, const char *formula, const double *k, int n_k, const Val *in, int n_in)
{
    Attrs attrs = {.formula = formula};
    assert(n_k <= FORMULA_MAX_CONSTS);
    if (n_k)
        memcpy(attrs.k, k, sizeof *k * (size_t)n_k);
    return emit(f, OP_MAP, &attrs, in, n_in, NULL);
}

void func_result(Func *f, ResultRole role, const char *name, Val val)
{
    if (val.id)
        vec_push(f->module->arena, &f->results,
                 (Result){role, name_intern(f->module->names, name), val});
}

const Result *func_find_result(const Func *f, ResultRole role, const char *name)
{
    for (uint32_t i = 0; i < f->results.len; i++)
        if (f->results.at[i].role == role && !strcmp(f->results.at[i].name, name))
            return &f->results.at[i];
    return NULL;
}

Val func_copy(Func *f, const Node *n, const Val *in)
{
    Node copy = *n;
    for (int i = 0; i < n->n_in; i++) {
        if (!in[i].id)
            return VAL_NONE;
        copy.in[i] = in[i];
    }
    return append(f, &copy);
}
