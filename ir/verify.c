/* What a legal module is. Every shape is derived again from the operands and compared. */
#include "ir/ops/rules.h"

typedef struct Check {
    const Module *m;
    Arena *scratch;
    Diags diags; /* of the shape rules, apart from the module's own */
    const Func *f;
} Check;

#define WRONG(c, ...) arena_printf((c)->scratch, __VA_ARGS__)

static const char *value_text(Check *c, uint32_t id)
{
    return arena_printf(c->scratch, "%s %%%u (%s)", c->f->name, id, op_text(c->f->nodes.at[id].op));
}

static const char *shape_string(Check *c, const Shape *s)
{
    Text t = {.arena = c->scratch};
    text_add(&t, "f32");
    shape_text(&t, s);
    return text_str(&t);
}

/* Are rank, names and sizes possible at all? Rules rely on it. */
static const char *check_form(Check *c, const Shape *s)
{
    Shape again = {0};
    if (s->rank < 0 || s->rank > MAX_RANK)
        return WRONG(c, "rank %d", s->rank);
    for (int i = 0; i < s->rank; i++) {
        if (!s->name[i] || s->size[i] < 1)
            return WRONG(c, "axis %d without a name or with size %lld", i, (long long)s->size[i]);
        if (!shape_add(&again, s->name[i], s->size[i]))
            return WRONG(c, "axis '%s' twice", s->name[i]);
    }
    return NULL;
}

static bool list_is_possible(const AxisList *list)
{
    if (list->n < 0 || list->n > MAX_RANK)
        return false;
    for (int i = 0; i < list->n; i++)
        if (!list->name[i])
            return false;
    return true;
}

static bool stencils_are_possible(const Attrs *a)
{
    if (a->n_stencil < 1 || a->n_stencil > MAX_STENCIL)
        return false;
    for (int i = 0; i < a->n_stencil; i++)
        if (!a->stencil[i].axis || !a->stencil[i].tap)
            return false;
    return true;
}

static bool attrs_are_possible(const Node *n)
{
    const Attrs *a = &n->attrs;
    switch (op_attrs(n->op)) {
    case ATTR_NONE:
    case ATTR_FILL:
    case ATTR_SHAPE:
    case ATTR_CONSTS:
        return true;
    case ATTR_NAME:
    case ATTR_RANDOM:
        return a->name;
    case ATTR_DATA:
        return a->data;
    case ATTR_FORMULA:
        return a->formula;
    case ATTR_RENAME:
        return a->axis && a->axis2;
    case ATTR_SPLIT:
    case ATTR_MERGE:
        return a->axis && a->axis2 && a->axis3;
    case ATTR_ORDER:
        return list_is_possible(&a->out);
    case ATTR_INDEX:
        return a->axis && a->axis2 && a->table && a->table_len > 0;
    case ATTR_REDUCE:
        return list_is_possible(&a->over);
    case ATTR_CONTRACT:
        return list_is_possible(&a->over) && list_is_possible(&a->out);
    case ATTR_GATHER:
        return a->axis;
    case ATTR_SCATTER:
        return a->axis && list_is_possible(&a->over);
    case ATTR_ATTEND:
        return a->axis && a->axis2 && list_is_possible(&a->over);
    case ATTR_CONV:
        return list_is_possible(&a->over) && list_is_possible(&a->out) && stencils_are_possible(a);
    }
    return false;
}

static const char *check_param_node(Check *c, uint32_t id)
{
    const Node *n = &c->f->nodes.at[id];
    const Param *p = module_param(c->m, n->attrs.name);
    if (!p)
        return WRONG(c, "%s: there is no parameter '%s'", value_text(c, id), n->attrs.name);
    if (p->is_state != (n->op == OP_STATE))
        return WRONG(c, "%s: '%s' is a %s", value_text(c, id), n->attrs.name,
                     p->is_state ? "state" : "parameter");
    if (!shape_equal(&p->shape, &n->shape))
        return WRONG(c, "%s: '%s' has shape %s, not %s", value_text(c, id), n->attrs.name,
                     shape_string(c, &p->shape), shape_string(c, &n->shape));
    return NULL;
}

/* Two inputs of one name must be the same input. */
static const char *check_input(Check *c, uint32_t id, Map *inputs)
{
    const Node *n = &c->f->nodes.at[id];
    const Node *first = map_get(inputs, n->attrs.name);
    if (first && !shape_equal(&first->shape, &n->shape))
        return WRONG(c, "%s: input '%s' has two shapes, %s and %s", value_text(c, id),
                     n->attrs.name, shape_string(c, &first->shape), shape_string(c, &n->shape));
    map_put(c->scratch, inputs, n->attrs.name, (void *)(uintptr_t)n);
    return NULL;
}

