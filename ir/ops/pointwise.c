/* Pointwise rows and map: y = formula(a, b, ..; k0..k3) at every point of the union of the
 * operands' axes. */
#include "ir/ops/rules.h"

#include <assert.h>

static const Formula *compile(Arena *arena, const char *text)
{
    const char *error;
    const Formula *f = formula_compile(arena, text, &error);
    assert(f);
    return f;
}

bool shape_pointwise(const RuleCx *cx, Shape *out)
{
    return rule_broadcast(cx, out);
}

bool shape_map(const RuleCx *cx, Shape *out)
{
    const Node *n = cx->node;
    const char *error = "map: the formula is missing";
    const Formula *f =
        n->attrs.formula ? formula_compile(cx->diags->arena, n->attrs.formula, &error) : NULL;
    if (!f) {
        diag_error(cx->diags, DIAG_E0250, n->span, "%s", error);
        return false;
    }
    if (n->n_in < 1 || n->n_in > FORMULA_DY || f->vars >> n->n_in) {
        diag_error(cx->diags, DIAG_E0202, n->span, "map: \"%s\" does not fit %d operands", f->text,
                   n->n_in);
        return false;
    }
    return rule_broadcast(cx, out);
}

static void eval_formula(const EvalCx *cx, const char *text)
{
    const Formula *f = compile(cx->arena, text);
    Walk w = {0};
    walk_axes(&w, &cx->out->shape);
    for (int i = 0; i < cx->node->n_in; i++)
        walk_tensor(&w, &cx->in[i]->shape);
    for (int64_t o = 0; !w.done; walk_next(&w), o++) {
        double v[FORMULA_MAX_VARS] = {0};
        for (int i = 0; i < cx->node->n_in; i++)
            v[i] = cx->in[i]->at[w.offset[i]];
        cx->out->at[o] = formula_eval(f, v, cx->node->attrs.k);
    }
}

void eval_pointwise(const EvalCx *cx)
{
    eval_formula(cx, op_formula(cx->node->op));
}

void eval_map(const EvalCx *cx)
{
    eval_formula(cx, cx->node->attrs.formula);
}

/* The derivative formula with only the operands that occur in it, named a, b, .. again: "dy *
 * exp(b)" of operands x, y becomes "b * exp(a)" of y, dy. */
static Val emit_derivative(Func *f, const Node *y, Val dy, const char *text)
{
    Arena *arena = f->module->arena;
    unsigned vars = compile(arena, text)->vars;
    Val in[MAX_OPERANDS + 1];
    char letter[FORMULA_MAX_VARS] = {0};
    int n = 0;
    for (int i = 0; i < FORMULA_MAX_VARS; i++)
        if (vars >> i & 1) {
            letter[i] = (char)('a' + n);
            in[n++] = i == FORMULA_DY ? dy : y->in[i];
        }
    Text t = {.arena = arena};
    for (const char *s = text; *s;) {
        size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.");
        if (len == 1 && *s >= 'a' && *s < 'a' + FORMULA_DY)
            text_char(&t, letter[*s - 'a']);
        else if (len == 2 && !memcmp(s, "dy", 2))
            text_char(&t, letter[FORMULA_DY]);
        else
            text_add_n(&t, s, len ? len : 1);
        s += len ? len : 1;
    }
    return func_map(f, text_str(&t), y->attrs.k, FORMULA_MAX_CONSTS, in, n);
}

void grad_pointwise(Func *f, const Node *y, Val dy, Val *din)
{
    if (y->op == OP_LAYERNORM) {
        grad_layernorm(f, y, dy, din);
        return;
    }
    if (y->op == OP_BATCHNORM) {
        grad_batchnorm(f, y, dy, din);
        return;
    }
    for (int i = 0; i < y->n_in; i++) {
        const char *text = op_derivative(y->op, i);
        if (!text)
            continue;
        Val d = !strcmp(text, "dy")    ? dy
                : !strcmp(text, "-dy") ? func_emit1(f, OP_NEG, dy)
                                       : emit_derivative(f, y, dy, text);
        din[i] = grad_fit(f, d, func_shape(f, y->in[i]));
    }
}

/* Derivatives are maps, and nothing asks for second derivatives. */
void grad_map(Func *f, const Node *y, Val dy, Val *din)
{
    (void)dy, (void)din;
    diag_error(f->module->diags, DIAG_E0250, y->span, "map \"%s\" has no gradient",
               y->attrs.formula);
}

static double cost_formula(const Func *f, const Node *n, const char *text)
{
    Arena scratch = {.exhausted = f->module->arena->exhausted};
    const Formula *formula = compile(&scratch, text);
    double prims = 0;
    for (int i = 0; i < formula->n; i++)
        prims += formula->inst[i].kind == FORMULA_PRIM;
    arena_free(&scratch);
    return prims * (double)shape_elems(&n->shape);
}

double cost_pointwise(const Func *f, const Node *n)
{
    return cost_formula(f, n, op_formula(n->op));
}

double cost_map(const Func *f, const Node *n)
{
    return cost_formula(f, n, n->attrs.formula);
}
