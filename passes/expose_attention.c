/* The results of an evaluation become what the scores of its attentions are made of:
 *
 *     y = attend(q, k, v); .. return prediction   =>   return q as "query/0", k as "key/0", ..
 *
 * and of one that adds to its scores "bias/0", "own/0" and "theirs/0", too. Attentions are counted
 * in the order of the function; queries and keys are those that scores are made of, normalised and
 * rotated. An attention that no result needs is not one. Needs nothing, keeps every shape and name.
 * The op never stores its weights, so whoever wants to look at them makes them from these
 * (runtime/attention_maps.h). */
#include "passes/pass.h"

static Val keep(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    return rewrite_keep(r, n, in);
}

Func *pass_expose_attention(PassCx *cx, const Func *in)
{
    Func asked = *in;
    const bool *live = func_live(cx->arena, in);
    memset(&asked.results, 0, sizeof asked.results);
    int n = 0;
    for (uint32_t id = 1; id < in->nodes.len; id++) {
        const Node *a = &in->nodes.at[id];
        if (a->op != OP_ATTEND || !live[id])
            continue;
        static const char *const names[] = {"query", "key", NULL, "bias", "own", "theirs"};
        for (int i = 0; i < a->n_in; i++)
            if (names[i])
                func_result(&asked, RESULT_OUTPUT, arena_printf(cx->arena, "%s/%d", names[i], n),
                            a->in[i]);
        n++;
    }
    return func_rewrite(cx, &asked, keep, NULL);
}
