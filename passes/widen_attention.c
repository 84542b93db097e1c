/* Additions to scores become part of wider products, where attention has no room for them:
 *
 *     attend(q, k, v, bias, own, theirs)  =>  attend(q' = scale q | bias | -100 unit(own),
 *                                                    k' = k | unit(key) | 1 - unit(theirs), v)
 *
 * A query's row of the bias meets the unit vector of a key, the unit vector of a query's label the
 * labels that a key does not have. Needs labels in [0, 27). Keeps values; queries and keys get as
 * wide as there are keys. It is for targets whose kernels take plain scores (passes/traits.h), and
 * for whoever asks for the queries and keys that scores are made of. Before autodiff, so that
 * gradients see the wide products, too. */
#include "passes/pass.h"

enum { LABELS = 27 };

/* 1 where two positions of an axis agree, else 0: of `value` (along whatever axes) and the numbers
 * 0 .. n - 1 along `axis`. */
static Val agrees(Func *f, Val value, const char *axis, int64_t n)
{
    Shape line = {0};
    shape_add(&line, axis, n);
    Val in[] = {value, func_emit_leaf(f, OP_IOTA, NULL, &line)};
    return func_map(f, "1 - min(abs(a - b), 1)", NULL, 0, in, 2);
}

/* `other` behind x along the axis; x has all axes. */
static Val append(Func *f, Val x, Val other, const char *axis)
{
    const Val part[] = {x, other};
    const Shape *a = func_shape(f, x), *b = func_shape(f, other);
    const int64_t size[] = {a->size[shape_axis(a, axis)], b->size[shape_axis(b, axis)]};
    Val sum = VAL_NONE;
    for (int k = 0; k < 2; k++) {
        int32_t *table = ARENA_ARRAY(f->module->arena, int32_t, (size_t)(size[0] + size[1]));
        for (int64_t i = 0; i < size[0] + size[1]; i++) {
            int64_t at = k ? i - size[0] : i;
            table[i] = at >= 0 && at < size[k] ? (int32_t)at : -1;
        }
        Val wide = func_index(f, part[k], axis, axis, table, size[0] + size[1]);
        sum = sum.id ? func_emit2(f, OP_ADD, sum, wide) : wide;
    }
    return sum;
}

static Val widen(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    bool wanted = r->cx->kind == PROGRAM_ATTENTION || !r->cx->options->target.adds_to_scores;
    if (!wanted || n->op != OP_ATTEND || n->n_in == 3)
        return rewrite_keep(r, n, in);
    Func *f = r->out;
    Attrs a = n->attrs;
    const char *across = a.over.name[0];
    const Shape *keys = func_shape(f, in[1]);
    Shape line = {0};
    shape_add(&line, a.axis2, keys->size[shape_axis(keys, a.axis2)]);
    Val position = func_emit_leaf(f, OP_IOTA, NULL, &line);
    Val q = append(f, func_scale(f, in[0], a.k[0]), func_rename(f, in[3], a.axis2, across), across);
    Val k = append(f, in[1], agrees(f, position, across, line.size[0]), across);
    Val own = agrees(f, in[4], across, LABELS), theirs = agrees(f, in[5], across, LABELS);
    q = append(f, q, func_scale(f, own, ATTEND_UNLIKE), across);
    k = append(f, k, func_offset(f, func_scale(f, theirs, -1), 1), across);
    a.k[0] = 1;
    return func_emit(f, OP_ATTEND, &a, (Val[]){q, k, in[2]}, 3);
}

Func *pass_widen_attention(PassCx *cx, const Func *in)
{
    return func_rewrite(cx, in, widen, NULL);
}
