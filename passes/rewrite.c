/* The one traversal that passes share. */
#include "passes/pass.h"

bool *func_live(Arena *arena, const Func *f)
{
    bool *live = ARENA_ARRAY(arena, bool, f->nodes.len + 1);
    for (uint32_t i = 0; i < f->results.len; i++)
        live[f->results.at[i].val.id] = true;
    for (uint32_t id = f->nodes.len; id-- > 1;)
        if (live[id])
            for (int i = 0; i < f->nodes.at[id].n_in; i++)
                live[f->nodes.at[id].in[i].id] = true;
    return live;
}

uint32_t *func_count_uses(Arena *arena, const Func *f)
{
    const bool *live = func_live(arena, f);
    uint32_t *uses = ARENA_ARRAY(arena, uint32_t, f->nodes.len + 1);
    for (uint32_t id = 1; id < f->nodes.len; id++)
        if (live[id])
            for (int i = 0; i < f->nodes.at[id].n_in; i++)
                uses[f->nodes.at[id].in[i].id]++;
    for (uint32_t i = 0; i < f->results.len; i++)
        uses[f->results.at[i].val.id]++;
    return uses;
}

Func *func_rewrite(PassCx *cx, const Func *in, RewriteRule rule, void *state)
{
    Func *out = func_new(in->module, in->name);
    Rewrite r = {cx,
                 in,
                 out,
                 ARENA_ARRAY(cx->arena, Val, in->nodes.len + 1),
                 func_count_uses(cx->arena, in),
                 state};
    const bool *live = func_live(cx->arena, in);

    for (uint32_t id = 1; id < in->nodes.len; id++) {
        const Node *n = &in->nodes.at[id];
        Val operand[MAX_OPERANDS];
        if (!live[id])
            continue;
        for (int i = 0; i < n->n_in; i++)
            operand[i] = r.to[n->in[i].id];
        out->span = n->span;
        out->session = n->session;
        out->part = n->part;
        out->backward = n->backward;
        r.to[id] = rule(&r, (Val){id}, n, operand);
    }
    for (uint32_t i = 0; i < in->results.len; i++) {
        const Result *s = &in->results.at[i];
        func_result(out, s->role, s->name, r.to[s->val.id]);
    }
    return out;
}
