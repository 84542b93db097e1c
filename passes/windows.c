/* windows: attention reads its windows from what they were cut from.
 *
 *     attend(views(pad(roll(x)) + bias), ..)
 *         ->  attend(views(gather(x, where the windows' places are in x) + bias), ..)
 *
 * for queries, keys and values alike, and for the gradient that arrives: x is a volume of tokens,
 * turned and filled with zeros to whole windows by tables (index), and views cut it. What stands at
 * a place behind the ends is the bias. The turned and filled volume would be stored, 1.36 times as
 * large as x for Dynamic-V1FM; positions are one number for each place of a window, for all heads
 * and channels.
 *
 * Needs: tables in front of the bias only, as what lies behind the ends must be 0 in front of it;
 * with fuse_store.c, which makes code of such operands. Keeps shapes and values. */
#include "passes/pass.h"

#include "ir/eval.h"

enum { MOST_POSITIONS = 1 << 24 /* whole numbers in float32 */, MOST_OPS = 32 };

static const char FLAT[] = "windows_flat";

/* The ops between x and the attention, the last first. */
typedef struct Chain {
    const Node *op[MOST_OPS];
    int n;
    Val x, bias;     /* no bias: none */
    int n_behind;    /* ops behind the sum with the bias */
    AxisList turned; /* axes of x that tables move, in its order */
} Chain;

static bool has(const Func *f, Val v, const char *axis)
{
    return shape_axis(func_shape(f, v), axis) >= 0;
}

/* What is added has none of the axes that tables move. */
static bool add_bias(const Func *f, Chain *c, const Node *n)
{
    const Shape *a = func_shape(f, n->in[0]), *b = func_shape(f, n->in[1]);
    int side = b->rank < a->rank ? 1 : 0; /* the bias' */
    if (c->bias.id || func_shape(f, n->in[side])->rank != 1)
        return false;
    c->bias = n->in[side];
    c->n_behind = c->n;
    c->x = n->in[1 - side];
    return true;
}

static bool is_free(const Shape *s)
{
    for (int i = 0; i < s->rank; i++)
        if (!strcmp(s->name[i], FLAT))
            return false;
    return true;
}

/* A table that neither leaves anything out nor has a bias behind it is read in place anyway; one of
 * an axis that x calls otherwise is left as it is. */
static bool find_chain(const Func *f, Val operand, Chain *c)
{
    bool has_tables = false, has_ends = false;
    *c = (Chain){.x = operand};
    for (; c->n < MOST_OPS; c->n++) {
        const Node *n = func_node(f, c->x);
        c->op[c->n] = n;
        if (n->op == OP_ADD && !has_tables) {
            if (!add_bias(f, c, n))
                return false;
            continue;
        }
        bool is_table = n->op == OP_INDEX && n->attrs.axis == n->attrs.axis2;
        if (!is_table && n->op != OP_SPLIT && n->op != OP_MERGE && n->op != OP_RENAME &&
            n->op != OP_REORDER)
            break;
        has_tables |= is_table;
        has_ends |= is_table && index_leaves_out(n);
        c->x = n->in[0];
    }
    const Shape *x = func_shape(f, c->x);
    int64_t positions = 1;
    for (int i = 0; i < x->rank; i++) {
        bool moved = false;
        for (int k = 0; k < c->n; k++)
            moved |= c->op[k]->op == OP_INDEX && c->op[k]->attrs.axis == x->name[i];
        if (!moved)
            continue;
        c->turned.name[c->turned.n++] = x->name[i];
        positions *= x->size[i];
        if (c->bias.id && has(f, c->bias, x->name[i]))
            return false;
    }
    bool is_stored = has_ends || (has_tables && c->bias.id);
    return c->turned.n && is_stored && positions <= MOST_POSITIONS && is_free(x) &&
           is_free(func_shape(f, operand));
}

/* What the last `n_ops` make of a value that has some of the axes; none when an op would join an
 * axis that it has with one that it has not. */
