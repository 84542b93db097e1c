/* simplify: scale(scale(x, j), k) -> scale(x, jk); scale(x, 1), offset(x, 0) -> x; rename and
 * reorder chains merge and identities vanish; neg(neg(x)) -> x; index through the identity -> x;
 * equal nodes become one value.
 * Needs nothing; keeps every shape. The elaborated text and the gradients leave many such pairs.
 * clean: the sharing of equal values alone, after the passes that make new ones. */
#include "passes/pass.h"

typedef struct Seen {
    Map by_text;
} Seen;

/* Everything that makes two nodes equal, as a key. */
static const char *key_of(PassCx *cx, const Node *n, const Val *in, size_t *len)
{
    Text t = {.arena = cx->arena};
    text_printf(&t, "%d %d %d %d %d|", n->op, n->session, n->backward, n->recompute, n->n_in);
    for (int i = 0; i < n->n_in; i++)
        text_printf(&t, "%u ", in[i].id);
    const Attrs *a = &n->attrs;
    text_printf(&t, "|%s|%s|%s|%s|%s|%lld|", a->name ? a->name : "", a->formula ? a->formula : "",
                a->axis ? a->axis : "", a->axis2 ? a->axis2 : "", a->axis3 ? a->axis3 : "",
                (long long)a->size0);
    text_add_n(&t, (const char *)a->k, sizeof a->k);
    for (int i = 0; i < a->over.n; i++)
        text_printf(&t, " %s", a->over.name[i]);
    text_add(&t, ">");
    for (int i = 0; i < a->out.n; i++)
        text_printf(&t, " %s", a->out.name[i]);
    for (int i = 0; i < a->n_stencil; i++) {
        const Stencil *s = &a->stencil[i];
        text_printf(&t, "(%s %s %lld %lld %lld %lld %lld)", s->axis, s->tap, (long long)s->stride,
                    (long long)s->dilation, (long long)s->pad, (long long)s->in_size,
                    (long long)s->taps);
    }
    if (a->data)
        text_add_n(&t, (const char *)a->data, (size_t)shape_elems(&n->shape) * sizeof *a->data);
    if (a->table)
        text_add_n(&t, (const char *)a->table, (size_t)a->table_len * sizeof *a->table);
    shape_text(&t, &n->shape);
    *len = t.len;
    return text_str(&t);
}

static Val share(Rewrite *r, const Node *n, const Val *in)
{
    Seen *seen = r->state;
    size_t len;
    const char *key = key_of(r->cx, n, in, &len);
    MapEntry *e = map_find(&seen->by_text, key, len);
    if (e)
        return (Val){(uint32_t)(uintptr_t)e->value};
    Val v = rewrite_keep(r, n, in);
    map_put_n(r->cx->arena, &seen->by_text, key, len, (void *)(uintptr_t)v.id);
    return v;
}

static bool is_identity(const int32_t *table, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (table[i] != i)
            return false;
    return true;
}

static Val simplify(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    const Node *a = n->n_in ? func_node(r->out, in[0]) : NULL;
    switch (n->op) {
    case OP_SCALE:
        if (n->attrs.k[0] == 1)
            return in[0];
        if (a->op == OP_SCALE) {
            Node merged = *n;
            merged.attrs.k[0] *= a->attrs.k[0];
            return share(r, &merged, a->in);
        }
        break;
    case OP_OFFSET:
        if (n->attrs.k[0] == 0)
            return in[0];
        break;
    case OP_NEG:
        if (a->op == OP_NEG)
            return a->in[0];
        break;
    case OP_RENAME:
        if (a->op == OP_RENAME && a->attrs.axis2 == n->attrs.axis) {
            if (a->attrs.axis == n->attrs.axis2)
                return a->in[0];
            Node merged = *n;
            merged.attrs.axis = a->attrs.axis;
            return share(r, &merged, a->in);
        }
        break;
    case OP_REORDER: {
        const Val *from = a->op == OP_REORDER ? a->in : in;
        return shape_equal(&n->shape, func_shape(r->out, from[0])) ? from[0] : share(r, n, from);
    }
    case OP_INDEX:
        if (n->attrs.axis == n->attrs.axis2 && shape_equal(&n->shape, &a->shape) &&
            is_identity(n->attrs.table, n->attrs.table_len))
            return in[0];
        break;
    default:
        break;
    }
    return share(r, n, in);
}

Func *pass_simplify(PassCx *cx, const Func *in)
{
    Seen seen = {0};
    return func_rewrite(cx, in, simplify, &seen);
}

static Val keep_shared(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    return share(r, n, in);
}

Func *pass_clean(PassCx *cx, const Func *in)
{
    Seen seen = {0};
    return func_rewrite(cx, in, keep_shared, &seen);
}
