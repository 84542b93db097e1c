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

/* The renaming that alone reads the product, or NULL. */
static const Node *only_reader(const Rewrite *r, Val product)
{
    const uint32_t *reader = r->state;
    const Node *n = &r->from->nodes.at[reader[product.id]];
    return r->uses[product.id] == 1 && reader[product.id] && n->op == OP_RENAME ? n : NULL;
}

static Val renamed_product(Rewrite *r, const Node *n, const Val *in, const Node *name)
{
    Func *f = r->out;
    const char *from = name->attrs.axis, *to = name->attrs.axis2;
    Val factor[2] = {in[0], in[1]};
    Attrs a = n->attrs;
    if (is_summed(n, to)) {
        const char *sum =
            name_intern(f->module->names, arena_printf(f->module->arena, "%s_sum", to));
        for (int i = 0; i < 2; i++) {
            if (shape_axis(func_shape(f, factor[i]), sum) >= 0)
                return VAL_NONE;
            factor[i] = rename_factor(f, factor[i], to, sum);
        }
        replace(&a.over, to, sum);
    }
    for (int i = 0; i < 2; i++)
        factor[i] = rename_factor(f, factor[i], from, to);
    replace(&a.out, from, to);
    return func_emit(f, OP_CONTRACT, &a, factor, 2);
}

static Val rule(Rewrite *r, Val old, const Node *n, const Val *in)
{
    const Node *name = n->op == OP_CONTRACT ? only_reader(r, old) : NULL;
    Val product = name ? renamed_product(r, n, in, name) : VAL_NONE;
    if (product.id)
        return product;
    if (n->op == OP_RENAME && shape_axis(func_shape(r->out, in[0]), n->attrs.axis) < 0)
        return in[0]; /* has the names already */
    return rewrite_keep(r, n, in);
}

Func *pass_rename_products(PassCx *cx, const Func *in)
{
    uint32_t *reader = ARENA_ARRAY(cx->arena, uint32_t, in->nodes.len + 1);
    const bool *live = func_live(cx->arena, in);
    if (cx->options->target.contract.epilogue != EVERYWHERE || cx->options->fuse != FUSE_FULL)
        return (Func *)in;
    for (uint32_t id = 1; id < in->nodes.len; id++)
        for (int i = 0; live[id] && i < in->nodes.at[id].n_in; i++)
            reader[in->nodes.at[id].in[i].id] = id;
    return func_rewrite(cx, in, rule, reader);
}
