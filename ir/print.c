/* The text form of a module; parse.c reads it back. Values are printed with their ids, axes in
 * logical order, constants in the shortest decimal that reads back the same. */
#include "ir/func.h"

#include <stdlib.h>

/* Names of axes and functions stand bare when they look like names, else quoted. */
static bool is_bare(const char *s)
{
    bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_';
    return letter && !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_.")];
}

static void print_string(Text *t, const char *s)
{
    text_char(t, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            text_char(t, '\\');
        if (c < 32 || c == 127)
            text_printf(t, "\\x%02x", c);
        else
            text_char(t, *s);
    }
    text_char(t, '"');
}

static void print_name(Text *t, const char *s)
{
    if (is_bare(s))
        text_add(t, s);
    else
        print_string(t, s);
}

static void print_shape(Text *t, const Shape *s)
{
    text_add(t, " : f32[");
    for (int i = 0; i < s->rank; i++) {
        text_add(t, i ? ", " : "");
        print_name(t, s->name[i]);
        text_printf(t, "=%lld", (long long)s->size[i]);
    }
    text_char(t, ']');
}

static void print_axes(Text *t, const char *key, const AxisList *list)
{
    text_printf(t, "%s=[", key);
    for (int i = 0; i < list->n; i++) {
        text_add(t, i ? ", " : "");
        print_name(t, list->name[i]);
    }
    text_char(t, ']');
}

static void print_consts(Text *t, const double *k, int n)
{
    text_add(t, "k=[");
    for (int i = 0; i < n; i++) {
        text_add(t, i ? ", " : "");
        text_double(t, k[i]);
    }
    text_char(t, ']');
}

static void print_named_axis(Text *t, const char *key, const char *axis)
{
    text_printf(t, "%s=", key);
    print_name(t, axis);
}

/* Constants of a map: as many as its formula uses. */
static int count_consts(Text *t, const char *formula)
{
    const char *error;
    const Formula *f = formula_compile(t->arena, formula, &error);
    int n = 0;
    for (int i = 0; f && i < f->n; i++)
        if (f->inst[i].kind == FORMULA_ATTR && f->inst[i].arg[0] >= n)
            n = f->inst[i].arg[0] + 1;
    return n;
}

static void print_formula(Text *t, const Attrs *a)
{
    int n = count_consts(t, a->formula);
    text_add(t, "formula=");
    print_string(t, a->formula);
    if (n) {
        text_add(t, ", ");
        print_consts(t, a->k, n);
    }
}

/* The shortest decimal that reads back as the same float32. */
static void print_float(Text *t, float x)
{
    char buf[40];
    double y = (double)x;
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(buf, sizeof buf, "%.*g", digits, (double)x);
        y = strtod(buf, NULL);
        if ((float)y == x || x != x)
            break;
    }
    text_double(t, y);
}

static void print_table(Text *t, const Attrs *a)
{
    print_named_axis(t, "axis", a->axis);
    print_named_axis(t, ", to", a->axis2);
    text_add(t, ", table=[");
    for (int64_t i = 0; i < a->table_len; i++)
        text_printf(t, "%s%d", i ? ", " : "", (int)a->table[i]);
    text_char(t, ']');
}

static void print_stencils(Text *t, const Attrs *a)
{
    print_axes(t, "over", &a->over);
    print_axes(t, ", out", &a->out);
    text_add(t, ", stencil=[");
    for (int i = 0; i < a->n_stencil; i++) {
        const Stencil *s = &a->stencil[i];
        text_add(t, i ? ", " : "");
        print_name(t, s->axis);
        text_char(t, ':');
        print_name(t, s->tap);
        text_printf(t, " stride %lld dilation %lld pad %lld in %lld taps %lld",
                    (long long)s->stride, (long long)s->dilation, (long long)s->pad,
                    (long long)s->in_size, (long long)s->taps);
    }
    text_char(t, ']');
}

static void print_parts(Text *t, const Attrs *a, const char *axis, const char *outer,
                        const char *inner)
{
    print_named_axis(t, axis, a->axis);
    print_named_axis(t, outer, a->axis2);
    print_named_axis(t, inner, a->axis3);
}

