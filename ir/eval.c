#include "ir/eval.h"

/* Does the caller give the value? */
static bool is_given(Op op)
{
    return op_attrs(op) == ATTR_NAME || op_attrs(op) == ATTR_RANDOM;
}

/* A copy with zeros in the samples outside of the range. */
static const EvalTensor *cut(Arena *arena, const Func *f, const EvalTensor *x, const EvalRange *r)
{
    int b = f->module->batch_axis ? shape_axis(&x->shape, f->module->batch_axis) : -1;
    int64_t n = shape_elems(&x->shape), stride[MAX_RANK];
    if (b < 0)
        return x;
    EvalTensor *out = ARENA_NEW(arena, EvalTensor);
    *out = (EvalTensor){x->shape, ARENA_ARRAY(arena, double, (size_t)n)};
    shape_strides(&x->shape, stride);
    for (int64_t i = 0; i < n; i++) {
        int64_t sample = i / stride[b] % x->shape.size[b];
        out->at[i] = sample >= r->first && sample < r->first + r->count ? x->at[i] : 0;
    }
    return out;
}

const EvalTensor *eval_constant(Arena *arena, const Func *f, Val v)
{
    EvalTensor *value = ARENA_ARRAY(arena, EvalTensor, v.id + 1);
    bool *is_needed = ARENA_ARRAY(arena, bool, v.id + 1);
    is_needed[v.id] = true;
    for (uint32_t id = v.id; id > 0; id--) {
        const Node *n = &f->nodes.at[id];
        if (is_needed[id] && is_given(n->op))
            return NULL;
        for (int i = 0; is_needed[id] && i < n->n_in; i++)
            is_needed[n->in[i].id] = true;
    }
    for (uint32_t id = 1; id <= v.id; id++) {
        const Node *n = &f->nodes.at[id];
        const EvalTensor *in[MAX_OPERANDS] = {0};
        for (int i = 0; is_needed[id] && i < n->n_in; i++)
            in[i] = &value[n->in[i].id];
        if (is_needed[id])
            eval_node(arena, f, (Val){id}, in, &value[id]);
    }
    return &value[v.id];
}

Status eval_func(Arena *arena, const Func *f, EvalLeaf leaf, void *context, EvalTensor **values,
                 Err *err)
{
    return eval_func_ranged(arena, f, leaf, context, NULL, values, err);
}

Status eval_func_ranged(Arena *arena, const Func *f, EvalLeaf leaf, void *context,
                        const EvalRange *ranges, EvalTensor **values, Err *err)
{
    EvalTensor *value = ARENA_ARRAY(arena, EvalTensor, f->nodes.len);
    *values = value;
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        const EvalTensor *in[MAX_OPERANDS] = {0};
        for (int i = 0; i < n->n_in; i++) {
            int session = func_node(f, n->in[i])->session;
            in[i] = &value[n->in[i].id];
            if (ranges && n->session < 0 && session >= 0)
                in[i] = cut(arena, f, in[i], &ranges[session]);
        }
        eval_node(arena, f, (Val){id}, in, &value[id]);
        if (is_given(n->op) && !leaf(context, n, value[id].at))
            return err_set(err, NPC_ERR_INPUT, "%s: there is no value for the %s '%s'", f->name,
                           op_text(n->op), n->attrs.name);
    }
    return NPC_OK;
}
