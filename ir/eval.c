#include "ir/eval.h"

/* Does the caller give the value? */
static bool is_given(Op op)
{
    return op_attrs(op) == ATTR_NAME || op_attrs(op) == ATTR_RANDOM;
}

Status eval_func(Arena *arena, const Func *f, EvalLeaf leaf, void *context, EvalTensor **values,
                 Err *err)
{
    EvalTensor *value = ARENA_ARRAY(arena, EvalTensor, f->nodes.len);
    *values = value;
    for (uint32_t id = 1; id < f->nodes.len; id++) {
        const Node *n = &f->nodes.at[id];
        const EvalTensor *in[MAX_OPERANDS] = {0};
        for (int i = 0; i < n->n_in; i++)
            in[i] = &value[n->in[i].id];
        eval_node(arena, f, (Val){id}, in, &value[id]);
        if (is_given(n->op) && !leaf(context, n, value[id].at))
            return err_set(err, NPC_ERR_INPUT, "%s: there is no value for the %s '%s'", f->name,
                           op_text(n->op), n->attrs.name);
    }
    return NPC_OK;
}