static Val follow(Func *f, const Chain *c, int n_ops, Val v)
{
    for (int k = n_ops; v.id && k-- > 0;) {
        const Node *n = c->op[k];
        const Attrs *a = &n->attrs;
        AxisList order = {0};
        switch (n->op) {
        case OP_INDEX:
            v = has(f, v, a->axis) ? func_index(f, v, a->axis, a->axis2, a->table, a->table_len)
                                   : v;
            break;
        case OP_SPLIT:
            v = has(f, v, a->axis) ? func_split(f, v, a->axis, a->axis2, a->axis3, a->size0) : v;
            break;
        case OP_MERGE:
            if (has(f, v, a->axis2) != has(f, v, a->axis3))
                return VAL_NONE;
            v = has(f, v, a->axis2) ? func_merge(f, v, a->axis2, a->axis3, a->axis) : v;
            break;
        case OP_RENAME:
            v = has(f, v, a->axis) ? func_rename(f, v, a->axis, a->axis2) : v;
            break;
        case OP_REORDER:
            for (int i = 0; i < a->out.n; i++)
                if (has(f, v, a->out.name[i]))
                    order.name[order.n++] = a->out.name[i];
            for (int i = 0; i < func_shape(f, v)->rank; i++) { /* a position's, which x has not */
                const char *name = func_shape(f, v)->name[i];
                bool known = false;
                for (int j = 0; j < order.n; j++)
                    known |= order.name[j] == name;
                if (!known)
                    order.name[order.n++] = name;
            }
            v = func_reorder(f, v, &order);
            break;
        default: /* the sum */
            break;
        }
    }
    return v;
}

/* Where the windows' places are in flat x; -1 behind the ends. Found by sending numbers the same
 * way, in a function of their own. */
static Val positions(PassCx *cx, Func *f, const Chain *c, const Shape *x)
{
    Func *numbers = func_new(f->module, "numbers");
    Shape turned = {0};
    for (int i = 0; i < c->turned.n; i++)
        shape_add(&turned, c->turned.name[i], x->size[shape_axis(x, c->turned.name[i])]);
    int64_t n = shape_elems(&turned);
    float *number = ARENA_ARRAY(cx->arena, float, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        number[i] = (float)(i + 1); /* what tables leave out is 0 */
    Val at = follow(numbers, c, c->n, func_const(numbers, number, &turned));
    if (!at.id)
        return VAL_NONE;
    const EvalTensor *found = eval_constant(cx->arena, numbers, at);
    int64_t places = shape_elems(&found->shape);
    float *place = ARENA_ARRAY(cx->arena, float, (size_t)places);
    for (int64_t i = 0; i < places; i++)
        place[i] = (float)found->at[i] - 1;
    return func_const(f, place, &found->shape);
}

static Val windows_of(Rewrite *r, Val operand)
{
    Chain c;
    Func *f = r->out;
    if (!find_chain(r->from, operand, &c))
        return VAL_NONE;
    const char *flat_axis = name_intern(f->module->names, FLAT);
    const Shape want = *func_shape(r->from, operand), *x = func_shape(r->from, c.x);
    Val at = positions(r->cx, f, &c, x);
    Val bias = at.id && c.bias.id ? follow(f, &c, c.n_behind, r->to[c.bias.id]) : VAL_NONE;
    Val flat =
        at.id ? follow(f, &c, c.n, func_flatten(f, r->to[c.x.id], &c.turned, flat_axis)) : VAL_NONE;
    if (!flat.id || (c.bias.id && !bias.id))
        return VAL_NONE;
    Attrs gather = {.axis = flat_axis};
    Val y = func_emit(f, OP_GATHER, &gather, (Val[]){flat, at}, 2);
    AxisList order = {0};
    for (int i = 0; i < want.rank; i++)
        order.name[order.n++] = want.name[i];
    y = bias.id ? func_emit2(f, OP_ADD, y, bias) : y;
    return func_reorder(f, y, &order);
}

/* Values that attention reads as rows: queries, keys, values, what arrives in front of them. */
static bool *find_rows(PassCx *cx, const Func *in)
{
    bool *is_read = ARENA_ARRAY(cx->arena, bool, in->nodes.len);
    for (uint32_t id = 1; id < in->nodes.len; id++) {
        const Node *n = &in->nodes.at[id];
        for (int i = 0; i < op_n_rows(n->op); i++)
            is_read[n->in[i].id] = true;
    }
    return is_read;
}

static Val rule(Rewrite *r, Val old, const Node *n, const Val *in)
{
    const bool *is_read = r->state;
    Val windows = is_read[old.id] ? windows_of(r, old) : VAL_NONE;
    return windows.id ? windows : rewrite_keep(r, n, in);
}

Func *pass_windows(PassCx *cx, const Func *in)
{
    if (cx->options->fuse != FUSE_FULL)
        return (Func *)in;
    return func_rewrite(cx, in, rule, find_rows(cx, in));
}
