/* rename_products: rename(contract(a, b), x -> y) -> contract(a, b) whose factors bring in y.
 * A summed axis that is called y already gets another name in both factors.
 * Needs: the product used by the renaming alone. Keeps values and shapes.
 * Input gradients of products are renamed to the axes of what they are the gradient of. With their
 * readers' names they can have these readers in their epilogue, where names say what belongs
 * together; renamed factors cost nothing. For targets whose products have an epilogue. */
#include "passes/pass.h"

static Val rename_factor(Func *f, Val v, const char *from, const char *to)
{
    return shape_axis(func_shape(f, v), from) < 0 ? v : func_rename(f, v, from, to);
}

static bool is_summed(const Node *product, const char *axis)
{
    for (int i = 0; i < product->attrs.over.n; i++)
        if (product->attrs.over.name[i] == axis)
            return true;
    return false;
}

static void replace(AxisList *list, const char *from, const char *to)
{
    for (int i = 0; i < list->n; i++)
        if (list->name[i] == from)
            list->name[i] = to;
}

static Val rule(Rewrite *r, Val old, const Node *n, const Val *in)
{
    (void)old;
    Func *f = r->out;
    if (n->op != OP_RENAME || r->uses[n->in[0].id] != 1)
        return rewrite_keep(r, n, in);
    const Node product = *func_node(f, in[0]);
    if (product.op != OP_CONTRACT)
        return rewrite_keep(r, n, in);
    const char *from = n->attrs.axis, *to = n->attrs.axis2;
    Val factor[2] = {product.in[0], product.in[1]};
    Attrs a = product.attrs;
    if (is_summed(&product, to)) {
        const char *sum =
            name_intern(f->module->names, arena_printf(f->module->arena, "%s_sum", to));
        for (int i = 0; i < 2; i++) {
            if (shape_axis(func_shape(f, factor[i]), sum) >= 0)
                return rewrite_keep(r, n, in);
            factor[i] = rename_factor(f, factor[i], to, sum);
        }
        replace(&a.over, to, sum);
    }
    for (int i = 0; i < 2; i++)
        factor[i] = rename_factor(f, factor[i], from, to);
    replace(&a.out, from, to);
    return func_emit(f, OP_CONTRACT, &a, factor, 2);
}

Func *pass_rename_products(PassCx *cx, const Func *in)
{
    if (cx->options->target.contract.epilogue != EVERYWHERE || cx->options->fuse != FUSE_FULL)
        return (Func *)in;
    return func_rewrite(cx, in, rule, NULL);
}