static const char *check_shape(Check *c, uint32_t id)
{
    Node n = c->f->nodes.at[id];
    uint32_t n_errors = c->diags.n_errors;
    RuleCx cx = {&c->diags, c->f, &n};
    Shape shape;
    if (!op_shape(&cx, &shape))
        return WRONG(c, "%s: %s", value_text(c, id),
                     c->diags.n_errors > n_errors && c->diags.messages.len
                         ? c->diags.messages.at[0].text
                         : "the operands have no result");
    if (!shape_equal(&shape, &n.shape))
        return WRONG(c, "%s: the shape is %s, the operands give %s", value_text(c, id),
                     shape_string(c, &n.shape), shape_string(c, &shape));
    for (int i = 0; i < n.attrs.n_stencil; i++) {
        const Stencil *s = &n.attrs.stencil[i], *t = &c->f->nodes.at[id].attrs.stencil[i];
        if (s->in_size != t->in_size || s->taps != t->taps)
            return WRONG(c, "%s: sizes of the stencil are missing", value_text(c, id));
    }
    return NULL;
}

static const char *check_node(Check *c, uint32_t id, Map *inputs)
{
    const Node *n = &c->f->nodes.at[id];
    if (n->op <= OP_NONE || n->op >= OP_COUNT)
        return WRONG(c, "%s %%%u: there is no op %d", c->f->name, id, (int)n->op);
    int arity = op_arity(n->op);
    if (arity >= 0 ? n->n_in != arity : n->n_in > MAX_OPERANDS)
        return WRONG(c, "%s: %d operands, %d were expected", value_text(c, id), n->n_in, arity);
    for (int i = 0; i < n->n_in; i++)
        if (!n->in[i].id || n->in[i].id >= id)
            return WRONG(c, "%s: operand %d is %%%u, which does not come before", value_text(c, id),
                         i, n->in[i].id);
    const char *form = check_form(c, &n->shape);
    if (form)
        return WRONG(c, "%s: %s", value_text(c, id), form);
    if (!attrs_are_possible(n))
        return WRONG(c, "%s: an attribute is missing", value_text(c, id));
    if (n->session < -1 || n->session >= (int)c->m->sessions.len)
        return WRONG(c, "%s: there is no session %d", value_text(c, id), n->session);
    if (n->part < -1 || n->part >= (int)c->m->parts.len)
        return WRONG(c, "%s: there is no part %d", value_text(c, id), n->part);
    const char *wrong = n->op == OP_PARAM || n->op == OP_STATE ? check_param_node(c, id)
                        : n->op == OP_INPUT                    ? check_input(c, id, inputs)
                                                               : NULL;
    return wrong ? wrong : check_shape(c, id);
}

static const char *check_result(Check *c, uint32_t i)
{
    const Result *r = &c->f->results.at[i];
    if (!r->val.id || r->val.id >= c->f->nodes.len)
        return WRONG(c, "%s: result '%s' is no value", c->f->name, r->name);
    for (uint32_t j = 0; j < i; j++)
        if (c->f->results.at[j].role == r->role && !strcmp(c->f->results.at[j].name, r->name))
            return WRONG(c, "%s: result '%s' stands twice", c->f->name, r->name);
    const Shape *s = func_shape(c->f, r->val);
    if (r->role == RESULT_LOSS && s->rank)
        return WRONG(c, "%s: the loss '%s' has shape %s, a scalar was expected", c->f->name,
                     r->name, shape_string(c, s));
    if (r->role != RESULT_GRAD && r->role != RESULT_STATE)
        return NULL;
    const Param *p = module_param(c->m, r->name);
    if (!p)
        return WRONG(c, "%s: a result belongs to '%s', which is no parameter", c->f->name, r->name);
    if (!shape_equal(s, &p->shape))
        return WRONG(c, "%s: the result for '%s' has shape %s, the parameter %s", c->f->name,
                     r->name, shape_string(c, s), shape_string(c, &p->shape));
    return NULL;
}

static const char *check_func(Check *c, const Func *f)
{
    Map inputs = {0};
    const char *wrong = NULL;
    c->f = f;
    if (f->module != c->m)
        return WRONG(c, "%s belongs to another module", f->name);
    for (uint32_t id = 1; id < f->nodes.len && !wrong; id++)
        wrong = check_node(c, id, &inputs);
    for (uint32_t i = 0; i < f->results.len && !wrong; i++)
        wrong = check_result(c, i);
    return wrong;
}

static const char *check_param(Check *c, uint32_t i)
{
    const Param *p = &c->m->params.at[i];
    if (module_param(c->m, p->name) != p)
        return WRONG(c, "parameter '%s' is not the one found by its name", p->name);
    const char *form = check_form(c, &p->shape);
    if (form)
        return WRONG(c, "parameter '%s': %s", p->name, form);
    if (p->session < -1 || p->session >= (int)c->m->sessions.len)
        return WRONG(c, "parameter '%s': there is no session %d", p->name, p->session);
    if (p->init.kind == INIT_DATA && !p->init.data)
        return WRONG(c, "parameter '%s' has no data", p->name);
    return NULL;
}

const char *module_verify(const Module *m, Arena *scratch)
{
    Check c = {.m = m, .scratch = scratch};
    diags_init(&c.diags, scratch);
    const char *wrong = NULL;
    for (uint32_t i = 0; i < m->params.len && !wrong; i++)
        wrong = check_param(&c, i);
    for (uint32_t i = 0; i < m->funcs.len && !wrong; i++) {
        if (module_func(m, m->funcs.at[i]->name) != m->funcs.at[i])
            return WRONG(&c, "function '%s' stands twice", m->funcs.at[i]->name);
        wrong = check_func(&c, m->funcs.at[i]);
    }
    return wrong;
}
