/* A smaller graph with the same failure. */
#include "tests/ops/random_graph.h"

/* Copies `f` into a new module, with an input in place of every value marked in `cut`, and only
 * what the results need. */
static Func *copy_needed(Func *f, const bool *cut)
{
    Module *m = module_new(f->module->arena, f->module->names, f->module->diags);
    uint32_t n = f->nodes.len;
    bool *needed = ARENA_ARRAY(m->arena, bool, n);
    Val *map = ARENA_ARRAY(m->arena, Val, n);
    for (uint32_t i = 0; i < f->results.len; i++)
        needed[f->results.at[i].val.id] = true;
    for (uint32_t i = n; i-- > 1;)
        for (int k = 0; needed[i] && !(cut && cut[i]) && k < f->nodes.at[i].n_in; k++)
            needed[f->nodes.at[i].in[k].id] = true;
    m->model = f->module->model;
    m->sessions = f->module->sessions;
    m->parts = f->module->parts;
    Func *out = module_add_func(m, f->name);
    for (uint32_t i = 1; i < n; i++) {
        const Node *node = &f->nodes.at[i];
        Val in[MAX_OPERANDS];
        if (!needed[i])
            continue;
        for (int k = 0; k < node->n_in; k++)
            in[k] = map[node->in[k].id];
        if ((node->op == OP_PARAM || node->op == OP_STATE) && !module_param(m, node->attrs.name))
            module_add_param(m, *module_param(f->module, node->attrs.name));
        map[i] = cut && cut[i] ? func_input(out, arena_printf(m->arena, "cut%u", i), &node->shape)
                               : func_copy(out, node, in);
    }
    for (uint32_t i = 0; i < f->results.len; i++)
        func_result(out, f->results.at[i].role, f->results.at[i].name,
                    map[f->results.at[i].val.id]);
    return out;
}

/* The function with value v as its only output. */
static Func *end_at(Func *f, Val v)
{
    Func part = *f;
    memset(&part.results, 0, sizeof part.results);
    func_result(&part, RESULT_OUTPUT, "y0", v);
    Func *out = copy_needed(&part, NULL);
    func_result(out, RESULT_LOSS, "loss",
                random_graph_loss(out, func_find_result(out, RESULT_OUTPUT, "y0")->val));
    return out;
}

static Func *shorten(Func *f, GraphFails fails, void *context)
{
    for (uint32_t i = 1; i < f->nodes.len; i++) {
        if (!f->nodes.at[i].n_in)
            continue;
        Func *candidate = end_at(f, (Val){i});
        if (fails(context, candidate))
            return candidate;
    }
    return copy_needed(f, NULL);
}

Func *random_graph_shrink(Func *f, GraphFails fails, void *context)
{
    Func *best = shorten(f, fails, context);
    for (uint32_t i = best->nodes.len; i-- > 1;) {
        if (i >= best->nodes.len || !best->nodes.at[i].n_in)
            continue;
        bool *cut = ARENA_ARRAY(best->module->arena, bool, best->nodes.len);
        cut[i] = true;
        Func *candidate = copy_needed(best, cut);
        if (fails(context, candidate))
            best = candidate;
    }
    return best;
}