static void print_attrs(Text *t, const Node *n)
{
    const Attrs *a = &n->attrs;
    AttrKind kind = op_attrs(n->op);
    if (kind == ATTR_NONE || kind == ATTR_SHAPE)
        return;
    text_add(t, " {");
    switch (kind) {
    case ATTR_NONE:
    case ATTR_SHAPE:
        break;
    case ATTR_NAME:
    case ATTR_RANDOM:
        text_add(t, "name=");
        print_string(t, a->name);
        if (kind == ATTR_RANDOM) {
            text_add(t, ", ");
            print_consts(t, a->k, 1);
        }
        break;
    case ATTR_DATA:
        text_add(t, "data=[");
        for (int64_t i = 0; i < shape_elems(&n->shape); i++) {
            text_add(t, i ? ", " : "");
            print_float(t, a->data[i]);
        }
        text_char(t, ']');
        break;
    case ATTR_FILL:
        print_consts(t, a->k, 1);
        break;
    case ATTR_CONSTS:
        print_consts(t, a->k, op_n_consts(n->op));
        break;
    case ATTR_FORMULA:
        print_formula(t, a);
        break;
    case ATTR_RENAME:
        print_named_axis(t, "axis", a->axis);
        print_named_axis(t, ", to", a->axis2);
        break;
    case ATTR_SPLIT:
        print_parts(t, a, "axis", ", outer", ", inner");
        text_printf(t, ", size=%lld", (long long)a->size0);
        break;
    case ATTR_MERGE:
        print_parts(t, a, "to", ", outer", ", inner");
        break;
    case ATTR_ORDER:
        print_axes(t, "out", &a->out);
        break;
    case ATTR_INDEX:
        print_table(t, a);
        break;
    case ATTR_REDUCE:
        print_axes(t, "over", &a->over);
        text_add(t, ", ");
        print_consts(t, a->k, 1);
        break;
    case ATTR_CONTRACT:
        print_axes(t, "over", &a->over);
        print_axes(t, ", out", &a->out);
        break;
    case ATTR_GATHER:
        print_named_axis(t, "axis", a->axis);
        break;
    case ATTR_SCATTER:
        print_named_axis(t, "axis", a->axis);
        text_printf(t, ", size=%lld, ", (long long)a->size0);
        print_axes(t, "over", &a->over);
        break;
    case ATTR_ATTEND:
        print_named_axis(t, "axis", a->axis);
        print_named_axis(t, ", keys", a->axis2);
        print_axes(t, ", over", &a->over);
        text_add(t, ", ");
        print_consts(t, a->k, 2);
        if (a->k[2] > 0) {
            text_add(t, ", drop=");
            text_double(t, a->k[2]);
        }
        if (a->k[3] > 0) {
            text_add(t, ", unasked=");
            text_double(t, a->k[3]);
        }
        break;
    case ATTR_CONV:
        print_stencils(t, a);
        break;
    }
    text_char(t, '}');
}

static void print_node(Text *t, const Func *f, uint32_t id)
{
    const Node *n = &f->nodes.at[id];
    text_printf(t, "  %%%u = %s", id, op_text(n->op));
    for (int i = 0; i < n->n_in; i++)
        text_printf(t, " %%%u", n->in[i].id);
    print_attrs(t, n);
    print_shape(t, &n->shape);
    if (n->session >= 0)
        text_printf(t, " @session %d", n->session);
    if (n->part >= 0) {
        text_add(t, " @part ");
        print_string(t, f->module->parts.at[n->part]);
    }
    text_add(t, n->backward ? " @backward" : "");
    text_add(t, n->recompute ? " @recompute" : "");
    text_char(t, '\n');
}

static const char *const ROLE[] = {"output", "loss", "grad", "state"};

void func_print(Text *t, const Func *f)
{
    text_add(t, "func ");
    print_name(t, f->name);
    text_add(t, "() {\n");
    for (uint32_t i = 1; i < f->nodes.len; i++)
        print_node(t, f, i);
    for (uint32_t i = 0; i < f->results.len; i++) {
        const Result *r = &f->results.at[i];
        text_printf(t, "  return %s ", ROLE[r->role]);
        print_string(t, r->name);
        text_printf(t, " = %%%u\n", r->val.id);
    }
    text_add(t, "}\n");
}

static void print_init(Text *t, const Param *p)
{
    static const char *const kind[] = {" constant(", " normal(", " uniform(", " data("};
    const Init *init = &p->init;
    text_add(t, kind[init->kind]);
    if (init->kind == INIT_DATA) {
        int64_t n = shape_elems(&p->shape);
        for (int64_t i = 0; i < n; i++) {
            text_add(t, i ? ", " : "");
            print_float(t, init->data[i]);
        }
    } else {
        text_double(t, init->a);
        if (init->kind != INIT_CONSTANT) {
            text_add(t, ", ");
            text_double(t, init->b);
        }
    }
    text_char(t, ')');
}

static void print_param(Text *t, const Param *p)
{
    text_add(t, p->is_state ? "state " : "param ");
    print_string(t, p->name);
    print_shape(t, &p->shape);
    print_init(t, p);
    if (p->session >= 0)
        text_printf(t, " @session %d", p->session);
    text_add(t, p->no_decay ? " @no_decay" : "");
    text_add(t, p->frozen ? " @frozen" : "");
    if (p->limit > 0) {
        text_add(t, " @limit ");
        text_double(t, p->limit);
    }
    text_char(t, '\n');
}

void module_print(Text *t, const Module *m)
{
    text_add(t, "module ");
    print_string(t, m->model);
    text_char(t, '\n');
    for (uint32_t i = 0; i < m->sessions.len; i++) {
        text_add(t, "session ");
        print_string(t, m->sessions.at[i].name);
        text_printf(t, " neurons %lld\n", (long long)m->sessions.at[i].neurons);
    }
    for (uint32_t i = 0; i < m->parts.len; i++) {
        text_add(t, "part ");
        print_string(t, m->parts.at[i]);
        text_char(t, '\n');
    }
    for (uint32_t i = 0; i < m->params.len; i++)
        print_param(t, &m->params.at[i]);
    for (uint32_t i = 0; i < m->funcs.len; i++) {
        text_char(t, '\n');
        func_print(t, m->funcs.at[i]);
    }
}
